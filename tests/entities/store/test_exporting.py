from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from miren.base.errors import InvalidInput, Refused
from miren.entities.store.api import KeyRange, Put, Store
from miren.entities.store.copying import is_half_filled
from miren.entities.store.etcd.store import EtcdStore
from miren.entities.store.exporting import (
    export,
    import_into,
    verify_export,
)
from miren.entities.store.memory import MemoryStore
from miren.entities.store.sqlite import SQLiteStore
from tests.entities.store.contents import ODD, contents, fill, held_by
from tests.etcd import Member

Open = Callable[[str], AbstractAsyncContextManager[Store]]


@pytest.fixture
def opening(tmp_path: Path, shared_etcd: Member) -> Open:
    """Return what opens a new store of a backend."""
    count = itertools.count()

    def open(backend: str) -> AbstractAsyncContextManager[Store]:
        name = f"{tmp_path.name}-{next(count)}"
        match backend:
            case "memory":
                return MemoryStore()
            case "sqlite":
                return SQLiteStore(tmp_path / name)
        return EtcdStore([shared_etcd.endpoint], prefix=f"/{name}")

    return open


async def write_export(store: Store, path: Path) -> list[str]:
    with path.open("wb") as file:
        async for line in export(store):
            file.write(line)
    return path.read_text().split("\n")[:-1]


BACKENDS = ("memory", "sqlite", "etcd")


@pytest.mark.parametrize(("one", "other"), list(itertools.product(BACKENDS, BACKENDS)))
async def test_an_export_goes_from_any_backend_into_any_other(
    one: str, other: str, opening: Open, tmp_path: Path
) -> None:
    async with opening(one) as source, opening(other) as target:
        await fill(source, ODD)
        lines = await write_export(source, tmp_path / "x")
        assert len(lines) == len(ODD) + 2
        header = await import_into(target, tmp_path / "x")
        assert header.keys == len(ODD)
        assert header.uuid == (await source.status()).uuid != (await target.status()).uuid
        assert await held_by(target) == ODD
        assert not await is_half_filled(target)
        again = await write_export(target, tmp_path / "y")
        assert again[1:-1] == lines[1:-1]


@given(contents())
@settings(
    max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
def test_every_value_comes_back_byte_for_byte(tmp_path: Path, contents: dict[str, bytes]) -> None:
    async def run() -> None:
        async with MemoryStore() as source, MemoryStore() as target:
            await fill(source, contents)
            await write_export(source, tmp_path / "x")
            await import_into(target, tmp_path / "x")
            assert await held_by(target) == await held_by(source)

    asyncio.run(run())


async def test_entities_are_there_to_be_read(tmp_path: Path) -> None:
    async with MemoryStore() as store:
        await fill(store, ODD)
        lines = [json.loads(line) for line in await write_export(store, tmp_path / "x")]
    found = {line["key"]: line for line in lines[1:-1]}
    assert found["/e/a"] == {"key": "/e/a", "json": {"a": 1}}
    assert found["/e/b"] == {"key": "/e/b", "text": '{"b":1,"a":2}'}
    assert set(found["/z/bytes"]) == {"key", "base64"}


async def test_an_export_is_of_one_revision_while_others_write(tmp_path: Path) -> None:
    async with MemoryStore() as source, MemoryStore() as target:
        for number in range(1200):
            await source.transact([], [Put(f"/k/{number:04}", b"before")])
        before = await held_by(source)
        with (tmp_path / "x").open("wb") as file:
            async for line in export(source):
                file.write(line)
                await source.transact([], [Put("/k/1100", b"later"), Put("/k/9999", b"later")])
        await import_into(target, tmp_path / "x")
        assert await held_by(target) == before


@pytest.fixture
async def exported(tmp_path: Path) -> Path:
    async with MemoryStore() as store:
        await fill(store, ODD)
        await write_export(store, tmp_path / "x")
    return tmp_path / "x"


async def test_a_part_of_an_export_is_refused_wherever_it_ends(exported: Path) -> None:
    whole = exported.read_bytes()
    for end in range(len(whole)):
        exported.write_bytes(whole[:end])
        with pytest.raises(InvalidInput):
            verify_export(exported)
    exported.write_bytes(whole)
    assert verify_export(exported).keys == len(ODD)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda lines: [*lines[:1], *lines[2:]],  # a key is missing
        lambda lines: [*lines[:2], *lines[1:]],  # one is there twice
        lambda lines: [lines[0], lines[2], lines[1], *lines[3:]],
        lambda lines: [lines[0], lines[1].replace(b"1", b"2"), *lines[2:]],
        lambda lines: lines[1:],
        lambda lines: [*lines, lines[1]],
    ],
)
async def test_a_changed_export_is_refused_and_nothing_is_written(
    spoil: Callable[[list[bytes]], list[bytes]], exported: Path
) -> None:
    lines = exported.read_bytes().splitlines(keepends=True)
    exported.write_bytes(b"".join(spoil(lines)))
    async with MemoryStore() as store:
        before = (await store.status()).revision
        with pytest.raises(InvalidInput):
            await import_into(store, exported)
        assert (await store.status()).revision == before


async def test_what_a_newer_miren_exported_is_refused(exported: Path) -> None:
    exported.write_bytes(exported.read_bytes().replace(b"export/1", b"export/2"))
    with pytest.raises(InvalidInput, match="export/2; this Miren reads"):
        verify_export(exported)


async def test_a_store_that_holds_something_is_not_imported_into(exported: Path) -> None:
    async with MemoryStore() as store:
        await store.transact([], [Put("/e/mine", b"1")])
        with pytest.raises(Refused, match="/e/mine"):
            await import_into(store, exported)
        assert await held_by(store) == {"/e/mine": b"1"}


@pytest.mark.parametrize("backend", BACKENDS)
async def test_an_interrupted_import_is_known_and_begins_anew(
    backend: str, exported: Path, opening: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("miren.entities.store.copying._OPERATIONS", 3)
    async with opening(backend) as store:

        def stop(_keys: int) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr("miren.entities.store.exporting._TOLD", 5)
        with pytest.raises(KeyboardInterrupt):
            await import_into(store, exported, tell=stop)
        assert await is_half_filled(store)
        assert (await store.list(KeyRange.prefix("/e/"))).items
        await import_into(store, exported)
        assert not await is_half_filled(store)
        assert await held_by(store) == ODD
