"""Stores that are wrong in one way each, to show that whoever judges a store would notice."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace

from miren.entities.store.api import (
    Bookmark,
    Compare,
    KeyRange,
    KeyValue,
    Operation,
    Page,
    Put,
    Revision,
    Store,
    TransactionResult,
)
from tests.stores import Around

__all__ = [
    "FAULTS",
    "Blind",
    "Doubling",
    "Forgetting",
    "OldPages",
    "Rewriting",
    "StaleReads",
    "Tearing",
    "WatchFault",
    "drops",
    "reorders",
    "repeats",
    "splits",
]

#: Every so many calls go wrong.
_OFTEN = 7


class _Sometimes(Around):
    def __init__(self, inner: Store) -> None:
        super().__init__(inner)
        self._calls = 0

    def _is_due(self) -> bool:
        self._calls += 1
        return self._calls % _OFTEN == 0


class StaleReads(_Sometimes):
    """Answers a read with what was true a little earlier."""

    async def get(self, key: str, *, revision: int = 0) -> KeyValue | None:
        if self._is_due():
            revision = max(1, (await self.inner.status()).revision - 5)
        return await self.inner.get(key, revision=revision)


class OldPages(_Sometimes):
    """Lists an older revision, and says that it is the newest."""

    async def list(
        self,
        range: KeyRange,
        *,
        revision: int = 0,
        limit: int = 0,
        after: str | None = None,
        keys_only: bool = False,
    ) -> Page:
        page = await self.inner.list(
            range, revision=revision, limit=limit, after=after, keys_only=keys_only
        )
        if revision or not self._is_due():
            return page
        old = max(1, page.revision - 5)
        return replace(await self.inner.list(range, revision=old), revision=page.revision)


class Blind(Around):
    """Writes whatever the comparisons say: updates are lost."""

    async def transact(
        self,
        compares: Sequence[Compare],
        then: Sequence[Operation],
        otherwise: Sequence[Operation] = (),
    ) -> TransactionResult:
        return await self.inner.transact([], then)


class Tearing(Around):
    """Makes a revision of each operation in place of one for all."""

    async def transact(
        self,
        compares: Sequence[Compare],
        then: Sequence[Operation],
        otherwise: Sequence[Operation] = (),
    ) -> TransactionResult:
        result = await self.inner.transact(compares, then[:1], otherwise)
        if result.succeeded:
            for operation in then[1:]:
                result = await self.inner.transact([], [operation])
        return result


class Forgetting(_Sometimes):
    """Acknowledges writes that it does not do."""

    async def transact(
        self,
        compares: Sequence[Compare],
        then: Sequence[Operation],
        otherwise: Sequence[Operation] = (),
    ) -> TransactionResult:
        if not compares and isinstance(then[0], Put) and self._is_due():
            status = await self.inner.status()
            return TransactionResult(succeeded=True, revision=status.revision + 1, reads=((),))
        return await self.inner.transact(compares, then, otherwise)


class Doubling(_Sometimes):
    """Writes again what was written, as one does who retries a write that had happened."""

    async def transact(
        self,
        compares: Sequence[Compare],
        then: Sequence[Operation],
        otherwise: Sequence[Operation] = (),
    ) -> TransactionResult:
        result = await self.inner.transact(compares, then, otherwise)
        if not compares and isinstance(then[0], Put) and self._is_due():
            await self.inner.transact(compares, then, otherwise)
        return result


class Rewriting(_Sometimes):
    """Says that a write missed which did happen."""

    async def transact(
        self,
        compares: Sequence[Compare],
        then: Sequence[Operation],
        otherwise: Sequence[Operation] = (),
    ) -> TransactionResult:
        result = await self.inner.transact(compares, then, otherwise)
        if compares and result.succeeded and self._is_due():
            return await self.inner.transact(compares, then, otherwise)
        return result


Items = AsyncIterator[Revision | Bookmark]


async def drops(items: Items) -> AsyncGenerator[Revision | Bookmark, None]:
    """Leave out one revision of ten."""
    count = 0
    async for item in items:
        count += 1
        if count % 10 or isinstance(item, Bookmark):
            yield item


async def repeats(items: Items) -> AsyncGenerator[Revision | Bookmark, None]:
    """Deliver one revision of ten twice."""
    count = 0
    async for item in items:
        count += 1
        yield item
        if not count % 10:
            yield item


async def reorders(items: Items) -> AsyncGenerator[Revision | Bookmark, None]:
    """Deliver the tenth and the eleventh the wrong way round."""
    count = 0
    held = None
    async for item in items:
        count += 1
        if count == 10:
            held = item
            continue
        yield item
        if held is not None:
            yield held
            held = None


async def splits(items: Items) -> AsyncGenerator[Revision | Bookmark, None]:
    """Deliver the events of a revision one by one."""
    async for item in items:
        if isinstance(item, Bookmark):
            yield item
        else:
            for event in item.events:
                yield Revision(item.revision, (event,))


class WatchFault(Around):
    """Does something to what watches deliver."""

    def __init__(
        self, inner: Store, fault: Callable[[Items], AsyncGenerator[Revision | Bookmark, None]]
    ) -> None:
        super().__init__(inner)
        self._fault = fault

    @asynccontextmanager
    async def watch(self, range: KeyRange, *, after: int) -> AsyncIterator[Items]:
        async with (
            self.inner.watch(range, after=after) as items,
            aclosing(self._fault(items)) as faulty,
        ):
            yield faulty


#: What each does, and what a judge says of it.
FAULTS: dict[Callable[[Store], Around], str] = {
    StaleReads: "stale",
    OldPages: "held",
    Blind: "held|happened",
    Tearing: "happened in part",
    Forgetting: "lost|is at",
    Doubling: "happened twice",
    Rewriting: "missed",
}
