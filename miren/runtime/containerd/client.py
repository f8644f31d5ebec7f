"""Containers, tasks and events of containerd, as plain Python values.

A container is a record that containerd keeps until told otherwise; its task is the running
process, with one shim process each that outlives containerd.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from miren.base.errors import NotFound, RuntimeFailure
from miren.runtime.containerd.connection import Connection
from miren.runtime.containerd.content import SNAPSHOTTER, FileSystem, mount_messages
from miren.runtime.containerd.messages import any_message, message

__all__ = ["Containers", "Record", "Task", "TaskStatus"]

_SHIM = "io.containerd.runc.v2"
_SPEC_TYPE = "types.containerd.io/opencontainers/runtime-spec/1/Spec"
_OPTIONS_TYPE = "containerd.runc.v1.Options"

# Creating and starting a sandbox takes 0.2 s alone, and many times that when all start at once.
_SLOW = 60.0
# What a shim answers by itself. One that is stuck must not hold us up for long.
_QUICK = 10.0


@dataclass(frozen=True, slots=True)
class Record:
    """What containerd remembers of a container, whether it runs or not.

    `spec` is the OCI runtime spec as JSON. The snapshot named by `snapshot` is kept as long as
    the record is, even if it is made after the record.
    """

    id: str
    image: str = ""
    snapshot: str = ""
    spec: bytes = b""
    labels: Mapping[str, str] = field(default_factory=dict)


class TaskStatus(StrEnum):
    """What a shim says of its container's process."""

    CREATED = "created"
    RUNNING = "running"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class Task:
    """A container's process. `exit_code` means something once it is stopped."""

    id: str
    pid: int
    status: TaskStatus
    exit_code: int


