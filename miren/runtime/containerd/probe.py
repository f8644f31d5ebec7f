"""Find out whether a runtime class works on this host by running something in it.

A list of requirements would be wrong on the next kernel; a container that ran is proof.
"""

from __future__ import annotations

import asyncio
import secrets
from pathlib import Path

from miren.base.errors import InvalidInput, MirenError, RuntimeFailure
from miren.runtime.api import ContainerId, ContainerSpec
from miren.runtime.containerd.assembly import host_files, host_limits, store_record, take_apart
from miren.runtime.containerd.classes import binary_of
from miren.runtime.containerd.content import FileSystem
from miren.runtime.containerd.host import Host
from miren.runtime.containerd.spec import User, runtime_spec
from miren.runtime.containerd.state import Notes
from miren.runtime.images.layout import ImageConfig

__all__ = ["is_probe", "probe"]

_UID = "probe0"
_TIMEOUT = 20.0


def is_probe(id: str) -> bool:
    """Return whether the container of that id is one of ours, that nobody asked for."""
    return id.startswith(_UID)


async def probe(host: Host, runtime_class: str) -> str | None:
    """Run `true` in a container of that class; return None, or why it cannot and what to do."""
    # Ten letters make the veth's name; the rest of a uid's twenty make the record's.
    id = ContainerId(f"{_UID}{secrets.token_hex(7)}", 1)
    try:
        binary = binary_of(runtime_class, host.places)
        try:
            code = await _run(host, id, runtime_class, binary)
        finally:
            await take_apart(host, id)
    except (InvalidInput, RuntimeFailure) as error:
        return f"{error.message}; {error.hint}" if error.hint else _advise(runtime_class, error)
    if code != 0:
        return f"a trial container of class {runtime_class} ended with code {code}"
    return None


def _advise(runtime_class: str, error: MirenError) -> str:
    return (
        f"a trial container of class {runtime_class} failed: {error.message};"
        f" see that `{runtime_class}` works on this kernel, or use another runtime class"
    )


async def _run(host: Host, id: ContainerId, runtime_class: str, binary: Path) -> int:
    """Run `true` from the host's own file system, read-only; return its exit code."""
    folder = host.places.container(id)
    await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True)
    spec = ContainerSpec(
        id=id,
        image="",
        log=folder / "log",
        command=("/bin/true",),
        runtime_class=runtime_class,
    )
    plan = runtime_spec(
        spec,
        ImageConfig(),
        user=User(),
        files=host_files(host, id),
        instance=host.instance,
        limits=host_limits(),
    )
    # The host's own files in /etc stay as they are: mount points cannot be made here.
    mounts = [mount for mount in plan["mounts"] if not mount["destination"].startswith("/etc/")]
    document = {**plan, "mounts": mounts, "root": {"path": "rootfs", "readonly": True}}
    record = await store_record(host, spec, document, snapshot="")
    address = Notes.of(record).address
    if address is not None:
        await host.network.attach(id, address)
    # Not recursive: nothing that is mounted on the host comes along.
    root = [FileSystem("bind", "/", ("bind", "ro"))]
    await host.containers.create_task(
        str(id), root, log=spec.log, binary=binary, oci_state=host.places.oci_state
    )
    await host.containers.start_task(str(id))
    return await host.containers.wait_task(str(id), timeout=_TIMEOUT)
