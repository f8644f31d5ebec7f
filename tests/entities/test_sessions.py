from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from miren.base.errors import Conflict, InvalidInput, NotFound, Refused
from miren.base.quantities import Duration
from miren.entities.client import Selection
from miren.entities.entity import Entity
from miren.entities.model import Model, field
from miren.entities.store.api import KeyRange, Put, Store
from miren.entities.store.sqlite import SQLiteStore
from miren.entities.store_client import StoreClient
from miren.entities.unstored import session_attributes
from tests.entities.beacons import Beacon, BeaconSpec, Buoy, Lamp, Phase, make_client
from tests.stores import Racing

ALL = KeyRange("\0", "\U0010ffff")
SESSIONS = KeyRange.prefix("/s/")
INDEX = KeyRange.prefix("/i/")


@pytest.fixture
def client(store: Store) -> StoreClient:
    return make_client(store)


def is_free(beacon: Beacon | None) -> bool:
    return beacon is not None and beacon.status.keeper is None


async def names_of(client: StoreClient, phase: str) -> list[str]:
    listing = await client.list(Beacon, Selection(fields={"status.phase": phase}))
    return [beacon.name for beacon in listing.items]


async def test_what_a_session_sets_is_in_the_status_of_every_read(client: StoreClient) -> None:
    made = await client.create(Beacon.new("b1"))
    await client.create(Beacon.new("b2"))
    async with client.session(holder="n1", ttl=50) as session:
        said = await session.set(Beacon, "b1", phase="ready", ships_seen=3)
        assert (said.status.phase, said.status.ships_seen) == (Phase.READY, 3)
        assert said == await client.get(Beacon, "b1")
        listing = await client.list(Beacon)
        assert [each.status.phase for each in listing.items] == [Phase.READY, Phase.UNKNOWN]
        assert listing.items[0] == said
        assert said.to_document()["status"]["shipsSeen"] == 3
        assert said.revision == made.revision
        paged = await client.list(Beacon, limit=1)
        assert (paged.items, (await client.list(Beacon, token=paged.token)).items) == (
            (said,),
            listing.items[1:],
        )
        assert await client.get(Beacon, "b1", revision=await client.revision()) == said
        assert await client.get(Beacon, "b1", revision=made.revision) == made
    assert await client.get(Beacon, "b1") == made


async def test_an_indexed_session_attribute_can_be_selected_on(client: StoreClient) -> None:
    for name in ("b1", "b2"):
        await client.create(Beacon.new(name))
    async with client.session(holder="n1") as session:
        await session.set(Beacon, "b1", phase="ready", tags=["sea=north", "old=yes"])
        assert await names_of(client, "ready") == ["b1"]
        listing = await client.list(Beacon, Selection(fields={"status.tags": "sea=north"}))
        assert [each.status.phase for each in listing.items] == [Phase.READY]
        await session.set(Beacon, "b1", phase="dark")
        assert await names_of(client, "ready") == []
        assert await names_of(client, "dark") == ["b1"]
        assert len((await client.store.list(INDEX)).items) == 3
        await session.clear(Beacon, "b1", "phase")
        assert await names_of(client, "dark") == []
    assert (await client.store.list(INDEX)).items == ()
    assert (await client.store.list(SESSIONS)).items == ()


async def test_a_session_attribute_can_be_of_any_type(client: StoreClient) -> None:
    await client.create(Beacon.new("b"))
    at = datetime(2030, 1, 2, tzinfo=UTC)
    async with client.session(holder="n1") as session:
        for lamp in ({"watts": 5, "color": "red"}, 7, Lamp(watts=9)):
            said = await session.set(
                Beacon,
                "b",
                rests="1h30m",
                litAt=at,
                lamp=lamp,
                ports=[1, 2],
                names={"a": "b"},
                tags=["x=y"],
                room="lounge",
            )
            status = (await client.get(Beacon, "b")).status
            assert status == said.status
        assert (status.rests, status.lit_at) == (Duration.parse("1h30m"), at)
        assert (status.lamp, status.ports) == (Lamp(watts=9), (1, 2))
        assert (status.names, status.tags, status.room) == ({"a": "b"}, {"x": "y"}, "lounge")
        assert hash(status)


