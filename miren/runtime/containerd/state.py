"""What a container's record and task mean, and what its record's labels hold: pure functions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from ipaddress import IPv4Address

from miren.runtime.api import ContainerId, ContainerPhase, ContainerSpec, ContainerState
from miren.runtime.containerd.client import Record, Task, TaskStatus

__all__ = ["STARTED", "Notes", "describe", "record_labels"]

# Containerd's labels are one flat map: ours and the owner's are kept apart by their first part.
_OWNER = "owner/"
_ADDRESS = "miren/address"
_INSTANCE = "miren/instance"
_LOG = "miren/log"
_CLASS = "miren/class"
STARTED = "miren/started"


@dataclass(frozen=True, slots=True)
class Notes:
    """What the labels of a record say."""

    address: IPv4Address | None
    log: str
    runtime_class: str
    started_at: datetime | None
    owner: Mapping[str, str]

    @classmethod
    def of(cls, record: Record) -> Notes:
        """Read the labels of `record`; what is missing is None or empty."""
        labels = record.labels
        address, started = labels.get(_ADDRESS), labels.get(STARTED)
        return cls(
            address=IPv4Address(address) if address else None,
            log=labels.get(_LOG, ""),
            runtime_class=labels.get(_CLASS, ""),
            started_at=datetime.fromisoformat(started) if started else None,
            owner={
                key.removeprefix(_OWNER): value
                for key, value in labels.items()
                if key.startswith(_OWNER)
            },
        )


def record_labels(spec: ContainerSpec, instance: str, address: IPv4Address) -> Mapping[str, str]:
    """Return the labels of a new container's record."""
    own = {
        _ADDRESS: str(address),
        _INSTANCE: instance,
        _LOG: str(spec.log.absolute()),
        _CLASS: spec.runtime_class,
    }
    return own | {f"{_OWNER}{key}": value for key, value in spec.labels.items()}


def describe(record: Record, task: Task | None, *, out_of_memory: bool = False) -> ContainerState:
    """Return the state of a container.

    A container that was started and has no task any more ended while nobody looked: containerd
    or the host was restarted.
    """
    notes = Notes.of(record)
    phase = _phase(task, started=notes.started_at is not None)
    ended = task if phase is ContainerPhase.EXITED else None
    return ContainerState(
        id=ContainerId.parse(record.id),
        phase=phase,
        address=str(notes.address) if notes.address else None,
        pid=task.pid if task and phase is ContainerPhase.RUNNING else None,
        exit_code=ended.exit_code if ended else None,
        reason="out of memory" if ended and out_of_memory else "",
        started_at=notes.started_at,
        labels=notes.owner,
    )


def _phase(task: Task | None, *, started: bool) -> ContainerPhase:
    if task is None:
        return ContainerPhase.EXITED if started else ContainerPhase.CREATED
    return {
        TaskStatus.CREATED: ContainerPhase.CREATED,
        TaskStatus.RUNNING: ContainerPhase.RUNNING,
        TaskStatus.STOPPED: ContainerPhase.EXITED,
    }[task.status]
