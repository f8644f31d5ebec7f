"""Find processes of this host, start ones that outlive us, wait for their end, end them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from miren.base.errors import RuntimeFailure

__all__ = [
    "Process",
    "is_alive",
    "kill_all",
    "processes",
    "search_path",
    "spawn",
    "terminate",
    "wait_ended",
]

_KILLED_WITHIN = 10.0


@dataclass(frozen=True, slots=True)
class Process:
    """A process of this host, and the arguments it was started with."""

    pid: int
    arguments: tuple[str, ...]

    @property
    def program(self) -> str:
        """The name of the program, without its folder."""
        return Path(self.arguments[0]).name


def processes() -> Iterator[Process]:
    """Yield every process but this one that runs a program and that we may look at."""
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit() or int(folder.name) == os.getpid():
            continue
        try:
            text = (folder / "cmdline").read_bytes().decode(errors="replace")
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue  # it ended while we looked
        arguments = tuple(text.split("\0")[:-1])
        if arguments:
            yield Process(int(folder.name), arguments)


def spawn(arguments: Sequence[str], environment: Mapping[str, str], *, log: Path) -> int:
    """Start a process that may outlive this one, and return its id.

    It leads a session of its own, reads nothing, and what it says is added to `log`, mode 0600.
    """
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        # Neither subprocess nor asyncio starts processes that are meant to outlive us.
        return os.posix_spawn(
            arguments[0],
            list(arguments),
            environment,
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_DUP2, output, 1),
                (os.POSIX_SPAWN_DUP2, output, 2),
            ],
            setsid=True,
        )
    finally:
        os.close(output)


def search_path() -> str:
    """Return a PATH on which a program finds the system's tools, whatever ours lacks."""
    usual = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"]
    own = [part for part in os.environ.get("PATH", "").split(":") if part]
    return ":".join(dict.fromkeys([*own, *usual]))


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
