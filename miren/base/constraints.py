"""How the constraints of an attribute are told: the same words in `explain` and the reference.

Attributes come from two front ends, schema files and Python classes. Both give what they know as
a mapping from the schema language's keys to values; what has no phrase of its own here is told
under its own name, so that a new key of the language is never left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

__all__ = ["phrases"]


def phrases(facts: Mapping[str, object]) -> tuple[str, ...]:
    """Return what holds for an attribute, a phrase a constraint, in a fixed order.

    `facts` maps keys of the schema language to their values; empty ones are left out.
    """
    given = {key: value for key, value in facts.items() if not _is_empty(key, value)}
    told = [*_ranges(given)]
    for key, phrase in _PHRASES.items():
        if key in given:
            told.append(phrase(given.pop(key)))
    return (*told, *(f"{key.replace('_', ' ')}: {_text(value)}" for key, value in given.items()))


def _is_empty(key: str, value: object) -> bool:
    return value is None or (value is False and key != "default") or value == ()


def _ranges(given: dict[str, object]) -> Iterable[str]:
    for low, high, what in (("min", "max", ""), ("min_length", "max_length", " long")):
        least, most = given.pop(low, None), given.pop(high, None)
        if least is not None and most is not None:
            yield f"{_text(least)} to {_text(most)}{what}"
        elif least is not None:
            yield f"at least {_text(least)}{what}"
        elif most is not None:
            yield f"at most {_text(most)}{what}"


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple | list):
        return ", ".join(map(_text, value)) or "[]"
    if isinstance(value, Mapping):
        return ", ".join(f"{key}={_text(item)}" for key, item in value.items()) or "{}"
    return str(value)


def _quoted(value: object) -> str:
    return f"`{_text(value)}`"


_PHRASES: Mapping[str, Callable[[object], str]] = {
    "choices": lambda value: f"one of {_text(value)}",
    "pattern": lambda value: f"matches {_quoted(value)}",
    "default": lambda value: f"default {_text(value)}",
    "to": lambda value: f"refers to {_text(value)}",
    "owner": lambda _value: "its target owns this entity",
    "on_delete": lambda value: f"deleting its target: {_text(value)}",
    "tags": lambda value: f"tagged {_text(value)}",
    "immutable": lambda _value: "immutable",
    "indexed": lambda _value: "indexed",
    "unique": lambda value: f"unique in the {_text(value)}",
    "merge_key": lambda value: f"merged by {_text(value)}",
    "shorthand": lambda value: f"a bare value is its {_text(value)}",
    "secret": lambda _value: "secret",
    "session": lambda _value: "kept while its holder speaks",
    "bind_to": lambda value: f"a view of {_text(value)}",
    "example": lambda value: f"such as {_text(value)}",
}
