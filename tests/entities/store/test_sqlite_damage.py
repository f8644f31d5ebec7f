"""A SQLite store whose file is damaged, or whose disk is full."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from miren.base.errors import Refused, StoreFull, Unavailable
from miren.entities.store import sqlite_upkeep
from miren.entities.store.api import Put
from miren.entities.store.sqlite import SQLiteStore
from miren.entities.store.sqlite_file import open_for_writing
from tests.contracts.store_leases import put_leased
from tests.contracts.store_reading import EVERYTHING, put
from tests.effort import tries

_WRITES = 60


async def make(path: Path) -> None:
    """Make a closed store with some of everything, of a few hundred pages."""
    async with SQLiteStore(path, durability="relaxed") as store:
        lease = await store.grant(600)
        for _ in range(3):  # most of it is history, which no key points to
            await store.transact([], [Put(f"/{n}", b"x" * 500) for n in range(400)])
        await put_leased(store, lease, "/leased")


@pytest.fixture
def _kept_log(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no store empty its log while it is being copied."""
    monkeypatch.setattr(sqlite_upkeep, "_IDLE_SECONDS", 600.0)


@pytest.mark.usefixtures("_kept_log")
async def test_a_log_cut_or_changed_anywhere_opens_as_it_was_after_some_write(
    tmp_path: Path,
) -> None:
    trials = range(tries(10, soak=200))
    async with SQLiteStore(tmp_path / "store.db") as store:
        for n in range(_WRITES):
            await store.transact([], [Put(f"/a/{n}", b""), Put(f"/b/{n}", b"")])
        for trial in trials:
            copy = tmp_path / str(trial)
            copy.mkdir()
            for name in ("store.db", "store.db-wal"):
                shutil.copy(tmp_path / name, copy / name)
            _spoil(copy / "store.db-wal", random.Random(trial))
    lengths = {await _written(tmp_path / str(trial) / "store.db") for trial in trials}
    assert len(lengths) > min(len(trials), _WRITES) / 3


def _spoil(log: Path, rng: random.Random) -> None:
    size = log.stat().st_size
    at = rng.randrange(size // 4, size)
    if rng.random() < 0.5:
        os.truncate(log, at)
        return
    with log.open("r+b") as file:
        file.seek(at)
        file.write(rng.randbytes(min(rng.randint(1, 5000), size - at)))


async def _written(path: Path) -> int:
    """Return how many of the writes are there, which are the first ones and whole."""
    async with SQLiteStore(path) as store:
        page = await store.list(EVERYTHING)
        length = len(page.items) // 2
        expected = {f"/{side}/{n}" for side in "ab" for n in range(length)}
        assert {item.key for item in page.items} == expected
        assert page.revision == 1 + length
        assert await put(store, "/new") == page.revision + 1
        return length


async def test_a_damaged_file_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    await make(path)
    whole = path.read_bytes()
    pages = len(whole) // 4096
    for trial in range(tries(5, soak=50)):
        page = random.Random(trial).randrange(2, pages)
        spoilt = whole[: page * 4096] + b"\x55" * 4096 + whole[(page + 1) * 4096 :]
        path.write_bytes(spoilt)
        with pytest.raises(Refused, match="is damaged") as caught:
            async with SQLiteStore(path):
                pass
        assert "snapshot" in str(caught.value.hint)
        assert path.read_bytes() == spoilt


@pytest.mark.usefixtures("_kept_log")
async def test_the_log_of_a_dead_owner_stays_beside_a_damaged_file(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    copy, log = tmp_path / "copy.db", tmp_path / "copy.db-wal"
    await make(path)
    async with SQLiteStore(path) as store:
        await put(store, "/in/the/log")
        content = bytearray(path.read_bytes())
        content[-8192:-4096] = b"\x55" * 4096
        copy.write_bytes(content)
        shutil.copy(tmp_path / "store.db-wal", log)
    logged = log.read_bytes()
    assert logged
    with pytest.raises(Refused, match="is damaged"):
        async with SQLiteStore(copy):
            pass
    assert (copy.read_bytes(), log.read_bytes()) == (bytes(content), logged)


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE meta SET v = 1 WHERE k = 'last_revision'",
        "UPDATE meta SET v = 99 WHERE k = 'compacted'",
        "DELETE FROM meta WHERE k = 'compacted'",
        "DELETE FROM meta WHERE k = 'schema_version'",
        "DELETE FROM kv WHERE key = x'2f37'",
        "UPDATE cur SET id = (SELECT id FROM cur WHERE key = x'2f38') WHERE key = x'2f37'",
        "DELETE FROM leased",
        "DELETE FROM lease",
        "INSERT INTO leased SELECT id, x'2f37' FROM lease",
        "DROP TABLE lease",
    ],
)
async def test_a_file_that_contradicts_itself_is_refused(tmp_path: Path, change: str) -> None:
    path = tmp_path / "store.db"
    await make(path)
    database = sqlite3.connect(path)
    with database:
        database.execute(change)
    database.close()
    content = path.read_bytes()
    with pytest.raises(Refused, match="is damaged"):
        async with SQLiteStore(path):
            pass
    assert path.read_bytes() == content


