"""A SQLite store whose process is killed: nothing answered is lost, nothing is half there."""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from miren.base.errors import Refused
from miren.entities.store.api import KeyRange, Lease
from miren.entities.store.sqlite import SQLiteStore
from tests.clocks import ManualClock
from tests.contracts.store_leases import next_revision
from tests.contracts.store_reading import EVERYTHING, put
from tests.contracts.store_watching import until_revision
from tests.effort import tries


@contextmanager
def owner(path: Path, work: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a process that has the store open, until the end of the block at the latest."""
    command = [sys.executable, "-m", "tests.entities.store.crash_writer", str(path), work]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as child:
        try:
            yield child
        finally:
            child.kill()


def next_line(child: subprocess.Popen[bytes]) -> str:
    assert child.stdout
    return child.stdout.readline().decode().strip()


@pytest.mark.parametrize("trial", range(tries(8, soak=30)))
def test_a_killed_process_loses_nothing_it_answered_for(tmp_path: Path, trial: int) -> None:
    path = tmp_path / "store.db"
    with owner(path, "pairs") as child:
        answered = [int(next_line(child)) for _ in range(random.Random(trial).randint(1, 2000))]
        with pytest.raises(Refused, match=f"process {child.pid}"):
            asyncio.run(read_pairs(path))
        child.kill()
        assert child.stdout
        answered += [int(line) for line in child.stdout.read().split()]
    pairs, revisions, compacted = asyncio.run(read_pairs(path))
    assert pairs["/a/"] == pairs["/b/"]
    assert set(answered) <= pairs["/a/"]
    assert revisions == list(range(compacted + 1, len(pairs["/a/"]) + 2))


async def read_pairs(path: Path) -> tuple[dict[str, set[int]], list[int], int]:
    """Return the numbers under each prefix, the revisions kept, and the newest one lost.

    Opening checks that the file is whole.
    """
    async with SQLiteStore(path) as store:
        pairs = {}
        for prefix in ("/a/", "/b/"):
            page = await store.list(KeyRange.prefix(prefix))
            pairs[prefix] = {int(item.value) for item in page.items}
        status = await store.status()
        async with store.watch(EVERYTHING, after=status.compacted) as items:
            revisions = await until_revision(items, status.revision)
        assert {len(item.events) for item in revisions} <= {2}
        return pairs, [item.revision for item in revisions], max(status.compacted, 1)


@pytest.mark.parametrize("trial", range(tries(2, soak=20)))
async def test_a_process_killed_while_it_compacts_leaves_it_to_the_next(
    tmp_path: Path, trial: int
) -> None:
    path = tmp_path / "store.db"
    with owner(path, "compaction") as child:
        assert next_line(child) == "compaction"
        await asyncio.sleep(random.Random(trial).uniform(0, 0.03))
    async with SQLiteStore(path) as store:
        status = await store.status()
        assert status.revision == 12_001
        assert status.compacted in (0, 12_001)
        expected = {f"/{n % 7}": n + 2 for n in range(12_000)}
        page = await store.list(EVERYTHING)
        assert {item.key: item.mod_revision for item in page.items} == expected
        # It waits for what the dead process left undone.
        await store.compact(await put(store, "/0"))
        assert store._open
        rows = store._open.writer._connection.execute("SELECT count(*) FROM kv").get
        assert rows == 7


@pytest.mark.parametrize("trial", range(tries(2, soak=20)))
async def test_a_process_killed_while_it_writes_a_snapshot_leaves_none(
    tmp_path: Path, trial: int
) -> None:
    path = tmp_path / "store.db"
    target = tmp_path / "snapshot"
    with owner(path, "snapshots") as child:
        assert next_line(child) == "snapshots"
        deadline = time.monotonic() + 20
        while not any(size > trial * 1_000_000 for size in _sizes_of_parts(tmp_path)):
            assert time.monotonic() < deadline
    if target.exists():  # it was complete by the time of the signal
        target.unlink()
    async with SQLiteStore(path) as store:
        await store.snapshot(target)
        page = await store.list(EVERYTHING)
    assert not _sizes_of_parts(tmp_path)
    async with SQLiteStore(target) as store:
        assert await store.list(EVERYTHING) == page


def _sizes_of_parts(folder: Path) -> list[int]:
    sizes = []
    for path in folder.glob(".snapshot.*.part"):
        with suppress(FileNotFoundError):  # it was complete
            sizes.append(path.stat().st_size)
    return sizes


async def test_the_leases_of_a_killed_process_last_their_whole_time_and_then_end(
    tmp_path: Path,
) -> None:
    code = """
import asyncio, sys, time
from miren.entities.store.api import Put
from miren.entities.store.sqlite import SQLiteStore

async def main():
    async with SQLiteStore(sys.argv[1]) as store:
        lease = await store.grant(10.0)
        await store.transact([], [Put("/a", b"", lease), Put("/b", b"", lease)])
        print(lease, flush=True)
        time.sleep(60)

asyncio.run(main())
"""
    path = tmp_path / "store.db"
    command = [sys.executable, "-c", code, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as child:
        lease = Lease(int(next_line(child)))
        child.kill()
    clock = ManualClock()
    async with SQLiteStore(path, clock=clock) as store:
        await clock.pass_time(9.9)
        status = await store.lease(lease)
        assert (status.ttl, status.keys) == (10.0, ("/a", "/b"))
        async with store.watch(EVERYTHING, after=2) as items:
            await clock.pass_time(0.1)
            assert [event.key for event in (await next_revision(items)).events] == ["/a", "/b"]


def test_a_process_that_forgets_to_close_its_store_still_ends(tmp_path: Path) -> None:
    code = """
import asyncio, sys, threading
from miren.entities.store.api import Put
from miren.entities.store.sqlite import SQLiteStore

async def main():
    store = await SQLiteStore(sys.argv[1]).__aenter__()
    big = [Put(str(n), b"") for n in range(20_000)]
    asyncio.create_task(store.transact([], big))
    await asyncio.sleep(0)

asyncio.run(main())
# Long enough for the writer to finish and to find that the loop is gone.
next(each for each in threading.enumerate() if each.name == "miren-store").join(1)
"""
    path = tmp_path / "store.db"
    child = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, timeout=20, check=False
    )
    assert (child.returncode, child.stderr) == (0, b"")
