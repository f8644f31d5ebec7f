from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from dataclasses import replace

import pytest

from miren.runtime.api import Mount
from miren.runtime.network import Network, bridge_name
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
    can_connect,
    fetch,
)

pytestmark = pytest.mark.host


def wget(address: object, port: int) -> tuple[str, ...]:
    url = f"http://{address}:{port}/"
    return ("sh", "-c", f"wget -q -T 2 -O - {url} && echo REACHED || echo REFUSED")


@pytest.fixture
def host_port() -> Iterator[int]:
    """A port that answers on every address of this host."""
    with socket.create_server(("0.0.0.0", 0)) as server:  # noqa: S104 - it is what is tested
        port: int = server.getsockname()[1]
        yield port


async def test_the_kernel_inside_runsc_is_gvisors(sandboxes: Sandboxes) -> None:
    inside = await sandboxes.output("cat", "/proc/version")
    assert "Linux version 4.4.0" in inside
    assert inside != (await asyncio.to_thread(open, "/proc/version")).read()


@pytest.mark.parametrize("runtime_class", ["runsc", "runc"])
class TestNetwork:
    @pytest.fixture
    def boxes(self, sandboxes: Sandboxes, runtime_class: str) -> Sandboxes:
        return replace(sandboxes, runtime_class=runtime_class)

    async def test_the_host_reaches_a_sandbox(self, boxes: Sandboxes) -> None:
        assert await fetch(await boxes.run(*SERVE)) == PAGE

    async def test_two_sandboxes_do_not_reach_each_other(self, boxes: Sandboxes) -> None:
        server = await boxes.run(*SERVE)
        assert await fetch(server) == PAGE
        assert "REFUSED" in await boxes.output(*wget(server.address, PORT))

    async def test_bridge_ports_alone_keep_two_sandboxes_apart(
        self, boxes: Sandboxes, instance: Instance
    ) -> None:
        server = await boxes.run(*SERVE)
        assert await fetch(server) == PAGE
        await nft(remove_script(instance.id))
        try:
            assert "REFUSED" in await boxes.output(*wget(server.address, PORT))
        finally:
            await nft(install_script(instance.id))

    async def test_a_sandbox_reaches_no_port_of_the_host(
        self, boxes: Sandboxes, instance: Instance, host_port: int
    ) -> None:
        network = Network(instance.id)
        await network.open()
        assert await can_connect(str(network.gateway), host_port)
        assert "REFUSED" in await boxes.output(*wget(network.gateway, host_port))
        # The control: without the firewall it does, so it is the firewall that refused.
        await nft(remove_script(instance.id))
        try:
            outcome = await boxes.output(
                "sh", "-c", f"wget -q -T 2 -O - http://{network.gateway}:{host_port}/; echo $?"
            )
        finally:
            await nft(install_script(instance.id))
        assert outcome

    async def test_root_inside_can_do_little(self, boxes: Sandboxes) -> None:
        said = await boxes.output(
            "sh", "-c", "ip addr add 10.9.9.9/32 dev eth0; ls /proc/kcore; echo done"
        )
        assert "done" in said
        assert "10.9.9.9" not in await boxes.output("ip", "addr")


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
