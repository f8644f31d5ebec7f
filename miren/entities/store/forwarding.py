"""A store around a store, for whoever changes some of what a store does and not the rest."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Self

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
    Store,
    StoreStatus,
    TransactionResult,
)

__all__ = ["ForwardingStore"]


class ForwardingStore:
    """Passes every call on to `inner`, opening and closing included."""

    def __init__(self, inner: Store) -> None:
        self.inner = inner

    async def __aenter__(self) -> Self:
        await self.inner.__aenter__()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.inner.__aexit__(*exc)

    async def get(self, key: str, *, revision: int = 0) -> KeyValue | None:
        """See `Store.get`."""
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
        """See `Store.list`."""
        return await self.inner.list(
            range, revision=revision, limit=limit, after=after, keys_only=keys_only
        )

    async def transact(
        self,
        compares: Sequence[Compare],
        then: Sequence[Operation],
        otherwise: Sequence[Operation] = (),
    ) -> TransactionResult:
        """See `Store.transact`."""
        return await self.inner.transact(compares, then, otherwise)

    def watch(
        self, range: KeyRange, *, after: int
    ) -> AbstractAsyncContextManager[AsyncIterator[Revision | Bookmark]]:
        """See `Store.watch`."""
        return self.inner.watch(range, after=after)

    async def grant(self, ttl: float) -> Lease:
        """See `Store.grant`."""
        return await self.inner.grant(ttl)

    async def keep_alive(self, lease: Lease) -> float:
        """See `Store.keep_alive`."""
        return await self.inner.keep_alive(lease)

    async def revoke(self, lease: Lease) -> None:
        """See `Store.revoke`."""
        await self.inner.revoke(lease)

    async def lease(self, lease: Lease) -> LeaseStatus:
        """See `Store.lease`."""
        return await self.inner.lease(lease)

    async def compact(self, revision: int) -> None:
        """See `Store.compact`."""
        await self.inner.compact(revision)

    async def status(self) -> StoreStatus:
        """See `Store.status`."""
        return await self.inner.status()

    async def snapshot(self, path: Path) -> None:
        """See `Store.snapshot`."""
        await self.inner.snapshot(path)

    async def defragment(self) -> None:
        """See `Store.defragment`."""
        await self.inner.defragment()
