"""A store whose writes can be made to wait for a while, as a move needs for its last step."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Self

from miren.base.errors import Unavailable
from miren.entities.store.api import (
    Bookmark,
    Compare,
    Get,
    KeyRange,
    KeyValue,
    Lease,
    LeaseStatus,
    Operation,
    Page,
    Revision,
    Store,
    StoreStatus,
    TransactionResult,
)

__all__ = ["HeldStore"]


class HeldStore:
    """The store `inner`, opened and closed by whoever owns it; see `Store`.

    While writes are held, those that come wait up to `patience` seconds; then they raise
    Unavailable. Reads, watches and leases go on.
    """

    def __init__(self, inner: Store, *, patience: float = 30.0) -> None:
        self.inner = inner
        self._patience = patience
        self._writing = 0
        self._idle = asyncio.Event()
        self._free = asyncio.Event()
        self._free.set()
        self._is_over = False

    @property
    def is_over(self) -> bool:
        """Whether another store has taken over."""
        return self._is_over

    @asynccontextmanager
    async def held(self) -> AsyncIterator[Store]:
        """Let no write begin while the body runs, and none be under way when it begins.

        Yields the store below, which the body can write to.
        """
        self._free.clear()
        try:
            while self._writing:
                self._idle.clear()
                await self._idle.wait()
            yield self.inner
        finally:
            self._free.set()

    def end(self) -> None:
        """Refuse all writes from now on, waiting ones too: another store has taken over."""
        self._is_over = True
        self._free.set()

    async def transact(
        self,
        compares: Sequence[Compare],
        then: Sequence[Operation],
        otherwise: Sequence[Operation] = (),
    ) -> TransactionResult:
        """Run a transaction; see `Store.transact`."""
        is_open = self._free.is_set() and not self._is_over
        if not is_open and not _only_reads(then, otherwise):
            await self._wait()
        self._writing += 1
        try:
            return await self.inner.transact(compares, then, otherwise)
        finally:
            self._writing -= 1
            if not self._writing:
                self._idle.set()

    async def _wait(self) -> None:
        try:
            async with asyncio.timeout(self._patience):
                while not self._free.is_set():
                    await self._free.wait()
        except TimeoutError:
            raise Unavailable("the store is being moved", hint="try again in a moment") from None
        if self._is_over:
            raise Unavailable("the store has moved", hint="try again in a moment")

    # -- passed on -------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exc: object) -> None: ...

    async def get(self, key: str, *, revision: int = 0) -> KeyValue | None:
        """Return a key's value; see `Store.get`."""
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
        """Return keys in order; see `Store.list`."""
        return await self.inner.list(
            range, revision=revision, limit=limit, after=after, keys_only=keys_only
        )

    def watch(
        self, range: KeyRange, *, after: int
    ) -> AbstractAsyncContextManager[AsyncIterator[Revision | Bookmark]]:
        """Deliver revisions; see `Store.watch`."""
        return self.inner.watch(range, after=after)

    async def grant(self, ttl: float) -> Lease:
        """Return a new lease; see `Store.grant`."""
        return await self.inner.grant(ttl)

    async def keep_alive(self, lease: Lease) -> float:
        """Let a lease last on; see `Store.keep_alive`."""
        return await self.inner.keep_alive(lease)

    async def revoke(self, lease: Lease) -> None:
        """End a lease; see `Store.revoke`."""
        await self.inner.revoke(lease)

    async def lease(self, lease: Lease) -> LeaseStatus:
        """Return how a lease stands; see `Store.lease`."""
        return await self.inner.lease(lease)

    async def compact(self, revision: int) -> None:
        """Forget history; see `Store.compact`."""
        await self.inner.compact(revision)

    async def status(self) -> StoreStatus:
        """Return the store's identity and revisions; see `Store.status`."""
        return await self.inner.status()

    async def snapshot(self, path: Path) -> None:
        """Write all of it to a file; see `Store.snapshot`."""
        await self.inner.snapshot(path)

    async def defragment(self) -> None:
        """Give back unused space; see `Store.defragment`."""
        await self.inner.defragment()


def _only_reads(*branches: Sequence[Operation]) -> bool:
    return all(isinstance(step, Get) for branch in branches for step in branch)
