"""Session attributes in watches: one order for them and the entities, without gap or repeat."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from miren.base.errors import Compacted, Conflict, NotFound, Unavailable
from miren.entities.client import (
    Added,
    Bookmark,
    Deleted,
    Event,
    Left,
    Modified,
    Selection,
)
from miren.entities.store.api import Lease, Store
from miren.entities.store.memory import MemoryStore
from miren.entities.store_client import StoreClient
from tests.builders import Greeting, make_greeting
from tests.entities.beacons import Beacon, Phase, make_client
from tests.entities.watching import watching
from tests.reconcile.virtual import now, virtually
from tests.stores import Faulty, keys_in


@pytest.fixture
def client(store: Store) -> StoreClient:
    return make_client(store)


async def test_a_session_change_is_a_modification_with_old_and_new(client: StoreClient) -> None:
    made = await client.create(Beacon.new("b"))
    async with watching(client, Beacon) as watch:
        async with client.session(holder="n1") as session:
            ready = await session.set(Beacon, "b", phase="ready")
            at = await client.revision()
            assert await watch.next() == Modified(ready, made, at)
            tall = await client.apply(Beacon.partial("b", height=2), manager="ci")
            assert await watch.next() == Modified(tall, ready, tall.revision)
            dark = await session.set(Beacon, "b", phase="dark", ships_seen=2)
            assert await watch.next() == Modified(dark, tall, await client.revision())
            seen = await session.clear(Beacon, "b", "phase")
            assert await watch.next() == Modified(seen, dark, await client.revision())
        free = await client.get(Beacon, "b")
        event = await watch.next()
        assert event == Modified(free, seen, await client.revision())
        assert event.entity.revision == tall.revision < event.revision
        gone = await client.delete(Beacon, "b")
        assert await watch.next() == Deleted(free, gone.revision)


async def test_a_deleted_entity_is_told_once_with_what_was_held(client: StoreClient) -> None:
    await client.create(Beacon.new("b"))
    async with client.session(holder="n1") as session:
        ready = await session.set(Beacon, "b", phase="ready")
        async with watching(client, Beacon) as watch:
            gone = await client.delete(Beacon, "b")
            assert await watch.next() == Deleted(ready, gone.revision)
            again = await client.create(Beacon.new("b"))
            assert await watch.next() == Added(again, again.revision)
            assert again.status.phase is Phase.UNKNOWN


async def test_a_holder_that_takes_its_own_over_changes_nothing(client: StoreClient) -> None:
    await client.create(Beacon.new("b"))
    async with client.session(holder="n1") as first, client.session(holder="n1") as second:
        ready = await first.set(Beacon, "b", phase="ready")
        async with watching(client, Beacon) as watch:
            before = await client.revision()
            assert await second.set(Beacon, "b", phase="ready") == ready
            assert await client.revision() == before + 1, "it is attached to the other lease"
            dark = await second.set(Beacon, "b", phase="dark")
            assert await watch.next() == Modified(dark, ready, before + 2)


async def test_a_selection_by_session_attribute_is_entered_and_left(client: StoreClient) -> None:
    await client.create(Beacon.new("b"))
    wanted = Selection(fields={"status.phase": "ready"})
    async with watching(client, Beacon, wanted) as watch, client.session(holder="n1") as session:
        ready = await session.set(Beacon, "b", phase="ready")
        assert await watch.next() == Added(ready, await client.revision())
        busy = await session.set(Beacon, "b", ships_seen=1)
        assert await watch.next() == Modified(busy, ready, await client.revision())
        dark = await session.set(Beacon, "b", phase="dark")
        assert await watch.next() == Left(dark, await client.revision())


@virtually
async def test_expiry_is_a_modification_without_the_old_value() -> None:
    async with MemoryStore() as store:
        client = make_client(store)
        made = await client.create(Beacon.new("b"))
        frozen = make_client(_Silent(store))
        async with watching(client, Beacon, within=1000) as watch:
            async with frozen.session(holder="n1", ttl=30) as session:
                ready = await session.set(Beacon, "b", phase="ready")
                said = now()
                assert (await watch.next()).entity == ready
                event = await watch.next()
                assert now() - said == pytest.approx(30)
                assert event == Modified(made, ready, await client.revision())
            assert await keys_in(store, "/s/") == []


@virtually
async def test_a_session_that_speaks_is_held_for_hours_without_a_revision() -> None:
    async with MemoryStore() as store:
        client = make_client(store)
        await client.create(Beacon.new("b"))
        async with client.session(holder="n1", ttl=60) as session:
            await session.set(Beacon, "b", phase="ready")
            revision = await client.revision()
            await asyncio.sleep(6 * 3600)
            assert await client.revision() == revision
            assert not session.lost.is_set()


@virtually
async def test_a_store_that_is_away_for_less_than_the_time_loses_nothing() -> None:
    async with MemoryStore() as store:
        faulty = Faulty(store)
        client = make_client(faulty)
        await client.create(Beacon.new("b"))
        async with client.session(holder="n1", ttl=60) as session:
            await session.set(Beacon, "b", phase="ready")
            await asyncio.sleep(3600)
            for _ in range(5):
                faulty.go_down()
                await asyncio.sleep(35)
                faulty.is_down = False
                await asyncio.sleep(30)
            assert not session.lost.is_set()
            assert (await client.get(Beacon, "b")).status.phase is Phase.READY


@virtually
async def test_a_store_that_is_away_for_longer_loses_the_session_in_time() -> None:
    async with MemoryStore() as store:
        faulty = Faulty(store)
        client = make_client(faulty)
        await client.create(Beacon.new("b"))
        async with client.session(holder="n1", ttl=60) as session:
            await session.set(Beacon, "b", phase="ready")
            await asyncio.sleep(1000)
            faulty.go_down()
            begun = now()
            await session.lost.wait()
            # Never later than the store forgets it: others may hold it from then on.
            assert 30 <= now() - begun <= 60
        faulty.is_down = False
        await asyncio.sleep(100)
        assert (await client.get(Beacon, "b")).status.phase is Phase.UNKNOWN


async def test_a_watch_of_other_kinds_activity_bookmarks_now_and_then(
    client: StoreClient,
) -> None:
    await client.create(Beacon.new("b"))
    await client.create(make_greeting("hi"))
    async with watching(client, Beacon) as watch:
        assert isinstance(await watch.any(), Bookmark)
        start = await client.revision()
        for n in range(120):
            await client.apply(Greeting.partial("hi", text=str(n)), manager="ci")
        async with client.session(holder="n1") as session:
            await session.set(Beacon, "b", phase="ready")
            seen = []
            while not isinstance(event := await watch.any(), Modified):
                seen.append(event.revision - start)
        assert seen == [50, 100]


async def test_a_watch_from_what_is_no_longer_kept_is_told(client: StoreClient) -> None:
    made = await client.create(Beacon.new("b"))
    async with client.session(holder="n1") as session:
        await session.set(Beacon, "b", phase="ready")
        await session.set(Beacon, "b", phase="dark")
        await client.store.compact(await client.revision())
        async with watching(client, Beacon, after=made.revision) as watch:
            with pytest.raises(Compacted):
                await watch.until(await client.revision())


async def test_waiting_sees_session_attributes(client: StoreClient) -> None:
    await client.create(Beacon.new("b"))
    await client.create(Beacon.new("other"))

    def is_ready(beacon: Beacon | None) -> bool:
        return beacon is not None and beacon.status.phase is Phase.READY

    async with client.session(holder="n1") as session:
        waiting = asyncio.create_task(client.wait(Beacon, "b", is_ready, timeout=10))
        await session.set(Beacon, "other", phase="ready")
        ready = await session.set(Beacon, "b", phase="ready")
        assert await waiting == ready
        assert await client.wait(Beacon, "b", is_ready, timeout=10) == ready
        gone = asyncio.create_task(
            client.wait(Beacon, "b", lambda beacon: beacon is None, timeout=10)
        )
        await asyncio.sleep(0)
        await client.delete(Beacon, "b")
        assert await gone is None


@pytest.mark.parametrize("seed", range(6))
async def test_a_watch_replayed_is_what_a_list_shows(client: StoreClient, seed: int) -> None:
    """Random writes; from every revision on, list and watch agree with every later list."""
    rng = random.Random(seed)
    listings = [await client.list(Beacon)]
    async with client.session(holder="n1") as one, client.session(holder="n2") as two:
        for _ in range(40):
            await _change(client, rng, rng.choice((one, two)))
            listings.append(await client.list(Beacon))
    # One event alone, so that all of them have come when it has.
    await client.create(Beacon.new("last"))
    listings.append(await client.list(Beacon))
    for start in rng.sample(listings, 8):
        known = {entity.name: entity for entity in start.items}
        later = {listing.revision: listing for listing in listings}
        at = start.revision
        async with watching(client, Beacon, after=at) as watch:
            for event in await watch.until(listings[-1].revision):
                if event.revision != at and at in later:
                    assert known == {entity.name: entity for entity in later[at].items}
                _follow(known, event)
                at = event.revision
        assert known == {entity.name: entity for entity in listings[-1].items}


def _follow(known: dict[str, Beacon], event: Event[Beacon]) -> None:
    match event:
        case Added(entity):
            assert entity.name not in known
            known[entity.name] = entity
        case Modified(entity, old):
            assert known[entity.name] == old != entity
            known[entity.name] = entity
        case Deleted(entity):
            assert known.pop(entity.name) == entity
        case _:
            raise AssertionError(event)


async def _change(client: StoreClient, rng: random.Random, session: Any) -> None:
    name = rng.choice(("a", "a-b", "c"))
    try:
        match rng.randrange(6):
            case 0:
                await client.apply(Beacon.partial(name, height=rng.randrange(9)), manager="ci")
            case 1:
                await client.delete(Beacon, name)
            case 2 | 3:
                await session.set(Beacon, name, phase=rng.choice(("ready", "dark", "unknown")))
            case 4:
                await session.set(Beacon, name, ships_seen=rng.randrange(3), phase="ready")
            case _:
                await session.clear(Beacon, name, *rng.choice(((), ("phase",))))
    except (NotFound, Conflict):
        pass


class _Silent(Faulty):
    """A store that cannot be told that somebody is still there."""

    async def keep_alive(self, lease: Lease) -> float:
        raise Unavailable("nobody hears you")
