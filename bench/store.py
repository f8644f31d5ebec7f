"""`make bench-store`: what the stores cost above what they stand on, and what their watches bear.

With arguments (`sqlite list fanout etcd`) only these parts run, and the results are not kept.

Peers: grpc's bare stub and python-etcd3 against one etcd, its files in memory; the very statements
of the SQLite store in a bare loop, and aiosqlite as it is commonly used, on the disk of this
folder. Where CPU is compared, each side is a process of its own.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Self

import apsw

from bench.fanout import Load, latest_delivery, loop_lag
from bench.harness import Goal, clock, compare_async, in_turns, load, report
from bench.peers import IN_FLIGHT, KEYS, VALUE
from miren.entities.store import sqlite_reading, sqlite_recording
from miren.entities.store.api import KeyRange, Put, Store
from miren.entities.store.memory import MemoryStore
from miren.entities.store.sqlite import SQLiteStore
from miren.entities.store.sqlite_file import open_for_reading, open_for_writing
from tests.etcd import Timing, running_etcd

CACHE = Path(__file__).parent / ".cache"
# Without its folder among the modules: some there are called like Python's own.
PEERS_SCRIPT = ("-P", str(Path(__file__).parent / "peers.py"))
PEERS = ("etcd3==0.12.0", "protobuf==3.20.3", "aiosqlite==0.21.0")

ETCD_OPERATIONS = 4000
ETCD3_OPERATIONS = 1500
SQLITE_OPERATIONS = 8000
AIOSQLITE_OPERATIONS = 800
LISTED = 10_000

_NAMES = {"put": "put", "swap": "CAS"}


@dataclass(frozen=True)
class Sample:
    """What one run took, in seconds and in CPU seconds of its process."""

    seconds: float
    cpu: float

    def each(self, operations: int) -> Sample:
        """Return what one operation took."""
        return Sample(self.seconds / operations, self.cpu / operations)


class Worker:
    """One side in a process of its own, until its input ends."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @classmethod
    @asynccontextmanager
    async def started(cls, *command: str) -> AsyncIterator[Self]:
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe)
        try:
            yield cls(process)
        finally:
            process.kill()
            await process.wait()

    async def run(self, operation: str, count: int) -> Sample:
        request = {"operation": operation, "count": count}
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps(request).encode() + b"\n")
        async with asyncio.timeout(120):
            answer = await self._process.stdout.readline()
        assert answer, f"{operation} failed"
        return Sample(**json.loads(answer)).each(count)


def peers_python() -> str:
    """Return the Python of an environment that holds the peers, made when there is none."""
    folder = CACHE / "peers"
    done = folder / "done"
    if not done.exists() or done.read_text() != str(PEERS):
        sys.stdout.write("making an environment for the peers\n")
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        pip = [str(folder / "bin/python"), "-m", "pip", "install", "--quiet", *PEERS]
        subprocess.run(pip, check=True)
        done.write_text(str(PEERS))
    return str(folder / "bin/python")


def goals_of(
    name: str, rounds: list[tuple[Sample, Sample]], *, rate: float, cpu: float
) -> list[Goal]:
    """Return the goals for rate and CPU of the same rounds."""
    mine, peer = zip(*rounds, strict=True)
    return [
        Goal(
            f"{name}: rate",
            rate,
            tuple(each.seconds for each in mine),
            tuple(each.seconds for each in peer),
            at_least=True,
        ),
        Goal(
            f"{name}: CPU", cpu, tuple(each.cpu for each in mine), tuple(each.cpu for each in peer)
        ),
    ]


