from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from miren.base.errors import InvalidInput, Unavailable
from miren.entities import keys
from miren.entities.store.api import Delete, KeyRange, Store
from miren.entities.store.memory import MemoryStore
from miren.entities.store_client import StoreClient
from tests.backends import BACKENDS, make_store
from tests.builders import make_kinds
from tests.entities.electing import candidates, eventually, standing
from tests.etcd import Member
from tests.reconcile.virtual import make_client, now, virtually
from tests.stores import Counting, Faulty, keys_in


@pytest.fixture(params=BACKENDS)
async def store(
    request: pytest.FixtureRequest, tmp_path: Path, shared_etcd: Member
) -> AsyncIterator[Store]:
    async with make_store(request.param, folder=tmp_path, etcd=shared_etcd) as opened:
        yield opened


@pytest.fixture
def client(store: Store) -> StoreClient:
    return StoreClient(store=store, kinds=make_kinds())


async def test_candidates_lead_in_the_order_in_which_they_stood(client: StoreClient) -> None:
    async with standing(client, "n1", "n2", "n3") as (first, second, third):
        before = await first.led()
        assert (before.name, before.holder) == ("shop", "n1")
        assert [each.holder for each in await candidates(client, "shop")] == ["n1", "n2", "n3"]
        assert not second.leads.is_set()
        first.leave.set()
        after = await second.led()
        assert before.revision < before.since < after.since
        assert before.revision < after.revision
        assert not third.leads.is_set()
        second.leave.set()
        await third.led()


async def test_who_gives_up_waiting_lets_the_next_one_pass(client: StoreClient) -> None:
    async with standing(client, "n1") as (first,), asyncio.TaskGroup() as group:
        leaving = group.create_task(_stand(client, "n2"))
        await eventually(lambda: _count(client, 2))
        staying = group.create_task(_stand(client, "n3"))
        await eventually(lambda: _count(client, 3))
        leaving.cancel()
        await eventually(lambda: _count(client, 2))
        assert not staying.done()
        first.leave.set()


async def test_leaving_gives_the_election_up_at_once(store: Store, client: StoreClient) -> None:
    async with client.elect("shop", holder="n1", ttl=600) as leadership:
        led = await client.leader("shop")
        assert led is not None
        assert (led.holder, led.key, led.revision) == ("n1", leadership.key, leadership.revision)
        assert led.since is not None
        assert await client.leader("other") is None
    assert await client.leader("shop") is None
    assert await keys_in(store, "/l/") == []
    async with asyncio.timeout(20), client.elect("shop", holder="n1", ttl=600) as again:
        assert again.revision > leadership.revision


async def test_the_same_name_twice_is_two_candidates(client: StoreClient) -> None:
    async with standing(client, "n1", "n1") as (one, other):
        await one.led()
        assert not other.leads.is_set()
        one.leave.set()
        await other.led()


async def test_elections_of_other_names_are_none_of_ours(client: StoreClient) -> None:
    async with (
        client.elect("shop", holder="n1"),
        client.elect("shop/1", holder="n1"),
        client.elect("shop2", holder="n1"),
    ):
        assert len(await candidates(client, "shop")) == 1


async def test_a_leader_whose_key_is_taken_away_is_told_at_once(client: StoreClient) -> None:
    async with standing(client, "n1", "n2", ttl=600) as (first, second):
        leadership = await first.led()
        await client.store.transact([], [Delete(KeyRange.key(leadership.key))])
        async with asyncio.timeout(20):
            await leadership.lost.wait()
        await second.led()


async def test_candidates_are_delivered_now_and_after_every_change(client: StoreClient) -> None:
    async with client.candidates("shop") as changes, asyncio.timeout(20):
        assert await anext(changes) == ()
        async with client.elect("shop", holder="n1"):
            (stands,) = await anext(changes)
            (leads,) = await anext(changes)
            assert (stands.since, leads.since is None) == (None, False)
            assert stands.revision == leads.revision
        assert await anext(changes) == ()


async def test_an_election_needs_a_name_and_a_holder(client: StoreClient) -> None:
    for name, holder in (("", "n1"), ("shop", "")):
        with pytest.raises(InvalidInput):
            async with client.elect(name, holder=holder):
                pass


# -- what takes time -----------------------------------------------------------------------


@virtually
async def test_a_leader_that_falls_silent_stops_before_another_leads() -> None:
    async with MemoryStore() as memory:
        mine = Faulty(memory)
        client, other = make_client(mine), make_client(memory)
        async with client.elect("shop", holder="n1", ttl=15) as leadership:
            async with asyncio.TaskGroup() as group:
                begun = now()
                waiting = group.create_task(_when_leading(other, "n2"))
                mine.go_down()
                await leadership.lost.wait()
                assert now() - begun == pytest.approx(12, abs=0.1)
                assert not waiting.done()
            assert waiting.result() - begun == pytest.approx(15, abs=0.1)


@virtually
async def test_a_leader_that_is_heard_of_leads_for_as_long_as_it_likes() -> None:
    async with MemoryStore() as memory:
        client = make_client(memory)
        revision = 0
        async with client.elect("shop", holder="n1", ttl=15) as leadership:
            revision = await client.revision()
            await asyncio.sleep(3600)
            assert not leadership.lost.is_set()
            assert await client.revision() == revision, "heartbeats write nothing"


@virtually
async def test_a_candidate_that_is_lost_while_it_waits_stands_again() -> None:
    async with MemoryStore() as memory:
        client = make_client(memory)
        async with standing(client, "n1", "n2") as (first, second):
            (_, before) = await candidates(client, "shop")
            await memory.transact([], [Delete(KeyRange.key(before.key))])
            first.leave.set()
            leadership = await second.led()
            assert leadership.revision > before.revision


@virtually
async def test_a_departure_wakes_only_the_next_candidate() -> None:
    async with MemoryStore() as memory:
        counting = Counting(memory)
        client = make_client(counting)
        names = [f"n{number}" for number in range(1, 40)]
        async with standing(client, *names) as everybody:
            counting.calls.clear()
            everybody[0].leave.set()
            await everybody[1].led()
            await asyncio.sleep(1)
            assert counting.calls["list"] < 5


@virtually
async def test_a_store_that_is_away_is_told_to_who_stands() -> None:
    async with MemoryStore() as memory:
        store = Faulty(memory)
        store.go_down()
        with pytest.raises(Unavailable):
            async with make_client(store).elect("shop", holder="n1"):
                pass


async def _stand(client: StoreClient, holder: str) -> None:
    async with client.elect("shop", holder=holder):
        pass


async def _when_leading(client: StoreClient, holder: str) -> float:
    async with client.elect("shop", holder=holder):
        return now()


async def _count(client: StoreClient, wanted: int) -> bool:
    page = await client.store.list(keys.candidates_range("shop"))
    return len(page.items) == wanted
