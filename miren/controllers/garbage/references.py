"""Taking references to an entity out of those who refer to it, where they ask for that."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from miren.controllers.garbage.judging import without
from miren.entities.attributes import attributes
from miren.entities.client import Client
from miren.entities.entity import Entity
from miren.entities.kinds import Kind, Kinds
from miren.entities.references import Pointer, Reference, pointers

__all__ = ["unset", "unsetting"]


async def unsetting(client: Client, target: Entity[Any, Any]) -> list[Reference]:
    """Return the references to an entity that are unset when it goes, as stored now."""
    where = target.project or None
    found = await client.referrers(type(target), target.name, project=where)
    return [each for each in found if _is_unset(each.kind, each.attribute)]


def _is_unset(kind: Kind, dotted: str) -> bool:
    return any(
        each.dotted == dotted and each.options.on_delete == "unset" for each in attributes(kind)
    )


async def unset(
    client: Client, reference: Reference, target: Entity[Any, Any], kinds: Kinds
) -> None:
    """Take every such reference to `target` out of one who refers.

    Raises Conflict if that one changed meanwhile, InvalidInput if it cannot be without.
    """
    entity = await client.get(
        reference.kind.entity, reference.name, project=reference.project or None, default=None
    )
    if entity is None:
        return
    document = entity.to_document()
    for pointer in _pointing(entity, document, target, kinds):
        document = without(document, pointer.attribute.path, {pointer.text})
    changed = type(entity).from_document(document)
    stored = entity
    if changed.spec != entity.spec:
        stored = await client.update(entity.with_spec(changed.spec), manager="garbage")
    if changed.status != entity.status:
        await client.update_status(replace(stored, status=changed.status))


def _pointing(
    entity: Entity[Any, Any], document: dict[str, Any], target: Entity[Any, Any], kinds: Kinds
) -> Iterable[Pointer]:
    return [
        pointer
        for pointer in pointers(entity.kind, document, entity.project, kinds)
        if pointer.target.name == target.kind.name
        and pointer.target.domain == target.kind.domain
        and (pointer.project, pointer.name) == (target.project, target.name)
        and pointer.rule == "unset"
    ]
