"""What is mounted below a folder, and how to get rid of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from miren.runtime.network.commands import run

__all__ = ["mounts_below", "unmount_below"]


def mounts_below(*folders: Path) -> Sequence[Path]:
    """Return the mount points in the folders, the deepest first."""
    points = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        # Field 5 is the mount point, with octal escapes (proc_pid_mountinfo(5)).
        point = Path(line.split()[4].encode().decode("unicode_escape"))
        if any(point.is_relative_to(folder) for folder in folders):
            points.append(point)
    return sorted(points, reverse=True)


async def unmount_below(*folders: Path) -> None:
    """Unmount what is mounted in the folders, even while it is in use."""
    for point in mounts_below(*folders):
        await run("umount", "--lazy", str(point))
