"""A process to be killed: writes pairs of keys as fast as it can, and says which were answered.

Run as `python -m tests.entities.store.crash_writer PATH`. Each line on standard output is the
number of a pair that the store has answered for.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import sys

from miren.entities.store.api import Put
from miren.entities.store.sqlite import SQLiteStore


async def main(path: str) -> None:
    numbers = itertools.count()
    async with SQLiteStore(path) as store, asyncio.TaskGroup() as group:

        async def write() -> None:
            for number in numbers:
                value = str(number).encode()
                await store.transact([], [Put(f"/a/{number}", value), Put(f"/b/{number}", value)])
                os.write(sys.stdout.fileno(), f"{number}\n".encode())
                if number % 97 == 0:
                    await store.compact((await store.status()).revision - 20)

        for _ in range(8):
            group.create_task(write())


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
