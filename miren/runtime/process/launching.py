"""Start a container's keeper and hear from it how the command's start went.

The keeper is spawned bare, not through `subprocess` or asyncio's child watchers: it must outlive
this program, and nobody here owns an object whose end would mean anything. Only while it starts
does a pipe lead back, for one short answer.
"""

from __future__ import annotations

import json
import os
import select
import sys
from pathlib import Path

from miren.base.errors import RuntimeFailure

__all__ = ["launch"]

_KEEPER = str(Path(__file__).with_name("keeper.py"))
_DEADLINE = 15.0


def launch(folder: Path, instance: str) -> int:
    """Spawn the keeper for `folder`, wait for its answer and return its pid. Blocks.

    The instance is on its command line, so that what an instance runs can be counted. Raises
    RuntimeFailure with the reason when the command cannot be run, and when no answer comes.
    """
    reader, writer = os.pipe()
    try:
        log = folder / "keeper.log"
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
        os.close(writer)
        writer = -1
        answer = _read_all(reader)
    except OSError as error:
        raise RuntimeFailure(f"the keeper of {folder.name} cannot be started: {error}") from error
    finally:
        os.close(reader)
        if writer >= 0:
            os.close(writer)
    if not answer:
        raise RuntimeFailure(
            f"the keeper of {folder.name} gave no answer", hint=f"it may have said why in {log}"
        )
    reason = json.loads(answer).get("error")
    if reason:
        raise RuntimeFailure(f"container {folder.name}: {reason}")
    return pid


def _read_all(reader: int) -> bytes:
    answer = b""
    while select.select([reader], [], [], _DEADLINE)[0]:
        chunk = os.read(reader, 4096)
        if not chunk:
            break
        answer += chunk
    return answer
