"""A store in this process's memory: for tests, simulations and engines that need no disk.

It keeps the newest value of every key and the events of every revision since the last
compaction; an older state is the newest one with the events since undone. It uses neither
threads nor I/O, and no clock but the loop's, so a run under a virtual-time loop repeats exactly.
What it holds outlives `async with`, as a file would: opening the same object again shows the
same keys.
"""

from __future__ import annotations

import asyncio
import random
from bisect import bisect_left, insort
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from miren.base.errors import Refused, Unimplemented
from miren.base.ids import new_uid
from miren.entities.store.api import (
    Bookmark,
    Compare,
    KeyRange,
    KeyValue,
    Lease,
    LeaseStatus,
    Operation,
    Page,
    Revision,
    StoreEvent,
    StoreStatus,
    TransactionResult,
)
from miren.entities.store.checks import check_get, check_lease, check_list, check_ttl, check_watch
from miren.entities.store.leases import Clock, LeaseClock
from miren.entities.store.retention import Retention, retaining
from miren.entities.store.rules import (
    FIRST_REVISION,
    Transaction,
    check_compaction,
    check_revision,
    closed,
    endings,
    evaluate,
    new_lease,
    rest_of,
)
from miren.entities.store.watching import HISTORY_WINDOW, Fanout

__all__ = ["MemoryStore"]


@dataclass(frozen=True, slots=True)
class _Open:
    """What exists only while the store is open."""

    fanout: Fanout
    clock: LeaseClock
    resources: AsyncExitStack


class MemoryStore:
    """A Store that lives as long as this object.

    `rng` seeds its uuid and the names of its leases where runs must repeat. `clock` is what leases
    last by, the loop's unless given. All history stays unless `retention` says how much.
    """

    def __init__(
        self,
        rng: random.Random | None = None,
        *,
        clock: Clock | None = None,
        retention: Retention | None = None,
    ) -> None:
        self._rng = rng
        self._clock = clock
        self._retention = retention
        self._uuid = new_uid(rng)
        self._data = _Data()
        self._open: _Open | None = None

    async def __aenter__(self) -> Self:
        if self._open:
            raise Refused("the store is open already", hint="share the one that is open")
        fanout = Fanout(self._data, published=self._data.newest)
        self._open = _Open(fanout, LeaseClock(self._end, self._clock), AsyncExitStack())
        for lease, ttl in self._data.leases.items():
            self._open.clock.start(lease, ttl)
        if self._retention:
            history = retaining(self, self._retention, watched=fanout.oldest_position)
            await self._open.resources.enter_async_context(history)
        return self

    async def __aexit__(self, *_exc: object) -> None:
        opened, self._open = self._open, None
        if opened:
            opened.clock.close()
            opened.fanout.close()
            await opened.resources.aclose()

    async def get(self, key: str, *, revision: int = 0) -> KeyValue | None:
        """Keep the contract of `Store.get`."""
        await self._turn()
        check_get(key, revision)
        if not revision:
            return self._data.read(key)
        found = self._data.scan_at(KeyRange.key(key), revision)
        return found[0] if found else None

    async def list(
        self,
        range: KeyRange,
        *,
        revision: int = 0,
        limit: int = 0,
        after: str | None = None,
        keys_only: bool = False,
    ) -> Page:
        """Keep the contract of `Store.list`."""
        await self._turn()
        check_list(range, revision, limit=limit, after=after)
        at = revision or self._data.newest
        found = self._data.scan_at(rest_of(range, after), at)
        items = found[:limit] if limit else found
        if keys_only:
            items = [replace(item, value=b"") for item in items]
        return Page(tuple(items), at, more=len(items) < len(found))

    async def transact(
        self,
        compares: Sequence[Compare],
        then: Sequence[Operation],
        otherwise: Sequence[Operation] = (),
    ) -> TransactionResult:
        """Keep the contract of `Store.transact`."""
        transaction = Transaction.checked(compares, then, otherwise)
        await self._turn()
        return self._run(transaction)

    def watch(
        self, range: KeyRange, *, after: int
    ) -> AbstractAsyncContextManager[AsyncIterator[Revision | Bookmark]]:
        """Keep the contract of `Store.watch`."""
        fanout = self._opened().fanout
        check_watch(range, after)
        return fanout.watch(range, after=after)

    async def grant(self, ttl: float) -> Lease:
        """Keep the contract of `Store.grant`."""
        check_ttl(ttl)
        opened = await self._turn()
        lease = new_lease(self._rng)
        self._data.leases[lease] = ttl
        opened.clock.start(lease, ttl)
        return lease

    async def keep_alive(self, lease: Lease) -> float:
        """Keep the contract of `Store.keep_alive`."""
        check_lease(lease)
        return (await self._turn()).clock.keep_alive(lease)

    async def revoke(self, lease: Lease) -> None:
        """Keep the contract of `Store.revoke`."""
        check_lease(lease)
        opened = await self._turn()
        opened.clock.times(lease)
        opened.clock.forget(lease)
        self._end(lease)

    async def lease(self, lease: Lease) -> LeaseStatus:
        """Keep the contract of `Store.lease`."""
        check_lease(lease)
        opened = await self._turn()
        return LeaseStatus(*opened.clock.times(lease), self._data.leased(lease))

    async def compact(self, revision: int) -> None:
        """Keep the contract of `Store.compact`."""
        await self._turn()
        self._data.compact(revision)

    async def status(self) -> StoreStatus:
        """Keep the contract of `Store.status`."""
        await self._turn()
        data = self._data
        return StoreStatus(self._uuid, data.newest, data.compacted, "memory", data.size())

    async def snapshot(self, path: Path) -> None:
        """Raise Unimplemented: what is in memory only has no form of its own."""
        raise Unimplemented(
            f"a store in memory cannot be written to {path}", hint="export it instead"
        )

    async def defragment(self) -> None:
        """Do nothing: there is no space that compaction leaves unused."""
        await self._turn()

    def _run(self, transaction: Transaction) -> TransactionResult:
        outcome = evaluate(transaction, self._data, self._data.newest)
        if outcome.events:
            self._data.record(outcome.events)
            self._opened().fanout.publish(self._data.newest, outcome.events)
        return outcome.result

    def _end(self, lease: Lease) -> None:
        """Delete what a lease that ended holds."""
        del self._data.leases[lease]
        for transaction in endings(self._data.leased(lease)):
            self._run(transaction)

    def _opened(self) -> _Open:
        if self._open is None:
            raise closed()
        return self._open

    async def _turn(self) -> _Open:
        """Let other tasks run first, as any real store does, so that races show in tests."""
        self._opened()
        await asyncio.sleep(0)
        return self._opened()


