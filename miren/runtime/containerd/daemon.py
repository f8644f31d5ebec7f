"""A private containerd: started when needed, adopted when running, restarted when it dies.

It shares nothing with a containerd that the host may have, and outlives us, as its containers
outlive it: a restart of Miren finds everything as it was.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import random
import shutil
from pathlib import Path
from typing import Self

from miren.base.backoff import Backoff
from miren.base.errors import InvalidInput, MirenError, RuntimeFailure
from miren.runtime.containerd.client import Containers
from miren.runtime.containerd.connection import Connection
from miren.runtime.containerd.places import Places
from miren.runtime.containerd.processes import (
    is_alive,
    kill_all,
    processes_with,
    terminate,
    wait_ended,
)

__all__ = ["ContainerdDaemon"]

log = logging.getLogger(__name__)

# struct sockaddr_un holds 108 bytes, the last of them zero.
_LONGEST_SOCKET = 107
_BACKOFF = Backoff(first=0.1, cap=10.0)

_CONFIG = """\
version = 2
root = "{root}/data"
state = "{run}/state"
disabled_plugins = [
  "io.containerd.grpc.v1.cri",
  "io.containerd.internal.v1.opt",
  "io.containerd.internal.v1.tracing",
  "io.containerd.nri.v1.nri",
  "io.containerd.snapshotter.v1.aufs",
  "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.native",
  "io.containerd.snapshotter.v1.zfs",
  "io.containerd.tracing.processor.v1.otlp",
]

[grpc]
  address = "{socket}"

[debug]
  level = "warn"
"""


class ContainerdDaemon:
    """The containerd of an instance, in its folders.

    `async with` starts or adopts it and keeps it running; leaving leaves it running. One that
    does not answer `ready_within` seconds is killed. Raises InvalidInput when `run_dir` is too
    long for a socket.
    """

    def __init__(self, state_dir: Path, run_dir: Path, *, ready_within: float = 30.0) -> None:
        self._ready_within = ready_within
        self.places = Places.at(state_dir, run_dir)
        self.socket = self.places.socket
        self.log = self.places.containerd_log
        self._supervisor: asyncio.Task[None] | None = None
        # containerd puts a second socket beside its own, with this ending.
        longest = f"{self.socket}.ttrpc"
        if len(longest.encode()) > _LONGEST_SOCKET:
            raise InvalidInput(
                f"the path {longest} has over {_LONGEST_SOCKET} bytes, too many for a socket",
                hint="choose a shorter run_dir",
            )

    async def __aenter__(self) -> Self:
        pid = await self.start()
        self._supervisor = asyncio.create_task(self._supervise(pid), name="containerd")
        return self

    async def __aexit__(self, *_exc: object) -> None:
        if self._supervisor is not None:
            self._supervisor.cancel()
            await asyncio.gather(self._supervisor, return_exceptions=True)
            self._supervisor = None

    def pid(self) -> int | None:
        """Return the running daemon's process id, whoever started it."""
        for process in processes_with(self.places.config):
            if Path(process.arguments[0]).name == "containerd":
                return process.pid
        return None

    async def start(self) -> int:
        """Make sure that it runs and answers; return its process id.

        Raises RuntimeFailure when it cannot be started, with the end of its log.
        """
        pid = self.pid()
        if pid is not None:
            if await self._answers(pid):
                return pid
            await terminate(pid, grace=5.0)
        pid = self._spawn()
        if not await self._answers(pid):
            await kill_all([pid])
            raise RuntimeFailure(
                f"containerd does not answer on {self.socket}: {self._last_words()}",
                hint=f"see {self.log}",
            )
        return pid

    async def stop(self) -> None:
        """End it, if it runs. Containers go on without it."""
        await self.__aexit__()
        pid = self.pid()
        if pid is not None:
            await terminate(pid, grace=10.0)

    def _spawn(self) -> int:
        binary = shutil.which("containerd")
        if binary is None:
            raise RuntimeFailure("containerd is not installed", hint="apt-get install containerd")
        places = self.places
        for folder in (places.root, places.run, places.temporary):
            folder.mkdir(parents=True, exist_ok=True, mode=0o711)
        places.config.write_text(
            _CONFIG.format(root=places.root, run=places.run, socket=places.socket)
        )
        self.socket.unlink(missing_ok=True)
        output = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            # Neither subprocess nor asyncio starts processes that are meant to outlive us.
            return os.posix_spawn(
                binary,
                [binary, "--config", str(places.config)],
                # What it mounts while it unpacks an image goes to its own folder as well.
                {"PATH": _path(), "TMPDIR": str(places.temporary)},
                file_actions=[
                    (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                    (os.POSIX_SPAWN_DUP2, output, 1),
                    (os.POSIX_SPAWN_DUP2, output, 2),
                ],
                setsid=True,
            )
        finally:
            os.close(output)

    async def _answers(self, pid: int) -> bool:
        """Return whether it answers in time; give up early when its process has ended."""
        connection = Connection(self.socket)
        try:
            async with asyncio.timeout(self._ready_within):
                while is_alive(pid):
                    with contextlib.suppress(MirenError):
                        await Containers(connection).version(timeout=5.0)
                        return True
                    await asyncio.sleep(0.02)
        except TimeoutError:
            log.warning("containerd %d does not answer on %s", pid, self.socket)
        finally:
            await connection.close()
        return False

    async def _supervise(self, pid: int) -> None:
        rng, failures = random.Random(), 0  # noqa: S311
        loop = asyncio.get_running_loop()
        while True:
            since = loop.time()
            await wait_ended(pid)
            failures = 1 if loop.time() - since > _BACKOFF.cap else failures + 1
            log.warning("containerd ended; starting it again: %s", self._last_words())
            pid = await self._restart(failures, rng)

    async def _restart(self, failures: int, rng: random.Random) -> int:
        while True:
            if failures > 1:
                await asyncio.sleep(_BACKOFF.delay(failures - 1, rng))
            try:
                return await self.start()
            except MirenError as error:
                failures += 1
                log.error("containerd cannot be started: %s", error.message)  # noqa: TRY400

    def _last_words(self) -> str:
        try:
            lines = self.log.read_text(errors="replace").splitlines()
        except FileNotFoundError:
            return "it wrote no log"
        return lines[-1] if lines else "its log is empty"


def _path() -> str:
    """Return a PATH on which containerd finds its shim and the system's tools."""
    usual = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"]
    own = [part for part in os.environ.get("PATH", "").split(":") if part]
    return ":".join(dict.fromkeys([*own, *usual]))