async def test_views_show_who_holds_it_and_for_how_long(client: StoreClient) -> None:
    made = await client.create(Buoy.new("b", height=7))
    status = made.status
    assert (status.ttl, status.keeper, status.id) == (None, None, made.uid)
    assert (status.revision, status.tall) == (made.revision, 7)
    async with client.session(holder="n1", ttl=90) as session:
        await session.set(Buoy, "b", phase="ready")
        seen = await client.get(Buoy, "b")
        assert (seen.status.ttl, seen.status.keeper) == (Duration(seconds=90), "n1")
        document = seen.to_document()["status"]
        assert (document["ttl"], document["keeper"]) == ("1m30s", "n1")
    assert await client.get(Buoy, "b") == made


async def test_writes_show_what_is_held_and_store_nothing_of_it(client: StoreClient) -> None:
    await client.create(Beacon.new("b"))
    async with client.session(holder="n1") as session:
        seen = await session.set(Beacon, "b", phase="ready")
        stored = await client.store.get("/e/example.dev/Beacon/default/b")
        # Nothing but session attributes and views is different: nothing to write.
        changed = seen.status.model_copy(update={"phase": Phase.DARK, "keeper": "me", "tall": 9})
        assert await client.update_status(seen.with_status(changed)) == seen
        assert await client.store.get("/e/example.dev/Beacon/default/b") == stored
        painted = seen.status.model_copy(update={"painted": "red", "ships_seen": 9})
        written = await client.update_status(seen.with_status(painted))
        assert (written.status.painted, written.status.phase) == ("red", Phase.READY)
        assert written.status.ships_seen == 0
        assert written == await client.get(Beacon, "b")
        for again in (
            await client.update(written),
            await client.update(written.with_spec(written.spec.model_copy(update={"height": 2}))),
            await client.apply(Beacon.partial("b", height=3), manager="ci", force=True),
            await client.apply(Beacon.partial("b", height=3), manager="ci"),
            await client.apply(Beacon.partial("b", height=4), manager="ci", dry_run=True),
            await client.patch(Beacon, "b", {"metadata": {"labels": {"a": "b"}}}),
        ):
            assert (again.status.phase, again.status.keeper) == (Phase.READY, "n1")
        raw = await client.store.get("/e/example.dev/Beacon/default/b")
        assert raw is not None
        assert b"phase" not in raw.value
        assert b"keeper" not in raw.value
        gone = await client.delete(Beacon, "b")
        assert gone.status.phase is Phase.READY
        assert (await client.store.list(SESSIONS)).items == ()


async def test_a_deleted_entity_takes_what_is_held_of_it_along(client: StoreClient) -> None:
    await client.create(Beacon.new("b"))
    await client.create(Beacon.new("other"))
    store = Racing(client.store)
    slow = make_client(store)
    async with client.session(holder="n1") as session:
        await session.set(Beacon, "other", phase="ready")
        others = (await client.store.list(ALL)).items
        await session.set(Beacon, "b", phase="ready", tags=["a=b"])

        async def change() -> None:
            await session.set(Beacon, "b", phase="dark")

        store.before_write = change
        gone = await slow.delete(Beacon, "b")
        assert gone.status.phase is Phase.DARK
        left = (await client.store.list(ALL)).items
        assert left == tuple(item for item in others if "/b" not in item.key)


async def test_session_changes_conflict_with_no_write(client: StoreClient) -> None:
    made = await client.create(Beacon.new("b"))
    async with client.session(holder="n1") as session:
        await session.set(Beacon, "b", phase="ready")
        await client.update(made.with_spec(made.spec.model_copy(update={"height": 2})))
        await session.set(Beacon, "b", phase="dark")


async def test_heartbeats_and_equal_values_make_no_revision(client: StoreClient) -> None:
    await client.create(Beacon.new("b"))
    async with client.session(holder="n1", ttl=0.6) as session:
        await session.set(Beacon, "b", phase="ready")
        before = await client.revision()
        clock = asyncio.get_running_loop()
        end = clock.time() + 1.0
        while clock.time() < end:
            await session.set(Beacon, "b", phase="ready")
            await asyncio.sleep(0.05)
        assert await client.revision() == before
        assert not session.lost.is_set()


