"""Many watches of one store in this process, and somebody who writes at a steady rate."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from miren.entities.store.api import KeyRange, Put, Revision, Store

SECONDS = 4.0
VALUE = bytes(300)
_EVERY = 0.005  # seconds between two looks at the loop


@dataclass(frozen=True)
class Load:
    """`watches` of one range, into which `rate` revisions a second put `events` keys each."""

    watches: int
    rate: int
    events: int

    @property
    def revisions(self) -> int:
        return int(self.rate * SECONDS)


async def latest_delivery(store: Store, load: Load) -> float:
    """Return how long after it was due the latest event was delivered, in seconds.

    A backlog that grows makes it grow, so it tells both that the rate is kept and how well.
    """
    return max(await _run(store, load))


async def loop_lag(store: Store, load: Load) -> float:
    """Return how much longer than asked for the loop let others wait, at the 99th percentile."""
    clock = asyncio.get_running_loop().time
    lags: list[float] = []

    async def look() -> None:
        while True:
            began = clock()
            await asyncio.sleep(_EVERY)
            lags.append(clock() - began - _EVERY)

    looking = asyncio.create_task(look())
    await _run(store, load)
    looking.cancel()
    await asyncio.wait([looking])
    return sorted(lags)[int(len(lags) * 0.99)]


async def _run(store: Store, load: Load) -> list[float]:
    """Run the load until every watch has all of it; return how late some of them got each."""
    clock = asyncio.get_running_loop().time
    start = (await store.status()).revision
    lateness: list[float] = []
    watching = asyncio.Semaphore(0)
    writing = asyncio.Event()
    began = 0.0

    async def follow(is_sampled: bool) -> None:
        async with store.watch(KeyRange.prefix("/k/"), after=start) as items:
            watching.release()
            await writing.wait()
            async for item in items:
                if is_sampled and isinstance(item, Revision):
                    due = began + (item.revision - start - 1) / load.rate
                    lateness.append(clock() - due)
                if item.revision == start + load.revisions:
                    return

    async with asyncio.timeout(SECONDS * 10), asyncio.TaskGroup() as group:
        for number in range(load.watches):
            group.create_task(follow(is_sampled=number % 10 == 0))
        for _ in range(load.watches):
            await watching.acquire()
        began = clock()
        writing.set()
        for number in range(load.revisions):
            await asyncio.sleep(max(0.0, began + number / load.rate - clock()))
            first = number * load.events
            puts = [Put(f"/k/{(first + each) % 1000:03}", VALUE) for each in range(load.events)]
            await store.transact((), puts)
    return lateness
