"""Put a container's parts together, and take them apart again.

The record comes first and goes last: whatever exists of a container, its record exists, and
containerd's garbage collector knows that its snapshot is in use before there is one. Both
directions can stop anywhere and start again.
"""

from __future__ import annotations

import asyncio
import json
import resource
import shutil
from collections.abc import Mapping
from ipaddress import IPv4Address
from typing import Any

from miren.runtime.api import ContainerId, ContainerSpec
from miren.runtime.containerd import cgroups
from miren.runtime.containerd.client import Record
from miren.runtime.containerd.host import Host
from miren.runtime.containerd.locks import to_the_end
from miren.runtime.containerd.running import end
from miren.runtime.containerd.spec import HostFiles, HostLimits, runtime_spec
from miren.runtime.containerd.state import Notes, record_labels
from miren.runtime.network import Names

__all__ = ["assemble", "host_files", "host_limits", "store_record", "take_apart"]


async def assemble(host: Host, spec: ContainerSpec) -> None:
    """Make everything the container needs to be started, or what of it is missing."""
    record = await host.containers.record(str(spec.id)) or await _create_record(host, spec)
    address = Notes.of(record).address
    folder = host.places.container(spec.id)
    complete = folder / "complete"
    if complete.exists() or address is None:
        return
    image = await host.images.runnable(await host.images.find(record.image))
    await to_the_end(asyncio.to_thread(_write_files, host, spec, address))
    if await host.content.snapshot(record.snapshot) is None:
        await host.content.prepare_snapshot(record.snapshot, image.snapshot)
    await host.network.attach(spec.id, address)
    complete.touch()


async def _create_record(host: Host, spec: ContainerSpec) -> Record:
    image = await host.images.runnable(await host.images.find(spec.image))
    document = runtime_spec(
        spec,
        image.config,
        user=image.user,
        files=host_files(host, spec.id),
        instance=host.instance,
        limits=host_limits(),
    )
    return await store_record(host, spec, document, snapshot=str(spec.id))


async def store_record(
    host: Host, spec: ContainerSpec, document: Mapping[str, Any], *, snapshot: str
) -> Record:
    """Store the record with an address of its own, which the record keeps from now on."""
    address = host.network.reserve()
    record = Record(
        id=str(spec.id),
        image=spec.image,
        snapshot=snapshot,
        spec=json.dumps(document).encode(),
        labels=record_labels(spec, host.instance, address),
    )
    # Should this be cut off, the address stays taken: the record may exist all the same.
    await to_the_end(host.containers.create_record(record))
    return record


def host_limits() -> HostLimits:
    """Return what this host lets us set."""
    _, open_files = resource.getrlimit(resource.RLIMIT_NOFILE)
    return HostLimits(swap=cgroups.can_limit_swap(), open_files=open_files)


def host_files(host: Host, id: ContainerId) -> HostFiles:
    """Return where the container's files are on the host."""
    folder = host.places.container(id)
    return HostFiles(
        netns=Names.of(id).netns_path,
        hosts=folder / "hosts",
        hostname=folder / "hostname",
        resolv_conf=folder / "resolv.conf",
    )


def _write_files(host: Host, spec: ContainerSpec, address: IPv4Address) -> None:
    files = host_files(host, spec.id)
    host.places.container(spec.id).mkdir(parents=True, exist_ok=True)
    spec.log.parent.mkdir(parents=True, exist_ok=True)
    files.hosts.write_text(
        f"127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost\n{address}\t{spec.hostname}\n"
    )
    files.hostname.write_text(f"{spec.hostname}\n")
    files.resolv_conf.write_text(
        f"nameserver {host.network.gateway}\noptions timeout:1 attempts:2\n"
    )


async def take_apart(host: Host, id: ContainerId) -> None:
    """Kill the container and remove all that it has on this host, whatever of it exists."""
    record = await host.containers.record(str(id))
    await end(host, id)
    await host.content.remove_snapshot(str(id))
    await host.network.detach(id)
    await cgroups.remove(host.cgroup(id))
    await to_the_end(asyncio.to_thread(_remove_files, host, id))
    if record is None:
        return
    await host.containers.delete_record(record.id)
    address = Notes.of(record).address
    if address is not None:
        host.network.release(address)


def _remove_files(host: Host, id: ContainerId) -> None:
    for path in (*host.places.oci_files(id), host.places.container(id)):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    host.places.shim_socket(id).unlink(missing_ok=True)
