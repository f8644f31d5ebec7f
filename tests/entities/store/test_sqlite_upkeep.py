"""What a SQLite store does to its file besides writing: compaction, space, log, snapshots."""

from __future__ import annotations

import asyncio
import re
import sqlite3
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from miren.base.errors import Compacted, Refused, RuntimeFailure, Unavailable
from miren.entities.store import sqlite_reading, sqlite_upkeep
from miren.entities.store.api import KeyRange, Put
from miren.entities.store.sqlite import SQLiteStore
from miren.entities.store.sqlite_file import open_for_reading, open_for_writing
from tests.contracts.store_reading import EVERYTHING, delete, put


async def write_many(store: SQLiteStore, count: int, *, value: bytes = b"", keys: int = 0) -> None:
    """Write as many revisions, over as many keys if given."""
    async with asyncio.timeout(30), asyncio.TaskGroup() as group:
        for n in range(count):
            group.create_task(put(store, f"/{n % keys if keys else n}", value))


def rows_of(path: Path) -> int:
    """Return how many changes a closed store's file holds, if it is whole."""
    database = sqlite3.connect(path)
    assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    count: int = database.execute("SELECT count(*) FROM kv").fetchone()[0]
    database.close()
    return count


async def test_compaction_frees_the_rows_it_forgets(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    async with SQLiteStore(path) as store:
        await write_many(store, 3000, keys=10)
        revision = await delete(store, "/0")
        await store.compact(1500)
        await put(store, "/1")
        await store.compact(revision)
        assert await store.get("/1", revision=revision) is not None
    # The nine that live, and the new value of one of them.
    assert rows_of(path) == 10


async def test_a_compaction_goes_on_after_the_store_was_closed_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_upkeep, "_SWEEP_ROWS", 10)
    path = tmp_path / "store.db"
    async with SQLiteStore(path) as store:
        await write_many(store, 2000, keys=2)
        compacting = asyncio.create_task(store.compact(2001))
        for _ in range(5):  # a step after each
            await put(store, "/0")
    async with asyncio.timeout(10):
        await compacting
    assert 3 < rows_of(path) < 2000
    async with SQLiteStore(path) as store:
        newest = (await store.status()).revision
        await store.compact(newest)
    assert rows_of(path) == 2


async def test_writes_go_on_during_a_long_compaction(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_upkeep, "_SWEEP_ROWS", 10)
    async with SQLiteStore(tmp_path / "store.db") as store:
        await write_many(store, 3000, keys=1)
        compacting = asyncio.create_task(store.compact(3001))
        await put(store, "/during")
        assert not compacting.done()
        async with asyncio.timeout(30):
            await compacting


async def test_a_list_outlives_a_compaction_unless_it_asked_for_what_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_reading, "_PART_SECONDS", 0)
    async with SQLiteStore(tmp_path / "store.db") as store:
        await store.transact([], [Put(f"/{n:04}", b"") for n in range(2000)])
        revision = (await store.status()).revision
        newest = asyncio.create_task(store.list(EVERYTHING))
        older = asyncio.create_task(store.list(EVERYTHING, revision=revision))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        # The loop stands meanwhile, so both are in the middle when it is done.
        writing = open_for_writing(tmp_path / "store.db", "full", check_seconds=0)
        for name in ("last_revision", "compacted"):
            writing.execute("UPDATE meta SET v = v + ? WHERE k = ?", (revision + 1, name))
        writing.close()
        with pytest.raises(Compacted):
            await older
        page = await newest
        assert (len(page.items), page.revision) == (2000, 2 * revision + 1)


@asynccontextmanager
async def busy_readers(store: SQLiteStore, count: int) -> AsyncIterator[list[int]]:
    """List all keys over and over, from as many tasks; yield how long the lists were."""
    lengths: list[int] = []

    async def read() -> None:
        while True:
            lengths.append(len((await store.list(EVERYTHING)).items))

    async with asyncio.TaskGroup() as group:
        readers = [group.create_task(read()) for _ in range(count)]
        yield lengths
        for reader in readers:
            reader.cancel()


