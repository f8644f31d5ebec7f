"""The collector over random forests: exactly who should survive does, whatever fails meanwhile."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest

from miren.entities.store.sqlite import SQLiteStore
from miren.reconcile.context import Context
from miren.reconcile.controller import Controller
from miren.reconcile.results import Requeue
from miren.reconcile.testing import run_virtual
from tests.controllers.forests import LONG, grow_and_fell, left
from tests.controllers.relations import Leaf, collecting, make_client
from tests.effort import tries
from tests.reconcile.simulation import ShakyStore, World

pytestmark = pytest.mark.usefixtures("quiet")

SEEDS = tries(10, soak=500)


class Slow(Controller[Leaf], finalizer="relations.dev/slow"):
    """Holds leaves back for a while, and sometimes fails to let them go."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def reconcile(self, ctx: Context[Leaf], entity: Leaf) -> None:
        ctx.ready()

    async def finalize(self, ctx: Context[Leaf], entity: Leaf) -> Requeue | None:
        await self._world.pause(2)
        if self._world.happens(0.2):
            raise ValueError("not now")
        return Requeue(after=3) if self._world.happens(0.2) else None


async def fail(store: ShakyStore, world: World) -> None:
    """Drop watches and forget history for as long as things fail."""
    while True:
        await world.pause(20)
        if world.happens(0.5):
            store.drop_watches()
        if world.happens(0.3):
            await store.inner.compact((await store.inner.status()).revision)


async def collect(store: ShakyStore, world: World) -> None:
    """Run engines one after the other; some end in the middle of their work."""
    while True:
        client = make_client(store, rng=world.rng)
        grace = asyncio.timeout(world.rng.random() * 30 if world.fails else None)
        try:
            async with grace, collecting(client, Slow(world), rng=world.rng):
                await asyncio.Event().wait()
        except TimeoutError:
            await world.pause(5)


async def run(seed: int) -> None:
    world = World(random.Random(seed))
    async with ShakyStore(world) as store, asyncio.TaskGroup() as tasks:
        people = make_client(store.inner, rng=world.rng)
        others = [tasks.create_task(each(store, world)) for each in (fail, collect)]
        wanted = await grow_and_fell(people, world.rng, forests=6, size=7, pause=60)
        world.fails = False
        await asyncio.sleep(LONG)
        assert await left(people) == wanted
        before = await people.revision()
        await asyncio.sleep(LONG)
        assert await people.revision() == before, "what is as it should be is not written"
        for task in others:
            task.cancel()


@pytest.mark.parametrize("first", range(0, SEEDS, 5))
def test_exactly_who_should_survive_does(first: int) -> None:
    for seed in range(first, first + 5):
        try:
            run_virtual(run(seed))
        except BaseException as error:
            error.add_note(f"seed {seed}")
            raise


@pytest.mark.parametrize("seed", range(2))
async def test_it_is_the_same_on_a_disk(seed: int, tmp_path: Path) -> None:
    world = World(random.Random(seed), fails=False)
    async with SQLiteStore(tmp_path / "db") as store:
        client = make_client(store)
        async with collecting(client) as engine:
            wanted = await grow_and_fell(client, world.rng, forests=3, size=5, pause=0)
            await engine.run_until_idle()
            assert await left(client) == wanted
