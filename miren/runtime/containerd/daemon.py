"""A private containerd: started when needed, adopted when running, restarted when it dies.

It shares nothing with a containerd that the host may have, and outlives us, as its containers
outlive it: a restart of Miren finds everything as it was.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from miren.base.daemons import LONGEST_SOCKET, Daemon
from miren.base.errors import InvalidInput, MirenError, RuntimeFailure
from miren.base.processes import search_path, spawn
from miren.runtime.containerd.client import Containers
from miren.runtime.containerd.connection import Connection
from miren.runtime.containerd.places import Places
from miren.runtime.containerd.processes import processes_with

__all__ = ["ContainerdDaemon"]

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


class ContainerdDaemon(Daemon):
    """The containerd of an instance, in its folders. Containers go on without it.

    Raises InvalidInput when `run_dir` is too long for a socket.
    """

    name = "containerd"

    def __init__(self, state_dir: Path, run_dir: Path, *, ready_within: float = 30.0) -> None:
        self.places = Places.at(state_dir, run_dir)
        super().__init__(self.places.socket, self.places.containerd_log, ready_within=ready_within)
        # containerd puts a second socket beside its own, with this ending.
        longest = f"{self.socket}.ttrpc"
        if len(longest.encode()) > LONGEST_SOCKET:
            raise InvalidInput(
                f"the path {longest} has over {LONGEST_SOCKET} bytes, too many for a socket",
                hint="choose a shorter run_dir",
            )

    def pid(self) -> int | None:
        """Return the running daemon's process id, whoever started it."""
        for process in processes_with(self.places.config):
            if process.program == "containerd":
                return process.pid
        return None

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
        # What it mounts while it unpacks an image goes to its own folder as well.
        environment = {"PATH": search_path(), "TMPDIR": str(places.temporary)}
        return spawn([binary, "--config", str(places.config)], environment, log=self.log)

    async def _is_ready(self) -> bool:
        connection = Connection(self.socket)
        try:
            await Containers(connection).version(timeout=5.0)
        except MirenError:
            return False
        finally:
            await connection.close()
        return True
