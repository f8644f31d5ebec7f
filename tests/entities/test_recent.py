"""What a client keeps of what it read: the very objects, so that few are compared."""

from __future__ import annotations

from typing import Any

from miren.entities import keys
from miren.entities.entity import Entity
from miren.entities.kinds import Kinds
from miren.entities.store.memory import MemoryStore
from miren.entities.store_client import StoreClient
from tests.entities.beacons import Beacon
from tests.entities.things import Holder, Thing


def kept(client: StoreClient, entity: Entity[Any, Any]) -> Entity[Any, Any] | None:
    stored = client.recent.get(keys.entity_key(entity.kind, entity.project, entity.name))
    return None if stored is None else stored.entity


async def test_what_is_read_takes_the_place_of_its_equal() -> None:
    async with MemoryStore() as store:
        client = StoreClient(store=store, kinds=Kinds([Thing, Holder]))
        made = await client.create(Thing.new("a"))
        assert kept(client, made) is made
        read = await client.get(Thing, "a")
        assert read is not made
        assert kept(client, made) is read
        (listed,) = (await client.list(Thing)).items
        assert kept(client, made) is listed


async def test_an_older_version_takes_nobodys_place() -> None:
    async with MemoryStore() as store:
        client = StoreClient(store=store, kinds=Kinds([Thing, Holder]))
        first = await client.create(Thing.new("a"))
        newest = await client.update(first.with_spec(first.spec.model_copy(update={"weight": 5})))
        assert await client.get(Thing, "a", revision=first.revision) == first
        assert kept(client, first) is newest


async def test_what_nobody_wrote_here_is_not_kept_by_reading() -> None:
    async with MemoryStore() as store:
        await StoreClient(store=store, kinds=Kinds([Thing, Holder])).create(Thing.new("a"))
        client = StoreClient(store=store, kinds=Kinds([Thing, Holder]))
        assert kept(client, await client.get(Thing, "a")) is None


async def test_an_update_of_what_was_read_reads_nothing_and_writes_what_it_says() -> None:
    async with MemoryStore() as store:
        client = StoreClient(store=store, kinds=Kinds([Thing, Holder]))
        await client.create(Thing.new("a", env={"x": "1"}, code="c"))
        read = await client.get(Thing, "a")
        wanted = read.with_spec(read.spec.model_copy(update={"weight": 7}))
        updated = await client.update(wanted)
        found = await client.get(Thing, "a")
        assert found == updated
        assert (found.spec.weight, found.spec.env, found.spec.code) == (7, {"x": "1"}, "c")
        assert found.metadata.generation == 2


async def test_what_shows_more_than_is_stored_is_not_kept() -> None:
    async with MemoryStore() as store:
        client = StoreClient(store=store, kinds=Kinds([Beacon]))
        made = await client.create(Beacon.new("a"))
        before = kept(client, made)
        await client.get(Beacon, "a")
        assert kept(client, made) is before
