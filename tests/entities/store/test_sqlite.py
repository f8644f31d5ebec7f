from __future__ import annotations

import asyncio
import os
import sqlite3
import stat
from pathlib import Path

import pytest

from miren.base.errors import InvalidInput, NotFound, Refused, Unavailable
from miren.entities.store import sqlite_recent, sqlite_writing
from miren.entities.store.api import KeyValue, Put, Store
from miren.entities.store.sqlite import SQLiteStore
from tests.clocks import ManualClock
from tests.contracts.store_contract import StoreContract
from tests.contracts.store_leases import PassTime, next_revision, put_leased
from tests.contracts.store_reading import EVERYTHING, OpenStore, put
from tests.contracts.store_watching import until_revision


class TestSQLiteStore(StoreContract):
    @pytest.fixture
    def clock(self) -> ManualClock:
        return ManualClock()

    @pytest.fixture
    def pass_time(self, clock: ManualClock) -> PassTime:
        return clock.pass_time

    @pytest.fixture
    def open_store(self, tmp_path: Path, clock: ManualClock) -> OpenStore:
        def make() -> Store:
            return SQLiteStore(tmp_path / "store.db", clock=clock)

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


async def test_a_batch_holds_no_more_than_some_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_writing, "_BATCH_BYTES", 4_000)
    async with SQLiteStore(tmp_path / "store.db") as store:
        before = store.commits
        async with asyncio.timeout(30), asyncio.TaskGroup() as group:
            for n in range(64):
                group.create_task(put(store, f"/{n}", b"x" * 1_000))
        assert store.commits - before >= 64 / 4
        await put(store, "/larger/than/a/batch", b"x" * 100_000)
        assert len((await store.list(EVERYTHING)).items) == 65


async def test_what_the_writer_does_not_remember_it_looks_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_recent, "_BYTES", 1)
    async with SQLiteStore(tmp_path / "store.db") as store:
        async with asyncio.timeout(30), asyncio.TaskGroup() as group:
            for n in range(300):
                group.create_task(put(store, f"/{n % 3}", b"%d" % n))
        page = await store.list(EVERYTHING)
        assert [item.version for item in page.items] == [100, 100, 100]
        async with store.watch(EVERYTHING, after=1) as items:
            events = [revision.events[0] for revision in await until_revision(items, 301)]
        latest: dict[str, KeyValue | None] = {}
        for event in events:
            assert event.previous == latest.get(event.key)
            latest[event.key] = event.current


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
    async with SQLiteStore(path, address="/run/here.sock"):
        with pytest.raises(Refused) as caught:
            async with SQLiteStore(path):
                pass
        assert caught.value.message.endswith(
            f"in use by process {os.getpid()}, which listens at /run/here.sock"
        )
        assert "/run/here.sock" in str(caught.value.hint)
    assert (tmp_path / "store.db.lock").read_text() == ""


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

# What the second added, and a compaction that was interrupted before it removed a row.
_SECOND_SCHEMA = """
ALTER TABLE kv ADD COLUMN lease INTEGER NOT NULL DEFAULT 0;
CREATE TABLE lease(id INTEGER PRIMARY KEY, ttl REAL NOT NULL);
CREATE TABLE leased(lease INTEGER, key BLOB, PRIMARY KEY (lease, key)) WITHOUT ROWID;
UPDATE meta SET v = 2 WHERE k = 'schema_version';
UPDATE meta SET v = 3 WHERE k = 'compacted';
"""


async def test_a_store_from_before_there_were_leases_is_brought_up_to_date(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    _run(path, _FIRST_SCHEMA)
    for opening in range(2):
        async with SQLiteStore(path) as store:
            assert (await store.status()).uuid == "abc"
            assert await store.get("a") == KeyValue("a", b"2", 2, 3, 2)
            assert await store.get("a", revision=2) == KeyValue("a", b"1", 2, 2, 1)
            lease = await store.grant(600)
            await put_leased(store, lease, f"/{opening}")
            await store.revoke(lease)
            assert len((await store.list(EVERYTHING)).items) == 1


async def test_a_store_from_before_compaction_was_resumed_is_brought_up_to_date(
    tmp_path: Path,
) -> None:
    path = tmp_path / "store.db"
    _run(path, _FIRST_SCHEMA + _SECOND_SCHEMA)
    async with SQLiteStore(path) as store:
        assert await store.get("a") == KeyValue("a", b"2", 2, 3, 2)
        revision = await put(store, "b")
        await store.compact(revision)
        await store.defragment()
    assert _run(path, "SELECT count(*) FROM kv") == [(2,)]
    assert _run(path, "PRAGMA auto_vacuum") == [(2,)]


def _run(path: Path, script: str) -> list[tuple[object, ...]]:
    """Run statements on a file that nobody has open, and return the rows of the only one."""
    database = sqlite3.connect(path)
    try:
        if script.count(";") > 1:
            database.executescript(script)
            return []
        return database.execute(script).fetchall()
    finally:
        database.close()


async def test_an_expired_lease_that_the_disk_keeps_is_ended_later(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clock = ManualClock()
    async with SQLiteStore(tmp_path / "store.db", clock=clock) as store:
        lease = await store.grant(5)
        names = [f"/{n}" for n in range(2000)]
        revision = await put_leased(store, lease, *names)
        assert store._open
        writing = store._open.writer._connection
        limit = writing.execute("PRAGMA page_count").get
        writing.execute(f"PRAGMA max_page_count = {limit}")
        await clock.pass_time(5)
        async with asyncio.timeout(20):
            while "could not be ended yet" not in caplog.text:  # noqa: ASYNC110  # logs wake nobody
                await asyncio.sleep(0.01)
        assert len((await store.list(EVERYTHING)).items) == 2000
        assert (await store.status()).alarms
        with pytest.raises(NotFound):
            await store.keep_alive(lease)
        writing.execute("PRAGMA max_page_count = 1000000")
        async with store.watch(EVERYTHING, after=revision) as items:
            await clock.pass_time(1)
            assert len((await next_revision(items)).events) == 2000
        assert not (await store.status()).alarms


async def test_a_path_that_cannot_be_opened_is_said(tmp_path: Path) -> None:
    for path in (tmp_path / "missing" / "store.db", tmp_path):
        with pytest.raises(Unavailable):
            async with SQLiteStore(path):
                pass


async def test_a_long_list_is_cut_short_when_the_store_closes(tmp_path: Path) -> None:
    store = SQLiteStore(tmp_path / "store.db")
    async with store:
        await store.transact([], [Put(f"/{n}", b"") for n in range(5000)])
        listing = asyncio.create_task(store.list(EVERYTHING))
        await asyncio.sleep(0)
    with pytest.raises(Unavailable, match="closed"):
        await listing


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
