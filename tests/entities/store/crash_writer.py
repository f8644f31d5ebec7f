"""A process to be killed: works on a SQLite store as fast as it can, and says what was answered.

Run as `python -m tests.entities.store.crash_writer PATH WORK`. Each line on standard output is the
number of a pair of keys that the store has answered for, or the work that it begins with.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import sys
from pathlib import Path

from miren.entities.store.api import Put
from miren.entities.store.sqlite import SQLiteStore


async def pairs(store: SQLiteStore, _path: Path) -> None:
    """Write pairs of keys in one revision each, and compact now and then."""
    numbers = itertools.count()

    async def write() -> None:
        for number in numbers:
            value = str(number).encode()
            await store.transact([], [Put(f"/a/{number}", value), Put(f"/b/{number}", value)])
            say(str(number))
            if number % 97 == 0:
                await store.compact(max((await store.status()).revision - 20, 0))

    async with asyncio.TaskGroup() as group:
        for _ in range(8):
            group.create_task(write())


async def compaction(store: SQLiteStore, _path: Path) -> None:
    """Write much history, and then compact it."""
    await asyncio.gather(*[store.transact([], [Put(f"/{n % 7}", b"")]) for n in range(12_000)])
    say("compaction")
    await store.compact((await store.status()).revision)
    await asyncio.Event().wait()


async def snapshots(store: SQLiteStore, path: Path) -> None:
    """Write one snapshot after the other."""
    await store.transact([], [Put(f"/{n}", b"x" * 100_000) for n in range(300)])
    say("snapshots")
    while True:
        target = path.with_name("snapshot")
        await store.snapshot(target)
        target.unlink()


def say(line: str) -> None:
    os.write(sys.stdout.fileno(), f"{line}\n".encode())


async def main(path: Path, work: str) -> None:
    async with SQLiteStore(path) as store:
        await {"pairs": pairs, "compaction": compaction, "snapshots": snapshots}[work](store, path)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))
