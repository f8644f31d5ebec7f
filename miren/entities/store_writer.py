"""One write of the client: from what is stored and a change of it to what is stored then.

One transaction per write. It is guarded by the entity's old revision and carries everything
derived from the entity; its other branch reads what the guards looked at, so a refusal names its
reason without a second round trip.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar, cast

from miren.entities import deleting, keys
from miren.entities.admission import admit
from miren.entities.changes import Change
from miren.entities.entity import Entity
from miren.entities.guards import Blocked, Guard
from miren.entities.leased import completed, held_at
from miren.entities.owners import owned, owner_guards
from miren.entities.recent import Recent
from miren.entities.records import Sidecar, decode
from miren.entities.secret_entities import kept, opened
from miren.entities.store.api import Get, KeyRange, KeyValue
from miren.entities.store_reader import StoreReader
from miren.entities.writes import Stored, Write, commit, is_removed

__all__ = ["StoreWriter", "Unchanged"]

E = TypeVar("E", bound=Entity[Any, Any])


class Unchanged(Exception):
    """A write that would change nothing; only what was read just now may end so."""


@dataclass(frozen=True, kw_only=True)
class StoreWriter(StoreReader):
    """What `StoreClient` makes its writes with: what is stored, and one attempt to change it.

    `recent` holds what was just read or written.
    """

    recent: Recent = field(default_factory=Recent, repr=False, compare=False)

    async def _find(self, kind: type[E], name: str, project: str | None) -> Stored[E] | None:
        where = self._project(kind, project)
        both = (keys.entity_key(kind.kind, where, name), keys.sidecar_key(kind.kind, where, name))
        result = await self.store.transact((), [Get(KeyRange.key(key)) for key in both])
        entity, sidecar = result.reads
        if not entity:
            self.recent.drop(both[0])
            return None
        beside = Sidecar.decode(sidecar[0] if sidecar else None)
        known = self.recent.get(both[0])
        if known is not None and known.entity.revision == entity[0].mod_revision:
            stored = replace(known, sidecar=beside)
        else:
            stored = Stored(decode(kind, entity[0]), beside, entity[0].value)
        self.recent.put(both[0], stored)
        return stored

    async def _get_stored(self, kind: type[E], name: str, project: str | None) -> Stored[E]:
        found = await self._find(kind, name, project)
        if found is None:
            raise await self._not_found(kind, name, project)
        return found

    def _opened(self, stored: Stored[E]) -> Stored[E]:
        """Return what is stored with its secrets in the clear, for a write to be made from."""
        entity = opened(stored.entity, stored.value, self.keyring)
        return stored if entity is stored.entity else replace(stored, entity=entity)

    async def _write(
        self, change: Change[E], old: Stored[E] | None, *, dry_run: bool = False
    ) -> E:
        """Admit and store a change. Raises Unchanged where all of it is stored already."""
        before = old.entity if old else None
        new = change.entity
        for mutator in self.mutators:
            new = cast("E", mutator(new, before))
        new = kept(new, before)
        new = await owned(new, before, self.store, self.kinds)
        held = await self._held(new) if is_removed(new) else ()
        write = self._made(new, old, change, held)
        admit(new, before, write.news)
        guards = (*change.guards, *await owner_guards(new, before, self.store, self.kinds))
        try:
            return await self._commit(write, guards, dry_run=dry_run)
        except Blocked:
            # Somebody's reference has to be unset first: it stays until that is done.
            waiting = self._made(deleting.held_by(new, deleting.UNSET), old, change)
            return await self._commit(waiting, guards, dry_run=dry_run)

    def _made(
        self, new: E, old: Stored[E] | None, change: Change[E], held: Sequence[KeyValue] = ()
    ) -> Write[E]:
        """Return the write of `new`, which is what a change says, or what was made of that."""
        is_same = new.spec is change.entity.spec  # whatever is known of the spec still holds
        return Write(
            new,
            old,
            change.managers,
            self.kinds,
            self.keyring,
            of_spec=change.of_spec if is_same else None,
            is_valid=change.is_valid and is_same,
            held=held,
        )

    async def _commit(self, write: Write[E], guards: Sequence[Guard], *, dry_run: bool) -> E:
        if write.changes_nothing:
            raise Unchanged
        result = await commit(self.store, write, more=guards, dry_run=dry_run)
        if dry_run:
            return await self._shown(write.shown_dry())
        stored = write.stored_at(result.revision)
        if write.removes:
            self.recent.drop(write.key)
        else:
            self.recent.put(write.key, stored)
        return write.shown(stored.entity, result)

    async def _shown(self, entity: E) -> E:
        """Return an entity that was not written as it would be read."""
        return completed(entity, await self._held(entity))

    async def _held(self, entity: Entity[Any, Any]) -> Sequence[KeyValue]:
        where = (entity.project, entity.name)
        found = await held_at(self.store, entity.kind, entity.project, name=entity.name)
        return found.get(where, ())
