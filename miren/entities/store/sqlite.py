"""The store of one machine: a SQLite file that one process owns.

Writes go through the writer's thread (`sqlite_writing`). Reads run on the loop over a read-only
connection of their own: SQLite's WAL shows it every commit at once, and a write is answered
only after its commit, so a read that starts after an answer sees it. A point read takes some
microseconds, less than handing it to a thread would.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from miren.base.errors import InvalidInput, Refused
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
from miren.entities.store.rules import (
    Transaction,
    check_key,
    check_revision,
    check_ttl,
    closed,
    new_lease,
    rest_of,
)
from miren.entities.store.sqlite_file import (
    Durability,
    OwnerLock,
    open_for_reading,
    open_for_writing,
)
from miren.entities.store.sqlite_reading import CHUNK, Reading
from miren.entities.store.sqlite_writing import Writer
from miren.entities.store.watching import Fanout

__all__ = ["SQLiteStore"]


@dataclass(frozen=True, slots=True)
class _Open:
    """Everything that exists only while the store is open; `resources` closes it all."""

    reading: Reading
    writer: Writer
    fanout: Fanout
    resources: ExitStack


class SQLiteStore:
    """A Store in the file `path`, with `-wal`, `-shm` and `.lock` files beside it.

    With `durability="full"` an answered write survives a power cut; with `"relaxed"` it
    survives the death of the process, and a power cut may take the last moments of writes.
    Opening raises Refused when another process has the store open, or a newer Miren wrote it.
    """

    def __init__(self, path: Path | str, *, durability: Durability = "full") -> None:
        self._path = Path(path)
        self._durability = durability
        self._open: _Open | None = None

    async def __aenter__(self) -> Self:
        if self._open:
            raise Refused("the store is open already", hint="share the one that is open")
        with ExitStack() as stack:
            stack.callback(OwnerLock(self._path).release)
            writing = open_for_writing(self._path, self._durability)
            stack.callback(writing.close)
            read_only = open_for_reading(self._path)
            stack.callback(read_only.close)
            reading = Reading(read_only)
            fanout = Fanout(reading)
            stack.callback(fanout.close)
            writer = Writer(writing, fanout.publish)
            writer.start()
            self._open = _Open(reading, writer, fanout, stack.pop_all())
        return self

    async def __aexit__(self, *_exc: object) -> None:
        # Calls are refused from here on, so that the writer's queue comes to an end.
        opened, self._open = self._open, None
        if opened:
            with opened.resources:
                await opened.writer.stop()

    @property
    def commits(self) -> int:
        """How many SQLite transactions this opening of the store has committed."""
        return self._opened().writer.commits

    async def get(self, key: str, *, revision: int = 0) -> KeyValue | None:
        """Keep the contract of `Store.get`."""
        reading = self._opened().reading
        check_key(key)
        return reading.read_at(key, revision) if revision else reading.read(key)

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
        reading = self._opened().reading
        if limit < 0:
            raise InvalidInput(f"limit {limit} is negative")
        rest = rest_of(range, after)
        if 0 < limit <= CHUNK:
            return _read_page(reading, rest, revision=revision, limit=limit, keys_only=keys_only)
        return await self._read_long(rest, revision=revision, limit=limit, keys_only=keys_only)

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
        return self._opened().fanout.watch(range, after=after)

    async def grant(self, ttl: float) -> Lease:
        """Keep the contract of `Store.grant`."""
        check_ttl(ttl)
        return await self._opened().writer.grant(new_lease(), ttl)

    async def keep_alive(self, lease: Lease) -> float:
        """Keep the contract of `Store.keep_alive`. Touches no disk."""
        return self._opened().writer.clock.keep_alive(lease)

    async def revoke(self, lease: Lease) -> None:
        """Keep the contract of `Store.revoke`."""
        writer = self._opened().writer
        writer.clock.times(lease)
        await writer.revoke(lease)

    async def lease(self, lease: Lease) -> LeaseStatus:
        """Keep the contract of `Store.lease`."""
        opened = self._opened()
        return LeaseStatus(*opened.writer.clock.times(lease), opened.reading.leased(lease))

    async def compact(self, revision: int) -> None:
        """Keep the contract of `Store.compact`. Returns when the disk space is free for reuse."""
        opened = self._opened()
        newest, compacted = opened.reading.bounds()
        if revision <= compacted:
            return
        check_revision(revision, newest=newest, compacted=compacted)
        await opened.writer.compact(revision)

    async def status(self) -> StoreStatus:
        """Keep the contract of `Store.status`."""
        reading = self._opened().reading
        return StoreStatus(reading.uuid(), *reading.bounds())

    def _opened(self) -> _Open:
        if self._open is None:
            raise closed()
        return self._open

    async def _read_long(
        self, range: KeyRange, *, revision: int, limit: int, keys_only: bool
    ) -> Page:
        """Read a list of any length in chunks, all from the snapshot of an own connection."""
        opened = self._opened()
        items: list[KeyValue] = []
        with ExitStack() as stack:
            connection = open_for_reading(self._path)
            stack.callback(connection.close)
            reading = Reading(connection)
            stack.enter_context(reading.snapshot())
            at = _readable(reading, revision)
            chunks = reading.chunks(range, revision=at, size=CHUNK, keys_only=keys_only)
            for chunk in chunks:
                items += chunk
                if limit and len(items) > limit:
                    break
                await asyncio.sleep(0)
                if self._open is not opened:
                    raise closed()
        return _page(items, at, limit)


def _readable(reading: Reading, revision: int) -> int:
    """Return the revision to read at; raise as `Store.list` does."""
    newest, compacted = reading.bounds()
    at = revision or newest
    check_revision(at, newest=newest, compacted=compacted)
    return at


def _read_page(
    reading: Reading, range: KeyRange, *, revision: int, limit: int, keys_only: bool
) -> Page:
    items: list[KeyValue] = []
    with reading.snapshot():
        at = _readable(reading, revision)
        for chunk in reading.chunks(range, revision=at, size=limit + 1, keys_only=keys_only):
            items += chunk
            if len(items) > limit:
                break
    return _page(items, at, limit)


def _page(items: list[KeyValue], revision: int, limit: int) -> Page:
    more = 0 < limit < len(items)
    return Page(tuple(items[:limit] if more else items), revision, more)
