from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from miren.base.processes import wait_ended
from miren.runtime.network import Names, bridge_name, table_name, veth_name
from tests.runtime.containerd.conftest import Instance, new_instance
from tests.runtime.containerd.sandboxes import (
    IMAGE,
    PAGE,
    SERVE,
    SLEEP,
    Sandboxes,
    build_busybox,
    fetch,
)

pytestmark = pytest.mark.host


@pytest.fixture
async def doomed() -> AsyncIterator[Instance]:
    """An instance with a created and two running containers, which nobody stops."""
    instance = new_instance()
    archive = instance.base / "busybox.tar"
    build_busybox(archive)
    await instance.daemon().start()
    try:
        async with instance.runtime() as runtime:
            await runtime.import_image(archive, IMAGE)
            sandboxes = Sandboxes(runtime, instance.base)
            await sandboxes.run(*SLEEP)
            await replace(sandboxes, runtime_class="runc").run(*SLEEP)
            await runtime.create(sandboxes.spec(*SLEEP))
        yield instance
    finally:
        await instance.remove()


async def test_leftovers_name_everything_a_running_container_has(
    sandboxes: Sandboxes, instance: Instance
) -> None:
    state = await sandboxes.run(*SLEEP)
    places = instance.daemon().places
    found = await instance.leftovers()
    for expected in (
        f"veth {veth_name(state.id)}",
        f"netns {Names.of(state.id).netns_path}",
        f"folder {places.container(state.id)}",
        f"mount {places.bundle(state.id)}/rootfs",
        f"shim's socket {places.shim_socket(state.id)}",
        f"snapshot {state.id}",
    ):
        assert expected in found
    assert any(line.startswith("cgroup ") and str(state.id) in line for line in found)
    assert places.oci_files(state.id)
    assert {f"OCI runtime's state {path}" for path in places.oci_files(state.id)} <= set(found)
    assert any(line.startswith("process ") and "shim" in line for line in found)
    shared = set(await instance.leftovers(of_containers=False)) - set(found)
    assert f"bridge {bridge_name(instance.id)}" in shared
    assert f"nft table inet {table_name(instance.id)}" in shared
    assert f"process {instance.daemon().pid()} containerd" in shared


async def test_purge_removes_everything_and_nothing_of_another_instance(
    doomed: Instance, sandboxes: Sandboxes
) -> None:
    neighbour = await sandboxes.run(*SERVE)
    assert await fetch(neighbour) == PAGE
    await doomed.purge()
    assert await doomed.leftovers(of_containers=False) == []
    assert await fetch(neighbour) == PAGE
    await doomed.purge()


async def test_purge_needs_no_containerd(doomed: Instance) -> None:
    pid = doomed.daemon().pid()
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    await wait_ended(pid)
    await doomed.purge()
    assert await doomed.leftovers(of_containers=False) == []


async def test_purge_leaves_logs_and_foreign_files(doomed: Instance) -> None:
    logs = sorted(doomed.base.glob("*.log"))
    assert logs
    kept = doomed.state_dir / "store.db"
    kept.write_text("precious")
    await doomed.purge()
    assert sorted(doomed.base.glob("*.log")) == logs
    assert [path.name for path in doomed.state_dir.iterdir()] == [kept.name]
