from __future__ import annotations

import asyncio
import random

import pytest

from miren.entities.store.api import Store
from miren.entities.store.memory import MemoryStore
from tests.clocks import ManualClock
from tests.contracts.store_contract import StoreContract
from tests.contracts.store_leases import PassTime
from tests.contracts.store_reading import OpenStore, put


class TestMemoryStore(StoreContract):
    @pytest.fixture
    def clock(self) -> ManualClock:
        return ManualClock()

    @pytest.fixture
    def pass_time(self, clock: ManualClock) -> PassTime:
        return clock.pass_time

    @pytest.fixture
    def open_store(self, clock: ManualClock) -> OpenStore:
        memory = MemoryStore(clock=clock)

        def make() -> Store:
            return memory

        return make


async def test_a_seeded_store_repeats_its_uuid_and_an_unseeded_one_does_not() -> None:
    seeded = []
    for _ in range(2):
        async with MemoryStore(random.Random(7)) as store:
            seeded.append((await store.status()).uuid)
    assert seeded[0] == seeded[1]
    async with MemoryStore() as one, MemoryStore() as other:
        assert (await one.status()).uuid != (await other.status()).uuid


async def test_a_task_that_only_calls_the_store_lets_others_run() -> None:
    async with asyncio.timeout(10), MemoryStore() as store:
        turns = 0

        async def busy() -> None:
            while turns < 10:
                await put(store, "/a")

        async with asyncio.TaskGroup() as group:
            group.create_task(busy())
            while turns < 10:
                turns += 1
                await asyncio.sleep(0)
