"""The reading half of the client: get, list, watch, wait."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from ssl import SSLContext
from typing import Any, NoReturn, Self, TypeVar, cast

import aiohttp

from miren.base.errors import (
    Compacted,
    InvalidInput,
    NotFound,
    Unavailable,
    Unimplemented,
)
from miren.clients.kubernetes import addresses
from miren.clients.kubernetes.credentials import Credentials
from miren.clients.kubernetes.objects import entity_of, readable
from miren.clients.kubernetes.seen import Seen
from miren.clients.kubernetes.selecting import Query, parse_token, query_of
from miren.clients.kubernetes.transport import Transport
from miren.clients.kubernetes.watching import IDLE, Watch
from miren.clients.kubernetes.writing import Writer
from miren.entities.client import (
    Bookmark,
    Deleted,
    Event,
    Left,
    Listing,
    Selection,
)
from miren.entities.entity import Entity
from miren.entities.kind import Kind, Scope
from miren.entities.waiting import awaited

__all__ = ["MISSING", "Reader", "unimplemented"]

E = TypeVar("E", bound=Entity[Any, Any])

_PAGE = 500
MISSING = cast("Any", object())


class Reader:
    """Reads entities out of a Kubernetes API; see `KubernetesClient`."""

    def __init__(
        self,
        url: str | Credentials,
        *,
        kinds: Iterable[type[Entity[Any, Any]]] = (),
        project: str | None = None,
        token: str | Callable[[], str] | None = None,
        ssl: SSLContext | None = None,
        session: aiohttp.ClientSession | None = None,
        timeout: float = 30.0,
        idle: float = IDLE,
        rng: random.Random | None = None,
    ) -> None:
        if isinstance(url, str):
            told = (lambda: token) if isinstance(token, str) else token
            url = Credentials(url, ssl, told)
        self.project = project or url.project
        self._kinds = tuple(kinds)
        self._transport = Transport(url, session=session, timeout=timeout)
        self._seen = Seen()
        self._writer = Writer(self._transport, self._seen)
        self._unselectable: set[tuple[Kind, str]] = set()  # attributes the API cannot select on
        self._leaderships: dict[tuple[str, int], asyncio.Event] = {}
        self._idle = idle
        self._rng = rng or random.Random()  # noqa: S311  # spreads delays, guards nothing
        self._others: dict[str, Any] = {self.project: self}

    async def __aenter__(self) -> Self:
        await self._transport.__aenter__()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._transport.__aexit__(*error)

    def in_project(self, project: str) -> Self:
        """Return this client with another default project; both share their connections."""
        found: Self | None = self._others.get(project)
        if found is None:
            found = self._others[project] = object.__new__(type(self))
            found.__dict__.update(self.__dict__, project=project)
        return found

    async def get(
        self,
        kind: type[E],
        name: str,
        *,
        project: str | None = None,
        revision: int = 0,
        default: Any = MISSING,
    ) -> Any:
        """Return an entity; see `Client.get`. What was at a `revision` is not kept here."""
        if revision:
            unimplemented("reading an older revision", "Kubernetes shows what is there now")
        try:
            document = await self._writer.read(kind, self._where(kind, project), name)
        except NotFound:
            if default is not MISSING:
                return default
            raise
        return self._seen.add(entity_of(kind, document))

    async def list(
        self,
        kind: type[E],
        selection: Selection = Selection(),  # noqa: B008  # frozen: one for all is right
        *,
        limit: int = 0,
        token: str = "",
    ) -> Listing[E]:
        """Return entities at one revision; see `Client.list`. What cannot be read is left out."""
        query = self._query(kind, selection)
        continued = parse_token(token, query)
        found: list[E] = []
        while True:
            page = await self._page(query, limit and limit - len(found), continued)
            if page is None:
                # It cannot select on these attributes: they are looked at here from now on.
                return await self.list(kind, selection, limit=limit, token=token)
            metadata = page["metadata"]
            found.extend(map(self._seen.add, filter(query.matches, readable(kind, page["items"]))))
            continued = metadata.get("continue") or ""
            if not continued or len(found) == limit > 0:
                revision = int(metadata["resourceVersion"])
                return Listing(tuple(found), revision, query.token(continued))

    async def _page(self, query: Query[E], limit: int, continued: str) -> Mapping[str, Any] | None:
        target = addresses.query(
            query.path,
            limit=limit or _PAGE,
            labelSelector=query.labels,
            fieldSelector=query.fields,
            **{"continue": continued},
        )
        try:
            return await self._writer.fetch(target, about=str(query.kind.kind))
        except InvalidInput:
            if not query.fields or continued:
                raise
        self._unselectable.add((query.kind.kind, query.fields))
        return None

    def watch(
        self,
        kind: type[E],
        selection: Selection = Selection(),  # noqa: B008  # frozen: one for all is right
        *,
        after: int,
    ) -> AbstractAsyncContextManager[AsyncIterator[Event[E]]]:
        """Deliver changes later than `after`; see `Client.watch`.

        A change whose old state nobody here holds any more is told as Added.
        """
        return self._watching(self._query(kind, selection), after)

    def watch_newest(
        self,
        kind: type[E],
        selection: Selection = Selection(),  # noqa: B008  # frozen: one for all is right
        *,
        after: int,
    ) -> AbstractAsyncContextManager[AsyncIterator[Event[E]]]:
        """Deliver changes later than `after`, merged; see `WatchesNewest`."""
        return self._watching(self._query(kind, selection), after, merges=True)

    @asynccontextmanager
    async def _watching(
        self, query: Query[E], after: int, *, merges: bool = False
    ) -> AsyncIterator[AsyncIterator[Event[E]]]:
        async def look(entity: E) -> E | None:
            found: E | None = await self.get(
                query.kind, entity.name, project=entity.project, default=None
            )
            return found

        watch = Watch(
            self._transport,
            query,
            self._seen,
            after=after,
            look=look,
            rng=self._rng,
            idle=self._idle,
            merges=merges,
        )
        async with aclosing(watch.events()) as events:
            yield events

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
        path = addresses.collection(kind.kind, self._where(kind, project))
        query = Query(kind, path, "", f"metadata.name={name}", None, "")
        while True:
            try:
                page = await self._page(query, 1, "") or {}
                listed = readable(kind, page["items"])
                yield listed[0] if listed else None
                after = int(page["metadata"]["resourceVersion"])
                async with self._watching(query, after) as events:
                    async for event in events:
                        if not isinstance(event, Bookmark):
                            yield None if isinstance(event, Deleted | Left) else event.entity
            except Compacted:
                continue  # what it was in between nobody knows: look at what it is now
            except Unavailable:
                await asyncio.sleep(1)  # whoever waits has a deadline

    async def revision(self) -> int:
        """Return the newest revision, as the list of one of `kinds` tells it."""
        if not self._kinds:
            unimplemented("asking for the newest revision", "give the client kinds=[...]")
        kind = self._kinds[0]
        listing = await self.list(kind, limit=1)
        return listing.revision

    def _where(self, kind: type[Entity[Any, Any]], project: str | None) -> str:
        return "" if kind.kind.scope is Scope.CLUSTER else project or self.project

    def _query(self, kind: type[E], selection: Selection) -> Query[E]:
        query = query_of(kind, selection, project=self.project, selects_fields=True)
        if (kind.kind, query.fields) in self._unselectable:
            return query_of(kind, selection, project=self.project, selects_fields=False)
        return query


def unimplemented(what: str, hint: str) -> NoReturn:
    """Raise Unimplemented for what Kubernetes has no counterpart for."""
    raise Unimplemented(f"{what} is nothing that a Kubernetes API does", hint=hint)
