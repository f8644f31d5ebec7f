"""Hours in short: the engine on a store on disk, in real time, for as long as there is.

What grows with time would grow here: memory, tasks, open files.
"""

from __future__ import annotations

import asyncio
import gc
import os
import random
from pathlib import Path

from miren.base.errors import MirenError
from miren.entities.store.sqlite import SQLiteStore
from miren.reconcile.context import Context
from miren.reconcile.controller import Controller
from miren.reconcile.engine import Engine
from miren.reconcile.results import Requeue
from tests.builders import Greeting, GreetingStatus
from tests.effort import IS_SOAK, tries

ENTITIES, SECONDS = tries(500, soak=10_000), tries(5, soak=300)
CONTROLLERS, WORKERS = 20, 2
#: Beside the workers: what each controller and the engine have, whatever there is to do.
CONSTANT = 3 * CONTROLLERS + 20
#: Of the time, before anything is measured.
WARM_UP = 0.4
#: A few seconds are warm-up all of them: they show leaks of every change, and no slower ones.
GROWTH = tries(120, soak=105)


class Marker(Controller[Greeting], concurrency=WORKERS, resync=60, primary=False):
    """One of many that look at everything; only some of them write."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.seen = 0

    @property
    def name(self) -> str:
        return f"marker{self.number}"

    async def reconcile(self, ctx: Context[Greeting], entity: Greeting) -> Requeue | None:
        self.seen += 1
        if self.number == 0:
            ctx.status = GreetingStatus(shout=entity.spec.text.upper())
        return None


def resident() -> int:
    """Return how many bytes of memory this process has."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def changes(engine: Engine, rng: random.Random, until: float) -> int:
    """Do what people do until then, and return how often."""
    clock, done = asyncio.get_running_loop(), 0
    while clock.time() < until:
        name = f"g{rng.randrange(ENTITIES)}"
        try:
            if rng.random() < 0.1:
                await engine.client.delete(Greeting, name)
            else:
                partial = Greeting.partial(name, text=f"hey {rng.randrange(1000)}")
                await engine.client.apply(partial, manager="people")
        except MirenError:
            pass  # not there, or somebody else was faster
        done += 1
    return done


async def test_nothing_grows_with_time(tmp_path: Path, quiet: None) -> None:
    rng, clock = random.Random(1), asyncio.get_running_loop()
    markers = [Marker(number) for number in range(CONTROLLERS)]
    before = open_files()
    engine = Engine(SQLiteStore(tmp_path / "soak.db"), markers)
    async with engine:
        for number in range(ENTITIES):
            await engine.client.create(Greeting.new(f"g{number}", text="hey"))
        begun = clock.time()
        await changes(engine, rng, begun + SECONDS * WARM_UP)
        gc.collect()
        warm, files = resident(), open_files()
        tasks = len(asyncio.all_tasks())
        await changes(engine, rng, begun + SECONDS)
        gc.collect()
        grown = 100 * resident() / warm
        assert grown <= GROWTH, f"{grown:.1f} % of {warm / 1e6:.0f} MB"
        assert open_files() <= files
        assert len(asyncio.all_tasks()) <= tasks + 5
        assert tasks <= CONTROLLERS * WORKERS + CONSTANT
        assert all(marker.seen >= ENTITIES for marker in markers)
        await engine.run_until_idle()
        found = (await engine.client.list(Greeting)).items
        assert all(each.status.shout == each.spec.text.upper() for each in found)
    gc.collect()
    assert open_files() <= before, "files were left open"
    assert IS_SOAK or clock.time() - begun < 30
