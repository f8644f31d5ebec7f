"""Stores around a store: one that counts, one in which somebody else is faster."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Self

from miren.entities.store.api import (
    Bookmark,
    Compare,
    Delete,
    KeyRange,
    KeyValue,
    Operation,
    Page,
    Put,
    Revision,
    Store,
    StoreStatus,
    TransactionResult,
)


class Around:
    """Passes every call on. Opened and closed by whoever owns the inner store."""

    def __init__(self, inner: Store) -> None:
        self.inner = inner

    async def __aenter__(self) -> Self:
        await self.inner.__aenter__()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.inner.__aexit__(*exc)

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

    def watch(
        self, range: KeyRange, *, after: int
    ) -> AbstractAsyncContextManager[AsyncIterator[Revision | Bookmark]]:
        return self.inner.watch(range, after=after)

    async def compact(self, revision: int) -> None:
        await self.inner.compact(revision)

    async def status(self) -> StoreStatus:
        await self.before("status")
        return await self.inner.status()

    async def before(self, call: str) -> None:
        """Do what this kind of store does before each call: get, list, read, write, status."""


class Counting(Around):
    """Counts the calls."""

    def __init__(self, inner: Store) -> None:
        super().__init__(inner)
        self.calls: Counter[str] = Counter()

    async def before(self, call: str) -> None:
        self.calls[call] += 1


class Racing(Around):
    """Lets `before_write` go first, once, before the next transaction that puts something."""

    before_write: Callable[[], Awaitable[object]] | None = None

    async def before(self, call: str) -> None:
        race, is_write = self.before_write, call == "write"
        if race is not None and is_write:
            self.before_write = None
            await race()
