"""A watch: changes after a revision, over as many connections as it takes.

The API ends every watch after some minutes, and connections break: the next one goes on from the
last revision seen, bookmarks included, so nothing is missed or told twice. Only when the API no
longer keeps that history the watch ends, with Compacted.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import (
    AsyncGenerator,
    Awaitable,
    Callable,
    Collection,
    Mapping,
    Sequence,
)
from contextlib import aclosing
from typing import Any, Generic, TypeVar, cast

import orjson

from miren.base.backoff import Backoff
from miren.base.errors import InvalidInput, Unavailable
from miren.clients.kubernetes.addresses import query as address
from miren.clients.kubernetes.answers import status_error
from miren.clients.kubernetes.objects import entity_of, tell_unreadable, uncollected
from miren.clients.kubernetes.seen import Seen
from miren.clients.kubernetes.selecting import Query
from miren.clients.kubernetes.transport import Transport
from miren.entities.client import Added, Bookmark, Deleted, Event, Left, Modified
from miren.entities.entity import Entity

__all__ = ["Watch", "newest"]

E = TypeVar("E", bound=Entity[Any, Any])
#: One line of a watch.
Change = Mapping[str, Any]

#: Seconds of silence after which a connection counts as dead. Bookmarks come each minute.
IDLE = 90.0
_LONGEST = 300  # seconds after which the API is asked to end a watch, so that load moves on
_AGAIN = Backoff(first=0.1, cap=10.0)
_SHORT = 1.0
_TRIES = 5
_FEW = 1000  # lines; of fewer hardly any are overtaken, and to look costs a little


class Watch(Generic[E]):
    """Follows one query. `look` returns an entity as it is now, None if there is none.

    With `merges` only the newest is told of changes of one object that came together.
    """

    def __init__(
        self,
        transport: Transport,
        query: Query[E],
        seen: Seen,
        *,
        after: int,
        look: Callable[[E], Awaitable[E | None]],
        rng: random.Random,
        idle: float = IDLE,
        merges: bool = False,
    ) -> None:
        self._transport = transport
        self._query = query
        self._seen = seen
        self._revision = after
        self._look = look
        self._rng = rng
        self._idle = idle
        # What a selection loses is looked up, and meanwhile nothing older may be untold.
        self._merges = merges and not query.is_selective
        self._failures = 0

    async def events(self) -> AsyncGenerator[Event[E], None]:
        """Yield changes; raise Compacted, or Unavailable after some tries in a row."""
        clock = asyncio.get_running_loop().time
        while True:
            begun = clock()
            try:
                async with aclosing(self._connection()) as connection:
                    async for event in connection:
                        self._failures = 0
                        yield event
            except Unavailable:
                if self._failures >= _TRIES:
                    raise
            # The first end after something came is the API's own: go on at once, unless it ends
            # whatever begins.
            if self._failures or clock() - begun < _SHORT:
                await asyncio.sleep(_AGAIN.delay(max(self._failures, 1), self._rng))
            self._failures += 1

    async def _connection(self) -> AsyncGenerator[Event[E], None]:
        target = address(
            self._query.path,
            watch=1,
            allowWatchBookmarks="true",
            resourceVersion=str(self._revision),
            timeoutSeconds=self._rng.randint(_LONGEST // 2, _LONGEST),
            labelSelector=self._query.labels,
            fieldSelector=self._query.fields,
        )
        about = str(self._query.kind.kind)
        async with self._transport.stream(target, about=about, idle=self._idle) as pieces:
            begun = b""
            async for piece in pieces:
                *lines, begun = (begun + piece).split(b"\n")
                merges = self._merges and len(lines) > _FEW
                for change in newest(lines) if merges else map(_change_in, filter(None, lines)):
                    yield await self._read(change)

    async def _read(self, change: Change) -> Event[E]:
        about, type = change["object"], change["type"]
        if type == "ERROR":
            raise status_error(about.get("code", 500), about, about=str(self._query.kind.kind))
        revision = int(about["metadata"]["resourceVersion"])
        if type == "BOOKMARK":
            event: Event[E] = Bookmark(revision)
        elif type == "DELETED":
            event = await self._gone(about, revision)
        else:
            event = self._changed(about, revision, is_new=type == "ADDED")
        self._revision = revision
        return event

    def _changed(self, document: Mapping[str, Any], revision: int, *, is_new: bool) -> Event[E]:
        metadata, kind = document["metadata"], self._query.kind
        key = kind, metadata.get("namespace", ""), metadata["name"]
        known = self._seen.get(*key)
        version = metadata["resourceVersion"]
        if known is not None and known.metadata.resource_version == version:
            over = self._seen.echoed(*key)
            return self._meaning(None if is_new else over, known, revision, is_new=is_new)
        try:
            entity = entity_of(kind, document)
        except InvalidInput as error:
            tell_unreadable(error)
            return Bookmark(revision) if known is None else Left(known, revision)
        if known is not None and known.revision > revision:
            known = None  # of a later time: an own write whose echo has yet to come
        else:
            self._seen.put(key, entity)
        old = None if is_new or known is None or known.uid != entity.uid else known
        return self._meaning(old, entity, revision, is_new=is_new)

    def _meaning(self, old: E | None, new: E, revision: int, *, is_new: bool) -> Event[E]:
        """Return what a change is to the selection. `is_new`: the API did not show it before."""
        if self._query.rest is None:
            return Added(new, revision) if old is None else Modified(new, old, revision)
        matches = self._query.matches
        if not matches(new):
            has_left = not is_new and (old is None or matches(old))
            return Left(new, revision) if has_left else Bookmark(revision)
        if old is None or not matches(old):
            return Added(new, revision)
        return Modified(new, old, revision)

    async def _gone(self, document: Mapping[str, Any], revision: int) -> Event[E]:
        metadata, kind = document["metadata"], self._query.kind
        key = kind, metadata.get("namespace", ""), metadata["name"]
        try:
            last = entity_of(kind, document)
        except InvalidInput as error:
            known = self._seen.get(*key)
            if known is None:
                tell_unreadable(error)
                return Bookmark(revision)
            last = known
        if self._query.is_selective:
            now = await self._look(last)
            if now is not None and now.uid == last.uid:
                return Left(now, revision)
        self._seen.forget(last)
        return Deleted(last, revision) if self._query.matches(last) else Bookmark(revision)


def newest(lines: Sequence[bytes]) -> Collection[Change]:
    """Return the changes that count: not those of objects that have changed again since.

    It makes no difference to whoever only asks what is there now, and a storm is over sooner.
    Only modifications are left out: what came anew and what has gone is always told.
    """
    found: dict[object, Change] = {}
    with uncollected():
        for at, line in enumerate(lines):
            if not line:
                continue
            change = _change_in(line)
            which: object = at
            if change["type"] == "MODIFIED":
                metadata = change["object"]["metadata"]
                which = metadata.get("namespace"), metadata["name"], metadata["uid"]
                found.pop(which, None)  # it takes the place of the last one, not of the first
            found[which] = change
    return found.values()


def _change_in(line: bytes) -> Change:
    """Return what a line says; raise Unavailable where that is nothing that an API tells."""
    try:
        change = orjson.loads(line)
        if isinstance(change["object"], dict) and isinstance(change["type"], str):
            return cast("Change", change)
    except (orjson.JSONDecodeError, KeyError, TypeError):
        pass
    raise Unavailable("the watch told what is no change of an object")