async def test_the_log_stays_short_while_some_always_read_and_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_upkeep, "_COPY_PAGES", 100)
    monkeypatch.setattr(sqlite_upkeep, "_LONG_PAGES", 500)
    longest = written = 0
    async with SQLiteStore(tmp_path / "store.db", durability="relaxed") as store:
        await store.transact([], [Put(f"/{n}", b"x" * 1000) for n in range(1000)])
        async with busy_readers(store, 4) as lengths:
            for _ in range(60):
                before = len(lengths)
                await store.transact([], [Put(f"/{n}", b"y" * 1000) for n in range(200)])
                longest = max(longest, (tmp_path / "store.db-wal").stat().st_size)
                written += 200 * 1000
                assert len(lengths) > before or len(lengths) < 2
        assert set(lengths) == {1000}
    # What the log may hold, and a transaction on top; without a bound it held all of it.
    assert longest < 4 * 1024 * 1024 < written / 2


async def test_a_log_that_a_stranger_keeps_long_begins_anew_when_he_has_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_upkeep, "_LONG_PAGES", 2000)
    monkeypatch.setattr(sqlite_upkeep, "_RESTART_MS", 1)
    path = tmp_path / "store.db"
    log = tmp_path / "store.db-wal"

    async def write() -> None:
        for _ in range(8):
            await store.transact([], [Put(f"/{n}", b"y" * 1000) for n in range(1000)])

    async with SQLiteStore(path, durability="relaxed") as store:
        await write()
        stranger = open_for_reading(path)
        stranger.execute("BEGIN")
        stranger.execute("SELECT count(*) FROM kv").fetchall()
        await write()
        long = log.stat().st_size
        assert long > 2000 * 4096
        stranger.close()
        await write()
        await write()
        assert log.stat().st_size < 2 * long


async def test_a_long_log_that_a_stranger_keeps_is_an_alarm_until_he_has_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, pages in {"_COPY_PAGES": 10, "_LONG_PAGES": 20}.items():
        monkeypatch.setattr(sqlite_upkeep, name, pages)
    for name in ("_IDLE_SECONDS", "_RETRY_SECONDS"):
        monkeypatch.setattr(sqlite_upkeep, name, 0.05)
    monkeypatch.setattr(sqlite_upkeep, "_RESTART_MS", 1)
    monkeypatch.setattr(sqlite_upkeep, "_ALARM_BYTES", 3 * 1024**2)
    path = tmp_path / "store.db"
    async with SQLiteStore(path, durability="relaxed") as store:

        async def write(count: int) -> None:
            for number in range(count):
                await store.transact([], [Put(f"/{n}", b"%d" % number * 1000) for n in range(100)])

        await write(10)
        stranger = open_for_reading(path)
        stranger.execute("BEGIN")
        stranger.execute("SELECT count(*) FROM kv").fetchall()
        await write(5)
        assert not (await store.status()).alarms
        await write(20)
        await put(store, "/small")  # the writer is done with all before, and has nothing to copy
        (alarm,) = (await store.status()).alarms
        assert re.match(r"wal [3-9] MiB: held by a reader; ", alarm)
        stranger.close()
        async with asyncio.timeout(10):
            # Nothing is written any more, and nobody tells.
            while (await store.status()).alarms:  # noqa: ASYNC110
                await asyncio.sleep(0.01)


async def test_a_store_with_nothing_to_do_empties_its_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_upkeep, "_IDLE_SECONDS", 0.05)
    async with SQLiteStore(tmp_path / "store.db") as store:
        await put(store, "/a")
        async with asyncio.timeout(10):
            while (tmp_path / "store.db-wal").stat().st_size:  # noqa: ASYNC110  # nobody tells
                await asyncio.sleep(0.01)
        assert await store.get("/a") is not None


async def test_compaction_gives_space_back_when_much_is_unused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_upkeep, "_IDLE_SECONDS", 0.05)
    path = tmp_path / "store.db"
    async with SQLiteStore(path, durability="relaxed") as store:
        for _ in range(4):
            await store.transact([], [Put(f"/{n}", b"x" * 1000) for n in range(2000)])
        status = await store.status()
        await store.compact(status.revision)
        async with asyncio.timeout(10):
            # Nobody tells when it is done.
            while (await store.status()).size > status.size / 3:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        assert len((await store.list(EVERYTHING)).items) == 2000
    rows_of(path)


