"""The collector over random forests: exactly who should survive does, whatever fails meanwhile."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest

from miren.controllers.garbage import collectors
from miren.controllers.project import ProjectController
from miren.entities.gen import Project
from miren.entities.store.sqlite import SQLiteStore
from miren.reconcile.context import Context
from miren.reconcile.controller import Controller
from miren.reconcile.results import Requeue
from miren.reconcile.testing import Simulation
from tests.controllers.forests import LONG, grow_and_fell, left
from tests.controllers.relations import KINDS, Leaf, collecting, make_client
from tests.effort import tries


class Slow(Controller[Leaf], finalizer="relations.dev/slow"):
    """Holds leaves back for a while, and sometimes fails to let them go."""

    def __init__(self, sim: Simulation) -> None:
        self.sim = sim

    async def reconcile(self, ctx: Context[Leaf], entity: Leaf) -> None:
        ctx.ready()

    async def finalize(self, ctx: Context[Leaf], entity: Leaf) -> Requeue | None:
        await self.sim.sleep(2)
        if self.sim.happens(0.2):
            raise ValueError("not now")
        return Requeue(after=3) if self.sim.happens(0.2) else None


@pytest.mark.simulate(seeds=tries(10, soak=500))
async def test_exactly_who_should_survive_does(sim: Simulation) -> None:
    every = (*KINDS, Project)
    sim.know(*every)
    await sim.start(lambda: [Slow(sim), ProjectController(every), *collectors(every)])
    wanted = await grow_and_fell(sim.client, sim.rng, forests=6, size=7, pause=60)
    await sim.settle(seconds=LONG)
    assert await left(sim.client) == wanted
    before = await sim.client.revision()
    await asyncio.sleep(LONG)
    assert await sim.client.revision() == before, "what is as it should be is not written"


@pytest.mark.parametrize("seed", range(2))
async def test_it_is_the_same_on_a_disk(seed: int, tmp_path: Path) -> None:
    rng = random.Random(seed)
    async with SQLiteStore(tmp_path / "db") as store:
        client = make_client(store)
        async with collecting(client) as engine:
            wanted = await grow_and_fell(client, rng, forests=3, size=5, pause=0)
            await engine.run_until_idle()
            assert await left(client) == wanted
