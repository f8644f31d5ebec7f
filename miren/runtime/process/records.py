"""What is written down about a container, and what follows from it.

Each container has a folder. The server writes `plan.json` when it is created, its keeper the
rest (see `keeper`). Nothing else is remembered, so a server that has just started knows exactly
what the one before it knew. `judge` is the whole of the state machine.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from miren.base.errors import RuntimeFailure
from miren.runtime.api import ContainerId, ContainerPhase, ContainerState

__all__ = ["ADDRESS", "Plan", "ProcessIdentity", "Record", "judge", "read_record", "write_plan"]

ADDRESS = "127.0.0.1"

# States of a process that runs no more but has not been waited for (proc(5), stat).
_DEAD = frozenset("ZXx")


@dataclass(frozen=True, slots=True)
class Plan:
    """How the command is run: everything the keeper needs, and the labels."""

    instance: str
    argv: Sequence[str]
    executable: str
    env: Mapping[str, str]
    working_dir: str
    log: str
    labels: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class ProcessIdentity:
    """A process, told apart from a later one with the same pid by its start time.

    `start` counts clock ticks since the boot whose id is `boot`.
    """

    pid: int
    start: int
    boot: str

    def exists(self) -> bool:
        """Return whether the kernel knows it, be it only because nobody has waited for it."""
        return self._status() is not None

    def is_alive(self) -> bool:
        """Return whether it still runs."""
        status = self._status()
        return status is not None and status not in _DEAD

    def _status(self) -> str | None:
        if self.boot != _boot_id():
            return None
        try:
            stat = Path(f"/proc/{self.pid}/stat").read_bytes()
        except (FileNotFoundError, ProcessLookupError):
            return None
        # The name in parentheses may hold anything; field 22 of the whole is 20 of the rest.
        fields = stat.rpartition(b")")[2].split()
        return fields[0].decode() if int(fields[19]) == self.start else None


@dataclass(frozen=True, slots=True)
class Record:
    """What the folder says, with who of the two was alive when it was read."""

    plan: Plan
    keeper: ProcessIdentity | None = None
    keeper_alive: bool = False
    process: ProcessIdentity | None = None
    process_alive: bool = False
    started_at: float = 0.0  # seconds since the epoch
    exit: tuple[int, str] | None = None  # code and reason


def judge(id: ContainerId, record: Record) -> ContainerState:
    """Return the state that follows from the record.

    A command that is gone while its keeper lives is still running: the keeper is about to note
    how it ended. Without a keeper and a note, it exited and nobody saw how.
    """
    labels = record.plan.labels
    started = datetime.fromtimestamp(record.started_at, UTC) if record.started_at else None
    if record.exit is not None or (
        record.keeper is not None and not record.keeper_alive and not record.process_alive
    ):
        unseen = (None, "its keeper was killed, so its exit code is not known")
        code, reason = record.exit or unseen
        return ContainerState(id, ContainerPhase.EXITED, None, None, code, reason, started, labels)
    if record.process is None:
        return ContainerState(id, ContainerPhase.CREATED, labels=labels)
    return ContainerState(
        id,
        ContainerPhase.RUNNING,
        address=ADDRESS,
        pid=record.process.pid,
        started_at=started,
        labels=labels,
    )


def read_record(folder: Path) -> Record | None:
    """Return what `folder` says, or None if there is no container in it."""
    plan = _read(folder / "plan.json")
    if plan is None:
        return None
    keeper, process = _read(folder / "keeper.json"), _read(folder / "process.json")
    keeper_identity, process_identity = _identity(keeper), _identity(process)
    keeper_alive = keeper_identity is not None and keeper_identity.is_alive()
    process_alive = process_identity is not None and process_identity.is_alive()
    # The keeper notes the exit before it ends, so whoever reads the note last misses none.
    exit = _read(folder / "exit.json")
    return Record(
        plan=Plan(**plan),
        keeper=keeper_identity,
        keeper_alive=keeper_alive,
        process=process_identity,
        process_alive=process_alive,
        started_at=process["started_at"] if process else 0.0,
        exit=(exit["code"], exit["reason"]) if exit else None,
    )


def write_plan(folder: Path, plan: Plan) -> None:
    """Make the container's folder with its plan, whole or not at all, and the folders it names."""
    Path(plan.working_dir).mkdir(parents=True, exist_ok=True)
    Path(plan.log).parent.mkdir(parents=True, exist_ok=True)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    partial = folder / ".plan.json"
    partial.touch(mode=0o600)  # the environment may hold secrets
    partial.write_text(json.dumps(asdict(plan)))
    os.replace(partial, folder / "plan.json")  # noqa: PTH105


def _read(path: Path) -> dict[str, Any] | None:
    try:
        value = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise RuntimeFailure(f"{path} is damaged: {error}", hint="delete the sandbox") from error
    if not isinstance(value, dict):
        raise RuntimeFailure(f"{path} is damaged", hint="delete the sandbox")
    return value


def _identity(value: Mapping[str, Any] | None) -> ProcessIdentity | None:
    if value is None:
        return None
    return ProcessIdentity(value["pid"], value["start"], value["boot"])


@cache
def _boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
