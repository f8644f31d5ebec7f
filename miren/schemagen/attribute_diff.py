"""What changed in one attribute, and whether values stored under the old one still count."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields
from enum import StrEnum
from typing import Any, NamedTuple

from miren.schemagen.describing import STRUCTURE, leaf_of, pattern_of, shape_of, type_of
from miren.schemagen.model import Attribute
from miren.schemagen.rules import NUMBERS

__all__ = ["Finding", "Verdict", "compare_attributes"]


class Verdict(StrEnum):
    """What a change means for entities that are stored already."""

    BREAKING = "breaking"
    CAUTION = "caution"
    COMPATIBLE = "compatible"


class Finding(NamedTuple):
    """One difference between two attributes."""

    verdict: Verdict
    message: str


_BREAKING, _CAUTION, _COMPATIBLE = Verdict.BREAKING, Verdict.CAUTION, Verdict.COMPATIBLE

#: Types whose every stored form is one of another type too. `json` takes everything.
_WIDER: Mapping[str, frozenset[str]] = {
    "int": frozenset({"float", "quantity"}),
    "float": frozenset({"quantity"}),
    "keyword": frozenset({"string"}),
    "label": frozenset({"string"}),
    "enum": frozenset({"string"}),
    "ref": frozenset({"string", "keyword"}),
    "time": frozenset({"string", "keyword"}),
    "duration": frozenset({"string", "keyword"}),
    "quantity": frozenset({"string", "keyword"}),
    "bytes": frozenset({"string"}),
}
_TEXTS = frozenset({"string", "keyword", "label"})


def compare_attributes(old: Attribute, new: Attribute) -> Iterator[Finding]:
    """Yield every difference; what is inside of components is compared elsewhere."""
    yield from _values(old, new)
    if new.required and not old.required:
        yield Finding(_BREAKING, "became required")
    elif old.required and not new.required:
        yield Finding(_COMPATIBLE, "no longer required")
    for known in fields(Attribute):
        one, other = getattr(old, known.name), getattr(new, known.name)
        if known.name not in _SEEN and one != other:
            if known.name == "default":
                yield Finding(_CAUTION, f"default changed from {_shown(one)} to {_shown(other)}")
                continue
            verdict = _OPTIONS.get(known.name, _unknown)(one, other)
            yield Finding(verdict, f"{known.name.replace('_', ' ')} {_change(one, other)}")


#: What has been compared before the options are: the type, and what values may be.
_SEEN = STRUCTURE - {"doc"} | {
    "choices",
    "min",
    "max",
    "min_length",
    "max_length",
    "pattern",
    "to",
}


def _values(old: Attribute, new: Attribute) -> Iterator[Finding]:
    shape, wanted = shape_of(old), shape_of(new)
    before, after = leaf_of(old), leaf_of(new)
    if after.type == "json" and shape[: len(wanted)] == wanted:
        yield from _lengths(old, new, len(wanted))
        if (shape, before.type) != (wanted, "json"):
            yield Finding(_COMPATIBLE, _types(old, new))
        return
    if shape != wanted:
        yield Finding(_BREAKING, _types(old, new))
        return
    is_wider = after.type in _WIDER.get(before.type, ())
    if before.type != after.type:
        yield Finding(_COMPATIBLE if is_wider else _BREAKING, _types(old, new))
        if old.indexed and new.indexed:
            yield Finding(_CAUTION, "its index is built anew")
    if before.type == after.type or is_wider:
        yield from _lengths(old, new, len(shape))
        yield from _element(before, after)


def _types(old: Attribute, new: Attribute) -> str:
    return f"type {_change(_named(old), _named(new))}"


def _named(attribute: Attribute) -> str:
    """Return the type, where needed in the language's own words."""
    text, leaf = type_of(attribute), leaf_of(attribute)
    return f"{text.removesuffix('string')}{leaf.type}" if leaf.type in _TEXTS else text


# -- what values may be ------------------------------------------------------------------------


