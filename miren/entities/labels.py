"""Label selectors, as kubectl writes them: `app=web,tier in (front,back),!old`.

What a person or program says is parsed once into requirements; matching is then a few lookups in
a mapping. A label that is missing satisfies `!=` and `notin`, as it does in Kubernetes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from miren.base.errors import InvalidInput

__all__ = ["Operator", "Requirement", "matches", "parse_selector", "requirements"]


class Operator(StrEnum):
    """What a requirement asks of one label."""

    IN = "in"
    NOT_IN = "notin"
    EXISTS = "exists"
    MISSING = "!"


@dataclass(frozen=True, slots=True)
class Requirement:
    """One condition on one label; all of a selector's must hold."""

    key: str
    operator: Operator
    values: frozenset[str] = frozenset()

    def holds(self, labels: Mapping[str, str]) -> bool:
        """Return whether these labels satisfy it."""
        match self.operator:
            case Operator.IN:
                return labels.get(self.key) in self.values
            case Operator.NOT_IN:
                return labels.get(self.key) not in self.values
            case Operator.EXISTS:
                return self.key in labels
            case Operator.MISSING:
                return self.key not in labels


_KEY = r"[A-Za-z0-9](?:[-A-Za-z0-9_./]*[A-Za-z0-9])?"
_VALUE = r"[^\s,()=!]*"
_TERMS: tuple[tuple[re.Pattern[str], Callable[[re.Match[str]], Requirement]], ...] = (
    (re.compile(rf"({_KEY})\s*(in|notin)\s*\(([^()]*)\)"), lambda m: _set(m[1], m[2], m[3])),
    (re.compile(rf"({_KEY})\s*!=\s*({_VALUE})"), lambda m: _set(m[1], "notin", m[2])),
    (re.compile(rf"({_KEY})\s*==?\s*({_VALUE})"), lambda m: _set(m[1], "in", m[2])),
    (re.compile(rf"!\s*({_KEY})"), lambda m: Requirement(m[1], Operator.MISSING)),
    (re.compile(rf"({_KEY})"), lambda m: Requirement(m[1], Operator.EXISTS)),
)


def parse_selector(text: str) -> tuple[Requirement, ...]:
    """Return the requirements of a selector; an empty one has none and selects everything.

    Takes `key`, `!key`, `key=value`, `key==value`, `key!=value`, `key in (a,b)` and
    `key notin (a,b)`, separated by commas. Raises InvalidInput for anything else.
    """
    return tuple(_requirement(term.strip(), text) for term in _split(text) if term.strip())


def requirements(selector: Mapping[str, str] | str) -> tuple[Requirement, ...]:
    """Return the requirements of a selector in either form: a mapping asks for each value."""
    if isinstance(selector, str):
        return parse_selector(selector)
    return tuple(
        Requirement(key, Operator.IN, frozenset({value})) for key, value in selector.items()
    )


def matches(wanted: tuple[Requirement, ...], labels: Mapping[str, str]) -> bool:
    """Return whether labels satisfy every requirement."""
    return all(requirement.holds(labels) for requirement in wanted)


def _split(text: str) -> Iterator[str]:
    """Yield the terms between commas that stand outside of parentheses."""
    return iter(re.split(r",(?![^(]*\))", text))


def _requirement(term: str, whole: str) -> Requirement:
    for pattern, make in _TERMS:
        found = pattern.fullmatch(term)
        if found:
            return make(found)
    raise InvalidInput(
        f"{term!r} in the selector {whole!r} is no requirement",
        hint="write key=value, key!=value, key in (a,b), key notin (a,b), key or !key",
    )


def _set(key: str, operator: str, values: str) -> Requirement:
    found = frozenset(value.strip() for value in values.split(","))
    return Requirement(key, Operator(operator), found)
