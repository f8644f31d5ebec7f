"""Elections and sessions over a server: the lease is the store's, whoever serves it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from miren.base.errors import Conflict, Fenced, InvalidInput, Refused
from miren.clients.remote import RemoteClient
from miren.entities import keys
from miren.entities.store.api import Delete, KeyRange
from miren.entities.store.memory import MemoryStore
from miren.entities.store.sqlite import SQLiteStore
from miren.reconcile.engine import Engine
from tests.builders import KINDS, Greeting, GreetingSpec, Room, make_greeting
from tests.clients.remote.serving import Front, serving
from tests.entities.beacons import Beacon, Phase
from tests.entities.electing import candidates, eventually, standing
from tests.reconcile.greeters import Greeter


async def test_candidates_lead_in_the_order_in_which_they_stood(client: RemoteClient) -> None:
    async with standing(client, "n1", "n2", "n3") as (first, second, third):
        before = await first.led()
        assert (before.name, before.holder) == ("shop", "n1")
        assert [each.holder for each in await candidates(client, "shop")] == ["n1", "n2", "n3"]
        led = await client.leader("shop")
        assert led is not None
        assert (led.holder, led.key, led.revision) == ("n1", before.key, before.revision)
        assert not second.leads.is_set()
        first.leave.set()
        after = await second.led()
        assert before.revision < before.since < after.since
        assert before.revision < after.revision
        assert not third.leads.is_set()
        second.leave.set()
        await third.led()
    assert await client.leader("shop") is None


async def test_candidates_over_a_server_stand_with_those_in_it(
    client: RemoteClient, front: Front
) -> None:
    async with standing(front.client, "inside") as (inside,):
        await inside.led()
        async with standing(client, "outside") as (outside,):

            async def both() -> bool:
                return len(await candidates(front.client, "shop")) == 2

            await eventually(both)
            assert not outside.leads.is_set()
            inside.leave.set()
            await outside.led()


async def test_what_a_deposed_leader_writes_is_refused(client: RemoteClient, front: Front) -> None:
    async with standing(client, "n1") as (first,):
        leadership = await first.led()
        mine = client.fenced(leadership.key, leadership.revision)
        made = await mine.create(make_greeting())
        made = await mine.update_status(made)
        await front.client.store.transact([], [Delete(KeyRange.key(leadership.key))])
        async with asyncio.timeout(10):
            await leadership.lost.wait()
        for late in (
            mine.update(made.with_spec(GreetingSpec(text="late"))),
            mine.in_project("default").delete(Greeting, "hi"),
            mine.create(make_greeting("other")),
            mine.apply(Greeting.partial("hi", text="late"), manager="ci"),
            mine.patch(Greeting, "hi", {"spec": {"text": "late"}}, dry_run=True),
        ):
            with pytest.raises(Fenced):
                await late
        assert await mine.get(Greeting, "hi") == made
        with pytest.raises(Conflict) as plain:  # which has the same code
            await client.update(made.with_metadata(resource_version="1"))
        assert type(plain.value) is not Fenced


async def test_a_leader_outlives_its_server(socket: Path, tmp_path: Path) -> None:
    async with RemoteClient(f"unix://{socket}", kinds=KINDS) as client:
        async with SQLiteStore(tmp_path / "db") as store, serving(store, socket):
            election = client.elect("shop", holder="n1", ttl=6)
            leadership = await election.__aenter__()
        async with SQLiteStore(tmp_path / "db") as store, serving(store, socket):
            mine = client.fenced(leadership.key, leadership.revision)
            await mine.create(make_greeting())
            found = await client.leader("shop")
            assert found is not None
            assert found.key == leadership.key
            assert not leadership.lost.is_set()
            await election.__aexit__(None, None, None)
            assert await client.leader("shop") is None


async def test_a_leader_whose_server_stays_away_stops_in_time(socket: Path) -> None:
    async with MemoryStore() as store, RemoteClient(f"unix://{socket}", kinds=KINDS) as client:
        async with serving(store, socket):
            election = client.elect("shop", holder="n1", ttl=0.5)
            leadership = await election.__aenter__()
        async with asyncio.timeout(0.5):
            await leadership.lost.wait()
        await election.__aexit__(None, None, None)


async def test_a_candidate_whose_lease_has_gone_stands_again(
    client: RemoteClient, front: Front
) -> None:
    async with standing(front.client, "n1") as (first,), standing(client, "n2") as (second,):
        await first.led()

        async def both_stand() -> bool:
            return len(await candidates(client, "shop")) == 2

        await eventually(both_stand)
        *_, waiting = await candidates(client, "shop")
        await front.client.store.transact([], [Delete(KeyRange.key(waiting.key))])

        async def stands_again() -> bool:
            found = await candidates(client, "shop")
            return len(found) == 2 and found[1].key != waiting.key

        await eventually(stands_again)
        first.leave.set()
        assert (await second.led()).key.startswith(keys.candidates_range("shop").start)


async def test_an_election_needs_names(client: RemoteClient) -> None:
    for name, holder in (("", "n1"), ("shop", "")):
        with pytest.raises(InvalidInput):
            async with client.elect(name, holder=holder):
                pass
    with pytest.raises(InvalidInput):
        async with client.elect("shop", holder="n1", ttl=0):
            pass


async def test_an_engine_works_while_it_leads(client: RemoteClient) -> None:
    greeter = Greeter()
    await client.create(make_greeting())
    async with Engine(client, [greeter], elect="shop", identity="n1") as engine:
        await engine.run_until_idle()
        assert greeter.texts == ["hey"]
        found = await client.leader("shop")
        assert found is not None
        assert found.holder == "n1"
    assert await client.leader("shop") is None


async def test_a_session_holds_attributes_until_it_is_left(
    client: RemoteClient, front: Front
) -> None:
    made = await client.create(Beacon.new("b1"))
    async with client.session(holder="n1", ttl=50) as session:
        said = await session.set(Beacon, "b1", phase="ready", ships_seen=3)
        assert (said.status.phase, said.status.ships_seen) == (Phase.READY, 3)
        assert said == await client.get(Beacon, "b1")
        assert said == await front.client.get(Beacon, "b1")
        assert said.status.keeper == "n1"
        async with client.session(holder="n2") as other:
            with pytest.raises(Conflict, match="held by n1"):
                await other.set(Beacon, "b1", phase="dark")
        less = await session.clear(Beacon, "b1", "ships_seen")
        assert (less.status.phase, less.status.ships_seen) == (Phase.READY, 0)
        with pytest.raises(InvalidInput, match="phase"):
            await session.set(Beacon, "b1", phase="nonsense")
    assert await client.get(Beacon, "b1") == made


async def test_a_session_outlives_its_server_and_is_lost_with_its_store(socket: Path) -> None:
    kinds = (*KINDS, Beacon)
    async with RemoteClient(f"unix://{socket}", kinds=kinds) as client:
        async with MemoryStore() as store:
            async with serving(store, socket, kinds=kinds):
                await client.create(Beacon.new("b1"))
                holding = client.session(holder="n1", ttl=30)
                session = await holding.__aenter__()
                await session.set(Beacon, "b1", phase="ready")
            async with serving(store, socket, kinds=kinds):
                said = await session.set(Beacon, "b1", ships_seen=3)
                assert (said.status.phase, said.status.ships_seen) == (Phase.READY, 3)
        async with MemoryStore() as other, serving(other, socket, kinds=kinds) as front:
            await front.client.create(Beacon.new("b1"))
            assert (await client.list(Room)).items == ()
            with pytest.raises(Refused, match="lost"):
                await session.set(Beacon, "b1", phase="ready")
            assert session.lost.is_set()
            await holding.__aexit__(None, None, None)