def _lengths(old: Attribute, new: Attribute, depth: int) -> Iterator[Finding]:
    """Compare the lengths of `depth` lists and maps, and of a text when there is none inside."""
    is_text = leaf_of(new).type not in ("json", "component")
    one: Attribute | None = old
    other: Attribute | None = new
    while one is not None and other is not None and (depth > 0 or is_text):
        least = one.min_length or None, other.min_length or None
        yield from _bounds("min_length", *least, rising=True)
        yield from _bounds("max_length", one.max_length, other.max_length, rising=False)
        depth -= 1
        one, other = one.of, other.of


def _element(old: Attribute, new: Attribute) -> Iterator[Finding]:
    """Compare what is asked of a single value."""
    if old.type == new.type == "enum":
        yield from _choices(old, new)
    if old.type == new.type == "ref":
        yield from _targets(old, new)
    if new.type in NUMBERS:
        yield from _bounds("min", old.min, new.min, rising=True)
        yield from _bounds("max", old.max, new.max, rising=False)
    yield from _pattern(old, new)


def _choices(old: Attribute, new: Attribute) -> Iterator[Finding]:
    lost = [choice for choice in old.choices if choice not in new.choices]
    come = [choice for choice in new.choices if choice not in old.choices]
    if lost:
        yield Finding(_BREAKING, f"choice {', '.join(lost)} removed")
    if come:
        yield Finding(_COMPATIBLE, f"choice {', '.join(come)} added")


def _targets(old: Attribute, new: Attribute) -> Iterator[Finding]:
    """Compare the kinds a reference may name; none at all means any."""
    before = {target.kind for target in old.to}
    after = {target.kind for target in new.to}
    if before == after:
        return
    told = [", ".join(sorted(kinds)) or "anything" for kinds in (before, after)]
    message = f"to changed from {told[0]} to {told[1]}"
    if not after or (before and before <= after):
        yield Finding(_CAUTION, f"{message}: names without a kind may mean several")
    else:
        yield Finding(_BREAKING, message)


def _bounds(name: str, old: Any, new: Any, *, rising: bool) -> Iterator[Finding]:
    """Compare a bound; `rising` says that a higher one takes less."""
    if old == new:
        return
    if new is None:
        yield Finding(_COMPATIBLE, f"{name} {old} removed")
    elif old is None:
        yield Finding(_BREAKING, f"{name} {new} added")
    else:
        is_higher = new > old
        word = "raised" if is_higher else "lowered"
        verdict = _BREAKING if is_higher == rising else _COMPATIBLE
        yield Finding(verdict, f"{name} {word} from {old} to {new}")


def _pattern(old: Attribute, new: Attribute) -> Iterator[Finding]:
    one, other = pattern_of(old), pattern_of(new)
    is_own_form = old.type not in _TEXTS and old.pattern is None and new.pattern is None
    if one == other or is_own_form:
        return  # what has become text keeps the promise of its own form
    if other is None:
        yield Finding(_COMPATIBLE, f"pattern {one} removed")
    elif one is None:
        yield Finding(_BREAKING, f"pattern {other} added")
    else:
        yield Finding(_BREAKING, f"pattern {_change(one, other)}")


# -- options -----------------------------------------------------------------------------------


def _unknown(_old: Any, _new: Any) -> Verdict:
    return _CAUTION


def _unique(old: Any, new: Any) -> Verdict:
    return _BREAKING if new is not None and old != "cluster" else _COMPATIBLE


_OPTIONS: Mapping[str, Callable[[Any, Any], Verdict]] = {
    "doc": lambda _old, _new: _COMPATIBLE,
    "example": lambda _old, _new: _COMPATIBLE,
    "immutable": lambda _old, _new: _COMPATIBLE,
    "merge_key": lambda _old, _new: _BREAKING,
    "unique": _unique,
}


def _change(old: Any, new: Any) -> str:
    if isinstance(old, bool) and isinstance(new, bool):
        return "added" if new else "removed"
    if old in (None, (), ""):
        return f"{_shown(new)} added"
    if new in (None, (), ""):
        return f"{_shown(old)} removed"
    return f"changed from {_shown(old)} to {_shown(new)}"


def _shown(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "true" if value else "false"
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
