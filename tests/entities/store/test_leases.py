"""When leases end, to the second: on a loop whose time jumps."""

from __future__ import annotations

import asyncio
import random

import pytest

from miren.base.errors import NotFound
from miren.entities.store.api import KeyRange, Lease
from miren.entities.store.leases import LeaseClock
from miren.entities.store.memory import MemoryStore
from miren.entities.store.rules import MAX_CHANGES, endings
from tests.contracts.store_leases import keys_of, put_leased
from tests.reconcile.virtual import now, virtually


@virtually
async def test_a_lease_ends_when_its_time_is_over_and_not_before() -> None:
    async with MemoryStore() as store:
        lease = await store.grant(10)
        await put_leased(store, lease, "/a")
        await asyncio.sleep(9.5)
        assert (await store.lease(lease)).remaining == pytest.approx(0.5)
        assert await keys_of(store) == ["/a"]
        await asyncio.sleep(0.6)
        assert await keys_of(store) == []
        with pytest.raises(NotFound):
            await store.keep_alive(lease)


@virtually
async def test_keeping_alive_counts_from_the_last_time() -> None:
    async with MemoryStore() as store:
        lease = await store.grant(10)
        await put_leased(store, lease, "/a")
        for _ in range(100):
            await asyncio.sleep(9.9)
            assert await store.keep_alive(lease) == 10
        assert now() == pytest.approx(990)
        await asyncio.sleep(9.9)
        assert await keys_of(store) == ["/a"]
        await asyncio.sleep(0.2)
        assert await keys_of(store) == []


@virtually
async def test_no_lease_ends_while_its_store_is_closed() -> None:
    store = MemoryStore()
    async with store:
        lease = await store.grant(10)
        await put_leased(store, lease, "/a")
        await asyncio.sleep(9)
    await asyncio.sleep(1000)
    async with store:
        assert (await store.lease(lease)).remaining == 10
        await asyncio.sleep(9.9)
        assert await keys_of(store) == ["/a"]
        await asyncio.sleep(0.2)
        assert await keys_of(store) == []


@virtually
async def test_a_lease_is_over_at_its_deadline_even_when_the_loop_is_late() -> None:
    expired: list[Lease] = []
    clock = LeaseClock(expired.append)
    clock.start(Lease(1), 5)
    clock.start(Lease(2), 6)
    loop = asyncio.get_running_loop()
    loop.advance(5)  # type: ignore[attr-defined]  # time passes, and no callback runs
    with pytest.raises(NotFound):
        clock.keep_alive(Lease(1))
    assert clock.times(Lease(2)) == (6, 1)
    assert expired == []
    await asyncio.sleep(0.5)
    assert expired == [Lease(1)]
    clock.close()
    await asyncio.sleep(10)
    assert expired == [Lease(1)]


@virtually
async def test_seeded_stores_give_the_same_leases() -> None:
    names = []
    for _ in range(2):
        async with MemoryStore(random.Random(3)) as store:
            names.append([await store.grant(1) for _ in range(3)])
    assert names[0] == names[1]
    assert len(set(names[0])) == 3


@pytest.mark.parametrize(
    ("count", "sizes"),
    [(0, []), (MAX_CHANGES, [MAX_CHANGES]), (MAX_CHANGES + 1, [MAX_CHANGES, 1])],
)
def test_only_more_keys_than_a_revision_holds_end_in_several(count: int, sizes: list[int]) -> None:
    keys = [f"/{n}" for n in range(count)]
    found = list(endings(keys))
    assert [len(transaction.then) for transaction in found] == sizes
    if found:
        assert found[0].then[0].range == KeyRange.key("/0")  # type: ignore[union-attr]  # a Delete
