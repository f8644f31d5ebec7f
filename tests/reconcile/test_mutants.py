from __future__ import annotations

import re

import pytest

from miren.reconcile.testing import simulate
from tests.reconcile.mutants import MUTANTS, Mutant
from tests.reconcile.scenarios import SCENARIOS


@pytest.mark.parametrize("name", MUTANTS)
def first_failure(mutant: Mutant) -> Exception | None:
    scenario, faults = SCENARIOS[mutant.scenario]
    for seed in range(mutant.seeds):
        try:
            simulate(scenario, seed=seed, faults=faults)
        except Exception as error:  # a mutant may break the engine altogether
            return error
    return None


@pytest.mark.parametrize("name", MUTANTS)
def test_a_planted_bug_is_found(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    mutant = MUTANTS[name]
    mutant.plant(monkeypatch)
    error = first_failure(mutant)
    assert error is not None, f"not found with {mutant.seeds} seeds"
    assert re.search(mutant.shows, str(error)), f"found for another reason: {error!r}"
