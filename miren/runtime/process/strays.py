"""Find and kill what is left of a container outside its command's process group.

A command may have put processes into sessions of their own, and a command that ended after its
keeper was killed leaves a group that nobody may signal by number: that number may be another's by
now. What they all inherited is the environment, and in it the mark of their container.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

__all__ = ["MARK", "kill_strays"]

#: The variable that says `<instance>/<container id>` to every process of a container.
MARK = "MIREN_CONTAINER"

# A process may fork between being listed and being killed; its child is found the next time.
_MOST_ROUNDS = 10


def kill_strays(env: Mapping[str, str]) -> None:
    """Kill every process that carries the mark in `env`. Blocks for a look at all processes."""
    mark = f"{MARK}={env[MARK]}".encode()
    for _ in range(_MOST_ROUNDS):
        if not sum(_kill_if_marked(pid, mark) for pid in _pids()):
            return


def _pids() -> Iterator[int]:
    for name in os.listdir("/proc"):  # noqa: PTH208 - thousands of names, no need for paths
        if name.isdecimal():
            yield int(name)


def _kill_if_marked(pid: int, mark: bytes) -> bool:
    environment = Path(f"/proc/{pid}/environ")
    # Gone by now, or another user's: not one of ours either way.
    with suppress(FileNotFoundError, ProcessLookupError, PermissionError):
        if mark not in environment.read_bytes().split(b"\0"):
            return False
        descriptor = os.pidfd_open(pid)
        try:
            # Looked at again, now that the pid cannot become another's.
            if mark in environment.read_bytes().split(b"\0"):
                signal.pidfd_send_signal(descriptor, signal.SIGKILL)
                return True
        finally:
            os.close(descriptor)
    return False
