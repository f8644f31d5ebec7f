"""The client over a store in this process: what the server, the engine and tests use.

Each method makes a change of what is stored, and `store_writer` stores it in one transaction.
Apply, patch and delete say what they want of whatever is there, so they read again when somebody
else wrote in between; update was made from one version and is refused then.

What was just read or written is kept (see `recent`), so that most updates read nothing: the first
attempt rests on it, and unless that commits, the next one reads.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from miren.base.errors import AlreadyExists, Fenced, MirenError, OutcomeUnknown, Unavailable
from miren.base.ids import new_uid
from miren.entities import deleting, keys
from miren.entities.changes import Change, applied, fresh, patched, updated
from miren.entities.client import Listing, Patch, Propagation, Selection
from miren.entities.derived import is_project
from miren.entities.entity import Entity, Partial
from miren.entities.guards import Guard, NoProject, Reason, repeated
from miren.entities.store.api import Compare
from miren.entities.store_reader import MISSING
from miren.entities.store_writer import StoreWriter, Unchanged
from miren.entities.unstored import bound_attributes, session_attributes
from miren.entities.validating import blank_status
from miren.entities.waiting import ensured
from miren.entities.writes import Moved, Stored, Write, commit

__all__ = ["StoreClient"]

E = TypeVar("E", bound=Entity[Any, Any])

#: What no second attempt makes better.
_FINAL = (Unavailable, OutcomeUnknown, Fenced)
#: What a new entity says of itself.
_GIVEN = ("name", "project", "labels", "annotations", "finalizers", "owner_references")


@dataclass(frozen=True, kw_only=True)
class StoreClient(StoreWriter):
    """See `Client`. `now` and `rng` are given by simulations, so that runs repeat."""

    async def get(
        self,
        kind: type[E],
        name: str,
        *,
        project: str | None = None,
        revision: int = 0,
        default: Any = MISSING,
    ) -> Any:
        """Return one entity; see `Client.get`."""
        found = await super().get(kind, name, project=project, revision=revision, default=default)
        if found is not default:
            self._adopt(kind, (found,))
        return found

    async def list(
        self,
        kind: type[E],
        selection: Selection = Selection(),  # noqa: B008  # frozen: one for all is right
        *,
        limit: int = 0,
        token: str = "",
    ) -> Listing[E]:
        """Return entities at one revision; see `Client.list`."""
        found = await super().list(kind, selection, limit=limit, token=token)
        self._adopt(kind, found.items)
        return found

    async def create(self, entity: E, *, dry_run: bool = False) -> E:
        """Store a new entity; see `Client.create`."""
        return await self._create(Change(entity, {}), dry_run=dry_run)

    async def ensure(self, entity: E) -> E:
        """Return the stored entity of that name, or create it; see `Client.ensure`."""
        return await ensured(self, entity)

    async def update(self, entity: E, *, manager: str = "update", dry_run: bool = False) -> E:
        """Write spec and metadata over what was read; see `Client.update`."""
        return await self._over(
            entity, lambda old: updated(old, entity, manager=manager), dry_run=dry_run
        )

    async def update_status(self, entity: E) -> E:
        """Write status and conditions over what was read; see `Client.update_status`."""

        def change(old: Stored[E]) -> Change[E]:
            return Change(old.entity.with_status_of(entity), old.sidecar.managers)

        return await self._over(entity, change)

    async def apply(
        self, partial: Partial[E], *, manager: str, force: bool = False, dry_run: bool = False
    ) -> E:
        """Make `manager`'s fields exactly these; see `Client.apply`."""
        project = partial.project or None
        if self.recent.get(self._key(partial.type, partial.name, project)) is None:
            # Nobody here knows of it, so it is new most of the time, which needs no read to find.
            try:
                return await self._create(fresh(partial, manager=manager), dry_run=dry_run)
            except _FINAL:
                raise
            except MirenError as error:
                refused: MirenError | None = error  # told below, if it is new indeed
        else:
            refused = None

        async def once() -> E:
            old = await self._find(partial.type, partial.name, project)
            if old is None:
                if refused is not None and not isinstance(refused, AlreadyExists):
                    raise refused
                return await self._create(fresh(partial, manager=manager), dry_run=dry_run)
            clear = self._opened(old)
            change = applied(clear, partial, manager=manager, force=force)
            try:
                return await self._write(change, clear, dry_run=dry_run)
            except Unchanged:
                return await self._shown(old.entity)

        return await repeated(once, when=(Moved, AlreadyExists))

    async def patch(
        self,
        kind: type[E],
        name: str,
        patch: Patch,
        *,
        project: str | None = None,
        manager: str = "patch",
        dry_run: bool = False,
    ) -> E:
        """Change spec and metadata by a patch; see `Client.patch`."""
        return await self._change(
            (kind, name, project),
            lambda old: patched(old, patch, manager=manager),
            dry_run=dry_run,
        )

    async def delete(
        self,
        kind: type[E],
        name: str,
        *,
        project: str | None = None,
        uid: str | None = None,
        revision: int | None = None,
        propagation: Propagation = Propagation.BACKGROUND,
        dry_run: bool = False,
    ) -> E:
        """Begin deletion; see `Client.delete`."""
        where = self._project(kind, project)
        restricted = keys.references_range(kind.kind, where, name, "restrict")
        guard = Guard(Reason.RESTRICTED, Compare.empty(restricted))
        has_dependents = propagation is not Propagation.BACKGROUND and await self._has_dependents(
            kind, name, project
        )

        def begin(old: Stored[E]) -> Change[E]:
            deleting.check_preconditions(old.entity, uid=uid, revision=revision)
            new = deleting.begun(
                old.entity,
                propagation=propagation,
                has_dependents=has_dependents,
                now=self.now,
            )
            return Change(new, old.sidecar.managers, (guard,))

        return await self._change((kind, name, project), begin, dry_run=dry_run)

    async def rewrite(self, kind: type[E], name: str, *, project: str | None = None) -> bool:
        """Store an entity anew where it is of another version or its derived keys are.

        Nothing of the entity changes but its revision. Returns whether it was written; raises
        NotFound, Moved, and what stands in the way of its derived keys (Duplicate say).
        """
        old = self._opened(await self._get_stored(kind, name, project))
        managers, keyring = old.sidecar.managers, self.keyring
        write = Write(old.entity, old, managers, self.kinds, keyring, derives_again=True)
        if write.has_all_derived and old.sidecar.version == kind.kind.version:
            return False
        result = await commit(self.store, write)
        self.recent.put(self._key(kind, name, project), write.stored_at(result.revision))
        return True

    # -- inside ----------------------------------------------------------------------------

    async def _over(
        self, entity: E, change: Callable[[Stored[E]], Change[E]], *, dry_run: bool = False
    ) -> E:
        """Write what `change` makes of the version `entity` was made from, if that is stored."""
        kind, project = type(entity), entity.project or None
        known = self.recent.get(self._key(kind, entity.name, project))
        if known is not None and _is_of(known.entity, entity):
            try:
                clear = self._opened(known)
                return await self._write(change(clear), clear, dry_run=dry_run)
            except _FINAL:
                raise
            except (MirenError, Unchanged):
                pass  # told from what is stored now, below
        old = await self._get_stored(kind, entity.name, project)
        if not _is_of(old.entity, entity):
            raise Moved(str(entity))
        try:
            clear = self._opened(old)
            return await self._write(change(clear), clear, dry_run=dry_run)
        except Unchanged:
            return await self._shown(old.entity)

    async def _change(
        self,
        who: tuple[type[E], str, str | None],
        change: Callable[[Stored[E]], Change[E]],
        *,
        dry_run: bool = False,
    ) -> E:
        """Write what `change` makes of whatever is stored; read again if that moved meanwhile."""

        async def once() -> E:
            old = await self._get_stored(*who)
            clear = self._opened(old)
            try:
                return await self._write(change(clear), clear, dry_run=dry_run)
            except Unchanged:
                return await self._shown(old.entity)

        return await repeated(once)

    async def _has_dependents(self, kind: type[E], name: str, project: str | None) -> bool:
        found = await self._get_stored(kind, name, project)
        page = await self.store.list(keys.dependents_range(found.entity.uid), limit=1)
        return bool(page.items)

    async def _create(self, made: Change[E], *, dry_run: bool) -> E:
        entity, given = made.entity, made.entity.metadata
        if not made.is_valid:  # nobody has looked at it
            named = {name: getattr(given, name) for name in _GIVEN}
            given = entity.with_metadata(**named).metadata
        metadata = given.model_copy(
            update={
                "project": self._project(type(entity), given.project),
                "uid": new_uid(self.rng),
                "generation": 1,
                "creation_timestamp": self.now(),
                "deletion_timestamp": None,
                "resource_version": "",
            }
        )
        new = type(entity)(metadata, entity.spec, blank_status(entity.kind.status))
        change = Change(new, made.managers, made.guards, is_valid=made.is_valid)
        try:
            return await self._write(change, None, dry_run=dry_run)
        except NoProject:
            if new.project != "default" or not await self._make_default():
                raise
            return await self._write(change, None, dry_run=dry_run)

    async def _make_default(self) -> bool:
        """Make the project that is always there; return whether it is there now."""
        kind = next(kind for kind in self.kinds if is_project(kind))
        made = await self.ensure(kind.entity.new("default"))
        return not made.is_deleting

    def _adopt(self, kind: type[E], read: Sequence[E]) -> None:
        """Keep these as what the next write is compared with: it is mostly made of them."""
        if session_attributes(kind.kind) or bound_attributes(kind.kind):
            return  # they show more than is stored
        for entity in read:
            self.recent.adopt(keys.entity_key(kind.kind, entity.project, entity.name), entity)


def _is_of(stored: Entity[Any, Any], entity: Entity[Any, Any]) -> bool:
    mine, other = stored.metadata, entity.metadata
    is_at = mine.resource_version == other.resource_version or stored.revision == entity.revision
    return is_at and mine.uid == other.uid
