"""The reading half of the remote client: get, list, watch, wait, and what is beside entities."""

from __future__ import annotations

import random
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from copy import copy
from typing import Any, Self, TypeVar, cast

from miren.base.errors import Compacted, NotFound
from miren.clients.remote.documents import (
    candidate_of,
    entity_of,
    references_of,
    rings_of,
    selecting,
    word_of,
)
from miren.clients.remote.following import EntityWatch, follow
from miren.clients.remote.link import Link
from miren.entities.client import Bookmark, Deleted, Event, Listing, Selection
from miren.entities.elections import Candidate
from miren.entities.entity import Entity
from miren.entities.events import EntityEvent, EventRing
from miren.entities.kinds import Kinds, Scope
from miren.entities.merging import Managers
from miren.entities.references import Reference
from miren.entities.waiting import awaited

__all__ = ["ENTITIES", "Reader"]

E = TypeVar("E", bound=Entity[Any, Any])

ENTITIES = "miren.entities.v1.Entities"
_ELECTIONS = "miren.coordination.v1.Elections"
_MISSING = cast("Any", object())


class Reader:
    """See `RemoteClient`, which this is the half of."""

    def __init__(
        self,
        address: str,
        *,
        kinds: Iterable[type[Entity[Any, Any]]],
        project: str = "default",
        timeout: float = 30.0,
        patience: float = 15.0,
        rng: random.Random | None = None,
    ) -> None:
        self.project = project
        self._link = Link(address, timeout=timeout)
        self._kinds = Kinds(kinds)
        self._patience = patience
        self._rng = rng or random.Random()  # noqa: S311  # spreads delays, guards nothing
        self.fences: tuple[tuple[str, int], ...] = ()

    async def __aenter__(self) -> Self:
        await self._link.__aenter__()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._link.__aexit__(*exc)

    def in_project(self, project: str) -> Self:
        """Return this client with another default project; it lasts as long as this one."""
        found = copy(self)
        found.project = project
        return found

    def fenced(self, key: str, revision: int) -> Self:
        """Return this client for as long as a key is that one; see `Client.fenced`."""
        found = copy(self)
        found.fences = (*self.fences, (key, revision))
        return found

    async def revision(self) -> int:
        """Return the store's newest revision."""
        return int((await self._link.read(f"{ENTITIES}/Revision", self._base()))["revision"])

    # -- entities --------------------------------------------------------------------------

    async def get(
        self,
        kind: type[E],
        name: str,
        *,
        project: str | None = None,
        revision: int = 0,
        default: Any = _MISSING,
    ) -> Any:
        """Return one entity; see `Client.get`."""
        request = self._about(kind, name, project)
        if revision:
            request["revision"] = str(revision)
        try:
            answer = await self._link.read(f"{ENTITIES}/Get", request, rests=revision > 0)
        except NotFound as error:
            # What is not of an entity is about the kind, which no default makes up for.
            if default is _MISSING or error.entity is None:
                raise
            return default
        return entity_of(kind, answer["entity"])

    async def reveal(self, kind: type[E], name: str, *, project: str | None = None) -> E:
        """Return one entity with its secrets in the clear; see `Client.reveal`."""
        request = {**self._about(kind, name, project), "reveal": True}
        return entity_of(kind, (await self._link.read(f"{ENTITIES}/Get", request))["entity"])

    async def managers(self, kind: type[E], name: str, *, project: str | None = None) -> Managers:
        """Return who manages which fields; see `Client.managers`."""
        request = {**self._about(kind, name, project), "managers": True}
        found = (await self._link.read(f"{ENTITIES}/Get", request))["managers"]
        return {manager: frozenset(pointers) for manager, pointers in found.items()}

    async def list(
        self,
        kind: type[E],
        selection: Selection = Selection(),  # noqa: B008  # frozen: one for all is right
        *,
        limit: int = 0,
        token: str = "",
    ) -> Listing[E]:
        """Return entities at one revision; see `Client.list`."""
        request = {**self._selecting(kind, selection), "limit": limit, "token": token}
        answer = await self._link.read(f"{ENTITIES}/List", request, rests=bool(token))
        items = tuple(entity_of(kind, document) for document in answer["items"])
        return Listing(items, int(answer["revision"]), answer["token"])

    def watch(
        self,
        kind: type[E],
        selection: Selection = Selection(),  # noqa: B008  # frozen: one for all is right
        *,
        after: int,
    ) -> AbstractAsyncContextManager[AsyncIterator[Event[E]]]:
        """Deliver changes later than `after`; see `Client.watch`.

        It goes on over broken connections and restarts of the server. The iterator raises
        StoreReset when the server has another store, Unavailable when it stays away.
        """
        return aclosing(self._events(kind, self._selecting(kind, selection), after=after))

    def _events(
        self, kind: type[E], request: dict[str, Any], *, after: int
    ) -> AsyncGenerator[Event[E], None]:
        request["withOld"] = True
        watch = EntityWatch(self._link, kind, request, after=after, patience=self._patience)
        return watch.events(self._rng)

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
        who, versions = f"{kind.kind.singular}/{name}", self._versions(kind, name, project)
        return await awaited(versions, until, who=who, timeout=timeout)

    async def _versions(
        self, kind: type[E], name: str, project: str | None
    ) -> AsyncGenerator[E | None, None]:
        """Yield an entity as it is now (None: there is none) and after every change."""
        while True:
            start = await self.revision()
            try:
                yield await self.get(kind, name, project=project, revision=start, default=None)
                request = self._about(kind, name, project)
                async with aclosing(self._events(kind, request, after=start)) as events:
                    async for event in events:
                        if not isinstance(event, Bookmark):
                            yield None if isinstance(event, Deleted) else event.entity
            except Compacted:
                continue  # what it was in between nobody knows: look at what it is now

    # -- beside entities -------------------------------------------------------------------

    async def referrers(
        self, kind: type[E], name: str, *, project: str | None = None, tag: str | None = None
    ) -> Sequence[Reference]:
        """Return who refers to an entity; see `Client.referrers`."""
        request = {**self._about(kind, name, project), "withDomain": True, "tag": tag}
        answer = await self._link.read(f"{ENTITIES}/Referrers", request)
        return references_of(answer["referrers"], self._kinds)

    async def dependents(self, uid: str) -> Sequence[Reference]:
        """Return what an entity owns; see `Client.dependents`."""
        answer = await self._link.read(f"{ENTITIES}/Dependents", {**self._base(), "uid": uid})
        return references_of(answer["dependents"], self._kinds)

    async def events(
        self, kind: type[E], name: str, *, project: str | None = None
    ) -> Sequence[EntityEvent]:
        """Return what happened to an entity lately; see `Client.events`."""
        request = self._about(kind, name, project)
        answer = await self._link.read(f"{ENTITIES}/EventRings", request)
        return tuple(event for ring in rings_of(answer["rings"]) for event in ring.events)

    async def list_events(self, project: str | None = None) -> Sequence[EventRing]:
        """Return what happened lately to all entities of a project; see `Client.list_events`."""
        which = {"allProjects": True} if project is None else {"project": project}
        answer = await self._link.read(f"{ENTITIES}/EventRings", {**self._base(), **which})
        return rings_of(answer["rings"])

    @asynccontextmanager
    async def candidates(self, name: str) -> AsyncIterator[AsyncIterator[tuple[Candidate, ...]]]:
        """Deliver who stands in an election; see `Client.candidates`."""
        async with aclosing(self._candidates(name)) as changes:
            yield changes

    async def _candidates(self, name: str) -> AsyncGenerator[tuple[Candidate, ...], None]:
        messages = follow(
            self._link,
            f"{_ELECTIONS}/Candidates",
            lambda: {**self._base(), "name": name},
            store="",  # each message says all of it, whichever store that is
            patience=self._patience,
            rng=self._rng,
        )
        async with aclosing(messages):
            async for message in messages:
                yield tuple(map(candidate_of, message["candidates"]))

    async def leader(self, name: str) -> Candidate | None:
        """Return who leads an election; see `Client.leader`."""
        request = {**self._base(), "name": name}
        found = (await self._link.read(f"{_ELECTIONS}/Leader", request))["leader"]
        return None if found is None else candidate_of(found)

    # -- requests --------------------------------------------------------------------------

    def _base(self) -> dict[str, Any]:
        """Return what is in every request."""
        fences = [{"key": key, "revision": str(revision)} for key, revision in self.fences]
        return {"project": self.project, "fences": fences}

    def _about(
        self, kind: type[Entity[Any, Any]], name: str, project: str | None
    ) -> dict[str, Any]:
        request = {**self._base(), "kind": word_of(kind.kind), "name": name}
        if project and kind.kind.scope is not Scope.CLUSTER:
            request["project"] = project
        return request

    def _selecting(self, kind: type[Entity[Any, Any]], selection: Selection) -> dict[str, Any]:
        chosen = selecting(selection, project=self.project)
        return {**self._base(), "kind": word_of(kind.kind), **chosen}
