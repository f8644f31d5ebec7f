from __future__ import annotations

import asyncio
import os
import random
import shutil
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from miren.base.errors import InvalidInput, NotFound, Refused, Unavailable
from miren.entities.store.api import KeyRange, KeyValue, Lease, Put, Store
from miren.entities.store.sqlite import SQLiteStore
from tests.contracts.store_contract import StoreContract
from tests.contracts.store_leases import next_revision, put_leased
from tests.contracts.store_reading import EVERYTHING, OpenStore, delete, put
from tests.contracts.store_watching import until_revision
from tests.effort import tries


class TestSQLiteStore(StoreContract):
    @pytest.fixture
    def open_store(self, tmp_path: Path) -> OpenStore:
        def make() -> Store:
            return SQLiteStore(tmp_path / "store.db")

        return make


async def test_relaxed_durability_flushes_less_and_keeps_what_was_written(tmp_path: Path) -> None:
    path = str(tmp_path / "store.db")
    async with SQLiteStore(path, durability="relaxed") as store:
        assert store._open
        assert store._open.writer._connection.execute("PRAGMA synchronous").get == 1
        await put(store, "/a", b"1")
    async with SQLiteStore(path) as store:
        assert store._open
        assert store._open.writer._connection.execute("PRAGMA synchronous").get == 2
        assert await store.get("/a") is not None


async def test_sixty_four_writers_share_commits(tmp_path: Path) -> None:
    async def write(writer: int) -> None:
        for n in range(30):
            await put(store, f"/{writer}/{n}")

    async with SQLiteStore(tmp_path / "store.db") as store:
        before = store.commits
        async with asyncio.timeout(30), asyncio.TaskGroup() as group:
            for writer in range(64):
                group.create_task(write(writer))
        assert store.commits - before <= 64 * 30 / 4
        assert (await store.status()).revision == 1 + 64 * 30


async def test_the_files_belong_to_their_owner_alone(tmp_path: Path) -> None:
    async with SQLiteStore(tmp_path / "store.db") as store:
        await put(store, "/a")
        for name in ("store.db", "store.db-wal", "store.db-shm", "store.db.lock"):
            assert _mode(tmp_path / name) == 0o600, name


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


