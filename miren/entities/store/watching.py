"""Fan-out: one stream of committed revisions in, any number of watches out.

Watches of the same range share a ring: the newest revisions that touch the range. A revision is
matched and kept once for all of them, and a reader is a position, the revision up to which it has
everything. The ring is bounded, so whoever reads too slowly falls out of it at the far end. It
then reads the store's history, a window at a time, until its position is inside the ring again.

That neither loses nor repeats anything rests on one invariant: the ring holds every revision in
(floor, published] that touches its range. A reader whose position is at the floor or above takes
the first one past its position; one below the floor takes its next ones from the history, up to
the floor at most. Comparing position and floor, taking, publishing and dropping each happen
between two awaits of the same loop, so none can see half of another.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Protocol

from miren.base.errors import Compacted, MirenError, Unavailable
from miren.entities.store.api import Bookmark, KeyRange, Revision, StoreEvent
from miren.entities.store.rules import FIRST_REVISION, closed

__all__ = ["HISTORY_WINDOW", "Fanout", "History"]

# Revisions that a local history gives at a time: some milliseconds on the loop.
HISTORY_WINDOW = 256

# Readers are told how far they are after this many revisions that do not concern them.
_BOOKMARK_EVERY = 50

# What a ring holds at most, beyond its newest revision.
_RING_EVENTS = 4096
_RING_BYTES = 8 << 20

# What an event takes up besides its key and values.
_EVENT_BYTES = 400

# Items that a reader takes in a row before others have a turn.
_IN_A_ROW = 64


class History(Protocol):
    """The committed revisions, as the store keeps them."""

    async def check(self, after: int) -> None:
        """Raise InvalidInput unless the revision `after` was made; it may be compacted."""
        ...

    async def replay(
        self, range: KeyRange, *, after: int, through: int
    ) -> tuple[Sequence[Revision], int]:
        """Return the revisions in (after, reached] that touch `range`, in order, and `reached`.

        `after < reached <= through`: how much comes at a time is up to the history. Raises
        Compacted when some of them may be gone.
        """
        ...


class Fanout:
    """Delivers published revisions to watches; lives as long as its store is open.

    `published` is the newest revision that was published, or else where publishing begins: every
    later revision that changes something is published, every earlier one is in the history.
    """

    def __init__(self, history: History, *, published: int) -> None:
        self.published = published
        self._history = history
        self._rings: dict[KeyRange, _Ring] = {}
        self._closed = False

    def publish(self, revision: int, events: Sequence[StoreEvent]) -> None:
        """Take the next committed revision, its events in key order; none only moves bookmarks.

        Revisions may be left out; one that is not newer than what was published is ignored.
        """
        if revision <= self.published:
            return
        self.published = revision
        keys = [event.key for event in events]
        for ring in self._rings.values():
            ring.offer(revision, keys, events)

    @asynccontextmanager
    async def watch(
        self, range: KeyRange, *, after: int, backlog: int = 0
    ) -> AsyncIterator[AsyncIterator[Revision | Bookmark]]:
        """Keep the contract of `Store.watch`; raise InvalidInput for a revision of the future.

        `backlog` is the newest revision known, where it may not be published yet: no bookmark
        comes before everything up to there. The iterator is for one task at a time.
        """
        if self._closed:
            raise closed()
        # Committed revisions count, published or not: a list may already have shown them.
        if not 0 <= after <= self.published:
            await self._history.check(after)
            if self._closed:
                raise closed()
        ring = self._rings.setdefault(range, _Ring(range, self.published))
        reader = _Reader(self._history, ring, max(after, FIRST_REVISION), backlog)
        ring.backlog = max(ring.backlog, backlog)
        ring.readers[reader] = None
        try:
            yield reader
        finally:
            reader.end(Unavailable("the watch is closed"))
            ring.readers.pop(reader, None)
            if not ring.readers and self._rings.get(range) is ring:
                del self._rings[range]

    def oldest_position(self) -> int | None:
        """Return the smallest revision that an open watch goes on from, None without a watch."""
        open = (
            ring.reached(reader.position)
            for ring in self._rings.values()
            for reader in ring.readers
            if not reader.is_ended
        )
        return min(open, default=None)

    def close(self) -> None:
        """End every watch with Unavailable, and refuse new ones."""
        self._closed = True
        self._end(closed())

    def reset(self, error: MirenError, *, published: int) -> None:
        """End every watch with `error`; new ones are about the history that begins here."""
        self.published = published
        self._end(error)

    def _end(self, error: MirenError) -> None:
        rings, self._rings = self._rings, {}
        for ring in rings.values():
            for reader in ring.readers:
                reader.end(error)
            ring.wake()


class _Ring:
    """The newest revisions that touch a range, and the readers that wait for more.

    It holds every one in (floor, published].
    """

    def __init__(self, range: KeyRange, published: int) -> None:
        self.readers: dict[_Reader, None] = {}  # a dict keeps the order of arrival
        self.floor = published
        self.published = published
        # Readers that have everything should have heard of this revision, or of a later one.
        self.told = published
        # Some of them wait for their first bookmark until this revision is published.
        self.backlog = published
        self.range = range
        self._revisions: list[Revision] = []
        self._numbers: list[int] = []
        self._sizes: deque[tuple[int, int]] = deque()
        self._events = 0
        self._bytes = 0
        self._waiting: dict[asyncio.Future[None], None] = {}

    def offer(self, revision: int, keys: Sequence[str], events: Sequence[StoreEvent]) -> None:
        """Keep what a new revision changed in the range, and wake the readers if need be."""
        before, self.published = self.published, revision
        first = bisect_left(keys, self.range.start)
        last = bisect_left(keys, self.range.end, lo=first)
        if first < last:
            self._keep(Revision(revision, tuple(events[first:last])))
        elif revision - self.told < _BOOKMARK_EVERY and not before < self.backlog <= revision:
            return
        self.told = revision
        self.wake()

    def after(self, position: int) -> Revision | None:
        """Return the first revision past `position`, which is not below the floor."""
        at = bisect_right(self._numbers, position)
        return self._revisions[at] if at < len(self._revisions) else None

    def reached(self, position: int) -> int:
        """Return the newest revision up to which a reader at `position` misses nothing."""
        if position < self.floor:
            return position
        following = self.after(position)
        return following.revision - 1 if following else max(position, self.published)

    async def wait(self) -> None:
        """Wait for `wake`."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[future] = None
        try:
            await future
        finally:
            self._waiting.pop(future, None)

    def wake(self) -> None:
        """Let every reader that waits look again, once for all that is published in this turn."""
        waiting, self._waiting = self._waiting, {}
        for future in waiting:
            if not future.done():
                future.set_result(None)

    def _keep(self, revision: Revision) -> None:
        size = sum(map(_size, revision.events))
        self._revisions.append(revision)
        self._numbers.append(revision.revision)
        self._sizes.append((len(revision.events), size))
        self._events += len(revision.events)
        self._bytes += size
        if self._events > _RING_EVENTS or self._bytes > _RING_BYTES:
            self._drop()

    def _drop(self) -> None:
        """Drop the oldest until a quarter is free: a step over all readers must be rare."""
        count = 0
        while len(self._sizes) > 1 and (
            self._events > _RING_EVENTS * 3 // 4 or self._bytes > _RING_BYTES * 3 // 4
        ):
            events, size = self._sizes.popleft()
            self._events -= events
            self._bytes -= size
            count += 1
        if not count:
            return
        floor = self._numbers[count - 1]
        for reader in self.readers:
            # It need not look in the history, which may be gone, for what it does not miss.
            if reader.position < floor:
                reader.position = self.reached(reader.position)
        self.floor = floor
        del self._numbers[:count], self._revisions[:count]