async def bench_etcd(python: str) -> list[Goal]:
    """The etcd client and store against stubs that send the same, and against python-etcd3.

    Like stands against like: a store that is watched is told of every write, which costs half as
    much as that, and so is the stub that it is compared to. That one throws away what it is told,
    while the store delivers it: hence the wider bars.
    """
    if shutil.which("etcd") is None:
        sys.stdout.write("there is no etcd here: its rows are left out\n")
        return []
    goals: list[Goal] = []
    usual = Timing(heartbeat=100, election=1000)
    with running_etcd(timing=usual) as member:
        async with AsyncExitStack() as stack:

            async def worker(*command: str) -> Worker:
                return await stack.enter_async_context(Worker.started(*command, member.endpoint))

            ours = (sys.executable, "-m", "bench.etcd_worker")
            client, stub = await worker(*ours, "client"), await worker(*ours, "stub")
            store, watched = await worker(*ours, "store"), await worker(*ours, "watched-store")
            watching = await worker(*ours, "watching-stub")
            pairs = {
                "etcd client / stub": (client, stub, 0.9, 1.15),
                "etcd store, nobody watching / stub": (store, stub, 0.9, 1.15),
                "etcd store, one watch / stub with a root watch": (watched, watching, 0.8, 1.4),
            }
            for told, (mine, peer, rate, cpu) in pairs.items():
                for operation, name in _NAMES.items():
                    rounds = await in_turns(
                        mine=partial(mine.run, operation, ETCD_OPERATIONS),
                        peer=partial(peer.run, operation, ETCD_OPERATIONS),
                    )
                    goals += goals_of(f"{told}, {name}", rounds, rate=rate, cpu=cpu)
            etcd3 = await worker(python, *PEERS_SCRIPT, "etcd3")
            rounds = await in_turns(
                mine=partial(client.run, "swap", ETCD_OPERATIONS),
                peer=partial(etcd3.run, "swap", ETCD3_OPERATIONS),
            )
            goals += goals_of("etcd client / python-etcd3, CAS", rounds, rate=3.0, cpu=0.3)
    return goals


async def put_many(store: Store, count: int) -> float:
    """Put keys, so many at a time, and return the seconds that one takes."""
    rest = iter(range(count))

    async def work() -> None:
        for number in rest:
            await store.transact((), (Put(f"/{number % KEYS:04}", VALUE),))

    began = clock()
    await asyncio.gather(*(work() for _ in range(IN_FLIGHT)))
    return (clock() - began) / count


