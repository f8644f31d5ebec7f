"""A client that speaks every version of a kind, over one that knows only the stored ones.

What comes in is converted to the stored version, what goes out to the one asked for. So the
client below merges, checks, indexes and stores one version only, and callers of an older one see
nothing of it. Calls in the stored version pass through.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any, TypeVar, cast

from miren.entities.changes import applied, fresh, patched
from miren.entities.client import (
    Actor,
    Added,
    Bookmark,
    Deleted,
    Event,
    Left,
    Listing,
    Modified,
    Patch,
    Propagation,
    Selection,
)
from miren.entities.elections import Candidate, Leadership
from miren.entities.entity import Entity, Partial
from miren.entities.events import EntityEvent, EventRing
from miren.entities.guards import repeated
from miren.entities.kinds import Kinds
from miren.entities.merging import Managers
from miren.entities.records import Sidecar
from miren.entities.references import Reference
from miren.entities.version_ways import Way, way_of
from miren.entities.writes import Stored

__all__ = ["VersionedClient"]

E = TypeVar("E", bound=Entity[Any, Any])

_MISSING = cast("Any", object())


@dataclass(frozen=True)
class VersionedClient:
    """See `Client`. `kinds` are those of the client below, in all their versions."""

    inner: Any  # a Client; typed access is by the stored version, which only `kinds` know
    kinds: Kinds

    def in_project(self, project: str) -> VersionedClient:
        """Return this client with another default project."""
        return replace(self, inner=self.inner.in_project(project))

    def acting_as(self, actor: Actor) -> VersionedClient:
        """Return this client with another actor."""
        return replace(self, inner=self.inner.acting_as(actor))

    async def revision(self) -> int:
        """Return the store's newest revision."""
        return cast("int", await self.inner.revision())

    # -- reading ---------------------------------------------------------------------------

    async def get(self, kind: type[E], name: str, *, default: Any = _MISSING, **where: Any) -> Any:
        """Return one entity; see `Client.get`."""
        way = way_of(kind, self.kinds)
        if default is not _MISSING:
            where["default"] = default
        if way is None:
            return await self.inner.get(kind, name, **where)
        found = await self.inner.get(way.stored.entity, name, **where)
        return way.outwards(found) if isinstance(found, way.stored.entity) else found

    async def reveal(self, kind: type[E], name: str, *, project: str | None = None) -> E:
        """Return one entity with its secrets in the clear; see `Client.reveal`."""
        way = way_of(kind, self.kinds)
        stored = kind if way is None else way.stored.entity
        found = await self.inner.reveal(stored, name, project=project)
        return cast("E", found if way is None else way.outwards(found, reveal=True))

    async def list(
        self,
        kind: type[E],
        selection: Selection = Selection(),  # noqa: B008  # frozen: one for all is right
        *,
        limit: int = 0,
        token: str = "",
    ) -> Listing[E]:
        """Return entities at one revision; see `Client.list`."""
        way = way_of(kind, self.kinds)
        if way is None:
            found: Listing[E] = await self.inner.list(kind, selection, limit=limit, token=token)
            return found
        wanted = way.selection(selection, self.kinds)
        page = await self.inner.list(way.stored.entity, wanted, limit=limit, token=token)
        return Listing(tuple(map(way.outwards, page.items)), page.revision, page.token)

    async def referrers(self, kind: type[E], name: str, **which: Any) -> Sequence[Reference]:
        """Return who refers to an entity; see `Client.referrers`."""
        found: Sequence[Reference] = await self.inner.referrers(self._stored(kind), name, **which)
        return found

    async def dependents(self, uid: str) -> Sequence[Reference]:
        """Return what an entity owns; see `Client.dependents`."""
        found: Sequence[Reference] = await self.inner.dependents(uid)
        return found

    async def managers(self, kind: type[E], name: str, *, project: str | None = None) -> Managers:
        """Return who manages which fields; see `Client.managers`."""
        way = way_of(kind, self.kinds)
        found: Managers = await self.inner.managers(self._stored(kind), name, project=project)
        return found if way is None else way.managers(found)

    @asynccontextmanager
    async def watch(
        self,
        kind: type[E],
        selection: Selection = Selection(),  # noqa: B008  # frozen: one for all is right
        *,
        after: int,
    ) -> AsyncIterator[AsyncIterator[Event[E]]]:
        """Deliver changes later than `after`; see `Client.watch`."""
        way = way_of(kind, self.kinds)
        wanted = selection if way is None else way.selection(selection, self.kinds)
        async with self.inner.watch(self._stored(kind), wanted, after=after) as events:
            yield events if way is None else _converted(events, way)

    def session(self, *, holder: str, ttl: float = 60.0) -> AbstractAsyncContextManager[Any]:
        """Hold session attributes, of kinds in their stored version; see `Client.session`."""
        return cast("AbstractAsyncContextManager[Any]", self.inner.session(holder=holder, ttl=ttl))

    def elect(
        self, name: str, *, holder: str, ttl: float = 15.0
    ) -> AbstractAsyncContextManager[Leadership]:
        """Wait until `holder` leads an election; see `Client.elect`."""
        found: AbstractAsyncContextManager[Leadership] = self.inner.elect(
            name, holder=holder, ttl=ttl
        )
        return found

    def candidates(
        self, name: str
    ) -> AbstractAsyncContextManager[AsyncIterator[tuple[Candidate, ...]]]:
        """Deliver who stands in an election; see `Client.candidates`."""
        found: AbstractAsyncContextManager[AsyncIterator[tuple[Candidate, ...]]]
        found = self.inner.candidates(name)
        return found

    async def leader(self, name: str) -> Candidate | None:
        """Return who leads an election; see `Client.leader`."""
        found: Candidate | None = await self.inner.leader(name)
        return found

    def fenced(self, key: str, revision: int) -> VersionedClient:
        """Return this client for as long as a key is that one; see `Client.fenced`."""
        return replace(self, inner=self.inner.fenced(key, revision))

    async def record_events(
        self, subject: Entity[Any, Any], events: Sequence[EntityEvent]
    ) -> None:
        """Note what happened to an entity; see `Client.record_events`."""
        await self.inner.record_events(subject, events)

    async def events(
        self, kind: type[E], name: str, *, project: str | None = None
    ) -> Sequence[EntityEvent]:
        """Return what happened to an entity lately; see `Client.events`."""
        stored = self._stored(kind)
        found: Sequence[EntityEvent] = await self.inner.events(stored, name, project=project)
        return found

    async def list_events(self, project: str | None = None) -> Sequence[EventRing]:
        """Return what happened lately to all entities of a project; see `Client.list_events`."""
        found: Sequence[EventRing] = await self.inner.list_events(project)
        return found

    async def wait(
        self,
        kind: type[E],
        name: str,
        until: Callable[[E | None], bool],
        *,
        project: str | None = None,
        timeout: float,
    ) -> E | None:
        """Return the entity once `until` holds; see `Client.wait`."""
        way = way_of(kind, self.kinds)

        def holds(found: Any) -> bool:
            return until(found if way is None or found is None else way.outwards(found))

        found = await self.inner.wait(
            self._stored(kind), name, holds, project=project, timeout=timeout
        )
        return cast("E | None", found if way is None or found is None else way.outwards(found))

    # -- writing ---------------------------------------------------------------------------

    async def create(self, entity: E, *, dry_run: bool = False) -> E:
        """Store a new entity; see `Client.create`."""
        return await self._written(entity, self.inner.create, dry_run=dry_run)

    async def ensure(self, entity: E) -> E:
        """Return the stored entity of that name, or create it; see `Client.ensure`."""
        return await self._written(entity, self.inner.ensure)

    async def update(self, entity: E, *, manager: str = "update", dry_run: bool = False) -> E:
        """Write spec and metadata over what was read; see `Client.update`."""
        return await self._written(entity, self.inner.update, manager=manager, dry_run=dry_run)

    async def update_status(self, entity: E) -> E:
        """Write status and conditions over what was read; see `Client.update_status`."""
        return await self._written(entity, self.inner.update_status)

    async def apply(
        self, partial: Partial[E], *, manager: str, force: bool = False, dry_run: bool = False
    ) -> E:
        """Make `manager`'s fields exactly these; see `Client.apply`."""
        way = way_of(partial.type, self.kinds)
        how = {"manager": manager, "force": force, "dry_run": dry_run}
        if way is None:
            return cast("E", await self.inner.apply(partial, **how))
        converted = way.part(partial)
        await self._check(partial)
        with way.problems():
            return cast("E", way.outwards(await self.inner.apply(converted, **how)))

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
        """Change spec and metadata by a patch; see `Client.patch`.

        In an older version it changes what that version shows, and the whole is written back.
        """
        if way_of(kind, self.kinds) is None:
            return cast(
                "E",
                await self.inner.patch(
                    kind, name, patch, project=project, manager=manager, dry_run=dry_run
                ),
            )

        async def once() -> E:
            old: E = await self.get(kind, name, project=project)
            new = patched(Stored(old, Sidecar(), b""), patch, manager=manager).entity
            return await self.update(new, manager=manager, dry_run=dry_run)

        return await repeated(once)

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
        way = way_of(kind, self.kinds)
        left = await self.inner.delete(
            self._stored(kind),
            name,
            project=project,
            uid=uid,
            revision=revision,
            propagation=propagation,
            dry_run=dry_run,
        )
        return cast("E", left if way is None else way.outwards(left))

    # -- inside ----------------------------------------------------------------------------

    def _stored(self, kind: type[Entity[Any, Any]]) -> type[Entity[Any, Any]]:
        way = way_of(kind, self.kinds)
        return kind if way is None else way.stored.entity

    async def _written(self, entity: E, write: Callable[..., Any], **how: Any) -> E:
        way = way_of(type(entity), self.kinds)
        if way is None:
            return cast("E", await write(entity, **how))
        converted = way.inwards(entity)
        with way.problems():
            return cast("E", way.outwards(await write(converted, **how)))

    async def _check(self, partial: Partial[E]) -> None:
        """Raise InvalidInput for what is no valid part of an entity in the partial's version.

        The client below checks the whole as the stored version has it, in which an attribute
        that the older one does not know would be valid.
        """
        kind, project = partial.type, partial.project or None
        old: E | None = await self.get(kind, partial.name, project=project, default=None)
        if old is None:
            fresh(partial, manager="check")
        else:
            applied(Stored(old, Sidecar(), b""), partial, manager="check", force=True)


async def _converted(events: AsyncIterator[Event[Any]], way: Way) -> AsyncIterator[Event[Any]]:
    async for event in events:
        match event:
            case Added(entity, revision):
                yield Added(way.outwards(entity), revision)
            case Modified(entity, old, revision):
                yield Modified(way.outwards(entity), way.outwards(old), revision)
            case Deleted(entity, revision):
                yield Deleted(way.outwards(entity), revision)
            case Left(entity, revision):
                yield Left(way.outwards(entity), revision)
            case Bookmark():
                yield event
