"""Move a store to another backend while it is used.

All keys are copied as of one revision; then the copy follows the watch until it has caught up.
For the last step writes wait, reads go on: what is left of the watch is applied, and both stores
are compared, every key and value. Until the caller then makes the new one the store, the old one
is, and may go on as if nothing had been.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass

from miren.base.errors import DeadlineExceeded, MirenError
from miren.entities.store.api import NO_LEASE, Bookmark, Lease, Put, Revision, Store
from miren.entities.store.copying import (
    EVERYTHING,
    Digest,
    Writing,
    begin_filling,
    digest,
    end_filling,
    lasting,
    unheard,
)

__all__ = ["Holding", "Moved", "Step", "moving"]

#: Makes the writes of a store wait while it is entered, but those to what it yields;
#: `HeldStore.held` is one.
Holding = Callable[[], AbstractAsyncContextManager[Store]]

_TOLD = 1000  # keys between two calls of `tell`
_FEW = 500  # revisions that are left to the last step
_SILENCE = 60.0  # seconds without a word from the watch
_CATCH_UP_WITHIN = 600.0

# Written with a lease, so that it is no part of the copy: that the watch shows it says that all
# before was shown. Revisions alone would not do, since other stores of a cluster make some too.
_MARK = "/m/moving"


@dataclass(frozen=True, slots=True)
class Step:
    """How far a move is: `copying`, `following` or `comparing`, and how many keys by now."""

    name: str
    keys: int


@dataclass(frozen=True, slots=True)
class Moved:
    """What both stores hold, and the old one's revision by then."""

    digest: Digest
    revision: int


@asynccontextmanager
async def moving(
    source: Store,
    target: Store,
    *,
    hold: Holding,
    tell: Callable[[Step], None] = unheard,
) -> AsyncIterator[Moved]:
    """Copy `source` to the empty `target`; the body runs when both are the same, writes held.

    A target that an earlier move of the same store filled in part is emptied first. Raises
    NotEmpty when it holds anything else, Compacted when the source's history does not last
    for the copy, DeadlineExceeded when it is written to faster than it can be followed. What
    the source holds is never changed.
    """
    status = await source.status()
    await begin_filling(target, source=status.uuid)
    revision = status.revision
    writing = Writing(target)
    async for item in lasting(source, revision):
        await writing.put(item.key, item.value)
        if writing.keys % _TOLD == 0:
            tell(Step("copying", writing.keys))
    async with _leased(source) as lease, source.watch(EVERYTHING, after=revision) as changes:
        following = _Following(changes, writing, revision, tell)
        await following.catch_up(source, lease)
        async with hold() as held:
            await following.reach(await _mark(held, lease))
            tell(Step("comparing", writing.keys))
            moved = await _compared(held, target)
            await end_filling(target)
            yield moved


@asynccontextmanager
async def _leased(store: Store) -> AsyncIterator[Lease]:
    lease = await store.grant(_CATCH_UP_WITHIN + _SILENCE)
    try:
        yield lease
    finally:
        # Else it ends by itself.
        with suppress(MirenError):
            await store.revoke(lease)


async def _mark(store: Store, lease: Lease) -> int:
    """Make a revision that touches nothing of the copy, and return it."""
    return (await store.transact([], [Put(_MARK, b"", lease)])).revision


@dataclass(slots=True)
class _Following:
    changes: AsyncIterator[Revision | Bookmark]
    writing: Writing
    reached: int
    tell: Callable[[Step], None]

    async def catch_up(self, source: Store, lease: Lease) -> None:
        """Apply changes until only few are left."""
        try:
            async with asyncio.timeout(_CATCH_UP_WITHIN):
                while True:
                    goal = await _mark(source, lease)
                    is_close = goal - self.reached <= _FEW
                    await self.reach(goal)
                    if is_close:
                        return
        except TimeoutError:
            raise DeadlineExceeded(
                "the store is written to faster than it can be copied",
                hint="move it at a quieter time",
            ) from None

    async def reach(self, revision: int) -> None:
        """Apply all changes up to `revision`, so that they are in the target."""
        while self.reached < revision:
            try:
                async with asyncio.timeout(_SILENCE):
                    change = await anext(self.changes)
            except TimeoutError:
                raise DeadlineExceeded(
                    f"the store does not say what happened up to revision {revision}"
                ) from None
            if isinstance(change, Revision):
                await self._apply(change)
            self.reached = max(self.reached, change.revision)
        await self.writing.flush()

    async def _apply(self, change: Revision) -> None:
        for event in change.events:
            if event.current is None or event.current.lease != NO_LEASE:
                await self.writing.delete(event.key)
            else:
                await self.writing.put(event.key, event.current.value)
            if self.writing.keys % _TOLD == 0:
                self.tell(Step("following", self.writing.keys))


async def _compared(source: Store, target: Store) -> Moved:
    """Return what both stores hold; raise when it is not the same."""
    revision = (await source.status()).revision
    ours = await digest(source, revision)
    theirs = await digest(target, (await target.status()).revision)
    if ours != theirs:
        raise MirenError(
            f"the copy differs: it has {theirs.keys} keys of {ours.keys}, or other values",
            hint="the store is as it was; please report this",
        )
    return Moved(ours, revision)
