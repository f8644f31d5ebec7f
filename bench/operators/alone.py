"""What is measured of ours alone: simulations, and what an import costs."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator

from miren.reconcile.testing import measure
from tests.reconcile.scenarios import SCENARIOS

NOTHING = "pass"
BARE = "import miren"
#: What a first controller needs.
FIRST = "from miren import Context, Controller, Engine, Entity, Model"
SEEDS = 5

_COUNT = (
    "import sys; from importlib.metadata import packages_distributions as known;"
    "found = {name for top in {each.partition('.')[0] for each in sys.modules}"
    " for name in known().get(top, ())};"
    "print(len(found), *sorted(found))"
)


def replays(rounds: int) -> Iterator[float]:
    """Yield the seconds that a seed takes, the mean of every scenario of the tests."""
    for _ in range(rounds):
        began, seeds = time.perf_counter(), 0
        for scenario, faults in SCENARIOS.values():
            seeds += measure(scenario, seeds=SEEDS, faults=faults).seeds
        yield (time.perf_counter() - began) / seeds


def importing(statement: str) -> float:
    """Return the seconds that a new Python takes with this statement."""
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", statement], check=True)
    return time.perf_counter() - began


def distributions(statement: str) -> tuple[int, str]:
    """Return how many distributions it loads, and which."""
    found = subprocess.run(
        [sys.executable, "-c", f"{statement}; {_COUNT}"], check=True, capture_output=True
    )
    count, _, names = found.stdout.decode().strip().partition(" ")
    return int(count), names


def kopf_version(python: str) -> str:
    """Return the version of kopf that an environment has."""
    asked = "import importlib.metadata as m; print(m.version('kopf'))"
    found = subprocess.run([python, "-c", asked], check=True, capture_output=True)
    return found.stdout.decode().strip()
