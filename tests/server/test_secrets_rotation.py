"""Rotation: every stored secret comes under the new key, and nobody's change is undone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from miren.base.errors import Refused
from miren.entities import keys
from miren.entities.keyring import Key, Keyring
from miren.entities.kinds import Kinds
from miren.entities.sealing import keys_used, open_document, seal_document
from miren.entities.store.api import Put, Store, TransactionResult
from miren.entities.store.memory import MemoryStore
from miren.server.keys import KeyFile
from miren.server.resealing import Rotation
from tests.builders import Parcel
from tests.entities.vaults import Vault

KIND = Vault.kind


class World:
    """A store with sealed entities, its ring, and the file of its keys."""

    def __init__(self, store: Store, ring: Keyring, file: KeyFile) -> None:
        self.store = store
        self.ring = ring
        self.file = file
        self.rotation = Rotation(store, Kinds((Vault, Parcel)), ring, file)

    async def put(self, name: str, text: str, *, ring: Keyring | None = None) -> None:
        plain = {
            "apiVersion": KIND.api_version,
            "metadata": {"name": name, "uid": f"u-{name}", "generation": 3},
            "spec": {"data": {"a": text}},
        }
        sealed = seal_document(KIND, plain, uid=f"u-{name}", keyring=ring or self.ring)
        key = keys.entity_key(KIND, "default", name)
        await self.store.transact((), [Put(key, orjson.dumps(sealed))])

    async def documents(self) -> list[dict[str, Any]]:
        page = await self.store.list(keys.entity_range(KIND, None))
        return [orjson.loads(item.value) for item in page.items]

    async def used(self) -> set[str]:
        return {id for each in await self.documents() for id in keys_used(KIND, each)}

    async def texts(self) -> list[str]:
        return [
            open_document(KIND, each, self.ring)["spec"]["data"]["a"]
            for each in await self.documents()
        ]

    async def until(self, holds: Callable[[set[str]], bool]) -> None:
        scope = keys.entity_range(KIND, None)
        async with asyncio.timeout(20):
            revision = (await self.store.status()).revision
            async with self.store.watch(scope, after=revision) as changes:
                while not holds(await self.used()):
                    await anext(changes)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    file = KeyFile(tmp_path / "keys", is_ours=True)
    ring = await file.load()
    async with MemoryStore() as store:
        yield World(store, ring, file)


async def test_rotating_brings_everything_under_a_new_key(world: World) -> None:
    for number in range(120):
        await world.put(f"v{number:03}", f"text {number}")
    old = world.ring.primary.id
    async with world.rotation.running():
        kept = await world.rotation.rotate()
        assert world.ring.primary.id == kept.primary.id != old
        await world.until(lambda used: used == {kept.primary.id})
    assert (await world.file.load()).ids == (kept.primary.id, old)
    assert await world.texts() == [f"text {number}" for number in range(120)]
    assert {each["metadata"]["generation"] for each in await world.documents()} == {3}


async def test_what_is_under_the_primary_key_is_not_written(world: World) -> None:
    await world.put("a", "x")
    before = (await world.store.status()).revision
    assert (await world.rotation.run_pass()).resealed == 0
    assert (await world.store.status()).revision == before


async def test_a_start_takes_up_what_an_interrupted_rotation_left(world: World) -> None:
    old = Keyring([world.ring.primary])
    await world.put("a", "1", ring=old)
    new = old.with_primary(Key.generate())
    await world.put("b", "2", ring=new)
    world.ring.adopt(new)
    async with world.rotation.running():
        await world.until(lambda used: used == {new.primary.id})
    assert await world.texts() == ["1", "2"]


async def test_old_keys_are_kept_while_a_value_needs_one(world: World) -> None:
    await world.put("a", "1")
    await world.rotation.rotate()  # not running: nothing is resealed
    with pytest.raises(Refused, match="1 entities hold secrets that are under") as caught:
        await world.rotation.drop()
    assert caught.value.hint
    assert len((await world.file.load()).ids) == 2
    await world.rotation.run_pass()
    kept = await world.rotation.drop()
    assert (await world.file.load()).ids == kept.ids == (world.ring.primary.id,)


async def test_a_value_that_was_under_way_while_its_key_was_dropped_is_rescued(
    world: World,
) -> None:
    old = Keyring([world.ring.primary])
    await world.rotation.rotate()
    await world.rotation.drop()
    await world.put("late", "1", ring=old)
    async with world.rotation.running():
        await world.until(lambda used: used == {world.ring.primary.id})
    assert await world.texts() == ["1"]


async def test_a_broken_value_is_told_and_does_not_stop_the_others(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    await world.put("a", "s3cret", ring=Keyring([Key.generate()]))
    await world.put("b", "s3cret")
    await world.rotation.rotate()
    done = await world.rotation.run_pass()
    assert (done.resealed, done.broken, done.moved) == (1, 1, 0)
    assert "vault/a" in str([record.__dict__ for record in caplog.records])
    assert "s3cret" not in str([record.__dict__ for record in caplog.records])


class Racing(MemoryStore):
    """Lets somebody else write just before each guarded write."""

    meanwhile: Callable[[], Any] | None = None

    async def transact(self, compares: Any, then: Any, otherwise: Any = ()) -> TransactionResult:
        meanwhile, self.meanwhile = self.meanwhile, None
        if compares and meanwhile is not None:
            await meanwhile()
        return await super().transact(compares, then, otherwise)


async def test_a_change_made_meanwhile_is_not_undone(tmp_path: Path) -> None:
    file = KeyFile(tmp_path / "keys", is_ours=True)
    ring = await file.load()
    async with Racing() as store:
        world = World(store, ring, file)
        old = Keyring([ring.primary])
        await world.put("a", "before", ring=old)
        await world.rotation.rotate()
        store.meanwhile = lambda: world.put("a", "after", ring=old)
        done = await world.rotation.run_pass()
        assert (done.resealed, done.moved) == (0, 1)
        assert await world.texts() == ["after"]
        assert (await world.rotation.run_pass()).resealed == 1
        assert await world.texts() == ["after"]
