"""How much history stays: the policy, and the task on a loop whose time jumps."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from miren.base.errors import Compacted, InvalidInput
from miren.entities.store.memory import MemoryStore
from miren.entities.store.retention import Ages, Retention, retaining
from miren.entities.store.sqlite import SQLiteStore
from tests.contracts.store_reading import EVERYTHING, put
from tests.reconcile.virtual import virtually
from tests.stores import Faulty

_SHORT = Retention(age=60, revisions=10, pinned=100)


@pytest.mark.parametrize(
    ("newest", "aged", "watched", "goal"),
    [
        (5_000, 4_000, None, 0),  # less than what always stays
        (50_000, 0, None, 0),  # nothing is old enough
        (50_000, 30_000, None, 30_000),  # the age keeps more
        (50_000, 45_000, None, 40_000),  # the number keeps more
        (50_000, 45_000, 49_000, 40_000),  # the watch needs less than what stays
        (50_000, 45_000, 12_000, 12_000),  # the watch needs more
        (500_000, 480_000, 12_000, 400_000),  # more than it may
    ],
)
def test_history_goes_up_to(newest: int, aged: int, watched: int | None, goal: int) -> None:
    assert Retention().goal(newest, aged, watched=watched) == goal


@given(
    newest=st.integers(0, 10**6),
    aged=st.integers(0, 10**6),
    watched=st.none() | st.integers(0, 10**6),
)
def test_what_is_promised_to_stay_always_stays(
    newest: int, aged: int, watched: int | None
) -> None:
    retention = Retention(revisions=100, pinned=1000)
    goal = retention.goal(newest, min(aged, newest), watched=watched)
    assert 0 <= goal <= max(newest - 100, 0)
    assert goal <= aged
    if watched is not None and watched > newest - 1000:
        assert goal <= watched


@given(st.lists(st.tuples(st.floats(0.1, 500), st.integers(0, 50)), min_size=1, max_size=60))
def test_a_revision_counts_as_old_only_when_it_is(steps: list[tuple[float, int]]) -> None:
    ages = Ages(100)
    now, revision = 0.0, 1
    history: list[tuple[float, int]] = []
    for seconds, made in steps:
        now, revision = now + seconds, revision + made
        history.append((now, revision))
        expected = max((r for when, r in history if when <= now - 100), default=0)
        assert ages.add(now, revision) == expected


@pytest.mark.parametrize(("age", "revisions", "pinned"), [(0, 1, 1), (1, -1, 1), (1, 1, -1)])
def test_a_policy_that_means_nothing_is_invalid(age: float, revisions: int, pinned: int) -> None:
    with pytest.raises(InvalidInput):
        Retention(age, revisions, pinned)


@virtually
async def test_history_stays_for_its_time_and_then_goes() -> None:
    async with MemoryStore(retention=_SHORT) as store:
        for n in range(50):
            await put(store, f"/{n}")
        await asyncio.sleep(55)
        assert (await store.status()).compacted == 0
        await asyncio.sleep(10)
        assert (await store.status()).compacted == 51 - 10
    # Closed, it does nothing; and opened again, history counts as new.
    await asyncio.sleep(100)
    async with store:
        for n in range(50):
            await put(store, f"/{n}")
        await asyncio.sleep(55)
        assert (await store.status()).compacted == 51 - 10
        await asyncio.sleep(10)
        assert (await store.status()).compacted == 101 - 10


@virtually
async def test_what_a_watch_has_yet_to_read_stays_up_to_a_bound() -> None:
    async with MemoryStore(retention=_SHORT) as store:
        for n in range(50):
            await put(store, f"/{n}")
        async with store.watch(EVERYTHING, after=5) as items:
            await asyncio.sleep(100)
            assert (await store.status()).compacted == 5
            await anext(items)  # it takes all that there is into its hands
            await asyncio.sleep(5)
            assert (await store.status()).compacted == 51 - 10
        async with store.watch(EVERYTHING, after=45):
            for n in range(100):
                await put(store, f"/{n}")
            await asyncio.sleep(100)
            assert (await store.status()).compacted == 151 - 100
        await asyncio.sleep(5)
        assert (await store.status()).compacted == 151 - 10


@virtually
async def test_a_store_that_is_down_is_compacted_later() -> None:
    async with MemoryStore() as inner:
        store = Faulty(inner)
        async with retaining(store, _SHORT):
            for n in range(50):
                await put(store, f"/{n}")
            await asyncio.sleep(10)
            store.go_down()
            await asyncio.sleep(100)
            assert (await inner.status()).compacted == 0
            store.is_down = False
            await asyncio.sleep(5)
            assert (await inner.status()).compacted == 41
        await asyncio.sleep(100)


async def test_a_sqlite_store_compacts_by_its_policy(tmp_path: Path) -> None:
    retention = Retention(age=0.1, revisions=3)
    async with SQLiteStore(tmp_path / "store.db", retention=retention) as store:
        for n in range(20):
            await put(store, f"/{n % 2}")
        async with asyncio.timeout(10):
            while (await store.status()).compacted != 18:  # noqa: ASYNC110  # nobody tells
                await asyncio.sleep(0.01)
        with pytest.raises(Compacted):
            await store.get("/0", revision=17)
