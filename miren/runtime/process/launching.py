"""Start a container's keeper and hear from it how the command's start went.

The keeper is spawned bare, not through `subprocess` or asyncio's child watchers: it must outlive
this program, and nobody here owns an object whose end would mean anything. Only while it starts
does a pipe lead back, for one short answer.
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys
from contextlib import suppress
from pathlib import Path

from miren.base.errors import RuntimeFailure

__all__ = ["launch"]

_KEEPER = str(Path(__file__).with_name("keeper.py"))
_DEADLINE = 15.0


def launch(folder: Path, instance: str) -> None:
    """Spawn the keeper for `folder` and wait until the command runs. Blocks.

    The instance is on its command line, so that what an instance runs can be counted. Raises
    RuntimeFailure with the reason when the command cannot be run, or when no answer comes; then
    no keeper is left.
    """
    log = folder / "keeper.log"
    try:
        keeper, reader = _spawn(folder, instance, log)
    except OSError as error:
        raise RuntimeFailure(f"the keeper of {folder.name} cannot be started: {error}") from error
    try:
        answer = _read_all(reader)
        said = json.loads(answer) if answer else {"error": "its keeper gave no answer"}
        if "error" in said:
            _end(keeper)
            hint = None if answer else f"the keeper may have said why in {log}"
            raise RuntimeFailure(f"container {folder.name}: {said['error']}", hint=hint)
    finally:
        os.close(reader)
        os.close(keeper)


def _spawn(folder: Path, instance: str, log: Path) -> tuple[int, int]:
    """Start the keeper; return descriptors of its process and of its answer."""
    reader, writer = os.pipe()
    try:
        pid = os.posix_spawn(
            sys.executable,
            [sys.executable, "-I", "-S", _KEEPER, str(folder), instance],
            {},
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
                (os.POSIX_SPAWN_DUP2, writer, 1),
                (os.POSIX_SPAWN_OPEN, 2, str(log), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
            ],
            setsid=True,
        )
        # Whoever deletes the container may wait for the keeper first: from then on its pid may
        # be anybody's, but never what this descriptor stands for.
        return os.pidfd_open(pid), reader
    except OSError:
        os.close(reader)
        raise
    finally:
        os.close(writer)


def _end(keeper: int) -> None:
    """End the keeper that failed: mostly it has ended already, but it may be stuck."""
    with suppress(ProcessLookupError):
        signal.pidfd_send_signal(keeper, signal.SIGKILL)
    with suppress(ChildProcessError):
        os.waitid(os.P_PIDFD, keeper, os.WEXITED)


def _read_all(reader: int) -> bytes:
    answer = b""
    while select.select([reader], [], [], _DEADLINE)[0]:
        chunk = os.read(reader, 4096)
        if not chunk:
            break
        answer += chunk
    return answer