async def test_one_holder_at_a_time_has_an_entity(client: StoreClient) -> None:
    await client.create(Beacon.new("b"))
    async with client.session(holder="n2") as other:
        async with client.session(holder="n1") as session:
            await session.set(Beacon, "b", phase="ready")
            for call in (
                other.set(Beacon, "b", phase="dark"),
                other.set(Beacon, "b", ships_seen=1),
                other.clear(Beacon, "b"),
            ):
                with pytest.raises(Conflict, match="held by n1"):
                    await call
            assert (await client.get(Beacon, "b")).status.phase is Phase.READY
        taken = await other.set(Beacon, "b", ships_seen=1)
        assert (taken.status.keeper, taken.status.phase) == ("n2", Phase.UNKNOWN)
        await other.clear(Beacon, "b")
        assert (await client.get(Beacon, "b")).status.keeper is None


async def test_of_two_that_claim_at_once_one_gets_it(client: StoreClient) -> None:
    await client.create(Beacon.new("b"))
    store = Racing(client.store)
    slow = make_client(store)
    async with slow.session(holder="n1") as late, client.session(holder="n2") as early:

        async def first() -> None:
            await early.set(Beacon, "b", ships_seen=2)

        store.before_write = first
        with pytest.raises(Conflict, match="held by n2"):
            await late.set(Beacon, "b", phase="ready")


async def test_nothing_is_set_of_an_entity_that_goes_meanwhile(client: StoreClient) -> None:
    made = await client.create(Beacon.new("b"))
    store = Racing(client.store)
    async with make_client(store).session(holder="n1") as session:

        async def replace() -> None:
            await client.delete(Beacon, "b")
            await client.create(Beacon.new("b"))

        store.before_write = replace
        said = await session.set(Beacon, "b", phase="ready")
        assert said.uid != made.uid
        assert said == await client.get(Beacon, "b")

        async def delete() -> None:
            await client.delete(Beacon, "b")

        store.before_write = delete
        with pytest.raises(NotFound):
            await session.set(Beacon, "b", phase="dark")
        assert (await client.store.list(SESSIONS)).items == ()


async def test_when_a_holder_falls_silent_another_takes_over(client: StoreClient) -> None:
    await client.create(Beacon.new("b"))
    lease = await client.store.grant(0.2)  # of somebody who never keeps it alive
    dead = b'{"holder":"n1","ttl":0.2,"uid":"%s","value":"ready"}'
    uid = (await client.get(Beacon, "b")).uid.encode()
    key = "/s/example.dev/Beacon/default/b/phase"
    await client.store.transact([], [Put(key, dead % uid, lease)])
    async with client.session(holder="n2") as session:
        with pytest.raises(Conflict, match="held by n1"):
            await session.set(Beacon, "b", phase="dark")
        free = await client.wait(Beacon, "b", is_free, timeout=10)
        assert free is not None
        assert free.status.phase is Phase.UNKNOWN
        await session.set(Beacon, "b", phase="dark")


async def test_a_holder_that_comes_back_takes_its_own_over_at_once(client: StoreClient) -> None:
    await client.create(Beacon.new("b"))
    async with client.session(holder="n1") as second:
        async with client.session(holder="n1") as first:
            await first.set(Beacon, "b", phase="ready", ships_seen=1)
            await second.set(Beacon, "b", phase="ready")
        left = await client.get(Beacon, "b")
        assert (left.status.phase, left.status.ships_seen) == (Phase.READY, 0)
        assert await names_of(client, "ready") == ["b"]


async def test_what_was_said_of_an_earlier_entity_does_not_count(client: StoreClient) -> None:
    made = await client.create(Beacon.new("b"))
    async with client.session(holder="n1") as session, client.session(holder="n2") as other:
        await session.set(Beacon, "b", phase="ready")
        held = (await client.store.list(SESSIONS)).items[0]
        await client.delete(Beacon, "b")
        again = await client.create(Beacon.new("b"))
        assert again.uid != made.uid
        # As if the holder had written just when the earlier one was deleted.
        lease = await client.store.grant(60)
        await client.store.transact([], [Put(held.key, held.value, lease)])
        assert (await client.get(Beacon, "b")).status == again.status
        assert await names_of(client, "ready") == []
        await other.set(Beacon, "b", phase="dark")
        assert await names_of(client, "dark") == ["b"]


