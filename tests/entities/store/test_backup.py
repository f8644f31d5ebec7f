from __future__ import annotations

import asyncio
import json
import random
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from pathlib import Path

import pytest

from miren.base.errors import Compacted, InvalidInput, Refused, RuntimeFailure, Unimplemented
from miren.entities.store.api import KeyRange, Put
from miren.entities.store.backup import (
    copy_verified,
    manifest_path,
    read_manifest,
    restore_sqlite,
    snapshot,
)
from miren.entities.store.memory import MemoryStore
from miren.entities.store.sqlite import SQLiteStore
from tests.entities.store.contents import ODD, fill, held_by


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SQLiteStore]:
    async with SQLiteStore(tmp_path / "db") as store:
        await fill(store, ODD)
        yield store


@pytest.fixture
async def taken(store: SQLiteStore, tmp_path: Path) -> Path:
    await snapshot(store, tmp_path / "snap")
    return tmp_path / "snap"


async def test_a_snapshot_has_a_manifest_that_says_what_it_is(
    store: SQLiteStore, tmp_path: Path
) -> None:
    manifest = await snapshot(store, tmp_path / "snap")
    status = await store.status()
    assert manifest == read_manifest(tmp_path / "snap")
    assert (manifest.backend, manifest.uuid) == ("sqlite", status.uuid)
    assert manifest.revision == status.revision
    assert manifest.size == (tmp_path / "snap").stat().st_size
    for path in (tmp_path / "snap", manifest_path(tmp_path / "snap")):
        assert path.stat().st_mode & 0o777 == 0o600


async def test_what_is_restored_holds_the_same_and_is_another_store(
    store: SQLiteStore, taken: Path, tmp_path: Path
) -> None:
    before = await store.status()
    await store.transact([], [Put("/later", b"")])
    told: list[int] = []
    manifest = await restore_sqlite(taken, tmp_path / "new", tell=told.append)
    assert told[-1] == manifest.size
    async with SQLiteStore(tmp_path / "new") as restored:
        after = await restored.status()
        assert after.uuid != before.uuid
        assert await held_by(restored) == ODD
        # Every revision that anybody may remember of the old store is compacted here.
        newest = (await store.status()).revision
        for revision in (1, before.revision, newest):
            with pytest.raises(Compacted):
                await restored.list(KeyRange.prefix("/"), revision=revision)
            with pytest.raises(Compacted):
                async with restored.watch(KeyRange.prefix("/"), after=revision) as changes:
                    await anext(changes)
        result = await restored.transact([], [Put("/more", b"")])
        assert result.revision > newest
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o600


async def test_a_lease_begins_anew_in_what_is_restored(taken: Path, tmp_path: Path) -> None:
    await restore_sqlite(taken, tmp_path / "new")
    async with SQLiteStore(tmp_path / "new") as restored:
        leased = await restored.get("/s/leased")
        assert leased is not None
        assert 590 < (await restored.lease(leased.lease)).remaining <= 600


async def test_a_snapshot_cut_or_changed_anywhere_is_refused_and_leaves_nothing(
    taken: Path, tmp_path: Path
) -> None:
    whole, rng = taken.read_bytes(), random.Random(5)
    spoilt = [whole[: rng.randrange(len(whole))] for _ in range(10)] + [whole + b"\0"]
    for _ in range(10):
        at = rng.randrange(len(whole))
        spoilt.append(whole[:at] + bytes([whole[at] ^ 0x40]) + whole[at + 1 :])
    for content in spoilt:
        taken.write_bytes(content)
        with pytest.raises(InvalidInput):
            await restore_sqlite(taken, tmp_path / "new")
        assert not list(tmp_path.glob("new*"))
    taken.write_bytes(whole)
    await restore_sqlite(taken, tmp_path / "new")


def without_manifest(path: Path) -> None:
    manifest_path(path).unlink()


def with_part_of_one(path: Path) -> None:
    manifest_path(path).write_text(manifest_path(path).read_text()[:50])


def with_another_format(path: Path) -> None:
    told = json.loads(manifest_path(path).read_text())
    manifest_path(path).write_text(json.dumps({**told, "format": "miren-store-snapshot/2"}))


