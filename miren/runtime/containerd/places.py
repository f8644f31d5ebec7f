"""Where everything is: the one place that knows the layout of an instance's folders."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from miren.runtime.api import ContainerId
from miren.runtime.containerd.connection import NAMESPACE

__all__ = ["Places"]

# Shims put their sockets here, whatever containerd they belong to.
_SHIM_SOCKETS = Path("/run/containerd/s")


@dataclass(frozen=True, slots=True)
class Places:
    """Paths below the state folder, which survives a reboot, and the run folder, which may not."""

    state_dir: Path
    run_dir: Path

    @classmethod
    def at(cls, state_dir: Path, run_dir: Path) -> Places:
        """Return the places below two folders, which need not exist yet."""
        # Processes and mounts are recognised by paths as the kernel shows them.
        return cls(state_dir.resolve(), run_dir.resolve())

    @property
    def root(self) -> Path:
        """What containerd keeps: images, snapshots, records; its config and its log."""
        return self.state_dir / "containerd"

    @property
    def run(self) -> Path:
        """What running containers need: containerd's socket and state, the OCI runtimes'."""
        return self.run_dir / "containerd"

    @property
    def config(self) -> Path:
        """Containerd's configuration; no other process has it as an argument."""
        return self.root / "config.toml"

    @property
    def containerd_log(self) -> Path:
        """What containerd says."""
        return self.root / "containerd.log"

    @property
    def temporary(self) -> Path:
        """Where containerd puts what it needs for a moment."""
        return self.root / "tmp"

    @property
    def socket(self) -> Path:
        """Where containerd listens."""
        return self.run / "containerd.sock"

    @property
    def oci_state(self) -> Path:
        """What runsc and runc know of their containers; theirs alone, not the host's default."""
        return self.run / "oci"

    def bundle(self, id: ContainerId) -> Path:
        """Containerd's folder of the container's task, its root file system mounted inside."""
        return self.run / "state/io.containerd.runtime.v2.task" / NAMESPACE / str(id)

    @property
    def runsc_wrapper(self) -> Path:
        """The program that shims start for the class runsc."""
        return self.run / "bin" / "runsc"

    @property
    def containers(self) -> Path:
        """A folder for each container that has anything on this host."""
        return self.root / "containers"

    def container(self, id: ContainerId) -> Path:
        """The folder of the container: the files it gets from the host."""
        return self.containers / str(id)

    def oci_files(self, id: ContainerId) -> Sequence[Path]:
        """What the OCI runtime keeps of the container: runc a folder, runsc files beside it."""
        folder = self.oci_state / NAMESPACE
        if not folder.is_dir():
            return []
        return [
            path
            for path in sorted(folder.iterdir())
            if path.name == str(id) or path.name.startswith(f"{id}_")
        ]

    def shim_socket(self, id: ContainerId) -> Path:
        """The socket of the container's shim, whose name is a digest of whom it serves."""
        served = f"{self.socket}/{NAMESPACE}/{id}"
        return _SHIM_SOCKETS / hashlib.sha256(served.encode()).hexdigest()
