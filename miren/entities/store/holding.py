"""A store whose writes can be made to wait for a while, as a move needs for its last step."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Self

from miren.base.errors import Unavailable
from miren.entities.store.api import Compare, Get, Operation, Store, TransactionResult
from miren.entities.store.forwarding import ForwardingStore

__all__ = ["HeldStore"]


class HeldStore(ForwardingStore):
    """The store `inner`, opened and closed by whoever owns it; see `Store`.

    While writes are held, those that come wait up to `patience` seconds; then they raise
    Unavailable. Reads, watches and leases go on.
    """

    def __init__(self, inner: Store, *, patience: float = 30.0) -> None:
        super().__init__(inner)
        self._patience = patience
        self._writing = 0
        self._idle = asyncio.Event()
        self._free = asyncio.Event()
        self._free.set()
        self._is_over = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exc: object) -> None: ...

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


def _only_reads(*branches: Sequence[Operation]) -> bool:
    return all(isinstance(step, Get) for branch in branches for step in branch)
