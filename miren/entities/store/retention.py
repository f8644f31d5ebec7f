"""How much history a store keeps: a pure policy, and the task that compacts by it.

Whoever watches needs the history from where it is, and whoever was away for a while needs it to
go on without listing again. So the newest revisions stay, and all those of the last while,
whichever are more; and what an open watch has yet to read, within a bound, because one that is
stuck must not keep the history of months. How old a revision is, is known from samples taken as
time passes. They are not written down: after a restart, history counts as new.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from miren.base.errors import InvalidInput, MirenError
from miren.entities.store.api import Store

__all__ = ["Ages", "Retention", "retaining"]

log = logging.getLogger(__name__)

# Samples taken within the age that is kept: history stays for at most 1/60 longer.
_SAMPLES = 60


@dataclass(frozen=True, slots=True)
class Retention:
    """What stays: `age` seconds of history or `revisions`, whichever is more.

    Open watches keep what they have not read, up to `pinned` revisions.
    """

    age: float = 3600.0
    revisions: int = 10_000
    pinned: int = 100_000

    def __post_init__(self) -> None:
        if self.age <= 0 or self.revisions < 0 or self.pinned < 0:
            raise InvalidInput(f"history cannot be kept for {self}", hint="give an age above 0")

    @property
    def interval(self) -> float:
        """Seconds between two looks at how far the store has come."""
        return self.age / _SAMPLES

    def goal(self, newest: int, aged: int, *, watched: int | None = None) -> int:
        """Return the revision up to which history may go, 0 for none.

        The store is at `newest`; `aged` is the newest revision that is old enough, `watched` the
        one up to which every open watch has read.
        """
        goal = min(aged, newest - self.revisions)
        if watched is not None:
            goal = min(goal, max(watched, newest - self.pinned))
        return max(goal, 0)


class Ages:
    """When a store was at which revision, by samples, for as long as `age` seconds back."""

    def __init__(self, age: float) -> None:
        self._age = age
        self._samples: deque[tuple[float, int]] = deque()

    def add(self, now: float, revision: int) -> int:
        """Take that the store is at `revision`; return the newest one at least `age` old."""
        self._samples.append((now, revision))
        # The newest sample that is old enough stays: it answers until the next one is.
        while len(self._samples) > 1 and self._samples[1][0] <= now - self._age:
            self._samples.popleft()
        when, old = self._samples[0]
        return old if when <= now - self._age else 0


@asynccontextmanager
async def retaining(
    store: Store, retention: Retention, *, watched: Callable[[], int | None] = lambda: None
) -> AsyncIterator[None]:
    """Compact `store` by `retention` while inside; errors of the store are logged and outlived.

    `watched` tells up to which revision every open watch has read, None without one.
    """
    task = asyncio.create_task(_retain(store, retention, watched), name="retention")
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])
        if not task.cancelled():
            task.result()  # it ends by itself only through a bug


async def _retain(store: Store, retention: Retention, watched: Callable[[], int | None]) -> None:
    ages = Ages(retention.age)
    loop = asyncio.get_running_loop()
    while True:
        try:
            status = await store.status()
            aged = ages.add(loop.time(), status.revision)
            goal = retention.goal(status.revision, aged, watched=watched())
            if goal > status.compacted:
                await store.compact(goal)
        except MirenError as error:
            log.warning("history could not be compacted: %s", error)
        await asyncio.sleep(retention.interval)
