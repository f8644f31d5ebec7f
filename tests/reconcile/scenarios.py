"""Scenarios that bring out what the engine promises. Each runs with any seed, and judges itself.

    python -m tests.reconcile.scenarios shop 7

prints the digest of what happened.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping

from miren.reconcile.context import Context
from miren.reconcile.controller import Controller
from miren.reconcile.queue import PATIENCE
from miren.reconcile.results import Key, Requeue
from miren.reconcile.testing import ALL, NONE, Entry, Fault, Scenario, Simulation, simulate
from tests.builders import Greeting, GreetingStatus, Room
from tests.reconcile.properties import CALM, Judge, judging
from tests.reconcile.world import NAMES, Counter, Shouter, World, people

__all__ = ["SCENARIOS"]


async def shop(sim: Simulation) -> None:
    """Class and registry controllers, one to three engines, and everything that can go wrong."""
    world, engines = World(sim), sim.rng.randint(1, 3)
    election = "shop" if engines > 1 or sim.rng.random() < 0.5 else None
    async with judging(sim, election=election) as judge:
        await sim.start(world.controllers, engines=engines, elect=election, ttl=6.0)
        await people(sim, steps=40)
        await sim.settle(seconds=310)
        await _check_world(sim, world)
        await _check_engine(sim, world, judge)


async def _check_world(sim: Simulation, world: World) -> None:
    greetings = (await sim.client.list(Greeting)).items
    for greeting in greetings:
        assert not greeting.is_deleting, f"{greeting} was never let go"
        assert greeting.status.shout == greeting.spec.text.upper(), f"{greeting}: old status"
        assert greeting.observed_generation == greeting.metadata.generation, f"{greeting}: old"
    wanted = {greeting.uid: greeting.spec.text for greeting in greetings}
    shouted = {uid: text for uid, (_, text) in world.shouted.items()}
    assert shouted == wanted, "what is shouted is not what is wanted"
    rooms = (await sim.client.list(Room)).items
    sizes = {f"of-{each.name}": int(each.spec.text.split()[1]) for each in greetings}
    assert {room.name: room.spec.size for room in rooms} == sizes, "rooms not wanted"
    kept = {uid: size for uid, (_, size) in world.sizes.items()}
    assert kept == {room.uid: room.spec.size for room in rooms}, "rooms of another size"
    assert world.made.keys() == {room.uid for room in rooms}, "other rooms than there are"


async def _check_engine(sim: Simulation, world: World, judge: Judge) -> None:
    greetings = (await sim.client.list(Greeting)).items
    rooms = (await sim.client.list(Room)).items
    there = {each.uid for each in (*greetings, *rooms)}
    unfinished = [uid for uid in world.taken_up if uid not in there and uid not in world.finalized]
    assert not unfinished, f"gone and never finalized: {unfinished}"
    known = {Key.of(room): room.uid for room in rooms}
    for machine in sim.engines:
        for controller in machine.engine._controllers:
            if isinstance(controller, Counter):
                late = {key: uid for key, uid in controller.rooms.items() if known.get(key) != uid}
                assert not late, f"{machine.name} was never told that these went: {late}"
            if isinstance(controller, Shouter):
                found = {each.name: each.revision for each in controller.by_tone["plain"]}
                wanted = {each.name: each.revision for each in greetings}
                assert found == wanted, f"the index of {machine.name} is not what there is"
    await judge.caught_up()
    judge.check_fences()
    for name in ("counter", "rooms-room"):
        judge.check_last_seen(name, [f"Room/{Key.of(room)}" for room in rooms])
    judge.check_last_seen("shouter", [f"Greeting/{Key.of(each)}" for each in greetings])
    before = len(judge.writes)
    await asyncio.sleep(60)
    assert len(judge.writes) == before, "what is as it should be is not written"


class Failing(Controller[Greeting], concurrency=8):
    """Fails until it is healed."""

    def __init__(self, sim: Simulation) -> None:
        self.sim = sim

    async def reconcile(self, ctx: Context[Greeting], entity: Greeting) -> Requeue | None:
        await asyncio.sleep(0.001)
        if self.sim.faults:
            raise ValueError("not yet")
        return None


async def failures(sim: Simulation) -> None:
    """A key that fails is tried when its back-off says so, however often it is written to."""
    async with judging(sim) as judge:
        judge.slack = 3.0
        await sim.start([Failing(sim)])
        for number in range(60):
            name = sim.rng.choice(NAMES[:3])
            await sim.client.apply(Greeting.partial(name, text=str(number)), manager="people")
            await sim.sleep(0.2)
        await asyncio.sleep(sim.rng.random() * 60)
        for machine in sim.engines:
            sim.check(machine.engine.health()[0].errors > 20, "nothing failed")
        await sim.settle()
        assert all(item.observed_generation for item in (await sim.client.list(Greeting)).items)


class Serving(Controller[Greeting], concurrency=1):
    """One thing at a time, each takes as long."""

    takes = 0.1

    def __init__(self) -> None:
        self.served: dict[str, float] = {}

    async def reconcile(self, ctx: Context[Greeting], entity: Greeting) -> Requeue | None:
        await asyncio.sleep(self.takes)
        self.served.setdefault(entity.name, asyncio.get_running_loop().time())
        return None


async def crowd(sim: Simulation) -> None:
    """What was there at the start is served though newer things come all the time."""
    listed = [f"old{number}" for number in range(20)]
    sim.know(Greeting)
    for name in listed:
        await sim.client.create(Greeting.new(name, text="there before"))
    serving = Serving()
    await sim.start([serving])
    # Patience, and then two turns for each; one more for what is in work.
    bound = PATIENCE + (2 * len(listed) + 2) * Serving.takes
    end = sim.time() + bound
    number = 0
    while sim.time() < end:
        name, number = sim.rng.choice(NAMES), number + 1
        await sim.client.apply(Greeting.partial(name, text=str(number)), manager="people")
        await sim.sleep(0.06)
    starved = [name for name in listed if name not in serving.served]
    sim.check(not starved, f"after {bound:.1f} s these still wait: {starved}")
    await sim.settle(seconds=10)


async def tenants(sim: Simulation) -> None:
    """One key of a quiet project waits for one turn of each other project, not for all of them."""
    sim.know(Greeting)
    serving = Serving()
    await sim.start([serving])
    await asyncio.sleep(1)  # what the first list shows would be of another priority
    busy = [f"busy{number}" for number in range(sim.rng.randint(1, 3))]
    for number in range(40):
        for project in busy:
            greeting = Greeting.new(f"{project}-{number}", text="many", project=project)
            await sim.client.create(greeting)
    await sim.sleep(1.0)
    quiet = Greeting.new("one", text="only", project="quiet")
    await sim.client.create(quiet)
    begun = sim.time()
    # One in work, one turn of each busy project, and its own.
    bound = (len(busy) + 2) * Serving.takes + 0.01
    await asyncio.sleep(bound)
    sim.check("one" in serving.served, f"not served within {bound:.1f} s")
    sim.note(f"served after {serving.served['one'] - begun:.3f} s")
    await sim.settle(seconds=30)


class Echo(Controller[Greeting], concurrency=4):
    """Counts its calls in the status, from what its cache shows; so each call writes."""

    def __init__(self, sim: Simulation) -> None:
        self.sim = sim
        self.calls = 0
        self.writes = 0  # of others

    async def reconcile(self, ctx: Context[Greeting], entity: Greeting) -> Requeue | None:
        self.calls += 1
        self.sim.check(self.calls <= self.writes, f"call {self.calls} after {self.writes} writes")
        ctx.status = GreetingStatus(heard=entity.status.heard + 1)
        return None

    def count(self, entry: Entry) -> None:
        self.writes += entry.what == "wrote" and entry.who in ("people", "somebody")


async def echoes(sim: Simulation) -> None:
    """A controller is not woken by its own writes, and sees all of them."""
    echo = Echo(sim)
    sim.trace.listen(echo.count)
    async with judging(sim) as judge:
        await sim.start([echo])
        for number in range(60):
            name = sim.rng.choice(NAMES)
            await sim.client.apply(Greeting.partial(name, text=str(number)), manager="people")
            await sim.sleep(0.05)
        await sim.settle(seconds=20)
        heard = [each.status.heard for each in (await sim.client.list(Greeting)).items]
        assert sum(heard) == echo.calls, f"{echo.calls} calls, of which {heard} are to be seen"
        await judge.caught_up()


async def gone(sim: Simulation) -> None:
    """What goes while a watch is broken and its history forgotten is told as gone."""
    counter = Counter()
    sim.know(Room)
    for number in range(10):
        await sim.client.create(Room.new(f"r{number}", size=number))
    await sim.start([counter])
    await asyncio.sleep(20)
    assert len(counter.rooms) == 10
    for machine in sim.engines:
        machine.connection.cut(5)
    names = sim.rng.sample(range(10), 4)
    for number in names:
        await sim.client.delete(Room, f"r{number}")
    for number in names[:2]:
        await sim.client.create(Room.new(f"r{number}", size=99))
    await sim.store.compact(await sim.client.revision())
    await sim.settle(seconds=40)
    there = {Key.of(room): room.uid for room in (await sim.client.list(Room)).items}
    assert counter.rooms == there, "what went unseen is still known"


class Slow(Controller[Greeting]):
    """Takes its time, and says what it saw."""

    async def reconcile(self, ctx: Context[Greeting], entity: Greeting) -> Requeue | None:
        await asyncio.sleep(0.5)
        ctx.status = GreetingStatus(shout=entity.spec.text)
        return None


async def overtaken(sim: Simulation) -> None:
    """What others wrote during a reconcile is seen, though only its own write on top is shown."""
    await sim.start([Slow()])
    (machine,) = sim.engines
    for number in range(10):
        await sim.client.apply(Greeting.partial("hi", text=f"first {number}"), manager="people")
        await asyncio.sleep(0.3 + 0.2 * sim.rng.random())
        machine.connection.cut(0.05)
        await sim.client.apply(Greeting.partial("hi", text=f"then {number}"), manager="people")
        await asyncio.sleep(5)
        shown = (await sim.client.get(Greeting, "hi")).status.shout
        sim.check(shown == f"then {number}", f"'then {number}' was never seen")


class Busy(Controller[Greeting], concurrency=8):
    """Writes all the time."""

    async def reconcile(self, ctx: Context[Greeting], entity: Greeting) -> Requeue | None:
        await asyncio.sleep(0.3)
        ctx.status = GreetingStatus(heard=entity.status.heard + 1)
        return Requeue(after=0)


async def deposed(sim: Simulation) -> None:
    """Whoever has lost the lead, and does not know it, writes nothing any more."""
    sim.know(Greeting)
    for name in NAMES:
        await sim.client.create(Greeting.new(name, text="much to do"))
    async with judging(sim, election="busy") as judge:
        await sim.start([Busy()], engines=2, elect="busy", ttl=3.0)
        for _ in range(8):
            await asyncio.sleep(1 + sim.rng.random())
            for machine in sim.engines:
                if machine.engine.health()[0].is_leading:
                    await machine.connection.end_leases()
        sim.check(len(judge.writes) > 20, "nobody wrote")
        await judge.caught_up()
        judge.check_fences()


#: Every scenario with the faults that its bounds allow.
SCENARIOS: Mapping[str, tuple[Scenario, frozenset[Fault]]] = {
    "shop": (shop, ALL),
    "failures": (failures, CALM),
    "crowd": (crowd, frozenset({Fault.CONFLICT})),
    "tenants": (tenants, frozenset({Fault.CONFLICT})),
    "echoes": (echoes, CALM),
    "overtaken": (overtaken, NONE),
    "deposed": (deposed, frozenset({Fault.DELAY})),
    "gone": (gone, ALL - {Fault.CRASH, Fault.LEADER_LOSS}),
}


if __name__ == "__main__":
    name, seed = sys.argv[1:]
    scenario, faults = SCENARIOS[name]
    sys.stdout.write(simulate(scenario, seed=int(seed), faults=faults).digest)