async def test_every_fault_of_what_is_set_is_told(client: StoreClient) -> None:
    await client.create(Beacon.new("b"))
    faults: list[tuple[dict[str, Any], list[tuple[str | int, ...]]]] = [
        ({"phase": "bright", "ships_seen": -1}, [("status", "phase"), ("status", "shipsSeen")]),
        ({"painted": "red", "fase": "x"}, [("status", "painted"), ("status", "fase")]),
        ({"phase": None}, [("status", "phase")]),
        ({"lamp": {"color": "red"}}, [("status", "lamp", "watts")]),
    ]
    async with client.session(holder="n1") as session:
        for values, paths in faults:
            with pytest.raises(InvalidInput) as caught:
                await session.set(Beacon, "b", **values)
            assert [problem.path for problem in caught.value.problems] == paths
        with pytest.raises(InvalidInput):
            await session.clear(Beacon, "b", "painted")
        with pytest.raises(NotFound, match="beacon 'c' not found"):
            await session.set(Beacon, "c", phase="ready")
        assert (await client.store.list(SESSIONS)).items == ()
    with pytest.raises(InvalidInput):
        async with client.session(holder=""):
            pass


async def test_a_lost_session_is_told_and_refuses(client: StoreClient) -> None:
    await client.create(Beacon.new("b"))
    async with client.session(holder="n1", ttl=0.3) as session:
        await session.set(Beacon, "b", phase="ready")
        lease = (await client.store.list(SESSIONS)).items[0].lease
        await client.store.revoke(lease)
        async with asyncio.timeout(10):
            await session.lost.wait()
        with pytest.raises(Refused, match="session of n1 is lost"):
            await session.set(Beacon, "b", phase="dark")
    async with client.session(holder="n1", ttl=60) as session:
        await session.set(Beacon, "b", phase="ready")
        lease = (await client.store.list(SESSIONS)).items[0].lease
        await client.store.revoke(lease)
        # Found out by the write itself, long before the next heartbeat.
        with pytest.raises(Refused, match="session of n1 is lost"):
            await session.set(Beacon, "b", phase="dark")
        assert session.lost.is_set()


async def test_leaving_by_an_error_gives_everything_up(client: StoreClient) -> None:
    await client.create(Beacon.new("b"))

    async def hold() -> None:
        async with client.session(holder="n1") as session:
            await session.set(Beacon, "b", phase="ready")
            holding.set()
            await asyncio.Event().wait()

    holding = asyncio.Event()
    task = asyncio.create_task(hold())
    await holding.wait()
    task.cancel()
    await asyncio.wait([task], timeout=10)
    assert task.cancelled()
    assert (await client.store.list(SESSIONS)).items == ()


async def test_after_a_restart_of_the_store_it_is_kept_for_its_whole_time(tmp_path: Path) -> None:
    store = await SQLiteStore(tmp_path / "db").__aenter__()
    client = make_client(store)
    made = await client.create(Beacon.new("b"))
    async with client.session(holder="n1", ttl=0.8) as session:
        await session.set(Beacon, "b", phase="ready")
        await store.__aexit__(None, None, None)
    async with SQLiteStore(tmp_path / "db") as store:
        client = make_client(store)
        clock = asyncio.get_running_loop()
        opened = clock.time()
        assert (await client.get(Beacon, "b")).status.phase is Phase.READY
        gone = await client.wait(Beacon, "b", is_free, timeout=10)
        assert gone == made
        assert clock.time() - opened > 0.7


class Deep(Model):
    inner: str = field(default="", session=True)


class DeepStatus(Model):
    deep: Deep | None = None


class Odd(Entity[BeaconSpec, DeepStatus], api="example.dev/v1"):
    """What no schema can say."""


def test_only_the_status_itself_has_session_attributes() -> None:
    with pytest.raises(TypeError, match=r"status\.deep\.inner"):
        session_attributes(Odd.kind)
