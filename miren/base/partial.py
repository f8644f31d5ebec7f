"""A file that is made under a name of its own and gets the wanted one once it is whole.

That name, `.<name>.<20 letters and digits>.part`, is new each time, so that nothing which somebody
else has there, or is making, is written to. Whoever makes one holds a lock on it, which the kernel
drops when the process dies: one without a lock is a dead process's, and the next to make a file of
the same name removes it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from miren.base.ids import new_uid

__all__ = ["partial_file"]


@contextmanager
def partial_file(target: Path) -> Iterator[Path]:
    """Yield a new empty file, mode 0600, which becomes `target` when the body is through.

    The body flushes what it wrote. Raises FileExistsError where `target` is there, by then too,
    and OSError where it cannot be made. Whatever goes wrong leaves nothing.
    """
    if os.path.lexists(target):
        raise FileExistsError(f"{target} exists")
    _remove_leftovers(target)
    part, lock = _begin(target)
    try:
        yield part
        _publish(part, target)
        _flush_folder(target.parent)
    finally:
        part.unlink(missing_ok=True)
        os.close(lock)


def _begin(target: Path) -> tuple[Path, int]:
    """Make the file; return it and what holds its lock."""
    while True:
        part = target.with_name(f".{target.name}.{new_uid()}.part")
        lock = os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            # Before it was locked, it looked like a leftover, and may have been removed as one.
            if os.fstat(lock).st_nlink:
                return part, lock
        except BaseException:
            part.unlink(missing_ok=True)
            os.close(lock)
            raise
        os.close(lock)


def _publish(part: Path, target: Path) -> None:
    try:
        # Unlike a rename, this never replaces what somebody else put there meanwhile.
        target.hardlink_to(part)
    except FileExistsError:
        raise
    except OSError:
        # Not every file system has links.
        if os.path.lexists(target):
            raise
        part.rename(target)


def _remove_leftovers(target: Path) -> None:
    pattern = re.compile(re.escape(f".{target.name}.") + r"[a-z2-7]{20}\.part")
    with os.scandir(target.parent) as entries:
        found = [Path(entry) for entry in entries if pattern.fullmatch(entry.name)]
    for path in found:
        # One that is being made, is gone by now, or is not ours to remove, stays.
        with contextlib.suppress(OSError):
            file = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink()
            finally:
                os.close(file)


def _flush_folder(folder: Path) -> None:
    file = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(file)
    finally:
        os.close(file)
