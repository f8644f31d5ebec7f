"""Make small sandboxes from busybox, and look at them from outside."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path

from miren.base.ids import new_uid
from miren.runtime.api import ContainerId, ContainerPhase, ContainerSpec, ContainerState, Runtime
from miren.runtime.images.builder import Entry, File, Symlink, build_image
from miren.runtime.images.layout import ImageConfig

IMAGE = "test/busybox"
PAGE = "the page\n"
PORT = 8080
DEADLINE = 30.0
_APPLETS = ("cat", "dd", "echo", "httpd", "id", "ip", "nc", "printf", "sh", "sleep", "tail")

SERVE = ("httpd", "-f", "-p", str(PORT), "-h", "/www")
SLEEP = ("sh", "-c", "trap 'exit 0' TERM; sleep 1000 & wait")


def build_busybox(target: Path, *, user: str = "") -> None:
    """Write an image archive that serves PAGE on PORT."""
    layer: dict[str, Entry] = {
        "bin/busybox": File(Path("/bin/busybox"), 0o755),
        **{f"bin/{applet}": Symlink("busybox") for applet in _APPLETS},
        "etc/passwd": File(b"root:x:0:0::/root:/bin/sh\nweb:x:1000:1001::/:/bin/sh\n"),
        "etc/group": File(b"root:x:0:\nweb:x:1001:\nlogs:x:2000:web\n"),
        "www/index.html": File(PAGE.encode()),
    }
    build_image(target, [layer], config=ImageConfig(command=SERVE, user=user))


async def eventually(holds: Callable[[], Awaitable[bool]]) -> None:
    """Return once `holds` does; fail when it does not within the deadline."""
    async with asyncio.timeout(DEADLINE):
        while not await holds():  # noqa: ASYNC110 - what it waits for is outside this process
            await asyncio.sleep(0.02)


async def can_connect(address: str, port: int) -> bool:
    """Return whether something listens there, as this host sees it."""
    try:
        async with asyncio.timeout(2.0):
            _, writer = await asyncio.open_connection(address, port)
    except (OSError, TimeoutError):
        return False
    writer.close()
    return True


async def fetch(state: ContainerState | None, *, port: int = PORT) -> str:
    """Return the page that the sandbox serves; fail when there is none within the deadline."""
    assert state is not None
    address = state.address
    assert address is not None
    await eventually(lambda: can_connect(address, port))
    async with asyncio.timeout(DEADLINE):
        reader, writer = await asyncio.open_connection(address, port)
        writer.write(b"GET / HTTP/1.0\r\n\r\n")
        answer = await reader.read()
        writer.close()
    return answer.decode().partition("\r\n\r\n")[2]


@dataclass(frozen=True, slots=True)
class Sandboxes:
    """Sandboxes of one runtime class; their logs are in `logs`."""

    runtime: Runtime
    logs: Path
    runtime_class: str = "runsc"

    def spec(self, *command: str) -> ContainerSpec:
        """Return a spec with a fresh id."""
        id = ContainerId(new_uid(), 1)
        return ContainerSpec(
            id=id,
            image=IMAGE,
            log=self.logs / f"{id}.log",
            command=command or None,
            runtime_class=self.runtime_class,
        )

    async def run(self, *command: str, memory: int | None = None) -> ContainerState:
        """Create and start a container."""
        spec = replace(self.spec(*command), memory=memory)
        await self.runtime.create(spec)
        return await self.runtime.start(spec.id)

    async def ended(self, id: ContainerId) -> ContainerState:
        """Return the container's state once it has exited."""
        found: list[ContainerState] = []

        async def has_exited() -> bool:
            state = await self.runtime.inspect(id)
            assert state is not None
            found[:] = [state]
            return state.phase is ContainerPhase.EXITED

        await eventually(has_exited)
        return found[0]

    async def output(self, *command: str) -> str:
        """Run the command to its end and return what it said."""
        state = await self.run(*command)
        await self.ended(state.id)
        return self.log(state)

    def log(self, state: ContainerState) -> str:
        """Return what the container has said so far."""
        return (self.logs / f"{state.id}.log").read_text()
