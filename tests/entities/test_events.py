"""Events of entities: rings that count, do not grow, and go; see `miren.entities.events`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from miren.base.errors import Fenced
from miren.entities import keys
from miren.entities.events import RING, EntityEvent, EventType, merged
from miren.entities.kinds import Kinds
from miren.entities.store.api import Delete, KeyRange, Store
from miren.entities.store.memory import MemoryStore
from miren.entities.store_client import StoreClient
from miren.entities.versioned_client import VersionedClient
from tests.backends import BACKENDS, make_store
from tests.builders import Greeting, Room, Stamp, make_kinds
from tests.entities.widgets import v1alpha1, v1beta1
from tests.etcd import Member
from tests.reconcile.virtual import make_client, virtually
from tests.stores import Counting, keys_in

BEGIN = datetime(2030, 1, 1, tzinfo=UTC)


@pytest.fixture(params=BACKENDS)
async def store(
    request: pytest.FixtureRequest, tmp_path: Path, shared_etcd: Member
) -> AsyncIterator[Store]:
    async with make_store(request.param, folder=tmp_path, etcd=shared_etcd) as opened:
        yield opened


@pytest.fixture
def client(store: Store) -> StoreClient:
    return StoreClient(store=store, kinds=make_kinds())


def event(reason: str = "Pulled", at: int = 0, message: str = "", count: int = 1) -> EntityEvent:
    when = BEGIN + timedelta(seconds=at)
    return EntityEvent(reason, message, "tests", when, when, count=count)


async def greeting(client: StoreClient, name: str = "hi") -> Greeting:
    return await client.create(Greeting.new(name, text="a"))


async def test_what_is_recorded_is_read_the_latest_last(client: StoreClient) -> None:
    hi = await greeting(client)
    failed = replace(event("Failed", 2, "näo/\0"), type=EventType.WARNING, count=3)
    await client.record_events(hi, [failed, event("Pulled", 1)])
    await client.record_events(hi, [event("Started", 3)])
    found = await client.events(Greeting, "hi")
    assert found == (event("Pulled", 1), failed, event("Started", 3))


async def test_what_says_the_same_again_is_counted(client: StoreClient) -> None:
    hi = await greeting(client)
    await client.record_events(hi, [event("Pulled", 5, count=2), event("Started", 6)])
    await client.record_events(hi, [event("Pulled", 9), event("Pulled", 7, "slowly")])
    counted = replace(event("Pulled", 5, count=3), last=BEGIN + timedelta(seconds=9))
    assert await client.events(Greeting, "hi") == (
        event("Started", 6),
        event("Pulled", 7, "slowly"),
        counted,
    )


async def test_what_differs_in_type_or_source_is_not_the_same(client: StoreClient) -> None:
    hi = await greeting(client)
    others = [replace(event(), type=EventType.WARNING), replace(event(), source="others")]
    await client.record_events(hi, [event(), *others])
    assert len(await client.events(Greeting, "hi")) == 3


async def test_a_ring_keeps_the_newest(client: StoreClient) -> None:
    hi = await greeting(client)
    every = [event("Pulled", at, f"number {at}") for at in range(RING + 8)]
    for some in (every[:20], every[20:39], every[39:]):
        await client.record_events(hi, some)
    assert await client.events(Greeting, "hi") == tuple(every[-RING:])


async def test_a_message_is_cut_where_it_is_too_long(client: StoreClient) -> None:
    hi = await greeting(client)
    for _ in range(2):
        await client.record_events(hi, [event(message="x" * 5000)])
    (found,) = await client.events(Greeting, "hi")
    assert (len(found.message), found.count) == (1024, 2)


async def test_events_outlive_their_subject_and_another_one_begins_anew(
    client: StoreClient,
) -> None:
    hi = await greeting(client)
    await client.record_events(hi, [event("Stopped")])
    await client.delete(Greeting, "hi")
    assert await client.events(Greeting, "hi") == (event("Stopped"),)
    again = await greeting(client)
    await client.record_events(again, [event("Started", 1)])
    assert await client.events(Greeting, "hi") == (event("Started", 1),)
    (ring,) = await client.list_events()
    assert ring.uid == again.uid


async def test_of_whom_nothing_is_known_there_are_none(client: StoreClient) -> None:
    assert await client.events(Greeting, "nobody") == ()
    assert await client.list_events() == []


async def test_writers_at_once_lose_nothing(store: Store, client: StoreClient) -> None:
    hi = await greeting(client)
    clients = [client, *(StoreClient(store=store, kinds=make_kinds()) for _ in range(3))]
    async with asyncio.TaskGroup() as group:
        for number, each in enumerate(clients):
            own = [event("Pulled", 1), event("Started", 2, f"by {number}")]
            group.create_task(each.record_events(hi, own))
    found = await client.events(Greeting, "hi")
    assert {(each.reason, each.message, each.count) for each in found} == {
        ("Pulled", "", 4),
        *(("Started", f"by {number}", 1) for number in range(4)),
    }


async def test_another_writer_is_found_out_though_a_ring_is_remembered(
    store: Store, client: StoreClient
) -> None:
    hi = await greeting(client)
    other = StoreClient(store=store, kinds=make_kinds())
    for turn in range(3):
        await client.record_events(hi, [event("Pulled", turn)])
        await other.record_events(hi, [event("Pulled", turn)])
    (found,) = await client.events(Greeting, "hi")
    assert found.count == 6


async def test_events_are_listed_by_project(client: StoreClient) -> None:
    for project in ("shop", "blog"):
        await client.in_project(project).create(Room.new("r"))
        room = await client.get(Room, "r", project=project)
        await client.record_events(room, [event(project.capitalize())])
    stamp = await client.create(Stamp.new("s"))
    await client.record_events(stamp, [event("Stamped")])

    async def listed(project: str | None) -> list[tuple[str, str, str, str]]:
        rings = await client.list_events(project)
        return [(ring.kind, ring.project, ring.name, ring.events[0].reason) for ring in rings]

    assert await listed("shop") == [("Room", "shop", "r", "Shop")]
    assert await listed("") == [("Stamp", "", "s", "Stamped")]
    assert await listed("sho") == []
    assert sorted(await listed(None)) == [
        ("Room", "blog", "r", "Blog"),
        ("Room", "shop", "r", "Shop"),
        ("Stamp", "", "s", "Stamped"),
    ]
    assert await client.in_project("blog").events(Room, "r") == (event("Blog"),)
    assert await client.events(Stamp, "s") == (event("Stamped"),)


async def test_what_a_deposed_leader_records_is_refused(store: Store, client: StoreClient) -> None:
    hi = await greeting(client)
    async with client.elect("shop", holder="n1") as leadership:
        fenced = client.fenced(leadership.key, leadership.revision)
        await fenced.record_events(hi, [event()])
        await store.transact([], [Delete(KeyRange.key(leadership.key))])
        with pytest.raises(Fenced):
            await fenced.record_events(hi, [event()])
    (found,) = await client.events(Greeting, "hi")
    assert found.count == 1


async def test_a_ring_whose_lease_ended_is_begun_again(store: Store, client: StoreClient) -> None:
    hi = await greeting(client)
    await client.record_events(hi, [event("Pulled")])
    found = await store.get(keys.events_key(Greeting.kind, "default", "hi"))
    assert found is not None
    assert found.lease
    await store.revoke(found.lease)
    assert await client.events(Greeting, "hi") == ()
    await client.record_events(hi, [event("Started", 1)])
    assert await client.events(Greeting, "hi") == (event("Started", 1),)


async def test_an_entity_has_the_same_events_in_every_version() -> None:
    async with MemoryStore() as store:
        kinds = Kinds([v1alpha1.Widget, v1beta1.Widget])
        client = VersionedClient(StoreClient(store=store, kinds=kinds), kinds)
        made = await client.create(v1alpha1.Widget.new("w", size_gb=1))
        await client.record_events(made, [event("Made")])
        await client.record_events(await client.get(v1beta1.Widget, "w"), [event("Made", 2)])
        for kind in (v1alpha1.Widget, v1beta1.Widget):
            (found,) = await client.events(kind, "w")
            assert found.count == 2


# -- cost, and the end ---------------------------------------------------------------------


@virtually
async def test_events_are_gone_an_hour_after_the_last_one() -> None:
    async with MemoryStore() as store:
        client = make_client(store)
        hi, ho = await greeting(client), await greeting(client, "ho")
        await client.record_events(hi, [event("Pulled")])
        await asyncio.sleep(290)
        await client.record_events(ho, [event("Pulled")])
        await asyncio.sleep(3590)
        assert await client.events(Greeting, "ho") == (event("Pulled"),)
        await client.record_events(ho, [event("Pulled")])
        await asyncio.sleep(3599)
        (found,) = await client.events(Greeting, "ho")
        assert found.count == 2, "an hour after the last one, not the first"
        assert await client.events(Greeting, "hi") == ()
        await asyncio.sleep(302)
        assert await keys_in(store, "/v/") == []


@virtually
async def test_rings_share_a_lease_and_a_known_one_is_written_in_one_round_trip() -> None:
    async with MemoryStore() as memory:
        store = Counting(memory)
        client = make_client(store)
        made = [await greeting(client, f"g{number}") for number in range(20)]
        store.calls.clear()
        for turn in range(3):
            for each in made:
                await client.in_project("shop").record_events(each, [event(at=turn)])
            await asyncio.sleep(50)
        assert store.calls == {"lease": 1, "write": 60}
        await asyncio.sleep(200)
        await client.record_events(made[0], [event()])
        assert store.calls == {"lease": 2, "write": 61}
        leases = {item.lease for item in (await memory.list(KeyRange.prefix("/v/"))).items}
        assert len(leases) == 2


@virtually
async def test_a_lease_that_ended_early_is_granted_again() -> None:
    async with MemoryStore() as store:
        client = make_client(store)
        hi = await greeting(client)
        await client.record_events(hi, [event("Pulled")])
        found = await store.get(keys.events_key(Greeting.kind, "default", "hi"))
        assert found is not None
        assert found.lease
        await store.revoke(found.lease)
        await client.record_events(hi, [event("Started")])
        assert await client.events(Greeting, "hi") == (event("Started"),)


# -- merging -------------------------------------------------------------------------------

_FEW = st.lists(
    st.builds(event, st.sampled_from(["A", "B", "C"]), st.integers(0, 99), count=st.integers(1, 5))
)


@given(st.lists(_FEW))
def test_merging_adds_up_what_is_the_same(parts: list[list[EntityEvent]]) -> None:
    ring: tuple[EntityEvent, ...] = ()
    for part in parts:
        ring = merged(ring, part)
    every = [each for part in parts for each in part]
    assert {each.reason for each in ring} == {each.reason for each in every}
    for each in ring:
        same = [one for one in every if one.reason == each.reason]
        assert each.count == sum(one.count for one in same)
        assert each.first == min(one.first for one in same)
        assert each.last == max(one.last for one in same)
    assert list(ring) == sorted(ring, key=lambda each: each.last)


@given(st.sets(st.integers(0, 999)), st.sets(st.integers(0, 999)))
def test_merging_keeps_the_newest(known: set[int], new: set[int]) -> None:
    ring = merged(
        merged((), [event(at=at, message=str(at)) for at in known]),
        [event(at=at, message=str(at)) for at in new],
    )
    assert [int(each.message) for each in ring] == sorted(known | new)[-RING:]