class BareLoop:
    """The statements of the SQLite store for the same puts, in batches, and nothing else."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection
        self._revision = 1
        self._last: dict[bytes, tuple[int, int, int]] = {}

    def put_many(self, count: int) -> float:
        """Put keys, a transaction for each batch, and return the seconds that one takes."""
        began = clock()
        for first in range(0, count, IN_FLIGHT):
            self._put_batch(range(first, min(first + IN_FLIGHT, count)))
        return (clock() - began) / count

    def _put_batch(self, numbers: range) -> None:
        rows: list[Any] = []
        current: list[Any] = []
        for number in numbers:
            self._revision += 1
            key, id = f"/{number % KEYS:04}".encode(), self._revision << 16
            created, version, before = self._last.get(key, (self._revision, 0, None))
            rows.append((id, key, VALUE, created, version + 1, before, 0))
            current.append((key, id))
            self._last[key] = (created, version + 1, id)
        execute = self._connection.execute
        execute("BEGIN IMMEDIATE")
        self._connection.executemany(sqlite_recording._PUT_ROW, rows)  # noqa: SLF001
        self._connection.executemany(sqlite_recording._PUT_CURRENT, current)  # noqa: SLF001
        execute(sqlite_recording._META, (self._revision, "last_revision"))  # noqa: SLF001
        execute("COMMIT")


async def bench_sqlite(folder: Path, python: str) -> list[Goal]:
    """Puts that survive a power cut, against a bare loop and against aiosqlite."""
    async with AsyncExitStack() as stack:
        store = await stack.enter_async_context(SQLiteStore(folder / "puts"))
        bare = BareLoop(stack.enter_context(_opened(folder / "bare", open_for_writing)))

        async def run_bare() -> float:
            return bare.put_many(SQLITE_OPERATIONS)

        loop = await compare_async(
            "SQLite store / bare loop, put: rate",
            0.33,
            mine=partial(put_many, store, SQLITE_OPERATIONS),
            peer=run_bare,
            at_least=True,
        )
        command = (python, *PEERS_SCRIPT, "aiosqlite", str(folder / "aiosqlite"))
        worker = await stack.enter_async_context(Worker.started(*command))

        async def run_aiosqlite() -> float:
            return (await worker.run("put", AIOSQLITE_OPERATIONS)).seconds

        other = await compare_async(
            "SQLite store / aiosqlite, put: rate",
            10.0,
            mine=partial(put_many, store, SQLITE_OPERATIONS),
            peer=run_aiosqlite,
            at_least=True,
        )
    return [loop, other]


@contextmanager
def _opened(path: Path, opener: Callable[..., apsw.Connection]) -> Iterator[apsw.Connection]:
    connection = opener(path, "full") if opener is open_for_writing else opener(path)
    try:
        yield connection
    finally:
        connection.close()


async def bench_list(folder: Path) -> list[Goal]:
    """A list of all current values, as they are stored, against the query for them alone."""
    everything = KeyRange("\0", "\U0010ffff")
    async with SQLiteStore(folder / "list") as store:
        for first in range(0, LISTED, 100):
            puts = [Put(f"/{number:06}", VALUE) for number in range(first, first + 100)]
            await store.transact((), puts)
        query = sqlite_reading._NEWEST.format(fields=sqlite_reading._KV)  # noqa: SLF001
        with _opened(folder / "list", open_for_reading) as connection:

            async def run_mine() -> float:
                began = clock()
                page = await store.list(everything)
                took = clock() - began
                assert len(page.items) == LISTED
                return took

            async def run_raw() -> float:
                began = clock()
                bounds = (b"\0", b"\xff", 1 << 62, -1)
                rows = connection.execute(query, bounds).fetchall()
                took = clock() - began
                assert len(rows) == LISTED
                return took

            name = f"SQLite store / query, list of {LISTED:,} values"
            return [await compare_async(name, 1.3, mine=run_mine, peer=run_raw)]


async def bench_fanout(folder: Path) -> list[Goal]:
    """How late watches are under load, and how long others then wait for the loop."""
    heavy = Load(watches=100, rate=100, events=100)
    wide = Load(watches=1000, rate=200, events=1)
    goals = []
    turn = iter(range(1000))

    def fresh(backend: str) -> Store:
        return MemoryStore() if backend == "memory" else SQLiteStore(folder / f"w{next(turn)}")

    for backend in ("memory", "SQLite"):
        lateness, lags = [], []
        for _ in range(3):
            async with fresh(backend) as store:
                lateness.append(await latest_delivery(store, heavy))
            async with fresh(backend) as store:
                lags.append(await loop_lag(store, wide))
        name = f"{backend}, 100 watches at 10,000 events/s: the latest delivery"
        goals.append(Goal(name, 0.25, tuple(lateness)))
        name = f"{backend}, 1,000 watches at 200 events/s: loop lag p99"
        goals.append(Goal(name, 0.5, tuple(lags)))
    return goals


async def main() -> int:
    at_start = load()
    CACHE.mkdir(exist_ok=True)
    parts = sys.argv[1:] or ["sqlite", "list", "fanout", "etcd"]
    python = peers_python()
    sys.stdout.write(f"values of {len(VALUE)} bytes, {IN_FLIGHT} in flight\n")
    with tempfile.TemporaryDirectory(prefix="run-", dir=CACHE) as name:
        folder = Path(name)
        benches = {
            "sqlite": partial(bench_sqlite, folder, python),
            "list": partial(bench_list, folder),
            "fanout": partial(bench_fanout, folder),
            "etcd": partial(bench_etcd, python),
        }
        goals = [goal for part in parts for goal in await benches[part]()]
    peers = dict(each.split("==") for each in PEERS)
    return report(
        "store",
        goals,
        load_at_start=at_start,
        packages=["apsw", "grpcio"],
        save=not sys.argv[1:],
        peers={**{f"{name} (peer)": of for name, of in peers.items()}, "etcd": etcd_version()},
    )


def etcd_version() -> str:
    if shutil.which("etcd") is None:
        return "none"
    told = subprocess.run(["etcd", "--version"], capture_output=True, text=True, check=True)
    return told.stdout.split("\n", 1)[0].removeprefix("etcd Version: ")


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
