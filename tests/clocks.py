"""A clock that stands until a test turns it, for what lasts by a clock it was given."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Callable
from typing import Any

__all__ = ["ManualClock", "ManualTimer"]


class ManualTimer:
    def __init__(self, callback: Callable[..., object], args: tuple[Any, ...]) -> None:
        self._call: Callable[[], object] | None = lambda: callback(*args)

    def cancel(self) -> None:
        self._call = None

    def fire(self) -> None:
        call, self._call = self._call, None
        if call:
            call()


class ManualClock:
    """Keeps `miren.entities.store.leases.Clock`, for tests on one loop."""

    def __init__(self) -> None:
        self._now = 1000.0
        self._order = itertools.count()
        self._timers: list[tuple[float, int, ManualTimer]] = []

    def time(self) -> float:
        return self._now

    def call_at(self, when: float, callback: Callable[..., object], *args: Any) -> ManualTimer:
        timer = ManualTimer(callback, args)
        heapq.heappush(self._timers, (when, next(self._order), timer))
        return timer

    async def pass_time(self, seconds: float) -> None:
        """Let time pass, and everything happen that is due, in order."""
        end = self._now + seconds
        while self._timers and self._timers[0][0] <= end:
            when, _, timer = heapq.heappop(self._timers)
            self._now = max(self._now, when)
            timer.fire()
        self._now = end
        await asyncio.sleep(0)
