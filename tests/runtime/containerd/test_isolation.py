from __future__ import annotations

import asyncio
import platform
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from miren.runtime.api import Mount
from miren.runtime.network import Network, bridge_name, veth_name
from miren.runtime.network.commands import nft, run
from miren.runtime.network.firewall import install_script, remove_script
from tests.runtime.containerd.conftest import Instance
from tests.runtime.containerd.sandboxes import (
    IMAGE,
    PAGE,
    PORT,
    SERVE,
    SLEEP,
    Sandboxes,
    build_busybox,
    fetch,
)

pytestmark = pytest.mark.host


GREETING = "greetings from the host"


async def ask_from_inside(boxes: Sandboxes, address: object, port: int) -> str:
    """Return what a fresh sandbox gets from there, "" if it cannot connect."""
    request = r"printf 'GET / HTTP/1.0\r\n\r\n'"
    return await boxes.output("sh", "-c", f"{request} | nc -w 2 {address} {port}")


@pytest.fixture
async def host_port() -> AsyncIterator[int]:
    """A port that answers on every address of this host."""

    async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(GREETING.encode())
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(greet, "0.0.0.0", 0) as server:
        yield server.sockets[0].getsockname()[1]


@asynccontextmanager
async def without_firewall(instance: Instance) -> AsyncIterator[None]:
    await nft(remove_script(instance.id))
    try:
        yield
    finally:
        await nft(install_script(instance.id))


async def test_the_kernel_inside_runsc_is_gvisors(sandboxes: Sandboxes) -> None:
    inside = await sandboxes.output("cat", "/proc/version")
    assert inside.startswith("Linux version 4.4.0 ")
    assert inside.split()[2] != platform.release()


@pytest.mark.parametrize("runtime_class", ["runsc", "runc"])
class TestNetwork:
    @pytest.fixture
    def boxes(self, sandboxes: Sandboxes, runtime_class: str) -> Sandboxes:
        return replace(sandboxes, runtime_class=runtime_class)

    async def test_the_host_reaches_a_sandbox(self, boxes: Sandboxes) -> None:
        assert await fetch(await boxes.run(*SERVE)) == PAGE

    async def test_two_sandboxes_do_not_reach_each_other(
        self, boxes: Sandboxes, instance: Instance
    ) -> None:
        server = await boxes.run(*SERVE)
        assert await fetch(server) == PAGE
        assert PAGE not in await ask_from_inside(boxes, server.address, PORT)
        async with without_firewall(instance):
            # The isolated ports of the bridge are enough.
            assert PAGE not in await ask_from_inside(boxes, server.address, PORT)
            # And they are what it is: with neither, they do reach each other.
            port = veth_name(server.id)
            await run("bridge", "link", "set", "dev", port, "isolated", "off")
            assert PAGE in await ask_from_inside(boxes, server.address, PORT)

    async def test_a_sandbox_reaches_no_port_of_the_host(
        self, boxes: Sandboxes, instance: Instance, host_port: int
    ) -> None:
        network = Network(instance.id)
        await network.open()
        assert GREETING not in await ask_from_inside(boxes, network.gateway, host_port)
        async with without_firewall(instance):
            assert GREETING in await ask_from_inside(boxes, network.gateway, host_port)

    async def test_root_inside_cannot_change_its_address(self, boxes: Sandboxes) -> None:
        said = await boxes.output("sh", "-c", "ip addr add 10.9.9.9/32 dev eth0; ip addr")
        assert "eth0" in said
        assert "10.9.9.9/32" not in said


async def test_every_port_of_the_bridge_is_isolated(
    sandboxes: Sandboxes, instance: Instance
) -> None:
    await sandboxes.run(*SLEEP)
    shown = await run("bridge", "-details", "link", "show")
    lines = shown.split("\n")
    mine = [number for number, line in enumerate(lines) if bridge_name(instance.id) in line]
    assert mine
    assert all("isolated on" in lines[number + 1] for number in mine)


async def test_mounts_are_shown_and_read_only_ones_stay_as_they_are(
    sandboxes: Sandboxes,
) -> None:
    data, fixed = sandboxes.logs / "data", sandboxes.logs / "fixed"
    for folder in (data, fixed):
        folder.mkdir()
    spec = replace(
        sandboxes.spec("sh", "-c", "echo hi > /data/file; echo no > /fixed/file; echo done"),
        mounts=(Mount(data, "/data"), Mount(fixed, "/fixed", read_only=True)),
    )
    await sandboxes.runtime.create(spec)
    await sandboxes.ended((await sandboxes.runtime.start(spec.id)).id)
    assert (data / "file").read_text() == "hi\n"
    assert not (fixed / "file").exists()


async def test_creating_again_does_not_cut_a_running_sandbox_off(sandboxes: Sandboxes) -> None:
    spec = sandboxes.spec(*SERVE)
    await sandboxes.runtime.create(spec)
    state = await sandboxes.runtime.start(spec.id)
    assert await fetch(state) == PAGE
    assert await sandboxes.runtime.create(spec) == state
    assert await fetch(state) == PAGE


async def test_a_log_may_have_any_name(sandboxes: Sandboxes) -> None:
    log = sandboxes.logs / "100% of #1?" / "the log"
    spec = replace(sandboxes.spec("echo", "said"), log=log)
    await sandboxes.runtime.create(spec)
    await sandboxes.ended((await sandboxes.runtime.start(spec.id)).id)
    assert log.read_text() == "said\n"


@pytest.mark.parametrize(
    ("user", "expected"),
    [
        ("", "uid=0(root) gid=0(root)"),
        ("web", "uid=1000(web) gid=1001(web) groups=2000(logs)"),
        ("1234:5678", "uid=1234 gid=5678"),
    ],
)
async def test_the_command_runs_as_the_images_user(
    sandboxes: Sandboxes, user: str, expected: str
) -> None:
    archive = sandboxes.logs / "user.tar"
    build_busybox(archive, user=user)
    await sandboxes.runtime.import_image(archive, IMAGE)
    assert (await sandboxes.output("id")).strip().startswith(expected)
