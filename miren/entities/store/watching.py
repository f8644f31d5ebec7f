"""Fan-out: one stream of committed revisions, any number of watches.

A reader is either live or behind. A live one is offered every revision as it is published and
keeps the events of its range in a bounded buffer. When the buffer is full the reader turns
behind: it is offered nothing more, and once its buffer is empty it reads the rest from the
store's history, a window at a time, until it has caught up with what is published. Turning live
and publishing both happen between two awaits of the same loop, so no revision falls between
history and stream, and none comes from both. A reader that never reads costs its buffer.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Protocol

from miren.base.errors import MirenError, Unavailable
from miren.entities.store.api import Bookmark, KeyRange, Revision, StoreEvent
from miren.entities.store.rules import check_revision, closed

__all__ = ["Fanout", "History"]

# Readers are told how far they are after this many revisions that do not concern them.
_BOOKMARK_EVERY = 50

# Events a live reader may leave unread before it has to go back to the history.
_BUFFERED_EVENTS = 1024

# Revisions read from the history at a time: some milliseconds on the loop.
_WINDOW = 256


class History(Protocol):
    """The committed revisions, as the store keeps them."""

    def bounds(self) -> tuple[int, int]:
        """Return the newest committed revision and the newest compacted one."""
        ...

    def replay(self, range: KeyRange, *, after: int, through: int) -> Sequence[Revision]:
        """Return the revisions in (after, through] that touch `range`, in order.

        Raises Compacted when some of them may be gone.
        """
        ...


class Fanout:
    """Delivers published revisions to watches; lives as long as its store is open."""

    def __init__(self, history: History) -> None:
        self.history = history
        self.published = history.bounds()[0]
        # A dict keeps the order of arrival, which a set of objects would not.
        self._readers: dict[_Reader, None] = {}
        self._closed = False

    def publish(self, revision: int, events: Sequence[StoreEvent]) -> None:
        """Offer the next committed revision, its events in key order, to every live reader."""
        self.published = revision
        for reader in self._readers:
            reader.offer(revision, events)

    @asynccontextmanager
    async def watch(
        self, range: KeyRange, *, after: int
    ) -> AsyncIterator[AsyncIterator[Revision | Bookmark]]:
        """Keep the contract of `Store.watch`; raise InvalidInput for a revision of the future."""
        if self._closed:
            raise closed()
        # Committed revisions count, published or not: a list may already have shown them.
        check_revision(after, newest=self.history.bounds()[0], compacted=0)
        reader = _Reader(self, range, after)
        self._readers[reader] = None
        try:
            yield reader
        finally:
            self._readers.pop(reader, None)
            reader.end(Unavailable("the watch is closed"))

    def close(self) -> None:
        """End every watch with Unavailable once its buffer is read."""
        self._closed = True
        for reader in self._readers:
            reader.end(closed())


class _Reader(AsyncIterator[Revision | Bookmark]):
    """One watch. `_position` is the revision up to which all is delivered or in the buffer."""

    def __init__(self, fanout: Fanout, range: KeyRange, after: int) -> None:
        self._fanout = fanout
        self._range = range
        self._position = after
        self._announced = after  # the newest revision that a Revision or Bookmark has named
        self._buffer: deque[Revision | Bookmark] = deque()
        self._buffered_events = 0
        self._behind = True
        self._changed = asyncio.Event()
        self._end: MirenError | None = None

    def offer(self, revision: int, events: Sequence[StoreEvent]) -> None:
        """Take a published revision, or turn behind when there is no room for it."""
        if self._behind or revision <= self._position:
            return
        mine = tuple(event for event in events if event.key in self._range)
        if self._buffer and self._buffered_events + len(mine) > _BUFFERED_EVENTS:
            self._behind = True
            return
        if mine:
            self._append(Revision(revision, mine))
        self._advance(revision)

    def end(self, error: MirenError) -> None:
        """Let the iterator raise `error` after what is in its buffer; the first error stays."""
        self._end = self._end or error
        self._changed.set()

    async def __anext__(self) -> Revision | Bookmark:
        while not self._buffer:
            if self._end:
                raise self._end
            if self._behind:
                # A long backlog must not keep the loop from everybody else.
                await asyncio.sleep(0)
                self._catch_up()
            else:
                self._changed.clear()
                await self._changed.wait()
        item = self._buffer.popleft()
        if isinstance(item, Revision):
            self._buffered_events -= len(item.events)
        return item

    def _catch_up(self) -> None:
        """Read one window of history, and turn live when it reaches what is published."""
        if self._end:
            return
        fanout = self._fanout
        through = min(self._position + _WINDOW, fanout.published)
        if through > self._position:
            window = fanout.history.replay(self._range, after=self._position, through=through)
            for revision in window:
                self._append(revision)
            self._advance(through)
        if self._position >= fanout.published:
            self._behind = False
            self._bookmark(self._position)

    def _append(self, revision: Revision) -> None:
        self._buffer.append(revision)
        self._buffered_events += len(revision.events)
        self._announced = revision.revision
        self._changed.set()

    def _advance(self, revision: int) -> None:
        self._position = revision
        if revision - self._announced >= _BOOKMARK_EVERY:
            self._bookmark(revision)

    def _bookmark(self, revision: int) -> None:
        # An unread bookmark is superseded, so that bookmarks alone never fill a buffer.
        if self._buffer and isinstance(self._buffer[-1], Bookmark):
            self._buffer.pop()
        self._buffer.append(Bookmark(revision))
        self._announced = revision
        self._changed.set()
