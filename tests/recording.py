"""What clients saw of a store, recorded while they all worked on it.

Two kinds of witness: `Recorder` keeps every call with its answer, `Watcher` what a watch
delivered. `read_history` asks the store itself what happened. `tests.judges` holds the one
against the other.

A call that was refused surely did nothing; one whose outcome is unknown did all of it once, or
nothing.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from miren.base.errors import OutcomeUnknown, Unavailable
from miren.entities.store.api import KeyRange, KeyValue, Put, Revision, Store

__all__ = ["MARK", "RANGE", "ROOT", "Call", "Recorder", "Watcher", "read_history", "watching"]

#: All that a workload touches.
ROOT = "/w/"
RANGE = KeyRange.prefix(ROOT)

#: What is written to know that all before it was delivered.
MARK = f"{ROOT}~mark"


@dataclass(slots=True)
class Call:
    """One call of one client. Times count what was recorded, so no two are the same.

    `writes` is what it wrote, or would have: None for a key that it deleted. `expected` is the
    value that it wanted to find in each key first. `saw` is what it was told that keys held, at
    `revision` where it was told one.
    """

    what: str
    invoked: int
    client: str = ""
    writes: Mapping[str, bytes | None] = field(default_factory=dict)
    expected: Mapping[str, bytes | None] = field(default_factory=dict)
    returned: float = math.inf
    refused: bool = False
    missed: bool = False
    revision: int = 0
    saw: Mapping[str, KeyValue | None] = field(default_factory=dict)

    @property
    def is_answered(self) -> bool:
        return self.returned < math.inf and not self.refused

    @property
    def wrote(self) -> bool:
        """Return whether it surely made a revision."""
        return self.is_answered and bool(self.writes) and not self.missed and self.changed

    @property
    def changed(self) -> bool:
        """A delete of nothing changes nothing."""
        return any(
            value is not None or self.saw.get(key) is not None
            for key, value in self.writes.items()
        )


class Recorder:
    """All calls in the order in which they began."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.now = 0
        self.is_over = False
        self._answered = asyncio.Event()

    @asynccontextmanager
    async def call(
        self,
        what: str,
        *,
        client: str = "",
        writes: Mapping[str, bytes | None] | None = None,
        expected: Mapping[str, bytes | None] | None = None,
    ) -> AsyncIterator[Call]:
        """Record a call around what is done inside; its answer is set on what this gives.

        The errors that a store may raise under faults are taken, and noted as outcomes.
        """
        call = Call(what, self._tick(), client, writes or {}, expected or {})
        self.calls.append(call)
        try:
            yield call
        except Unavailable:
            call.refused = True
        except OutcomeUnknown:
            return
        finally:
            self._answered.set()
        call.returned = self._tick()

    async def until_writes(self, more: int, within: float = 20.0) -> None:
        """Wait until so many more writes are acknowledged that began after this."""
        start = len(self.calls)
        await self._until(
            lambda: sum(call.wrote for call in self.calls[start:]) >= more, within=within
        )

    async def until_each_wrote(self, clients: int, within: float = 20.0) -> None:
        """Wait until so many clients had a write acknowledged that began after this."""
        start = len(self.calls)
        await self._until(
            lambda: len({call.client for call in self.calls[start:] if call.wrote}) >= clients,
            within=within,
        )

    async def _until(self, holds: Callable[[], bool], *, within: float) -> None:
        async with asyncio.timeout(within):
            while not holds():
                self._answered.clear()
                await self._answered.wait()

    def count(self, *, unknown: bool = False) -> int:
        """Return how many calls were answered, or of how many writes the outcome is not known."""
        if unknown:
            return sum(call.returned == math.inf for call in self.calls)
        return sum(call.is_answered for call in self.calls)

    def _tick(self) -> int:
        self.now += 1
        return self.now


class Watcher:
    """Keeps what a watch delivered, as long as it is followed."""

    def __init__(self, store: Store, *, after: int, range: KeyRange = RANGE) -> None:
        self.after = after
        self.range = range
        self.revisions: list[Revision] = []
        self.position = after
        self._store = store
        self._moved = asyncio.Event()

    async def follow(self) -> None:
        """Take everything that comes, until cancelled."""
        async with self._store.watch(self.range, after=self.after) as items:
            async for item in items:
                if isinstance(item, Revision):
                    self.revisions.append(item)
                self.position = max(self.position, item.revision)
                self._moved.set()

    async def until(self, revision: int, within: float = 20.0) -> None:
        """Wait until it was told of everything up to `revision`."""
        async with asyncio.timeout(within):
            while self.position < revision:
                self._moved.clear()
                await self._moved.wait()


@asynccontextmanager
async def watching(*watchers: Watcher) -> AsyncIterator[None]:
    """Let the watchers follow meanwhile; what one raises is raised here."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(each.follow()) for each in watchers]
        yield
        for task in tasks:
            task.cancel()


async def read_history(store: Store, *, after: int) -> list[Revision]:
    """Return everything that happened in `RANGE` since `after`, up to now.

    A last write in it marks where now is, so that no bookmark needs to be trusted.
    """
    mark = await store.transact([], [Put(MARK, b"")])
    found: list[Revision] = []
    async with asyncio.timeout(30), store.watch(RANGE, after=after) as items:
        async for item in items:
            if isinstance(item, Revision):
                found.append(item)
            if item.revision >= mark.revision:
                break
    return found
