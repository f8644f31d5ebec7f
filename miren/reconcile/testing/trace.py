"""What happened in a simulation, in order: for whoever reads it, and as a digest.

All lines go into the digest; only the last ones are kept. So two runs can be compared however long
they were, and a run that fails can be read from its end.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

__all__ = ["Entry", "Trace"]

#: Lines kept.
_KEPT = 1000


@dataclass(frozen=True, slots=True)
class Entry:
    """One line: at a virtual time, somebody did something.

    `key` says to what, `revision` (0: none) is the one it was seen at or written as. `detail` is
    for listeners only: the entity a reconcile begins with, the `Attempt` that it came to.
    """

    time: float
    who: str
    what: str
    key: str = ""
    revision: int = 0
    detail: Any = None

    def __str__(self) -> str:
        at = f"@{self.revision}" if self.revision else ""
        words = (word for word in (self.who, self.what, self.key, at) if word)
        return f"{self.time:12.6f} {' '.join(words)}"


class Trace:
    """Takes entries, and tells them to its listeners at once."""

    def __init__(self) -> None:
        self.length = 0
        self.is_over = False  # nothing counts any more
        self._last: deque[Entry] = deque(maxlen=_KEPT)
        self._hash = hashlib.sha256()
        self._listeners: list[Callable[[Entry], None]] = []

    def add(self, entry: Entry) -> None:
        """Add one line."""
        if self.is_over:
            return
        self.length += 1
        self._last.append(entry)
        self._hash.update(f"{entry}\n".encode())
        for listener in self._listeners:
            listener(entry)

    def listen(self, listener: Callable[[Entry], None]) -> None:
        """Call `listener` for every entry from now on."""
        self._listeners.append(listener)

    @property
    def digest(self) -> str:
        """What is the same for two runs in which the same happened at the same times."""
        return self._hash.hexdigest()

    def tail(self, lines: int = 40) -> Iterator[str]:
        """Yield the last lines, oldest first, with how many were left out before them."""
        last = list(self._last)[-lines:] if lines > 0 else []
        if left := self.length - len(last):
            yield f"... {left} lines before"
        yield from map(str, last)
