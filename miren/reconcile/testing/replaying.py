"""`simulate`: the real engine, on virtual time, over a store in memory, while things go wrong.

    async def converges(sim: Simulation) -> None:
        await sim.start(lambda: [Greeter()], engines=2)
        await sim.client.apply(Greeting.partial("hi", text="hey"), manager="people")
        await sim.settle()
        assert (await sim.client.get(Greeting, "hi")).status.shout == "HEY"

    simulate(converges, seed=17)

Everything that happens by chance follows from the seed: which task runs first, what goes wrong
and when, and what `sim.rng` says. So a run that fails can be run again.

Chance in a scenario must come from `sim.rng`, and nothing may depend on the order of a set of
texts, which is another one in each process.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

from miren.entities.entity import Entity
from miren.reconcile.testing.faults import ALL, Fault
from miren.reconcile.testing.loop import VirtualLoop
from miren.reconcile.testing.simulation import Scenario, Simulation
from miren.reconcile.testing.trace import Trace

__all__ = ["Rate", "measure", "simulate"]

#: Of the trace, shown when a run fails.
_LINES = 40


def simulate(
    scenario: Scenario,
    *,
    seed: int,
    faults: Iterable[Fault] = ALL,
    kinds: Iterable[type[Entity[Any, Any]]] = (),
    limit: float = 24 * 3600.0,
    replay: str | None = None,
    is_quiet: bool = True,
) -> Trace:
    """Run a scenario with a seed, and return the trace.

    Raises what the scenario raises, what broke an engine, and AssertionError where a promise of
    the engine is broken (see `Simulation.check`), or `limit` seconds of virtual time are over. The
    error has notes that show the end of the trace and `replay`, how to run it again. Nothing is
    logged unless `is_quiet` is false.
    """
    sims: list[Simulation] = []

    async def main() -> Trace:
        sim = Simulation(seed, faults, kinds=kinds)
        sims.append(sim)
        await sim.run(scenario, limit=limit)
        return sim.trace

    with _repeatable(), _silence() if is_quiet else nullcontext():
        try:
            with asyncio.Runner(loop_factory=lambda: VirtualLoop(seed)) as runner:
                return runner.run(main())
        except BaseException as error:
            for sim in sims:
                error.add_note("\n".join(["", "what happened:", *sim.trace.tail(_LINES)]))
            error.add_note(
                f"\nseed {seed}; run it again with:\n    {replay or _call(scenario, seed)}"
            )
            raise


def _call(scenario: Scenario, seed: int) -> str:
    return f"simulate({getattr(scenario, '__qualname__', scenario)}, seed={seed})"


@contextmanager
def _repeatable() -> Iterator[None]:
    """Collect no garbage: an async generator in it would be closed at a time of its own."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


@contextmanager
def _silence() -> Iterator[None]:
    """Log nothing below `miren`: the trace says what happened, and all failures are meant."""
    logger = logging.getLogger("miren")
    before = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        logger.setLevel(before)


@dataclass(frozen=True, slots=True)
class Rate:
    """How fast simulations run: `speed` is virtual time over real time."""

    seeds: int
    seeds_per_second: float
    virtual_seconds: float
    speed: float


def measure(scenario: Scenario, *, seeds: int, faults: Iterable[Fault] = ALL) -> Rate:
    """Run a scenario with seeds 0 to `seeds` - 1, and return how fast that went."""
    virtual = 0.0

    async def timed(sim: Simulation) -> None:
        nonlocal virtual
        await scenario(sim)
        virtual += sim.time()

    begun = time.perf_counter()
    for seed in range(seeds):
        simulate(timed, seed=seed, faults=faults)
    took = time.perf_counter() - begun
    return Rate(seeds, seeds / took, virtual, virtual / took)
