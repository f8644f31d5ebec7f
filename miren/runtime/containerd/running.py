"""Start and end a container's task."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
import signal
from datetime import UTC, datetime
from pathlib import Path

from miren.base.errors import DeadlineExceeded, NotFound, RuntimeFailure
from miren.base.processes import kill_all
from miren.runtime.api import ContainerId
from miren.runtime.containerd import cgroups
from miren.runtime.containerd.classes import binary_of
from miren.runtime.containerd.client import Record, Task, TaskStatus
from miren.runtime.containerd.host import Host
from miren.runtime.containerd.locks import to_the_end
from miren.runtime.containerd.mounts import unmount_below
from miren.runtime.containerd.processes import processes_with
from miren.runtime.containerd.state import STARTED, Notes

__all__ = ["end", "kill", "run", "stop"]

log = logging.getLogger(__name__)

_KILLED_WITHIN = 10.0


async def run(host: Host, record: Record) -> None:
    """Run the container's command, unless it has been run before."""
    id = ContainerId.parse(record.id)
    task = await host.containers.task(record.id)
    if task is None:
        if Notes.of(record).started_at is not None:
            return
        await to_the_end(_create_task(host, record))
    elif task.status is not TaskStatus.CREATED:
        return
    await to_the_end(_start_task(host, id))


async def _create_task(host: Host, record: Record) -> None:
    id, notes = ContainerId.parse(record.id), Notes.of(record)
    root = await host.content.snapshot(record.snapshot)
    if root is None:
        raise RuntimeFailure(f"container {id} has no file system", hint="delete it, start another")
    if not host.network.is_attached(id) and notes.address is not None:
        # The host was restarted since: network namespaces do not survive that, records do.
        await host.network.attach(id, notes.address)
    Path(notes.log).parent.mkdir(parents=True, exist_ok=True)
    await host.containers.create_task(
        record.id,
        root,
        log=Path(notes.log),
        binary=binary_of(notes.runtime_class, host.places),
        oci_state=host.places.oci_state,
    )


async def _start_task(host: Host, id: ContainerId) -> None:
    # Noted before, so that one that ends at once is never taken for one that never ran.
    await host.containers.set_label(str(id), STARTED, datetime.now(UTC).isoformat())
    try:
        await host.containers.start_task(str(id))
    except RuntimeFailure:
        await end(host, id)
        raise


async def stop(host: Host, task: Task, *, grace: float) -> None:
    """End a live task: SIGTERM, after `grace` seconds SIGKILL; return when it has ended."""
    if grace > 0 and task.status is TaskStatus.RUNNING:
        with contextlib.suppress(NotFound, DeadlineExceeded):
            await host.containers.kill_task(task.id, signal.SIGTERM)
            await host.containers.wait_task(task.id, timeout=grace)
            return
    await kill(host, task)


async def kill(host: Host, task: Task) -> None:
    """Kill a live task and return when it has ended."""
    if task.status is TaskStatus.CREATED:
        # runsc refuses to signal what is not started yet; its sandbox is a process like others.
        await kill_all([task.pid])
    else:
        with contextlib.suppress(NotFound):
            await host.containers.kill_task(task.id, signal.SIGKILL)
    with contextlib.suppress(NotFound):
        await host.containers.wait_task(task.id, timeout=_KILLED_WITHIN)


async def end(host: Host, id: ContainerId) -> None:
    """Kill the container's task if it lives, and remove it with its shim and its processes."""
    try:
        task = await host.containers.task(str(id))
        if task is not None and task.status is not TaskStatus.STOPPED:
            await kill(host, task)
        await host.containers.delete_task(str(id))
    except (RuntimeFailure, DeadlineExceeded) as error:
        log.warning("the shim of %s is stuck, killing it: %s", id, error.message)
        await kill_all(_processes(host, id))
    await _cleaned_up(host, id)


async def _cleaned_up(host: Host, id: ContainerId) -> None:
    """Wait until containerd is done with the container.

    When a shim has ended, containerd runs it once more to delete what it may have left. Until
    that is over the id must not be used again, or the new container is what it deletes.
    """
    bundle = host.places.bundle(id)
    try:
        async with asyncio.timeout(_KILLED_WITHIN):
            while await asyncio.to_thread(_is_busy, host, id):  # noqa: ASYNC110 - others set no event
                await asyncio.sleep(0.02)
    except TimeoutError:
        await kill_all(_processes(host, id))
        await unmount_below(bundle)
        if bundle.exists():
            await to_the_end(asyncio.to_thread(shutil.rmtree, bundle))


def _is_busy(host: Host, id: ContainerId) -> bool:
    return host.places.bundle(id).exists() or bool(_processes(host, id))


def _processes(host: Host, id: ContainerId) -> list[int]:
    """Return the container's shim, sandbox and processes."""
    named = [each.pid for each in processes_with(host.places.run) if str(id) in each.arguments]
    return [*named, *cgroups.process_ids(host.cgroup(id))]