async def test_a_check_that_would_take_too_long_lets_the_store_open(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "store.db"
    await make(path)
    caplog.set_level("INFO")
    open_for_writing(path, "full", check_seconds=0).close()
    assert "too large to be checked whole" in caplog.text


_SPOILT = "/200"
_NEEDLE = b"needle" * 80


async def with_a_needle(path: Path) -> None:
    """Make a closed store, one of whose values can be found in its file."""
    async with SQLiteStore(path, durability="relaxed") as store:
        for start in range(100, 300, 50):
            keys = [f"/{n}" for n in range(start, start + 50)]
            puts = [Put(key, _NEEDLE if key == _SPOILT else b"x" * 500) for key in keys]
            await store.transact([], puts)


def spoil_the_needle(path: Path) -> None:
    """Overwrite the page that holds it, while the store is open and does not know it yet."""
    page = path.read_bytes().index(_NEEDLE) // 4096
    with path.open("r+b") as file:
        file.seek(page * 4096)
        file.write(b"\x55" * 4096)


async def _watch(store: SQLiteStore) -> None:
    async with store.watch(EVERYTHING, after=1) as items:
        async for _ in items:
            pass


_FINDING: dict[str, Callable[[SQLiteStore, Path], Awaitable[object]]] = {
    "get": lambda store, _: store.get(_SPOILT),
    "list": lambda store, _: store.list(EVERYTHING),
    "list of an older revision": lambda store, _: store.list(EVERYTHING, revision=5),
    "watch": lambda store, _: _watch(store),
    "put": lambda store, _: put(store, _SPOILT, b"new"),
    "compact": lambda store, _: store.compact(5),
    "snapshot": lambda store, folder: store.snapshot(folder / "snapshot"),
    "defragment": lambda store, _: store.defragment(),
}


@pytest.mark.parametrize("finding", _FINDING)
async def test_damage_found_by_a_running_store_ends_its_writing_and_says_the_way_out(
    tmp_path: Path, finding: str
) -> None:
    path = tmp_path / "store.db"
    await with_a_needle(path)
    async with SQLiteStore(path) as store:
        spoil_the_needle(path)
        revision = await put(store, "/late", b"acknowledged")
        assert not (await store.status()).alarms
        for find in (_FINDING[finding], lambda store, _: put(store, "/later")):
            with pytest.raises(Unavailable, match="is damaged") as caught:
                await find(store, tmp_path)
            assert "miren store restore" in str(caught.value.hint)
        status = await store.status()
        assert (status.revision, len(status.alarms)) == (revision, 1)
        late, whole = await store.get("/late"), await store.get("/100")
        assert late
        assert late.value == b"acknowledged"
        assert whole
        assert whole.value == b"x" * 500
    with pytest.raises(Refused, match="is damaged"):
        async with SQLiteStore(path):
            pass
    with sqlite3.connect(path) as database:
        query = "SELECT value FROM kv JOIN cur USING (id) WHERE cur.key = CAST('/late' AS BLOB)"
        assert database.execute(query).fetchall() == [(b"acknowledged",)]
    database.close()
    assert not (tmp_path / "snapshot").exists()


async def test_of_writes_that_come_with_one_that_finds_damage_each_is_there_or_was_refused(
    tmp_path: Path,
) -> None:
    path = tmp_path / "store.db"
    await with_a_needle(path)
    async with SQLiteStore(path) as store:
        spoil_the_needle(path)
        keys = [*(f"/new/{n}" for n in range(20)), _SPOILT, *(f"/new/{n}" for n in range(20, 40))]
        writes = [put(store, key, b"new") for key in keys]
        answers = dict(
            zip(keys, await asyncio.gather(*writes, return_exceptions=True), strict=True)
        )
        assert isinstance(answers.pop(_SPOILT), Unavailable)
        for key, answer in answers.items():
            found = await store.get(key)
            if isinstance(answer, int):
                assert found
                assert found.mod_revision == answer
            else:
                assert isinstance(answer, Unavailable)
                assert found is None


async def test_a_full_disk_fails_the_write_and_not_the_store(tmp_path: Path) -> None:
    async with SQLiteStore(tmp_path / "store.db") as store:
        revision = await put(store, "/a")
        assert store._open
        writing = store._open.writer._connection
        limit = writing.execute("PRAGMA page_count").get
        writing.execute(f"PRAGMA max_page_count = {limit + 10}")
        with pytest.raises(StoreFull):
            await put(store, "/b", b"x" * 1_000_000)
        assert await put(store, "/c") == revision + 1
        assert await store.get("/b") is None


_ON_A_SMALL_DISK = """
import asyncio, os, subprocess, sys
from pathlib import Path
from miren.base.errors import RuntimeFailure, StoreFull
from miren.entities.store.api import KeyRange, Put
from miren.entities.store.sqlite import SQLiteStore

folder = Path(sys.argv[1])
# In a mount namespace of its own, this ends with the process.
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "none", str(folder)], check=True)
(folder / "ballast").write_bytes(bytes(1_000_000))

async def fill(store, answered):
    try:
        for n in range(1000):
            await store.transact([], [Put(f"/{len(answered)}", os.urandom(20_000))])
            answered.append(f"/{len(answered)}")
    except StoreFull as error:
        assert error.hint
        return
    raise AssertionError("never full")

async def check(store, answered):
    page = await store.list(KeyRange("/", "0"))
    assert sorted(answered) == [item.key for item in page.items], (answered, page.items)
    assert page.revision == 1 + len(answered)

async def main():
    answered = []
    async with SQLiteStore(folder / "store.db") as store:
        await fill(store, answered)
        await check(store, answered)
        assert (await store.status()).alarms
        try:
            await store.snapshot(folder / "copy")
        except RuntimeFailure:
            assert not [each for each in os.listdir(folder) if "copy" in each]
        else:
            raise AssertionError("there was room")
        (folder / "ballast").unlink()
        before = len(answered)
        await fill(store, answered)
        assert len(answered) > before
        await check(store, answered)
    async with SQLiteStore(folder / "store.db") as store:
        await check(store, answered)

asyncio.run(main())
print("done")
"""


def test_a_store_on_a_full_disk_can_be_read_and_writes_again_once_there_is_room(
    tmp_path: Path,
) -> None:
    as_root = [] if os.geteuid() == 0 else ["--map-root-user"]
    command = ["unshare", "--mount", *as_root, sys.executable, "-c", _ON_A_SMALL_DISK]
    child = subprocess.run(
        [*command, str(tmp_path)], capture_output=True, timeout=40, check=False, text=True
    )
    assert child.stdout == "done\n", child.stderr
    assert list(tmp_path.iterdir()) == []
