"""The sandbox's table: complete, and its few computed answers."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from miren.controllers.sandbox.lifecycle import (
    TABLE,
    Fact,
    Step,
    next_start,
    should_restart,
    step_for,
)
from miren.entities.gen import Sandbox
from miren.entities.gen.compute import SandboxPhase, SandboxRestartPolicy, SandboxStatus

NOW = datetime(2030, 1, 1, tzinfo=UTC)


def test_every_phase_has_an_answer_to_every_fact() -> None:
    assert set(TABLE) == set(SandboxPhase)
    assert all(set(answers) == set(Fact) for answers in TABLE.values())


def test_an_ended_sandbox_rests_until_its_spec_changes() -> None:
    sandbox = Sandbox.new("a", containers=[{"image": "hello"}])
    sandbox = sandbox.with_status(SandboxStatus(phase=SandboxPhase.FAILED))

    assert step_for(sandbox, Fact.ABSENT) is Step.REST
    changed = sandbox.with_metadata(generation=7)
    assert step_for(changed, Fact.ABSENT) is Step.REVIVE


@pytest.mark.parametrize(
    ("policy", "code", "restarts"),
    [
        ("always", 0, True),
        ("always", 1, True),
        ("on-failure", 0, False),
        ("on-failure", 1, True),
        ("on-failure", None, True),
        ("never", 1, False),
    ],
)
def test_the_policy_decides_about_a_restart(policy: str, code: int | None, restarts: bool) -> None:
    assert should_restart(SandboxRestartPolicy(policy), code) is restarts


def test_restarts_come_later_and_later_and_a_long_run_starts_over() -> None:
    short = [next_start(count, NOW, NOW + timedelta(seconds=1)) for count in range(1, 12)]
    delays = [(due - NOW).total_seconds() - 1 for due in short if due is not None]

    assert delays[:5] == [1, 2, 4, 8, 16]
    assert delays[-1] == 300
    assert next_start(0, NOW, NOW) is None
    long_run = next_start(9, NOW, NOW + timedelta(minutes=10))
    assert long_run == NOW + timedelta(minutes=10, seconds=1)