async def test_defragmenting_leaves_no_unused_page_and_every_key(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    async with SQLiteStore(path) as store:
        await store.transact([], [Put(f"/{n}", b"x" * 1000) for n in range(500)])
        revision = await delete(store, "/1")
        await store.transact([], [Put(f"/{n}", b"y") for n in range(500)])
        await store.compact(revision + 1)
        before = (await store.status()).size
        page = await store.list(EVERYTHING)
        await store.defragment()
        assert (await store.status()).size < before / 4
        assert await store.list(EVERYTHING) == page
        assert await put(store, "/new") == revision + 2


async def test_a_snapshot_is_one_revision_of_a_store_that_goes_on(tmp_path: Path) -> None:
    target = tmp_path / "snapshot.db"
    value = b"x" * 10_000
    async with SQLiteStore(tmp_path / "store.db") as store:
        await store.transact([], [Put(f"/{n}", value) for n in range(1000)])
        uuid = (await store.status()).uuid
        writing = asyncio.create_task(_pairs(store))
        async with asyncio.timeout(30):
            await store.snapshot(target)
        written = (await store.status()).revision
        writing.cancel()
        assert stat.S_IMODE(target.stat().st_mode) == 0o600
        with pytest.raises(Refused, match="exists"):
            await store.snapshot(target)
    assert [each.name for each in tmp_path.iterdir() if "part" in each.name] == []
    async with SQLiteStore(target) as copy:
        status = await copy.status()
        assert (status.uuid, status.backend) == (uuid, "sqlite")
        assert 2 <= status.revision <= written
        left, right = [await copy.get(key) for key in ("/left", "/right")]
        assert left is None or (right and left.value == right.value)
        assert len((await copy.list(KeyRange("/0", "/9z"))).items) == 1000


async def _pairs(store: SQLiteStore) -> None:
    number = 0
    while True:
        value = str(number := number + 1).encode()
        await store.transact([], [Put("/left", value), Put("/right", value)])


@pytest.mark.parametrize("ending", ["cancelled", "closed"])
async def test_a_snapshot_cut_short_leaves_nothing(tmp_path: Path, ending: str) -> None:
    folder = tmp_path / "copies"
    folder.mkdir()
    async with SQLiteStore(tmp_path / "store.db", durability="relaxed") as store:
        await store.transact([], [Put(f"/{n}", b"x" * 100_000) for n in range(500)])
        writing = asyncio.create_task(store.snapshot(folder / "copy"))
        async with asyncio.timeout(10):
            while not list(folder.iterdir()):  # noqa: ASYNC110  # files wake nobody
                await asyncio.sleep(0)
        if ending == "cancelled":
            writing.cancel()
            await asyncio.wait([writing], timeout=10)
            assert writing.cancelled()
            assert list(folder.iterdir()) == []
    if ending == "closed":
        with pytest.raises(Unavailable, match="closed"):
            await writing
    assert list(folder.iterdir()) == []


async def test_a_snapshot_where_none_can_be_written_is_refused(tmp_path: Path) -> None:
    async with SQLiteStore(tmp_path / "store.db") as store:
        with pytest.raises(RuntimeFailure, match="copy: No such file or directory") as caught:
            await store.snapshot(tmp_path / "missing" / "copy")
        assert "the space" in str(caught.value.hint)
        await put(store, "/a")


async def test_a_snapshot_leaves_what_others_have_beside_it(tmp_path: Path) -> None:
    theirs = [tmp_path / name for name in ("copy.partial", "copy.part", ".copy.part")]
    for path in theirs:
        path.write_text(path.name)
    async with SQLiteStore(tmp_path / "store.db") as store:
        await store.snapshot(tmp_path / "copy")
    assert [path.read_text() for path in theirs] == [path.name for path in theirs]
    assert len(list(tmp_path.glob("*copy*"))) == 4
