"""Who owns a SQLite store: one process at a time.

It holds an flock on `<path>.lock`, which the kernel drops when the process dies, however it dies.
The file names the owner, its pid and then where it listens, for whoever is refused.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from miren.base.errors import Refused, Unavailable

__all__ = ["OwnerLock"]

_LONGEST = 4096


class OwnerLock:
    """The right to open one store file. Held until `release`, or until the process ends."""

    def __init__(self, path: Path, address: str = "") -> None:
        """Take the lock; raise Refused, naming the owner, when another store object has it."""
        self.path = path.with_name(path.name + ".lock")
        try:
            self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise Unavailable(
                f"cannot open the store {path}: {error.strerror}",
                hint=f"check that {path.parent} is a folder this user may write to",
            ) from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            owner = os.read(self._file, _LONGEST).decode(errors="replace")
            os.close(self._file)
            raise _in_use(path, owner) from error
        os.ftruncate(self._file, 0)
        os.write(self._file, f"{os.getpid()}\n{address}".encode()[:_LONGEST])

    def release(self) -> None:
        """Give the right away. The file stays: removing it would let two owners in."""
        os.ftruncate(self._file, 0)
        os.close(self._file)


def _in_use(path: Path, owner: str) -> Refused:
    pid, _, address = owner.partition("\n")
    pid = pid or "unknown"
    if address:
        return Refused(
            f"the store {path} is in use by process {pid}, which listens at {address}",
            hint=f"ask it at {address}, or stop process {pid}",
        )
    return Refused(
        f"the store {path} is in use by process {pid}",
        hint=f"stop process {pid}, or ask it instead of opening its file",
    )