class Containers:
    """The calls about containers and their tasks."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def version(self, *, timeout: float = 5.0) -> str:
        """Return containerd's version; the cheapest way to see that it answers."""
        answer = await self._connection.call(
            "version.v1.Version/Version", ("Empty", {}), "VersionResponse", timeout=timeout
        )
        return str(answer.version)

    async def create_record(self, record: Record) -> None:
        """Store `record`; raise AlreadyExists when its id is taken."""
        container = message("Container")(
            id=record.id,
            labels=dict(record.labels),
            image=record.image,
            runtime=message("ContainerRuntime")(name=_SHIM),
            spec=any_message(_SPEC_TYPE, record.spec),
            snapshotter=SNAPSHOTTER if record.snapshot else "",
            snapshot_key=record.snapshot,
        )
        await self._connection.call(
            "containers.v1.Containers/Create",
            ("ContainerMessage", {"container": container}),
            "ContainerMessage",
        )

    async def record(self, id: str) -> Record | None:
        """Return the record of that id, or None."""
        answer = await self._connection.find(
            "containers.v1.Containers/Get", ("GetContainerRequest", {"id": id}), "ContainerMessage"
        )
        return None if answer is None else _record(answer.container)

    async def records(self) -> Sequence[Record]:
        """Return every record."""
        answer = await self._connection.call(
            "containers.v1.Containers/List",
            ("ListContainersRequest", {}),
            "ListContainersResponse",
        )
        return [_record(container) for container in answer.containers]

    async def set_label(self, id: str, key: str, value: str) -> None:
        """Set one label of a record and leave the others."""
        container = message("Container")(id=id, labels={key: value})
        mask = message("google.protobuf.FieldMask")(paths=[f"labels.{key}"])
        await self._connection.call(
            "containers.v1.Containers/Update",
            ("UpdateContainerRequest", {"container": container, "update_mask": mask}),
            "ContainerMessage",
        )

    async def delete_record(self, id: str) -> None:
        """Forget the record, if there is one."""
        await self._connection.find(
            "containers.v1.Containers/Delete", ("GetContainerRequest", {"id": id}), "Empty"
        )

    async def create_task(
        self, id: str, root: Iterable[FileSystem], *, log: Path, binary: Path, oci_state: Path
    ) -> None:
        """Start a shim that lets the OCI runtime `binary` create the container on `root`.

        The OCI runtime keeps its state in `oci_state`; output is appended to `log`.
        """
        options = message("RuncOptions")(binary_name=str(binary), root=str(oci_state))
        request = {
            "container_id": id,
            "rootfs": mount_messages(root),
            "stdout": log.as_uri(),
            "stderr": log.as_uri(),
            "options": any_message(_OPTIONS_TYPE, options.SerializeToString()),
        }
        await self._connection.call(
            "tasks.v1.Tasks/Create",
            ("CreateTaskRequest", request),
            "CreateTaskResponse",
            timeout=_SLOW,
        )

    async def start_task(self, id: str) -> None:
        """Run the created container's process."""
        await self._connection.call(
            "tasks.v1.Tasks/Start",
            ("TaskRequest", {"container_id": id}),
            "StartTaskResponse",
            timeout=_SLOW,
        )

    async def task(self, id: str) -> Task | None:
        """Return the task of that container, or None."""
        answer = await self._connection.find(
            "tasks.v1.Tasks/Get",
            ("TaskRequest", {"container_id": id}),
            "GetTaskResponse",
            timeout=_QUICK,
        )
        return None if answer is None else _task(answer.process)

    async def tasks(self) -> Sequence[Task]:
        """Return every task."""
        answer = await self._connection.call(
            "tasks.v1.Tasks/List", ("ListTasksRequest", {}), "ListTasksResponse", timeout=_QUICK
        )
        return [_task(process) for process in answer.tasks]

    async def kill_task(self, id: str, signal: int) -> None:
        """Signal the container's first process; raise NotFound when there is none any more."""
        request = {"container_id": id, "signal": signal}
        try:
            await self._connection.call(
                "tasks.v1.Tasks/Kill", ("KillTaskRequest", request), "Empty", timeout=_QUICK
            )
        except RuntimeFailure as error:
            # runsc says it in words only, with the status code UNKNOWN.
            if "not running" in error.message or "already finished" in error.message:
                raise NotFound(error.message) from error
            raise

    async def wait_task(self, id: str, *, timeout: float) -> int:
        """Return the exit code once the process ended; DeadlineExceeded after `timeout` s."""
        answer = await self._connection.call(
            "tasks.v1.Tasks/Wait",
            ("TaskRequest", {"container_id": id}),
            "WaitTaskResponse",
            timeout=timeout,
        )
        return int(answer.exit_status)

    async def delete_task(self, id: str) -> None:
        """Remove an ended task and its shim, if there is one."""
        await self._connection.find(
            "tasks.v1.Tasks/Delete", ("TaskRequest", {"container_id": id}), "Empty", timeout=_QUICK
        )

    @asynccontextmanager
    async def events(self) -> AsyncIterator[AsyncIterator[str]]:
        """Subscribe on entering; iterate over the ids of containers that something happened to.

        The iterator raises Unavailable when containerd goes away.
        """
        filters = [r'topic~="/tasks/"', r'topic~="/containers/"']
        async with self._connection.stream(
            "events.v1.Events/Subscribe",
            ("SubscribeRequest", {"filters": filters}),
            "Envelope",
            timeout=None,
        ) as envelopes:
            yield (_container_id(envelope) async for envelope in envelopes)


def _container_id(envelope: Any) -> str:
    return str(message("ContainerEvent").FromString(envelope.event.value).id)


def _record(container: Any) -> Record:
    return Record(
        id=container.id,
        image=container.image,
        snapshot=container.snapshot_key,
        spec=container.spec.value,
        labels=dict(container.labels),
    )


def _task(process: Any) -> Task:
    name = message("GetTaskResponse").DESCRIPTOR.file.enum_types_by_name["TaskStatus"]
    status = name.values_by_number[process.status].name
    return Task(
        # One answer names the container in one field, another in the other.
        id=process.container_id or process.id,
        pid=process.pid,
        status=TaskStatus.STOPPED
        if status == "STOPPED"
        else _LIVE.get(status, TaskStatus.RUNNING),
        exit_code=process.exit_status,
    )


# Pausing and paused processes run as far as we are concerned: nothing here pauses.
_LIVE = {"CREATED": TaskStatus.CREATED}
