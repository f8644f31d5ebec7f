"""The contract between controllers and whatever runs containers.

A container is named by its owner's uid and an attempt, so a restart is a new container and no
two ever share a host name, a netns or a log position. Every verb can be repeated: creating what
is created, starting what runs, deleting what is gone all succeed.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Protocol, Self

__all__ = [
    "ContainerId",
    "ContainerPhase",
    "ContainerSpec",
    "ContainerState",
    "Image",
    "Mount",
    "Runtime",
    "RuntimeEvent",
]


@dataclass(frozen=True, slots=True, order=True)
class ContainerId:
    """The owner's uid and which attempt at running it this is, from 1."""

    uid: str
    attempt: int

    def __str__(self) -> str:
        return f"{self.uid}-{self.attempt}"

    @classmethod
    def parse(cls, text: str) -> ContainerId:
        """Return the id that `str` made; raise ValueError for anything else."""
        uid, _, attempt = text.rpartition("-")
        if not uid:
            raise ValueError(f"{text!r} is no container id")
        return cls(uid, int(attempt))


@dataclass(frozen=True, slots=True)
class Mount:
    """A host folder shown inside the container."""

    source: Path
    target: str
    read_only: bool = False


@dataclass(frozen=True, slots=True)
class ContainerSpec:
    """Everything needed to run one container.

    `command` None means the image's own. `memory` is bytes, `cpu` cores (0.5 is half of one),
    None is unlimited. Output is appended to `log`, whose folder the runtime makes.
    """

    id: ContainerId
    image: str
    log: Path
    command: tuple[str, ...] | None = None
    env: Mapping[str, str] = field(default_factory=dict, repr=False)  # may hold secrets
    working_dir: str | None = None
    hostname: str = "sandbox"
    mounts: tuple[Mount, ...] = ()
    memory: int | None = None
    cpu: float | None = None
    runtime_class: str = "runsc"
    labels: Mapping[str, str] = field(default_factory=dict)


class ContainerPhase(StrEnum):
    """Where a container is in its life."""

    CREATED = "created"
    RUNNING = "running"
    EXITED = "exited"


@dataclass(frozen=True, slots=True)
class ContainerState:
    """What the runtime knows of a container.

    `address` is where its ports are reached from this host. `exit_code` is None while it
    runs, and also when it exited unseen: an exit whose code nobody knows.
    """

    id: ContainerId
    phase: ContainerPhase
    address: str | None = None
    pid: int | None = None
    exit_code: int | None = None
    reason: str = ""  # for people, where the runtime knows one ("out of memory")
    started_at: datetime | None = None
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Image:
    """An image on this host: `digest` is its manifest's, `sha256:...`."""

    name: str
    digest: str


@dataclass(frozen=True, slots=True)
class RuntimeEvent:
    """A hint that a container changed; the truth is what `inspect` says."""

    id: ContainerId


class Runtime(Protocol):
    """A few verbs over containers. Open one with `async with`; leaving it stops no container.

    Raises RuntimeFailure with a reason a person understands, ImageNotFound, and Unavailable
    while the runtime itself is away. Cancelling `create` leaves nothing that `delete` of the
    same id does not remove.
    """

    async def __aenter__(self) -> Self: ...
    async def __aexit__(self, *_exc: object) -> None: ...

    async def check(self, runtime_class: str) -> str | None:
        """Return None if this host can run that class, else why not and what to do."""
        ...

    async def import_image(self, archive: Path, name: str) -> Image:
        """Make an OCI archive (a tar of an OCI image layout) or layout folder known as `name`."""
        ...

    async def ensure_image(self, name: str) -> Image:
        """Return the image of that name; raise ImageNotFound when this host has none."""
        ...

    async def create(self, spec: ContainerSpec) -> ContainerState:
        """Prepare the container with its file system and network, without running it."""
        ...

    async def start(self, id: ContainerId) -> ContainerState:
        """Run a created container's command. Raises NotFound when it was never created."""
        ...

    async def stop(self, id: ContainerId, *, grace: float) -> ContainerState | None:
        """Ask it to end (SIGTERM), after `grace` seconds make it end (SIGKILL); wait for it.

        Returns its last state, or None if there is no such container.
        """
        ...

    async def delete(self, id: ContainerId) -> None:
        """Kill it if it runs and remove all that it had on this host, but its log."""
        ...

    async def list(self) -> Sequence[ContainerState]:
        """Return every container of this instance, whoever started it."""
        ...

    async def inspect(self, id: ContainerId) -> ContainerState | None:
        """Return one container's state, or None if there is no such container."""
        ...

    def events(self) -> AbstractAsyncContextManager[AsyncIterator[RuntimeEvent]]:
        """Deliver hints about changes from now on. Some may be missing: list to be sure."""
        ...
