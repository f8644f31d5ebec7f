"""What `simulate` does for a scenario, and what it refuses to let pass."""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager
from datetime import timedelta

import pytest

from miren.reconcile.context import Context
from miren.reconcile.controller import Controller
from miren.reconcile.results import Requeue
from miren.reconcile.testing import NONE, Entry, Fault, Simulation, simulate
from tests.builders import Greeting
from tests.reconcile.greeters import Greeter, Keeper

#: What the trace says when a fault has come to pass.
SIGNS = {
    Fault.CONFLICT: "somebody wrote",
    Fault.UNAVAILABLE: "reaches nobody",
    Fault.UNKNOWN: "gets no answer",
    Fault.WATCH_DROP: "break off",
    Fault.COMPACTION: "is forgotten",
    Fault.CRASH: "crashes",
    Fault.LEADER_LOSS: "the leases of",
    Fault.CLOCK: "the clock of",
}


async def greet(sim: Simulation) -> None:
    """Greet, with two engines, and see that it comes to an end."""
    await sim.start(lambda: [Keeper()], engines=2)
    for number in range(20):
        partial = Greeting.partial(f"g{number % 3}", text=f"hey {number}")
        await sim.client.apply(partial, manager="people")
        await sim.sleep(2)
    await sim.settle()
    for each in (await sim.client.list(Greeting)).items:
        assert each.status.shout == each.spec.text.upper()


@pytest.mark.parametrize("fault", SIGNS)
def test_every_fault_comes_to_pass(fault: Fault) -> None:
    told: list[str] = []

    async def scenario(sim: Simulation) -> None:
        sim.trace.listen(lambda entry: told.append(str(entry)))
        await greet(sim)

    for seed in range(20):
        simulate(scenario, seed=seed, faults={fault})
        if any(SIGNS[fault] in line for line in told):
            break
    others = [sign for other, sign in SIGNS.items() if other is not fault]
    assert any(SIGNS[fault] in line for line in told)
    assert not [line for line in told for sign in others if sign in line]


def test_delays_take_time_and_without_faults_only_the_order_is_left_to_chance() -> None:
    def ends(seed: int, *faults: Fault) -> list[str]:
        lines: list[str] = []

        async def scenario(sim: Simulation) -> None:
            sim.trace.listen(lambda entry: lines.append(str(entry)))
            await greet(sim)

        simulate(scenario, seed=seed, faults=faults)
        return lines

    assert ends(1) != ends(1, Fault.DELAY)
    assert not [line for line in ends(1) for sign in SIGNS.values() if sign in line]


def test_what_a_controller_checks_fails_the_simulation_and_not_only_the_reconcile() -> None:
    class Picky(Controller[Greeting]):
        def __init__(self, sim: Simulation) -> None:
            self.sim = sim

        async def reconcile(self, ctx: Context[Greeting], entity: Greeting) -> Requeue | None:
            self.sim.check(entity.spec.text != "bad", "a bad word")
            return None

    async def scenario(sim: Simulation) -> None:
        await sim.start(lambda: [Picky(sim)])
        await sim.client.apply(Greeting.partial("hi", text="bad"), manager="people")
        await asyncio.sleep(3600)
        raise AssertionError("it went on")

    with pytest.raises(AssertionError, match="a bad word") as caught:
        simulate(scenario, seed=4, faults=NONE, replay="pytest that --simulate-seed=4")
    notes = "\n".join(caught.value.__notes__)
    assert "people wrote Greeting/default/hi" in notes
    assert "pytest that --simulate-seed=4" in notes


def test_an_engine_that_breaks_fails_the_simulation() -> None:
    class Broken(Greeter):
        def serving(self) -> AbstractAsyncContextManager[None]:
            raise OSError("no socket")

    async def scenario(sim: Simulation) -> None:
        await sim.start(lambda: [Broken()])
        await asyncio.sleep(3600)

    with pytest.raises(ExceptionGroup) as caught:
        simulate(scenario, seed=1, faults=NONE)
    assert "no socket" in repr(caught.value)


def test_a_scenario_without_end_and_a_task_left_behind_are_errors() -> None:
    async def endless(sim: Simulation) -> None:
        await sim.start(lambda: [Greeter()], engines=2)
        await asyncio.Event().wait()

    with pytest.raises(AssertionError, match="still runs after 600 s"):
        simulate(endless, seed=1, limit=600)

    left: list[asyncio.Task[None]] = []

    async def untidy(sim: Simulation) -> None:
        left.append(asyncio.create_task(asyncio.sleep(3600), name="forgotten"))

    with pytest.raises(AssertionError, match="left behind: forgotten"):
        simulate(untidy, seed=1)


def test_a_crash_takes_memory_along_and_leaves_the_store() -> None:
    async def scenario(sim: Simulation) -> None:
        made: list[Greeter] = []

        def controllers() -> list[Controller[Greeting]]:
            made.append(Greeter())
            return [made[-1]]

        await sim.start(controllers)
        await sim.client.apply(Greeting.partial("hi", text="hey"), manager="people")
        await asyncio.sleep(1)
        (machine,) = sim.engines
        with pytest.raises(RuntimeError, match="crash or stop it first"):
            sim.restart(machine)
        await machine.crash()
        await sim.client.apply(Greeting.partial("hi", text="again"), manager="people")
        await sim.settle()
        assert not machine.is_up, "only what chance has crashed comes back by itself"
        sim.restart(machine)
        await sim.settle()
        assert [greeter.texts for greeter in made] == [["hey"], ["again"]]
        assert (await sim.client.get(Greeting, "hi")).status.shout == "AGAIN"

    simulate(scenario, seed=1, faults=NONE)


def test_what_was_on_its_way_in_a_crash_has_happened_or_not() -> None:
    """A write that waits for its answer is done; one that has not left yet is not."""
    found: set[bool] = set()

    async def scenario(sim: Simulation) -> None:
        await sim.start(lambda: [Greeter()])
        await sim.client.apply(Greeting.partial("hi", text="hey"), manager="people")
        begun = asyncio.Event()

        def look(entry: Entry) -> None:
            if entry.what == "begins":
                begun.set()

        sim.trace.listen(look)
        await begun.wait()
        await sim.sleep(0.02)
        await sim.engines[0].crash()
        found.add((await sim.client.get(Greeting, "hi")).status.shout == "HEY")

    for seed in range(30):
        simulate(scenario, seed=seed, faults={Fault.DELAY})
    assert found == {True, False}


def test_dates_are_of_virtual_time_and_the_same_for_all() -> None:
    async def scenario(sim: Simulation) -> None:
        await sim.start(lambda: [Greeter()])
        begun = sim.now()
        await asyncio.sleep(600)
        assert sim.now() - begun == timedelta(seconds=600)
        stored = await sim.client.apply(Greeting.partial("hi", text="hey"), manager="people")
        assert stored.metadata.creation_timestamp == sim.now()

    simulate(scenario, seed=1, faults=NONE)
