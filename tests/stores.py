"""Stores around a store: one that counts, one that fails, one in which others are faster."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Any

from miren.base.errors import Unavailable
from miren.entities.store.api import (
    Bookmark,
    Compare,
    Delete,
    KeyRange,
    KeyValue,
    Lease,
    LeaseStatus,
    Operation,
    Page,
    Put,
    Revision,
    Store,
    StoreStatus,
    TransactionResult,
)
from miren.entities.store.forwarding import ForwardingStore


async def keys_in(store: Store, prefix: str = "/") -> list[str]:
    """Return the keys that begin so, in order."""
    page = await store.list(KeyRange.prefix(prefix), keys_only=True)
    return [item.key for item in page.items]


class Around(ForwardingStore):
    """Passes every call on, some of them after `before`."""

    async def get(self, key: str, *, revision: int = 0) -> KeyValue | None:
        await self.before("get")
        return await self.inner.get(key, revision=revision)

    async def list(
        self,
        range: KeyRange,
        *,
        revision: int = 0,
        limit: int = 0,
        after: str | None = None,
        keys_only: bool = False,
    ) -> Page:
        await self.before("list")
        return await self.inner.list(
            range, revision=revision, limit=limit, after=after, keys_only=keys_only
        )

    async def transact(
        self,
        compares: Sequence[Compare],
        then: Sequence[Operation],
        otherwise: Sequence[Operation] = (),
    ) -> TransactionResult:
        writes = any(isinstance(operation, Put | Delete) for operation in then)
        await self.before("write" if writes else "read")
        return await self.inner.transact(compares, then, otherwise)

    async def grant(self, ttl: float) -> Lease:
        await self.before("lease")
        return await self.inner.grant(ttl)

    async def keep_alive(self, lease: Lease) -> float:
        await self.before("lease")
        return await self.inner.keep_alive(lease)

    async def revoke(self, lease: Lease) -> None:
        await self.before("lease")
        await self.inner.revoke(lease)

    async def lease(self, lease: Lease) -> LeaseStatus:
        await self.before("lease")
        return await self.inner.lease(lease)

    async def status(self) -> StoreStatus:
        await self.before("status")
        return await self.inner.status()

    async def before(self, call: str) -> None:
        """Do what this kind of store does before each get, list, read, write, lease, status."""


class Counting(Around):
    """Counts the calls."""

    def __init__(self, inner: Store) -> None:
        super().__init__(inner)
        self.calls: Counter[str] = Counter()

    async def before(self, call: str) -> None:
        self.calls[call] += 1


class Watched(Around):
    """Does something around its watches: `before_watch` once, `lag` seconds before each event."""

    before_watch: Callable[[], Awaitable[object]] | None = None
    lag: float = 0.0

    @asynccontextmanager
    async def watch(
        self, range: KeyRange, *, after: int
    ) -> AsyncIterator[AsyncIterator[Revision | Bookmark]]:
        race, self.before_watch = self.before_watch, None
        if race is not None:
            await race()
        async with (
            self.inner.watch(range, after=after) as changes,
            aclosing(self._late(changes)) as late,
        ):
            yield late

    async def _late(
        self, changes: AsyncIterator[Revision | Bookmark]
    ) -> AsyncGenerator[Revision | Bookmark, None]:
        async for change in changes:
            await asyncio.sleep(self.lag)
            yield change


class Racing(Around):
    """Lets `before_write` go first, once, before the next transaction that puts something."""

    before_write: Callable[[], Awaitable[object]] | None = None

    async def before(self, call: str) -> None:
        race, is_write = self.before_write, call == "write"
        if race is not None and is_write:
            self.before_write = None
            await race()


class Faulty(Around):
    """A store that can be down, and whose watches can be dropped.

    While `is_down` every call raises Unavailable before it does anything.
    """

    def __init__(self, inner: Store) -> None:
        super().__init__(inner)
        self.is_down = False
        self.refused: list[float] = []  # when calls came while it was down
        self._watches: dict[asyncio.Future[None], None] = {}

    def go_down(self) -> None:
        """Refuse everything from now on, and drop every watch."""
        self.is_down = True
        self.drop_watches()

    def drop_watches(self) -> None:
        """End every watch with Unavailable."""
        for watch in list(self._watches):
            if not watch.done():
                watch.set_exception(Unavailable("the watch was dropped"))

    async def before(self, call: str) -> None:
        self._check()

    def _check(self) -> None:
        if self.is_down:
            self.refused.append(asyncio.get_running_loop().time())
            raise Unavailable("the store is down")

    @asynccontextmanager
    async def watch(
        self, range: KeyRange, *, after: int
    ) -> AsyncIterator[AsyncIterator[Revision | Bookmark]]:
        self._check()
        dropped = asyncio.get_running_loop().create_future()
        self._watches[dropped] = None
        try:
            async with (
                self.inner.watch(range, after=after) as changes,
                aclosing(_until(dropped, changes)) as until,
            ):
                yield until
        finally:
            del self._watches[dropped]
            if dropped.done():
                dropped.exception()  # nobody may have been reading


async def _until(
    dropped: asyncio.Future[None], changes: AsyncIterator[Revision | Bookmark]
) -> AsyncGenerator[Revision | Bookmark, None]:
    while True:
        reading = asyncio.ensure_future(anext(changes))
        try:
            either: list[asyncio.Future[Any]] = [reading, dropped]
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        finally:
            reading.cancel()
        if dropped.done():
            dropped.result()
        yield await reading
