"""One process at a time works with a state folder: its server, or what replaces its store."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from miren.base.errors import Refused

__all__ = ["owning"]


@contextmanager
def owning(state_dir: Path) -> Iterator[None]:
    """Own a state folder for as long as the body runs, or the process lives.

    Makes the folder when it is not there. Raises Refused, naming the owner, while there is one.
    """
    state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    file = os.open(state_dir / "server.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            # The kernel drops it when the process dies, however it dies.
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.read(file, 32).decode(errors="replace").strip() or "another"
            raise Refused(
                f"process {owner} works with {state_dir}",
                hint="stop it first; a server is stopped with SIGTERM, and sandboxes stay",
            ) from None
        os.ftruncate(file, 0)
        os.pwrite(file, f"{os.getpid()}\n".encode(), 0)
        yield
        os.ftruncate(file, 0)
    finally:
        os.close(file)
