"""The real engine under all that can go wrong; see `scenarios` for what is held against it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from miren.reconcile.testing import Simulation, measure, simulate
from tests.effort import tries
from tests.reconcile.scenarios import SCENARIOS

ROOT = Path(__file__).parents[2]
#: Of the scenario in which everything goes wrong, in parts that each take less than a minute;
#: and of each of the others.
SEEDS, PARTS = tries(200, soak=5000), tries(4, soak=20)
EACH = tries(10, soak=500)


@pytest.mark.parametrize("part", range(PARTS))
def test_everything_is_as_it_should_be_once_the_faults_stop(part: int) -> None:
    scenario, faults = SCENARIOS["shop"]
    each = SEEDS // PARTS
    for seed in range(part * each, (part + 1) * each):
        simulate(scenario, seed=seed, faults=faults)


@pytest.mark.parametrize("name", [name for name in SCENARIOS if name != "shop"])
def test_the_engine_keeps_its_promise(name: str) -> None:
    scenario, faults = SCENARIOS[name]
    for seed in range(EACH):
        simulate(scenario, seed=seed, faults=faults)


@pytest.mark.simulate(seeds=5)
async def test_a_simulation_is_what_a_marked_test_is_given(sim: Simulation) -> None:
    scenario, _ = SCENARIOS["shop"]
    await scenario(sim)


def test_the_same_seed_replays_the_same_trace_and_another_another() -> None:
    scenario, _ = SCENARIOS["shop"]
    first = [simulate(scenario, seed=seed).digest for seed in range(3)]
    assert [simulate(scenario, seed=seed).digest for seed in range(3)] == first
    assert len(set(first)) == 3


def test_a_trace_does_not_depend_on_the_process() -> None:
    traces = {
        subprocess.run(
            [sys.executable, "-m", "tests.reconcile.scenarios", "shop", "7"],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": seed},
            check=True,
            capture_output=True,
            timeout=50,
        ).stdout
        for seed in ("1", "2")
    }
    assert traces == {simulate(SCENARIOS["shop"][0], seed=7).digest.encode()}


def test_how_fast_simulations_run_is_measured() -> None:
    rate = measure(SCENARIOS["shop"][0], seeds=2)
    assert rate.seeds == 2
    assert rate.virtual_seconds > 600
    assert rate.speed > 100
