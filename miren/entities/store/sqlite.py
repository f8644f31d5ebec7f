"""The store of one machine: a SQLite file that one process owns.

Writes go through the writer's thread (`sqlite_writing`). Reads run on the loop over a read-only
connection of their own: SQLite's WAL shows it every commit at once, and a write is answered
only after its commit, so a read that starts after an answer sees it. A point read takes some
microseconds, less than handing it to a thread would.
"""

from __future__ import annotations

import asyncio
import builtins
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from miren.base.errors import Compacted, Refused
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
    StoreStatus,
    TransactionResult,
)
from miren.entities.store.checks import check_get, check_lease, check_list, check_ttl, check_watch
from miren.entities.store.leases import Clock
from miren.entities.store.retention import Retention, retaining
from miren.entities.store.rules import (
    Transaction,
    check_compaction,
    closed,
    new_lease,
    rest_of,
)
from miren.entities.store.sqlite_damage import DAMAGE_ALARM, Damage
from miren.entities.store.sqlite_file import Durability, open_for_reading, open_for_writing
from miren.entities.store.sqlite_lock import OwnerLock
from miren.entities.store.sqlite_reading import Reading, encode_bound
from miren.entities.store.sqlite_snapshot import Snapshots
from miren.entities.store.sqlite_upkeep import log_alarm
from miren.entities.store.sqlite_writing import Writer
from miren.entities.store.watching import Fanout

__all__ = ["SQLiteStore"]

# A list of at most so many keys is read at once; a longer one lets others run before each part.
_SHORT = 500

# SQLite's largest number.
_MOST = 2**63 - 1

# How often a list of the newest keys begins again because what it was reading was compacted.
_LIST_TRIES = 3


@dataclass(frozen=True, slots=True)
class _Open:
    """Everything that exists only while the store is open; `resources` closes it all."""

    reading: Reading
    writer: Writer
    fanout: Fanout
    snapshots: Snapshots
    damage: Damage
    resources: AsyncExitStack


