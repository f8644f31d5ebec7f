"""What a status shows and an entity's document does not hold: session attributes and views."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from types import MappingProxyType
from typing import Any

from miren.entities.attributes import Attribute, attributes
from miren.entities.entity import Entity
from miren.entities.kinds import Kind
from miren.entities.model import wire_names

__all__ = ["bound_attributes", "said_in_sessions", "session_attributes", "without_unstored"]

_OF_SESSIONS = ("db/entity.ttl", "db/attr.session")


@cache
def session_attributes(kind: Kind) -> Mapping[str, tuple[Attribute, ...]]:
    """Return a kind's session attributes by wire name, each with what is indexed of it.

    Raises TypeError as `attributes` does, for one that is not of the status itself say.
    """
    known = attributes(kind)
    found = {}
    for attribute in known:
        if attribute.options.session:
            _, wire = attribute.path
            inside = (other for other in known if other.path[:2] == attribute.path[:2])
            found[wire] = tuple(other for other in inside if other.options.indexed)
    return MappingProxyType(found)


@cache
def bound_attributes(kind: Kind) -> Mapping[str, str]:
    """Return a kind's bound attributes by wire name, each with where its value comes from.

    Raises TypeError as `session_attributes` does.
    """
    return MappingProxyType(
        {
            attribute.path[1]: attribute.options.bind_to
            for attribute in attributes(kind)
            if attribute.options.bind_to is not None
        }
    )


def said_in_sessions(entity: Entity[Any, Any]) -> tuple[object, ...]:
    """Return what an entity shows of sessions, which changes while its revision stays."""
    return tuple(getattr(entity.status, name) for name in _session_names(entity.kind))


@cache
def _session_names(kind: Kind) -> tuple[str, ...]:
    views = (wire for wire, of in bound_attributes(kind).items() if of in _OF_SESSIONS)
    wires = {*session_attributes(kind), *views}
    return tuple(name for name, wire in wire_names(kind.status).items() if wire in wires)


def without_unstored(kind: Kind, document: dict[str, Any]) -> None:
    """Take out of a document what is no part of what is stored."""
    status = document.get("status")
    if status is None:
        return
    for wire in (*session_attributes(kind), *bound_attributes(kind)):
        status.pop(wire, None)
    if not status:
        del document["status"]