def of_another_backend(path: Path) -> None:
    told = json.loads(manifest_path(path).read_text())
    manifest_path(path).write_text(json.dumps({**told, "backend": "etcd"}))


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (without_manifest, "has no manifest"),
        (with_part_of_one, "is no manifest"),
        (with_another_format, "snapshot/2; this Miren reads"),
        (of_another_backend, "is a snapshot of etcd, not of sqlite"),
    ],
)
async def test_a_snapshot_without_its_manifest_is_refused(
    spoil: Callable[[Path], None], words: str, taken: Path, tmp_path: Path
) -> None:
    spoil(taken)
    with pytest.raises(InvalidInput, match=words):
        await restore_sqlite(taken, tmp_path / "new")
    assert not (tmp_path / "new").exists()


async def test_a_damaged_store_is_refused_though_it_is_what_was_taken(
    taken: Path, tmp_path: Path
) -> None:
    with closing(sqlite3.connect(taken)) as file, file:
        file.execute("DROP TABLE cur")
    told = json.loads(manifest_path(taken).read_text())
    import hashlib

    content = taken.read_bytes()
    told |= {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    manifest_path(taken).write_text(json.dumps(told))
    with pytest.raises(Exception, match=r"cur|damaged"):
        await restore_sqlite(taken, tmp_path / "new")
    assert not list(tmp_path.glob("new*"))


async def test_nothing_is_written_over(store: SQLiteStore, taken: Path, tmp_path: Path) -> None:
    (tmp_path / "new").write_text("mine")
    with pytest.raises(FileExistsError):
        copy_verified(taken, tmp_path / "new")
    assert (tmp_path / "new").read_text() == "mine"
    (tmp_path / "other.manifest.json.new").write_text("mine")
    for name in ("other", "other.manifest.json"):
        (tmp_path / name).write_text("mine")
        with pytest.raises(Refused):
            await snapshot(store, tmp_path / "other")
        assert (tmp_path / name).read_text() == "mine"
        assert len(list(tmp_path.glob("*other*"))) == 2
        (tmp_path / name).unlink()
    await snapshot(store, tmp_path / "other")
    assert (tmp_path / "other.manifest.json.new").read_text() == "mine"


@pytest.mark.parametrize("length", [220, 240, 250])
async def test_one_that_cannot_be_written_leaves_nothing(
    store: SQLiteStore, tmp_path: Path, length: int
) -> None:
    # For that of the manifest, for the one it has meanwhile, or for the one it gets.
    with pytest.raises(RuntimeFailure, match="File name too long"):
        await snapshot(store, tmp_path / ("n" * length))
    assert not list(tmp_path.glob("*nnn*"))


async def test_two_at_once_do_not_write_into_each_other(
    store: SQLiteStore, tmp_path: Path
) -> None:
    both = await asyncio.gather(
        *(snapshot(store, tmp_path / "one") for _ in range(2)), return_exceptions=True
    )
    (refused,) = [each for each in both if isinstance(each, BaseException)]
    assert isinstance(refused, Refused)
    assert copy_verified(tmp_path / "one", tmp_path / "copy") in both


@pytest.mark.parametrize("name", ["/", ""])
async def test_what_names_no_file_is_no_snapshot(name: str, store: SQLiteStore) -> None:
    with pytest.raises(InvalidInput, match="is no name of a snapshot"):
        read_manifest(Path(name))
    with pytest.raises(InvalidInput, match="is no name of a snapshot"):
        await snapshot(store, Path(name))


@pytest.mark.parametrize("field", ["revision", "size"])
def test_a_manifest_has_numbers_where_numbers_belong(field: str, taken: Path) -> None:
    told = json.loads(manifest_path(taken).read_text()) | {field: "ten"}
    manifest_path(taken).write_text(json.dumps(told))
    with pytest.raises(InvalidInput, match=f"its {field} is no number"):
        read_manifest(taken)


async def test_a_store_in_memory_has_no_form_to_take_a_snapshot_of(tmp_path: Path) -> None:
    async with MemoryStore() as store:
        with pytest.raises(Unimplemented):
            await snapshot(store, tmp_path / "snap")
    assert not list(tmp_path.iterdir())
