"""What a running SQLite store does once its file turns out to be damaged.

The check at its start looks at what time allows, and a disk can spoil a page at any later moment.
SQLite tells whoever comes upon such a page: a read on the loop, or a write or a compaction in the
writer's thread. From then on the store writes nothing more. What is there can only be made good
from a snapshot, so whatever was written after that would be lost with the file, although its
writer was told that it is safe; and SQLite may put it where something whole was. What can still
be read is read, so that it can be exported.
"""

from __future__ import annotations

import logging
from pathlib import Path

import apsw

from miren.base.errors import Unavailable

__all__ = ["DAMAGE_ALARM", "Damage"]

log = logging.getLogger(__name__)

#: What the status of a store says that found its file damaged.
DAMAGE_ALARM = "its file is damaged, and takes no more writes"


class Damage:
    """What all threads of one opened store know of its file; once found, it is not forgotten."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.is_found = False

    def notice(self, error: BaseException) -> bool:
        """Return whether `error` is one of damage, and remember it."""
        if not isinstance(error, apsw.CorruptError | apsw.NotADBError):
            return False
        if not self.is_found:
            self.is_found = True
            log.error("the store %s is damaged: %s", self._path, error)
        return True

    def check(self) -> None:
        """Raise Unavailable when damage was found, so that nothing is written."""
        if self.is_found:
            raise self.refusal()

    def refusal(self) -> Unavailable:
        """Return what to tell whoever cannot read or write because of the damage."""
        return Unavailable(
            f"the store {self._path} is damaged",
            hint="export what can still be read; then stop the server, and "
            "`miren store restore FILE` makes the store anew from a snapshot",
        )
