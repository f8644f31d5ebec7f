"""Bound attributes: views of another value, filled in whenever an entity is read.

`bind_to` names the value by its path (`metadata.uid`, `spec.size`), or as `db/...` what the store
knows of an entity beside its document. A view is never stored, so it cannot be out of date.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, TypeVar

from pydantic import ValidationError

from miren.entities.entity import Entity
from miren.entities.model import Model, wire_names
from miren.entities.unstored import bound_attributes

__all__ = ["with_views"]

E = TypeVar("E", bound=Entity[Any, Any])


def with_views(entity: E, *, ttl: float | None = None, holder: str | None = None) -> E:
    """Return the entity with its views filled in.

    `ttl` (in seconds) and `holder` are of the session that holds session attributes of it. A
    view of what is not there keeps its default.
    """
    bound = bound_attributes(entity.kind)
    if not bound:
        return entity
    names = {wire: name for name, wire in wire_names(entity.kind.status).items()}
    changes = {}
    for wire, source in bound.items():
        value = (
            _stored(entity, source, ttl, holder) if source[:3] == "db/" else _at(entity, source)
        )
        if value is not None:
            changes[names[wire]] = _as_declared(entity.kind.status, wire, names[wire], value)
    return entity.with_status(entity.status.model_copy(update=changes))


def _stored(
    entity: Entity[Any, Any], source: str, ttl: float | None, holder: str | None
) -> object:
    match source:
        case "db/id":
            return f"{entity.project}/{entity.name}" if entity.project else entity.name
        case "db/entity.created":
            return entity.metadata.creation_timestamp
        case "db/entity.revision":
            return entity.metadata.resource_version or None
        case "db/entity.ttl":
            return None if ttl is None else timedelta(seconds=ttl)
        case "db/attr.session":
            return holder
    return None


def _at(entity: Entity[Any, Any], source: str) -> object:
    part, *steps = source.split(".")
    value: object = getattr(entity, part)
    for step in steps:
        value = _step(value, step)
    return value


def _step(value: object, wire: str) -> object:
    if isinstance(value, Mapping):
        return value.get(wire)
    if not isinstance(value, Model):
        return None
    return next(
        (getattr(value, name) for name, known in wire_names(type(value)).items() if known == wire),
        None,
    )


def _as_declared(status: type[Model], wire: str, name: str, value: object) -> object:
    """Return the value in the type of the attribute that shows it."""
    try:
        return getattr(status.model_validate({wire: value}), name)
    except ValidationError as error:
        raise TypeError(f"{status.__name__}.{name} cannot show {value!r}") from error
