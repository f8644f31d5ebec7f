"""The clients that the stores are measured against, each in a process of its own.

This file runs inside a virtual environment that holds nothing but them (python-etcd3 needs a
protobuf that nothing else wants), so it imports nothing of ours. It answers requests on its
standard input, one JSON object a line, with the seconds and the CPU seconds each took.

    python peers.py etcd3 unix:///path/etcd.sock:0
    python peers.py aiosqlite /path/file
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from typing import Any

IN_FLIGHT = 64
KEYS = 1000
VALUE = bytes(1024)


def main() -> None:
    peer, address = sys.argv[1:]
    run = {"etcd3": etcd3_of, "aiosqlite": aiosqlite_of}[peer](address)
    for line in sys.stdin:
        request = json.loads(line)
        gc.collect()
        gc.disable()
        began, cpu = time.perf_counter(), time.process_time()
        run(request["operation"], request["count"])
        took, used = time.perf_counter() - began, time.process_time() - cpu
        gc.enable()
        sys.stdout.write(json.dumps({"seconds": took, "cpu": used}) + "\n")
        sys.stdout.flush()


def etcd3_of(address: str) -> Callable[[str, int], None]:
    """Return what runs operations with python-etcd3, a thread for each in flight."""
    import etcd3  # type: ignore[import-not-found]

    host, _, port = address.replace("unix://", "unix:").rpartition(":")
    client: Any = etcd3.client(host=host, port=port)
    pool = ThreadPoolExecutor(IN_FLIGHT)
    written = [0] * IN_FLIGHT

    def swap(who: int) -> None:
        key, write = f"/peer/{who}", client.transactions
        # Its answer to a transaction leaves out the revision, so that versions have to do.
        succeeded, _ = client.transaction(
            compare=[write.version(key) == written[who]],
            success=[write.put(key, VALUE)],
            failure=[write.get(key)],
        )
        assert succeeded
        written[who] += 1

    def work(who: int, operation: str, rest: Iterator[int]) -> None:
        for number in rest:
            if operation == "put":
                client.put(f"/peer/{number % KEYS}", VALUE)
            else:
                swap(who)

    def run(operation: str, total: int) -> None:
        # One iterator for all: `next` on a range is atomic.
        rest = iter(range(total))
        list(pool.map(lambda who: work(who, operation, rest), range(IN_FLIGHT)))

    return run


def aiosqlite_of(path: str) -> Callable[[str, int], None]:
    """Return what puts with aiosqlite, one transaction an operation, as is usual with it."""
    loop = asyncio.new_event_loop()
    turn = asyncio.Lock()
    connection: Any = loop.run_until_complete(_open(path))
    revision = count(2)

    async def put(number: int) -> None:
        async with turn:
            id, key = next(revision) << 16, f"/{number % KEYS:04}".encode()
            await connection.execute("BEGIN IMMEDIATE")
            await connection.execute(
                "INSERT INTO kv(id, key, value, create_revision, version, prev_id, lease)"
                " VALUES (?, ?, ?, ?, ?, ?, ?)",
                (id, key, VALUE, 1, 1, None, 0),
            )
            await connection.execute(
                "INSERT OR REPLACE INTO cur(key, id) VALUES (?, ?)", (key, id)
            )
            await connection.execute("COMMIT")

    async def work(rest: Iterator[int]) -> None:
        for number in rest:
            await put(number)

    async def all_of(total: int) -> None:
        rest = iter(range(total))
        await asyncio.gather(*(work(rest) for _ in range(IN_FLIGHT)))

    def run(operation: str, total: int) -> None:
        assert operation == "put"
        loop.run_until_complete(all_of(total))

    return run


async def _open(path: str) -> Any:
    import aiosqlite  # type: ignore[import-not-found]

    connection = await aiosqlite.connect(path, isolation_level=None)
    for statement in (
        "PRAGMA journal_mode = WAL",
        "PRAGMA synchronous = FULL",
        "CREATE TABLE kv(id INTEGER PRIMARY KEY, key BLOB NOT NULL, value BLOB,"
        " create_revision INTEGER, version INTEGER, prev_id INTEGER, lease INTEGER)",
        "CREATE INDEX kv_key ON kv(key, id)",
        "CREATE TABLE cur(key BLOB PRIMARY KEY, id INTEGER NOT NULL) WITHOUT ROWID",
    ):
        await connection.execute(statement)
    return connection


if __name__ == "__main__":
    main()
