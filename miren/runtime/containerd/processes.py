"""Find processes by what they were started with, wait for their end, end them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from miren.base.errors import RuntimeFailure

__all__ = ["Process", "is_alive", "kill_all", "processes_with", "terminate", "wait_ended"]


_KILLED_WITHIN = 10.0

# containerd with its shims, the OCI runtimes, and what our wrapper goes through.
_PROGRAMS = ("containerd", "exe", "runc", "runsc", "sh", "unshare")


@dataclass(frozen=True, slots=True)
class Process:
    """A process of this host, and the arguments it was started with."""

    pid: int
    arguments: tuple[str, ...]


def processes_with(path: Path) -> Sequence[Process]:
    """Return the runtime's processes that have `path`, or something below it, in an argument.

    State and run folders are private to an instance, so such a process belongs to it, unless
    it is somebody's editor.
    """
    wanted = str(path)
    found = []
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit() or int(folder.name) == os.getpid():
            continue
        try:
            text = (folder / "cmdline").read_bytes().decode(errors="replace")
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue  # it ended while we looked
        arguments = tuple(text.split("\0")[:-1])
        if not arguments or not Path(arguments[0]).name.startswith(_PROGRAMS):
            continue
        if any(_names(argument, wanted) for argument in arguments):
            found.append(Process(int(folder.name), arguments))
    return found


def _names(argument: str, path: str) -> bool:
    _, found, rest = argument.partition(path)
    return bool(found) and (not rest or rest[0] in "/,:")


def is_alive(pid: int) -> bool:
    """Return whether the process runs; one that has ended and waits to be reaped does not."""
    try:
        # Field 3, behind a name in brackets that may hold anything (proc_pid_stat(5)).
        state = Path("/proc", str(pid), "stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "ZX"


async def wait_ended(pid: int) -> None:
    """Return once the process has ended, also when it is none of our children."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_reader(descriptor, ended.set)
    try:
        await ended.wait()
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)
    _reap(pid)


def _reap(pid: int) -> None:
    # A child of ours stays a zombie until somebody asks for its exit code.
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)


async def terminate(pid: int, *, grace: float) -> None:
    """Ask the process to end, after `grace` seconds kill it, and wait until it has ended."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(grace):
            await wait_ended(pid)
            return
    await kill_all([pid])


async def kill_all(pids: Sequence[int]) -> None:
    """Kill the processes and wait until they have ended; those that are gone are fine.

    Raises RuntimeFailure when one goes on all the same, as in an endless system call.
    """
    # 0 and negative numbers mean groups of processes, our own among them.
    real = [pid for pid in pids if pid > 0]
    for pid in real:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    try:
        async with asyncio.timeout(_KILLED_WITHIN):
            for pid in real:
                await wait_ended(pid)
    except TimeoutError as error:
        alive = ", ".join(str(pid) for pid in real if is_alive(pid))
        raise RuntimeFailure(f"processes {alive} cannot be killed") from error
