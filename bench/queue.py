"""What the work queue costs, with all that it counts: `python -m bench.queue`.

A bar is the seconds that so many turns may take in all.
"""

from __future__ import annotations

import asyncio
import gc
import random
import sys
from collections.abc import Awaitable, Callable
from operator import attrgetter
from time import process_time
from typing import Any

from bench.harness import ROUNDS, Goal, load, report
from miren.base.backoff import Backoff
from miren.reconcile.queue import WorkQueue
from miren.reconcile.results import LOW, Key

TURNS = 50_000
PROJECTS = 10
WORKERS = 16
_MICRO = 1e-6

_Queue = WorkQueue[Key[Any]]


async def many_keys(queue: _Queue, keys: list[Key[Any]]) -> None:
    """Add all, take all, give all back."""
    for key in keys:
        queue.add(key)
    for _ in keys:
        await queue.get()
    for key in keys:
        queue.done(key)


async def one_at_a_time(queue: _Queue, keys: list[Key[Any]]) -> None:
    for key in keys:
        queue.add(key)
        queue.done(await queue.get())


async def duplicates(queue: _Queue, keys: list[Key[Any]]) -> None:
    """Add one key over and over."""
    for _ in keys:
        queue.add(keys[0])


async def raised(queue: _Queue, keys: list[Key[Any]]) -> None:
    """Add all as a first list does, and again because somebody changed them."""
    for key in keys:
        queue.add(key, priority=LOW)
    for key in keys:
        queue.add(key)
    for _ in keys:
        queue.done(await queue.get())


async def workers(queue: _Queue, keys: list[Key[Any]]) -> None:
    """One adds, sixteen take what they find and do nothing with it."""
    finished = asyncio.Event()

    async def work() -> None:
        while True:
            key = await queue.get()
            queue.done(key)
            if queue.handed_out == len(keys):
                finished.set()

    tasks = [asyncio.ensure_future(work()) for _ in range(WORKERS)]
    for number, key in enumerate(keys):
        queue.add(key)
        if number % 100 == 0:
            await asyncio.sleep(0)
    await finished.wait()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


#: What is done, the name of its row, and the most microseconds that a turn may take.
_CASES: list[tuple[Callable[[_Queue, list[Key[Any]]], Awaitable[None]], str, float]] = [
    (many_keys, "50,000 keys: add, get, done (3 us each)", 3.0),
    (one_at_a_time, "one key at a time: add, get, done (3 us each)", 3.0),
    (duplicates, "a waiting key added again (0.3 us each)", 0.3),
    (raised, "50,000 low keys raised, got, done (6 us each)", 6.0),
    (workers, "16 workers that do nothing (300,000 keys/s)", 1e6 / 300_000),
]


async def measured(case: Callable[[_Queue, list[Key[Any]]], Awaitable[None]]) -> float:
    keys: list[Key[Any]] = [Key(f"p{number % PROJECTS}", f"g{number}") for number in range(TURNS)]
    queue: _Queue = WorkQueue(Backoff(), random.Random(0), project=attrgetter("project"))
    gc.collect()
    gc.disable()
    try:
        start = process_time()  # nothing else: whatever else runs must not count
        await case(queue, keys)
        return process_time() - start
    finally:
        gc.enable()
        queue.close()


async def bench_queue(rounds: int = ROUNDS) -> list[Goal]:
    """Return a goal for each case, all of them in turns."""
    taken: dict[str, list[float]] = {name: [] for _, name, _ in _CASES}
    for number in range(rounds + 1):
        for case, name, _ in _CASES:
            seconds = await measured(case)
            if number:  # the first round warms up
                taken[name].append(seconds)
    return [
        Goal(f"queue, {name}", round(bar * TURNS * _MICRO, 4), tuple(taken[name]))
        for _, name, bar in _CASES
    ]


if __name__ == "__main__":
    at_start = load()
    sys.exit(report("queue", asyncio.run(bench_queue()), load_at_start=at_start, packages=[]))
