"""Find the runtime's processes by what they were started with."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from miren.base.processes import Process, processes

__all__ = ["processes_with"]

# containerd with its shims, the OCI runtimes, and what our wrapper goes through.
_PROGRAMS = ("containerd", "exe", "runc", "runsc", "sh", "unshare")


def processes_with(path: Path) -> Sequence[Process]:
    """Return the runtime's processes that have `path`, or something below it, in an argument.

    State and run folders are private to an instance, so such a process belongs to it, unless
    it is somebody's editor.
    """
    wanted = str(path)
    return [
        process
        for process in processes()
        if process.program.startswith(_PROGRAMS)
        and any(_names(argument, wanted) for argument in process.arguments)
    ]


def _names(argument: str, path: str) -> bool:
    _, found, rest = argument.partition(path)
    return bool(found) and (not rest or rest[0] in "/,:")
