"""The life of a sandbox as a table: in this phase, seeing this, do that. Pure.

An attempt is recorded before anything is made for it, so that whatever happens there is never a
container that the entity does not know of. How it ended is recorded before the container is
thrown away.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import StrEnum

from miren.entities.gen import Sandbox
from miren.entities.gen.compute import SandboxPhase, SandboxRestartPolicy
from miren.runtime.api import ContainerPhase, ContainerState

__all__ = ["ENDED", "TABLE", "Fact", "Step", "fact_of", "next_start", "should_restart", "step_for"]

_FIRST_DELAY = timedelta(seconds=1)
_LONGEST_DELAY = timedelta(minutes=5)
#: A run at least this long starts the back-off anew.
_STABLE = timedelta(minutes=10)


class Fact(StrEnum):
    """What is seen of the current attempt's container."""

    ABSENT = "absent"
    CREATED = "created"
    RUNNING = "running"
    EXITED = "exited"
    OUTDATED = "outdated"  # made from an older spec, whatever it does


class Step(StrEnum):
    """The one thing to do next."""

    BEGIN = "begin"  # record a new attempt, once its delay is over
    CREATE = "create"
    START = "start"
    PROBE = "probe"  # running when it answers, given up when it takes too long
    KEEP = "keep"
    END = "end"  # record how it ended, and whether it starts again
    REPLACE = "replace"  # stop it, then begin again at once
    DISCARD = "discard"  # the container is of no more use
    REST = "rest"  # ended for good, until the spec changes
    REVIVE = "revive"  # the spec changed: pending again, as if it had never run


_PHASES: Mapping[SandboxPhase, Mapping[Fact, Step]] = {
    SandboxPhase.PENDING: {
        Fact.ABSENT: Step.BEGIN,
        Fact.CREATED: Step.DISCARD,
        Fact.RUNNING: Step.DISCARD,
        Fact.EXITED: Step.DISCARD,
        Fact.OUTDATED: Step.DISCARD,
    },
    SandboxPhase.STARTING: {
        Fact.ABSENT: Step.CREATE,
        Fact.CREATED: Step.START,
        Fact.RUNNING: Step.PROBE,
        Fact.EXITED: Step.END,
        Fact.OUTDATED: Step.REPLACE,
    },
    SandboxPhase.RUNNING: {
        Fact.ABSENT: Step.END,
        Fact.CREATED: Step.END,
        Fact.RUNNING: Step.KEEP,
        Fact.EXITED: Step.END,
        Fact.OUTDATED: Step.REPLACE,
    },
    SandboxPhase.STOPPED: {
        Fact.ABSENT: Step.REST,
        Fact.CREATED: Step.DISCARD,
        Fact.RUNNING: Step.DISCARD,
        Fact.EXITED: Step.DISCARD,
        Fact.OUTDATED: Step.DISCARD,
    },
}
TABLE: Mapping[SandboxPhase, Mapping[Fact, Step]] = {
    **_PHASES,
    SandboxPhase.FAILED: _PHASES[SandboxPhase.STOPPED],
}

#: The phases that nothing follows by itself.
ENDED = frozenset({SandboxPhase.STOPPED, SandboxPhase.FAILED})

_FACTS: Mapping[ContainerPhase, Fact] = {
    ContainerPhase.CREATED: Fact.CREATED,
    ContainerPhase.RUNNING: Fact.RUNNING,
    ContainerPhase.EXITED: Fact.EXITED,
}


def fact_of(container: ContainerState | None, *, is_current: bool) -> Fact:
    """Return what a container's state means; `is_current` says it was made from today's spec."""
    if container is None:
        return Fact.ABSENT
    return _FACTS[container.phase] if is_current else Fact.OUTDATED


def step_for(sandbox: Sandbox, fact: Fact) -> Step:
    """Return the next step. A spec that changed brings an ended sandbox back to life."""
    phase = sandbox.status.phase or SandboxPhase.PENDING
    step = TABLE[phase][fact]
    is_changed = sandbox.observed_generation != sandbox.metadata.generation
    return Step.REVIVE if step is Step.REST and is_changed else step


def should_restart(policy: SandboxRestartPolicy, exit_code: int | None) -> bool:
    """Return whether a container that ended so starts again. An unknown code is a failure."""
    if policy is SandboxRestartPolicy.ON_FAILURE:
        return exit_code != 0
    return policy is SandboxRestartPolicy.ALWAYS


def next_start(restarts: int, started: datetime | None, ended: datetime | None) -> datetime | None:
    """Return when the attempt after `restarts` restarts may begin; None is at once.

    1 s after the first end, doubling to 5 minutes; a run of 10 minutes starts over.
    """
    if ended is None or restarts == 0:
        return None
    if started is not None and ended - started >= _STABLE:
        return ended + _FIRST_DELAY
    return ended + min(_LONGEST_DELAY, _FIRST_DELAY * (1 << min(restarts - 1, 20)))