class _Reader(AsyncIterator[Revision | Bookmark]):
    """One watch. Everything up to `position` was delivered or waits in the window."""

    def __init__(self, history: History, ring: _Ring, after: int, backlog: int) -> None:
        self.position = after
        self._history = history
        self._ring = ring
        self._window: deque[Revision] = deque()
        self._announced = after  # the newest revision that a Revision or Bookmark has named
        self._owes_bookmark = True
        self._backlog = backlog
        self._taken = 0
        self._end: MirenError | None = None

    @property
    def is_ended(self) -> bool:
        """Whether nothing will be delivered any more."""
        return self._end is not None

    def end(self, error: MirenError) -> None:
        """Let the iterator raise `error` from now on; the first error stays."""
        self._end = self._end or error

    async def __anext__(self) -> Revision | Bookmark:
        self._taken += 1
        if not self._taken % _IN_A_ROW:
            await asyncio.sleep(0)
        while True:
            if self._end:
                raise self._end.with_traceback(None)
            item = self._take()
            if item is not None:
                self._announced = item.revision
                return item
            if self.position < self._ring.floor:
                await self._read_history()
            else:
                await self._ring.wait()

    def _take(self) -> Revision | Bookmark | None:
        """Return what there is to deliver without waiting."""
        ring = self._ring
        if self._window:
            return self._window.popleft()
        if self.position < ring.floor:
            return None
        item = ring.after(self.position)
        if item is not None:
            self.position = item.revision
            return item
        self.position = max(self.position, ring.published)
        if self.position < self._backlog:
            return None
        if self._owes_bookmark or self._announced < ring.told:
            self._owes_bookmark = False
            return Bookmark(self.position)
        return None

    async def _read_history(self) -> None:
        """Take one window of what is no longer in the ring."""
        # A long backlog must not keep the loop from everybody else.
        await asyncio.sleep(0)
        self._owes_bookmark = True
        try:
            revisions, reached = await self._history.replay(
                self._ring.range, after=self.position, through=self._ring.floor
            )
        except Compacted as error:
            self.end(error)
            raise
        self._window.extend(revisions)
        self.position = reached


def _size(event: StoreEvent) -> int:
    current = len(event.current.value) if event.current else 0
    previous = len(event.previous.value) if event.previous else 0
    return _EVENT_BYTES + len(event.key) + current + previous
