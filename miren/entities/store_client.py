"""The client over a store in this process: what the server, the engine and tests use.

One transaction per write. It is guarded by the entity's old revision and carries everything
derived from the entity; its other branch reads what the guards looked at, so a refusal names its
reason without a second round trip. Apply, patch and delete say what they want of whatever is
there, so they read again when somebody else wrote in between; update was made from one version
and is refused then.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar, cast

from miren.base.errors import AlreadyExists, Conflict
from miren.base.ids import new_uid
from miren.entities import keys
from miren.entities.admission import admit
from miren.entities.changes import Change, applied, fresh, patched, updated
from miren.entities.entity import Entity, Partial
from miren.entities.merging import Managers
from miren.entities.records import Sidecar, decode
from miren.entities.store.api import Get, KeyRange
from miren.entities.store_reader import StoreReader
from miren.entities.writes import Moved, Stored, Write, commit

__all__ = ["StoreClient"]

E = TypeVar("E", bound=Entity[Any, Any])

_ATTEMPTS = 10


@dataclass(frozen=True, kw_only=True)
class StoreClient(StoreReader):
    """See `Client`. `now` and `rng` are given by simulations, so that runs repeat."""

    async def create(self, entity: E, *, dry_run: bool = False) -> E:
        """Store a new entity; see `Client.create`."""
        return await self._create(Change(entity, {}), dry_run=dry_run)

    async def ensure(self, entity: E) -> E:
        """Return the stored entity of that name, or create it; see `Client.ensure`."""
        project = entity.project or None
        known: E | None = await self.get(type(entity), entity.name, project=project, default=None)
        if known is not None:
            return known
        try:
            return await self.create(entity)
        except AlreadyExists:
            found: E = await self.get(type(entity), entity.name, project=project)
            return found

    async def update(self, entity: E, *, manager: str = "update", dry_run: bool = False) -> E:
        """Write spec and metadata over what was read; see `Client.update`."""
        old = await self._read_at(entity)
        return await self._write(updated(old, entity, manager=manager), old, dry_run=dry_run)

    async def update_status(self, entity: E) -> E:
        """Write status and conditions over what was read; see `Client.update_status`."""
        old = await self._read_at(entity)
        new = replace(
            old.entity,
            status=entity.status,
            conditions=entity.conditions,
            observed_generation=entity.observed_generation,
            handled=entity.handled,
        )
        return await self._write(Change(new, old.sidecar.managers), old)

    async def apply(
        self, partial: Partial[E], *, manager: str, force: bool = False, dry_run: bool = False
    ) -> E:
        """Make `manager`'s fields exactly these; see `Client.apply`."""
        for attempt in range(_ATTEMPTS):
            old = await self._find(partial.type, partial.name, partial.project or None)
            try:
                if old is None:
                    made = fresh(partial, manager=manager)
                    return await self._create(made, dry_run=dry_run)
                change = applied(old, partial, manager=manager, force=force)
                return await self._write(change, old, dry_run=dry_run)
            except (Moved, AlreadyExists):
                if attempt == _ATTEMPTS - 1:
                    raise
        raise AssertionError("the last attempt returns or raises")

    async def patch(
        self,
        kind: type[E],
        name: str,
        patch: Mapping[str, Any],
        *,
        project: str | None = None,
        manager: str = "patch",
    ) -> E:
        """Change spec and metadata by a JSON merge patch; see `Client.patch`."""
        return await self._change(
            kind, name, project, lambda old: patched(old, patch, manager=manager)
        )

    async def delete(
        self, kind: type[E], name: str, *, project: str | None = None, uid: str | None = None
    ) -> E:
        """Begin deletion; see `Client.delete`."""

        def begin(old: Stored[E]) -> Change[E]:
            if uid is not None and old.entity.uid != uid:
                raise Conflict(f"{old.entity} is another one than {uid}", entity=str(old.entity))
            if old.entity.is_deleting:
                return Change(old.entity, old.sidecar.managers)
            new = old.entity.with_metadata(deletion_timestamp=self.now())
            return Change(new, old.sidecar.managers)

        return await self._change(kind, name, project, begin)

    # -- inside ----------------------------------------------------------------------------

    async def _change(
        self,
        kind: type[E],
        name: str,
        project: str | None,
        change: Callable[[Stored[E]], Change[E]],
    ) -> E:
        """Write what `change` makes of whatever is stored; read again if that moved meanwhile."""
        for attempt in range(_ATTEMPTS):
            old = await self._get_stored(kind, name, project)
            try:
                return await self._write(change(old), old)
            except Moved:
                if attempt == _ATTEMPTS - 1:
                    raise
        raise AssertionError("the last attempt returns or raises")

    async def _find(self, kind: type[E], name: str, project: str | None) -> Stored[E] | None:
        where = self._project(kind, project)
        both = (keys.entity_key(kind.kind, where, name), keys.sidecar_key(kind.kind, where, name))
        result = await self.store.transact((), [Get(KeyRange.key(key)) for key in both])
        entity, sidecar = result.reads
        if not entity:
            return None
        return Stored(decode(kind, entity[0]), Sidecar.decode(sidecar[0] if sidecar else None))

    async def _get_stored(self, kind: type[E], name: str, project: str | None) -> Stored[E]:
        found = await self._find(kind, name, project)
        if found is None:
            raise await self._not_found(kind, name, project)
        return found

    async def _read_at(self, entity: E) -> Stored[E]:
        """Return what is stored if it is still what `entity` was made from."""
        old = await self._get_stored(type(entity), entity.name, entity.project or None)
        if old.entity.revision != entity.revision or old.entity.uid != entity.uid:
            raise Moved(entity)
        return old

    async def _create(self, made: Change[E], *, dry_run: bool) -> E:
        entity = made.entity
        new = type(entity)(entity.metadata, entity.spec, entity.kind.status()).with_metadata(
            project=self._project(type(entity), entity.project),
            uid=new_uid(self.rng),
            generation=1,
            creation_timestamp=self.now(),
            deletion_timestamp=None,
            resource_version="",
        )
        return await self._write(Change(new, made.managers), None, dry_run=dry_run)

    async def _write(
        self, change: Change[E], old: Stored[E] | None, *, dry_run: bool = False
    ) -> E:
        new = change.entity
        for mutator in self.mutators:
            new = cast("E", mutator(new, old.entity if old else None))
        admit(new, old.entity if old else None)
        if old is not None and new.spec != old.entity.spec:
            new = new.with_metadata(generation=old.entity.metadata.generation + 1)
        managers: Managers = change.managers
        write = Write(new, old, managers, self.kinds)
        if old is not None and write.changes_nothing:
            return old.entity
        return await commit(self.store, write, dry_run=dry_run)
