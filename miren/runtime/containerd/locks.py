"""One verb at a time on a container, and verbs that finish what must not be left half done."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine, Hashable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

__all__ = ["KeyedLocks", "to_the_end"]

T = TypeVar("T")


class KeyedLocks:
    """A lock for each key, kept only while somebody holds it or waits for it."""

    def __init__(self) -> None:
        self._locks: dict[Hashable, tuple[asyncio.Lock, int]] = {}

    def __len__(self) -> int:
        """Return how many keys are held."""
        return len(self._locks)

    @asynccontextmanager
    async def hold(self, key: Hashable) -> AsyncIterator[None]:
        """Hold the lock of `key`."""
        lock, users = self._locks.get(key, (asyncio.Lock(), 0))
        self._locks[key] = lock, users + 1
        try:
            async with lock:
                yield
        finally:
            _, users = self._locks[key]
            if users == 1:
                del self._locks[key]
            else:
                self._locks[key] = lock, users - 1


async def to_the_end(work: Coroutine[Any, Any, T]) -> T:
    """Await `work`, and when cancelled, first let it end. `work` must have a deadline."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        # Its outcome is nobody's any more; looking at it keeps asyncio from complaining.
        await asyncio.gather(task, return_exceptions=True)
        raise