class SQLiteStore:
    """A Store in the file `path`, with `-wal`, `-shm` and `.lock` files beside it.

    With `durability="full"` an answered write survives a power cut; with `"relaxed"` it
    survives the death of the process, and a power cut may take the last moments of writes.
    `address` is where the owner can be asked, for whoever is refused. All history stays unless
    `retention` says how much. `clock` is what leases last by, the loop's unless given.
    Opening raises Refused when another process has the store open, a newer Miren wrote it, or it
    is damaged.
    """

    def __init__(
        self,
        path: Path | str,
        *,
        durability: Durability = "full",
        address: str = "",
        retention: Retention | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._path = Path(path)
        self._durability = durability
        self._address = address
        self._retention = retention
        self._clock = clock
        self._open: _Open | None = None

    async def __aenter__(self) -> Self:
        if self._open:
            raise Refused("the store is open already", hint="share the one that is open")
        async with AsyncExitStack() as stack:
            stack.callback(OwnerLock(self._path, self._address).release)
            writing = open_for_writing(self._path, self._durability)
            stack.callback(writing.close)
            read_only = open_for_reading(self._path)
            stack.callback(read_only.close)
            damage = Damage(self._path)
            reading = Reading(read_only, damage)
            fanout = Fanout(reading, published=reading.bounds()[0])
            stack.callback(fanout.close)
            writer = Writer(writing, damage, fanout.publish, self._clock)
            writer.start()
            stack.push_async_callback(writer.stop)
            snapshots = Snapshots(self._path, damage)
            stack.push_async_callback(snapshots.close)
            if self._retention:
                watched = fanout.oldest_position
                history = retaining(self, self._retention, watched=watched)
                await stack.enter_async_context(history)
            self._open = _Open(reading, writer, fanout, snapshots, damage, stack.pop_all())
        return self

    async def __aexit__(self, *_exc: object) -> None:
        # Calls are refused from here on, so that the writer's queue comes to an end.
        opened, self._open = self._open, None
        if opened:
            await opened.resources.aclose()

    @property
    def commits(self) -> int:
        """How many SQLite transactions this opening of the store has committed."""
        return self._opened().writer.commits

    async def get(self, key: str, *, revision: int = 0) -> KeyValue | None:
        """Keep the contract of `Store.get`."""
        reading = self._opened().reading
        check_get(key, revision)
        return reading.read_at(key, revision) if revision else reading.find(key)[0]

    async def list(
        self,
        range: KeyRange,
        *,
        revision: int = 0,
        limit: int = 0,
        after: str | None = None,
        keys_only: bool = False,
    ) -> Page:
        """Keep the contract of `Store.list`. A long list lets others run while it is read."""
        opened = self._opened()
        check_list(range, revision, limit=limit, after=after)
        rest = rest_of(range, after)
        for _ in builtins.range(_LIST_TRIES - 1):
            try:
                return await self._read(opened, rest, revision, limit, keys_only=keys_only)
            except Compacted:
                # The newest state was asked for, which is always kept: it is another one now.
                if revision:
                    raise
        return await self._read(opened, rest, revision, limit, keys_only=keys_only)

    async def transact(
        self,
        compares: Sequence[Compare],
        then: Sequence[Operation],
        otherwise: Sequence[Operation] = (),
    ) -> TransactionResult:
        """Keep the contract of `Store.transact`."""
        transaction = Transaction.checked(compares, then, otherwise)
        return await self._opened().writer.transact(transaction)

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
        return await self._opened().writer.grant(new_lease(), ttl)

    async def keep_alive(self, lease: Lease) -> float:
        """Keep the contract of `Store.keep_alive`. Touches no disk."""
        check_lease(lease)
        return self._opened().writer.clock.keep_alive(lease)

    async def revoke(self, lease: Lease) -> None:
        """Keep the contract of `Store.revoke`."""
        check_lease(lease)
        writer = self._opened().writer
        writer.clock.times(lease)
        await writer.revoke(lease)

    async def lease(self, lease: Lease) -> LeaseStatus:
        """Keep the contract of `Store.lease`."""
        check_lease(lease)
        opened = self._opened()
        return LeaseStatus(*opened.writer.clock.times(lease), opened.reading.leased(lease))

    async def compact(self, revision: int) -> None:
        """Keep the contract of `Store.compact`. Returns when the disk space is free for reuse."""
        opened = self._opened()
        newest, compacted = opened.reading.bounds()
        check_compaction(revision, newest=newest)
        if revision > compacted:
            await opened.writer.compact(revision)

    async def status(self) -> StoreStatus:
        """Keep the contract of `Store.status`."""
        opened = self._opened()
        alarms = ["its disk is full"] if opened.writer.is_full else []
        if opened.damage.is_found:
            alarms.append(DAMAGE_ALARM)
        logged = _log_size(self._path)
        if opened.writer.is_log_held and (alarm := log_alarm(logged)):
            alarms.append(alarm)
        bounds, size = opened.reading.bounds(), self._path.stat().st_size + logged
        return StoreStatus(opened.reading.uuid(), *bounds, "sqlite", size, tuple(alarms))

    async def snapshot(self, path: Path) -> None:
        """Keep the contract of `Store.snapshot`. Its form is a SQLite file."""
        await self._opened().snapshots.write(path)

    async def defragment(self) -> None:
        """Keep the contract of `Store.defragment`. It takes as much space again for a while."""
        await self._opened().writer.defragment()

    def _opened(self) -> _Open:
        if self._open is None:
            raise closed()
        return self._open

    async def _read(
        self, opened: _Open, range: KeyRange, revision: int, limit: int, *, keys_only: bool
    ) -> Page:
        """Read a list of any length in parts, and let others run in between."""
        start: bytes | None = encode_bound(range.start)
        end = encode_bound(range.end)
        items: list[KeyValue] = []
        while start is not None:
            if items or not 0 < limit <= _SHORT:
                await asyncio.sleep(0)
                if self._open is not opened:
                    raise closed()
            most = min(limit + 1 - len(items), _MOST) if limit else -1
            revision, start = opened.reading.part(
                start, end, items, revision=revision, most=most, keys_only=keys_only
            )
            if limit and len(items) > limit:
                return Page(tuple(items[:limit]), revision, more=True)
        return Page(tuple(items), revision)


def _log_size(path: Path) -> int:
    try:
        return path.with_name(path.name + "-wal").stat().st_size
    except FileNotFoundError:
        return 0
