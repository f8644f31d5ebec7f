"""Remove everything an instance has on this host, and list what is there.

Works without containerd and on whatever a crash left: what belongs to the instance is known by
its folders, by names that hold the instance's or a container's id, and by nothing else.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Sequence
from pathlib import Path

from miren.base.errors import MirenError, RuntimeFailure
from miren.base.processes import kill_all
from miren.runtime.api import ContainerId
from miren.runtime.containerd import cgroups
from miren.runtime.containerd.connection import Connection
from miren.runtime.containerd.content import Content
from miren.runtime.containerd.daemon import ContainerdDaemon
from miren.runtime.containerd.locks import to_the_end
from miren.runtime.containerd.mounts import mounts_below, unmount_below
from miren.runtime.containerd.places import Places
from miren.runtime.containerd.processes import processes_with
from miren.runtime.network import Names, Network

__all__ = ["leftovers", "purge"]


async def purge(instance: str, state_dir: Path, run_dir: Path) -> None:
    """Remove all containers, images and the private containerd, the bridge and the firewall.

    Logs and whatever else is in the two folders stays. Safe to repeat.
    """
    places = Places.at(state_dir, run_dir)
    network = Network(instance)
    ids = _container_ids(places)
    await ContainerdDaemon(state_dir, run_dir).stop()
    # Shims before sandboxes, or they would still report to each other.
    await kill_all([process.pid for process in processes_with(places.run)])
    await kill_all(cgroups.process_ids(_cgroup(instance)))
    for id in ids:
        await network.detach(id)
        places.shim_socket(id).unlink(missing_ok=True)
    await network.purge()
    await unmount_below(places.run, places.root)
    await cgroups.remove(_cgroup(instance))
    await to_the_end(asyncio.to_thread(_remove_folders, places))


def _remove_folders(places: Places) -> None:
    still = mounts_below(places.run, places.root)
    if still:
        raise RuntimeFailure(
            f"{still[0]} cannot be unmounted, so nothing below it is removed",
            hint="see what uses it, then purge again",
        )
    for folder in (places.run, places.root):
        if folder.exists():
            shutil.rmtree(folder)


async def leftovers(
    instance: str, state_dir: Path, run_dir: Path, *, of_containers: bool = False
) -> Sequence[str]:
    """Return by name everything the instance has on this host, images' snapshots excepted.

    With `of_containers`, leave out what all containers share: the private containerd, the
    bridge, the firewall's table, the control group around theirs.
    """
    places = Places.at(state_dir, run_dir)
    network = Network(instance)
    daemon = ContainerdDaemon(state_dir, run_dir).pid()
    found = [
        f"process {process.pid} {process.arguments[0]}"
        for process in processes_with(places.run)
        if process.pid != daemon
    ]
    found += [f"process {pid} in a cgroup" for pid in cgroups.process_ids(_cgroup(instance))]
    found += [f"mount {mount}" for mount in mounts_below(places.run, places.root)]
    found += [f"veth {name}" for name in await network.ports()]
    for id in _container_ids(places):
        found += _left_of(places, id)
    for folder in cgroups.folders(_cgroup(instance)):
        found += [f"cgroup {each}" for each in sorted(folder.iterdir()) if each.is_dir()]
    found += await _snapshots(places) if daemon else []
    if of_containers:
        return found
    found += [f"cgroup {folder}" for folder in cgroups.folders(_cgroup(instance))]
    found += [f"process {daemon} containerd"] if daemon else []
    return [*found, *await network.leftovers()]


def _left_of(places: Places, id: ContainerId) -> Sequence[str]:
    named = {
        "folder": places.container(id),
        "netns": Names.of(id).netns_path,
        "bundle": places.bundle(id),
        "shim's socket": places.shim_socket(id),
    }
    found = [f"{what} {path}" for what, path in named.items() if path.exists()]
    return found + [f"OCI runtime's state {path}" for path in places.oci_files(id)]


async def _snapshots(places: Places) -> Sequence[str]:
    """Return what containers' own snapshots there are; layers of images are named by digest."""
    connection = Connection(places.socket)
    try:
        names = await Content(connection).snapshots()
    except MirenError as error:
        return [f"snapshots unknown: {error.message}"]
    finally:
        await connection.close()
    return [f"snapshot {name}" for name in names if not name.startswith("sha256:")]


def _container_ids(places: Places) -> Sequence[ContainerId]:
    """Return the containers that have a folder: each has one as long as it has anything else."""
    if not places.containers.is_dir():
        return []
    return [ContainerId.parse(path.name) for path in sorted(places.containers.iterdir())]


def _cgroup(instance: str) -> str:
    return f"/miren-{instance}"