class _Data:
    """Keys and history. `_log[i]` holds the events of revision `compacted + 1 + i`."""

    def __init__(self) -> None:
        self.newest = FIRST_REVISION
        self.compacted = 0
        self._current: dict[str, KeyValue] = {}
        self._keys: list[str] = []
        # Revision 1 is the birth of the store: it changed nothing.
        self._log: list[tuple[StoreEvent, ...]] = [()]
        self.leases: dict[Lease, float] = {}  # how many seconds each lasts
        self._leased: dict[Lease, set[str]] = {}  # the keys of those that have some

    async def check(self, after: int) -> None:
        check_revision(after, newest=self.newest, compacted=0)

    def size(self) -> int:
        """Return how many bytes the keys and values take, those of the history included."""
        held = list(self._current.values())
        held += [event.previous for events in self._log for event in events if event.previous]
        return sum(len(item.key) + len(item.value) for item in held)

    def read(self, key: str) -> KeyValue | None:
        return self._current.get(key)

    def has_lease(self, lease: Lease) -> bool:
        return lease in self.leases

    def leased(self, lease: Lease) -> tuple[str, ...]:
        return tuple(sorted(self._leased.get(lease, ())))

    def scan(self, range: KeyRange) -> list[KeyValue]:
        first = bisect_left(self._keys, range.start)
        last = bisect_left(self._keys, range.end)
        return [self._current[key] for key in self._keys[first:last]]

    def scan_at(self, range: KeyRange, revision: int) -> list[KeyValue]:
        """Return the keys of `range` as they were at `revision`, in order."""
        check_revision(revision, newest=self.newest, compacted=self.compacted)
        found = {item.key: item for item in self.scan(range)}
        for events in reversed(self._log[revision - self.compacted :]):
            for event in events:
                if event.key not in range:
                    continue
                if event.previous is None:
                    found.pop(event.key, None)
                else:
                    found[event.key] = event.previous
        return [found[key] for key in sorted(found)]

    async def replay(
        self, range: KeyRange, *, after: int, through: int
    ) -> tuple[list[Revision], int]:
        reached = min(through, after + HISTORY_WINDOW)
        check_revision(after, newest=self.newest, compacted=self.compacted)
        window = self._log[after - self.compacted : reached - self.compacted]
        found = []
        for revision, events in enumerate(window, start=after + 1):
            mine = tuple(event for event in events if event.key in range)
            if mine:
                found.append(Revision(revision, mine))
        return found, reached

    def record(self, events: tuple[StoreEvent, ...]) -> None:
        """Apply a new revision's events."""
        self.newest += 1
        self._log.append(events)
        for event in events:
            self._attach(event)
            if event.current is None:
                del self._current[event.key]
                del self._keys[bisect_left(self._keys, event.key)]
            else:
                if event.previous is None:
                    insort(self._keys, event.key)
                self._current[event.key] = event.current

    def _attach(self, event: StoreEvent) -> None:
        """Move the key from the lease it was attached to onto the one it is now."""
        if event.previous and event.previous.lease:
            keys = self._leased[event.previous.lease]
            keys.remove(event.key)
            if not keys:
                del self._leased[event.previous.lease]
        if event.current and event.current.lease:
            self._leased.setdefault(event.current.lease, set()).add(event.key)

    def compact(self, revision: int) -> None:
        check_compaction(revision, newest=self.newest)
        if revision <= self.compacted:
            return
        del self._log[: revision - self.compacted]
        self.compacted = revision
