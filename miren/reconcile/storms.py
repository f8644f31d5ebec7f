"""Errors that come by the thousand are told once a second, with how many were not told.

A controller that breaks for all of its keys would else spend its time, and that of all others in
this loop, writing the same traceback.
"""

from __future__ import annotations

import asyncio

__all__ = ["Storm"]

#: Seconds between two lines about one kind of error.
_PAUSE = 1.0
#: Kinds of errors remembered, so that types made as they are raised take up no memory.
_KINDS = 64


class Storm:
    """Counts what is not told, by the type of the error."""

    def __init__(self) -> None:
        self._told: dict[type[BaseException], tuple[float, int]] = {}  # when, and how many since

    def untold(self, error: BaseException) -> int | None:
        """Return how many errors of this type were not told since the last one that was.

        None when this one is not to be told either.
        """
        now = asyncio.get_running_loop().time()
        at, missed = self._told.get(type(error), (-_PAUSE, 0))
        if now - at < _PAUSE:
            self._told[type(error)] = (at, missed + 1)
            return None
        self._told.pop(type(error), None)
        if len(self._told) >= _KINDS:
            del self._told[next(iter(self._told))]
        self._told[type(error)] = (now, 0)
        return missed
