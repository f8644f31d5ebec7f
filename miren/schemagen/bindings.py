"""Attributes that are views of another value (`bind_to`): where it is, and whether it fits."""

from __future__ import annotations

from collections.abc import Mapping

from miren.schemagen.model import Attribute, ClassName, Component, Kind
from miren.schemagen.naming import Unknown
from miren.schemagen.paths import METADATA, follow

__all__ = ["STORED", "bound"]

_TEXTS = frozenset({"string", "keyword"})

#: What the store knows of an entity besides its document, and the types that can show it.
STORED = {
    "db/id": _TEXTS | {"ref"},
    "db/entity.created": frozenset({"time"}),
    "db/entity.updated": frozenset({"time"}),
    "db/entity.revision": _TEXTS | {"int"},
    "db/entity.ttl": frozenset({"duration"}),
    "db/attr.session": _TEXTS,
}

_FITTING = {
    "string": _TEXTS | {"ref"},
    "int": frozenset({"int"}),
    "time": frozenset({"time"}),
}


def bound(attribute: Attribute, kind: Kind, components: Mapping[ClassName, Component]) -> str:
    """Return the source of a bound attribute as it is stored; raise Unknown if it has none."""
    source = str(attribute.bind_to)
    if source.startswith("db/"):
        if source not in STORED:
            raise Unknown(f"no value {source!r}", "there are " + ", ".join(STORED))
        _check(attribute, source, STORED[source])
        return source
    path, found = follow(source, kind, components)
    if found is None:
        _check_metadata(attribute, path)
        return path
    if "*" in path.split(".")[:-1] or _passes_lists(path, kind, components):
        raise Unknown(f"{source!r} is no single value", "bind it to what holds the list or map")
    if found is attribute or found.bind_to:
        raise Unknown(f"{source!r} is bound itself", "bind it to where the value is")
    if _shape(found) != _shape(attribute):
        what = "a list of " if found.is_listed else ""
        raise Unknown(f"{source!r} is {what}{found.type}, this is of another type")
    return path.removesuffix(".*")


def _check(attribute: Attribute, source: str, fitting: frozenset[str]) -> None:
    if attribute.type not in fitting or attribute.many:
        types = " or ".join(sorted(fitting))
        raise Unknown(f"{source!r} does not fit type {attribute.type}", f"it is of type {types}")


def _check_metadata(attribute: Attribute, path: str) -> None:
    wanted = METADATA[path.partition(".")[2]]
    if wanted != "labels":
        _check(attribute, path, _FITTING[wanted])
    elif not attribute.is_labels and (attribute.of is None or _shape(attribute.of) != _TEXT):
        hint = "it is of type label with many, or of type map of string"
        raise Unknown(f"{path!r} does not fit type {attribute.type}", hint)


def _passes_lists(path: str, kind: Kind, components: Mapping[ClassName, Component]) -> bool:
    steps = path.split(".")
    for length in range(2, len(steps)):
        _, found = follow(".".join(steps[:length]), kind, components)
        if found is not None and found.many:
            return True
    return False


def _shape(attribute: Attribute) -> tuple[object, ...]:
    inner = () if attribute.of is None else _shape(attribute.of)
    return (attribute.type, attribute.many, attribute.component, attribute.choices, inner)


_TEXT = ("string", False, None, (), ())
