"""Who belongs to whom: owners as the caches have them and as they are stored, and dependents."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from miren.base.errors import InvalidInput
from miren.controllers.garbage.judging import Standing, standing_of
from miren.entities.client import Client
from miren.entities.entity import Entity, OwnerReference
from miren.entities.kinds import Kind, Kinds, Scope
from miren.reconcile.controller import Index

__all__ = ["Relatives"]


class Cache(Protocol):
    """The entities of one kind as they were last seen."""

    @property
    def by_uid(self) -> Index[Any]: ...
    @property
    def by_owner(self) -> Index[Any]: ...


class Relatives:
    """What the collectors of one engine know together.

    An owner of a kind that none of them is of counts as living: what nobody can look at must not
    cost anything its life.
    """

    def __init__(self, kinds: Iterable[type[Entity[Any, Any]]]) -> None:
        self.known = Kinds(kinds)
        self.kinds = tuple(kind.entity for kind in self.known.all_stored())
        self._caches: dict[Kind, Cache] = {}

    def join(self, kind: Kind, cache: Cache) -> None:
        """Let all know where the cache of a kind is."""
        self._caches[kind] = cache

    def has_seen(self, owner: OwnerReference, of: Entity[Any, Any]) -> bool:
        """Return whether it will be told when that owner goes, or cannot be known anyway."""
        kind = self._kind(owner, of)
        return kind is None or bool(self._caches[kind].by_uid[owner.uid])

    def have_seen_dependents(self, uid: str) -> bool:
        """Return whether any cache still has something that the entity with this uid owns."""
        return any(cache.by_owner[uid] for cache in self._caches.values())

    async def owners(self, client: Client, of: Entity[Any, Any]) -> Mapping[str, Standing]:
        """Return how it is with each owner of an entity, as stored now."""
        return {
            owner.uid: await self._standing(client, owner, of)
            for owner in of.metadata.owner_references
        }

    async def _standing(
        self, client: Client, owner: OwnerReference, of: Entity[Any, Any]
    ) -> Standing:
        if self._kind(owner, of) is None:
            return Standing.LIVING
        return standing_of(await self._read(client, owner, of), owner.uid)

    async def dependents(self, client: Client, owner: Entity[Any, Any]) -> list[Entity[Any, Any]]:
        """Return what an entity owns, as stored now."""
        found = []
        for each in await client.dependents(owner.uid):
            where = each.project or None
            entity = await client.get(each.kind.entity, each.name, project=where, default=None)
            if entity is not None and _is_owned(entity, owner.uid):
                found.append(entity)
        return found

    async def above(self, client: Client, entity: Entity[Any, Any]) -> frozenset[str]:
        """Return the uids of all owners above an entity; it is among them only in a circle."""
        seen: dict[str, None] = {}
        rest = [entity]
        while rest:
            here = rest.pop()
            for owner in here.metadata.owner_references:
                if owner.uid in seen:
                    continue
                seen[owner.uid] = None
                found = await self._read(client, owner, here)
                if found is not None and found.uid == owner.uid:
                    rest.append(found)
        return frozenset(seen)

    async def _read(
        self, client: Client, owner: OwnerReference, of: Entity[Any, Any]
    ) -> Entity[Any, Any] | None:
        kind = self._kind(owner, of)
        if kind is None:
            return None
        where = None if kind.scope is Scope.CLUSTER else of.project
        found: Entity[Any, Any] | None = await client.get(
            kind.entity, owner.name, project=where, default=None
        )
        return found

    def _kind(self, owner: OwnerReference, of: Entity[Any, Any]) -> Kind | None:
        """Return the kind of an owner, if it is known and can own that entity."""
        try:
            kind = self.known.of_document(owner.api_version, owner.kind)
        except InvalidInput:
            return None
        return kind if kind.scope is Scope.CLUSTER or of.project else None


def _is_owned(entity: Entity[Any, Any], uid: str) -> bool:
    return any(owner.uid == uid for owner in entity.metadata.owner_references)
