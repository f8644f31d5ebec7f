"""The control groups of an instance's containers, version 1 and 2."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Sequence
from pathlib import Path

from miren.base.errors import RuntimeFailure

__all__ = [
    "can_limit_swap",
    "folders",
    "hierarchies",
    "process_ids",
    "remove",
    "was_out_of_memory",
]

_ROOT = Path("/sys/fs/cgroup")
_EMPTY_WITHIN = 5.0


def hierarchies(root: Path = _ROOT) -> Sequence[Path]:
    """Return the root folder of each hierarchy: one in version 2, one a controller in 1."""
    if (root / "cgroup.controllers").exists():
        return [root]
    return [path for path in sorted(root.iterdir()) if (path / "cgroup.procs").exists()]


def folders(path: str, root: Path = _ROOT) -> Sequence[Path]:
    """Return the folders that exist for the control group `path` (`/a/b`)."""
    found = [hierarchy / path.lstrip("/") for hierarchy in hierarchies(root)]
    return [folder for folder in found if folder.is_dir()]


def process_ids(path: str) -> Sequence[int]:
    """Return the processes in the control group and in those below it."""
    found: set[int] = set()
    for folder in folders(path):
        for file in folder.rglob("cgroup.procs"):
            try:
                found.update(int(line) for line in file.read_text().split())
            except OSError:
                continue  # the group was removed while we looked
    return sorted(found)


async def remove(path: str) -> None:
    """Remove the control group and those below it; raise RuntimeFailure while it is in use."""
    deadline = asyncio.get_running_loop().time() + _EMPTY_WITHIN
    while True:
        try:
            return _remove(path)
        except OSError as error:
            # A process that has ended is counted for a moment longer.
            if error.errno != errno.EBUSY or asyncio.get_running_loop().time() > deadline:
                raise RuntimeFailure(f"control group {path} cannot be removed: {error}") from error
        await asyncio.sleep(0.01)


def _remove(path: str) -> None:
    for folder in folders(path):
        below = [each for each in folder.rglob("*") if each.is_dir()]
        for each in [*sorted(below, reverse=True), folder]:
            each.rmdir()


def can_limit_swap(root: Path = _ROOT) -> bool:
    """Return whether this kernel counts swap; setting its limit fails where it does not."""
    if (root / "cgroup.controllers").exists():
        return True
    return (root / "memory" / "memory.memsw.limit_in_bytes").exists()


def was_out_of_memory(path: str, root: Path = _ROOT) -> bool:
    """Return whether the kernel killed something in the control group for want of memory."""
    for folder in folders(path, root):
        for name in ("memory.events", "memory.oom_control"):
            try:
                lines = (folder / name).read_text().splitlines()
            except OSError:
                continue  # not this hierarchy, or the group is gone
            if any(line.startswith("oom_kill ") and line.split()[1] != "0" for line in lines):
                return True
    return False