async def test_a_second_owner_is_refused_until_the_first_has_left(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    async with SQLiteStore(path):
        with pytest.raises(Refused) as caught:
            async with SQLiteStore(path):
                pass
        assert f"process {os.getpid()}" in caught.value.message
        assert caught.value.hint
    async with SQLiteStore(path):
        assert (tmp_path / "store.db.lock").read_text() == f"{os.getpid()}\n"


@pytest.mark.parametrize(
    "content", [b"just some text, long enough to be looked at" * 30, b"short"]
)
async def test_a_file_that_is_no_database_is_left_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "notes.txt"
    path.write_bytes(content)
    with pytest.raises(InvalidInput, match="not a Miren store"):
        async with SQLiteStore(path):
            pass
    assert path.read_bytes() == content


async def test_a_database_of_something_else_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE meta(k, v)")
    other.close()
    content = path.read_bytes()
    for _ in range(2):
        with pytest.raises(InvalidInput, match="not a Miren store"):
            async with SQLiteStore(path):
                pass
    assert path.read_bytes() == content


async def test_a_store_of_a_newer_miren_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    async with SQLiteStore(path):
        pass
    database = sqlite3.connect(path)
    database.execute("UPDATE meta SET v = 99 WHERE k = 'schema_version'")
    database.commit()
    database.close()
    with pytest.raises(Refused, match="schema 99"):
        async with SQLiteStore(path):
            pass


_FIRST_SCHEMA = """
CREATE TABLE kv(
    id INTEGER PRIMARY KEY, key BLOB NOT NULL, value BLOB, create_revision INTEGER NOT NULL,
    version INTEGER NOT NULL, prev_id INTEGER
);
CREATE INDEX kv_key ON kv(key, id);
CREATE TABLE cur(key BLOB PRIMARY KEY, id INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE meta(k TEXT PRIMARY KEY, v NOT NULL) WITHOUT ROWID;
PRAGMA application_id = 1296650830;
INSERT INTO meta VALUES
    ('schema_version', 1), ('store_uuid', 'abc'), ('last_revision', 3), ('compacted', 0);
INSERT INTO kv VALUES (131072, x'61', x'31', 2, 1, NULL), (196608, x'61', x'32', 2, 2, 131072);
INSERT INTO cur VALUES (x'61', 196608);
"""


async def test_a_store_from_before_there_were_leases_is_brought_up_to_date(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    database = sqlite3.connect(path)
    database.executescript(_FIRST_SCHEMA)
    database.close()
    for opening in range(2):
        async with SQLiteStore(path) as store:
            assert (await store.status()).uuid == "abc"
            assert await store.get("a") == KeyValue("a", b"2", 2, 3, 2)
            assert await store.get("a", revision=2) == KeyValue("a", b"1", 2, 2, 1)
            lease = await store.grant(600)
            await put_leased(store, lease, f"/{opening}")
            await store.revoke(lease)
            assert len((await store.list(EVERYTHING)).items) == 1


async def test_an_expired_lease_that_the_disk_keeps_is_ended_later(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with SQLiteStore(tmp_path / "store.db") as store:
        lease = await store.grant(0.5)
        names = [f"/{n}" for n in range(2000)]
        revision = await put_leased(store, lease, *names)
        assert store._open
        writing = store._open.writer._connection
        limit = writing.execute("PRAGMA page_count").get
        writing.execute(f"PRAGMA max_page_count = {limit}")
        async with asyncio.timeout(20):
            while "could not be ended yet" not in caplog.text:  # noqa: ASYNC110  # logs wake nobody
                await asyncio.sleep(0.02)
        assert len((await store.list(EVERYTHING)).items) == 2000
        with pytest.raises(NotFound):
            await store.keep_alive(lease)
        writing.execute("PRAGMA max_page_count = 1000000")
        async with store.watch(EVERYTHING, after=revision) as items:
            assert len((await next_revision(items)).events) == 2000


async def test_a_path_that_cannot_be_opened_is_said(tmp_path: Path) -> None:
    for path in (tmp_path / "missing" / "store.db", tmp_path):
        with pytest.raises(Unavailable):
            async with SQLiteStore(path):
                pass


async def test_compaction_frees_the_rows_it_forgets(tmp_path: Path) -> None:
    async with SQLiteStore(tmp_path / "store.db") as store:
        async with asyncio.timeout(30), asyncio.TaskGroup() as group:
            for n in range(5000):
                group.create_task(put(store, f"/{n % 10}"))
        revision = await delete(store, "/0")
        await store.compact(revision)
    database = sqlite3.connect(tmp_path / "store.db")
    assert database.execute("SELECT count(*) FROM kv").fetchone() == (9,)
    assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    database.close()


async def test_writes_go_on_during_a_long_compaction(tmp_path: Path) -> None:
    async with SQLiteStore(tmp_path / "store.db") as store:
        async with asyncio.timeout(30), asyncio.TaskGroup() as group:
            for n in range(20_000):
                group.create_task(put(store, f"/{n}"))
        compacting = asyncio.create_task(store.compact(20_001))
        await put(store, "/during")
        assert not compacting.done()
        async with asyncio.timeout(30):
            await compacting


async def test_a_long_list_is_cut_short_when_the_store_closes(tmp_path: Path) -> None:
    store = SQLiteStore(tmp_path / "store.db")
    async with store:
        await store.transact([], [Put(f"/{n}", b"") for n in range(5000)])
        listing = asyncio.create_task(store.list(EVERYTHING))
        await asyncio.sleep(0)
    with pytest.raises(Unavailable, match="closed"):
        await listing


async def test_a_full_disk_fails_the_write_and_not_the_store(tmp_path: Path) -> None:
    async with SQLiteStore(tmp_path / "store.db") as store:
        revision = await put(store, "/a")
        assert store._open
        writing = store._open.writer._connection
        limit = writing.execute("PRAGMA page_count").get
        writing.execute(f"PRAGMA max_page_count = {limit + 10}")
        with pytest.raises(Unavailable, match="full"):
            await put(store, "/b", b"x" * 1_000_000)
        assert await put(store, "/c") == revision + 1
        assert await store.get("/b") is None


async def test_closing_finishes_queued_writes_even_when_cancelled(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    writes: list[asyncio.Task[int]] = []

    async def use() -> None:
        async with SQLiteStore(path) as store:
            writes.extend(asyncio.create_task(put(store, f"/{n}")) for n in range(200))
            await asyncio.sleep(0)
            closing.set()

    closing = asyncio.Event()
    using = asyncio.create_task(use())
    await closing.wait()
    using.cancel()
    async with asyncio.timeout(10):
        revisions = await asyncio.gather(*writes)
        await asyncio.wait([using])
    assert using.cancelled()
    async with SQLiteStore(path) as store:
        assert (await store.status()).revision == max(revisions)
        assert len((await store.list(EVERYTHING)).items) == 200


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


@pytest.mark.parametrize("trial", range(tries(5, soak=60)))
def test_a_killed_process_loses_nothing_it_answered_for(tmp_path: Path, trial: int) -> None:
    path = tmp_path / "store.db"
    command = [sys.executable, "-m", "tests.entities.store.crash_writer", str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as child:
        assert child.stdout
        answered = [
            int(child.stdout.readline()) for _ in range(random.Random(trial).randint(1, 900))
        ]
        with pytest.raises(Refused, match=f"process {child.pid}"):
            asyncio.run(_read_pairs(path))
        child.kill()
        answered += [int(line) for line in child.stdout.read().split()]
    pairs, revisions, compacted = asyncio.run(_read_pairs(path))
    assert pairs["/a/"] == pairs["/b/"]
    assert set(answered) <= pairs["/a/"]
    assert revisions == list(range(compacted + 1, len(pairs["/a/"]) + 2))


async def test_the_leases_of_a_killed_process_last_their_whole_time_and_then_end(
    tmp_path: Path,
) -> None:
    code = """
import asyncio, sys, time
from miren.entities.store.api import Put
from miren.entities.store.sqlite import SQLiteStore

async def main():
    async with SQLiteStore(sys.argv[1]) as store:
        lease = await store.grant(1.0)
        await store.transact([], [Put("/a", b"", lease), Put("/b", b"", lease)])
        print(lease, flush=True)
        time.sleep(60)

asyncio.run(main())
"""
    path = tmp_path / "store.db"
    command = [sys.executable, "-c", code, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as child:
        assert child.stdout
        lease = Lease(int(child.stdout.readline()))
        child.kill()
    async with SQLiteStore(path) as store:
        opened = asyncio.get_running_loop().time()
        status = await store.lease(lease)
        assert (status.ttl, status.keys) == (1.0, ("/a", "/b"))
        async with store.watch(EVERYTHING, after=2) as items:
            assert [event.key for event in (await next_revision(items)).events] == ["/a", "/b"]
        assert asyncio.get_running_loop().time() - opened > 0.8


async def _read_pairs(path: Path) -> tuple[dict[str, set[int]], list[int], int]:
    """Return the numbers under each prefix, the revisions kept, and the newest one lost."""
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


async def test_a_torn_log_opens_as_it_was_after_some_earlier_write(tmp_path: Path) -> None:
    count = 60
    async with SQLiteStore(tmp_path / "store.db") as store:
        for n in range(count):
            await store.transact([], [Put(f"/a/{n}", b""), Put(f"/b/{n}", b"")])
        for trial in range(8):
            copy = tmp_path / str(trial)
            copy.mkdir()
            for name in ("store.db", "store.db-wal"):
                shutil.copy(tmp_path / name, copy / name)
            size = (copy / "store.db-wal").stat().st_size
            os.truncate(copy / "store.db-wal", random.Random(trial).randrange(size // 4, size))
    lengths = set()
    for trial in range(8):
        async with SQLiteStore(tmp_path / str(trial) / "store.db") as store:
            page = await store.list(EVERYTHING)
            length = len(page.items) // 2
            expected = {f"/{side}/{n}" for side in "ab" for n in range(length)}
            assert {item.key for item in page.items} == expected
            assert page.revision == 1 + length
            lengths.add(length)
    assert len(lengths) > 1
