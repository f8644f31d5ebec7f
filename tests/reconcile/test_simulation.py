from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.effort import tries
from tests.reconcile.simulation import simulate

pytestmark = pytest.mark.usefixtures("quiet")

SEEDS = tries(30, soak=1000)
ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("first", range(0, SEEDS, 10))
def test_everything_is_as_it_should_be_once_the_faults_stop(first: int) -> None:
    for seed in range(first, first + 10):
        try:
            simulate(seed)
        except Exception as error:
            error.add_note(f"seed {seed}")
            raise


def test_the_same_seed_replays_the_same_trace_and_another_another() -> None:
    first = [simulate(seed) for seed in range(3)]
    assert [simulate(seed) for seed in range(3)] == first
    assert len(set(first)) == 3


def test_a_trace_does_not_depend_on_the_process() -> None:
    traces = {
        subprocess.run(
            [sys.executable, "-m", "tests.reconcile.simulation", "7"],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": seed},
            check=True,
            capture_output=True,
            timeout=30,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(traces) == 1
    assert traces == {simulate(7).encode()}
