"""When leases end: the times that every store in this process keeps for its own.

A lease ends by the clock of the loop that the store is open on, never by a date, so neither a
clock that is set nor a suspended machine ends one early; under virtual time a run repeats
exactly. A test may give a clock of its own. Keeping a lease alive only moves its deadline: the
timer that is set already looks at it when it goes off, and sets itself again if there is time
left.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from miren.entities.store.api import Lease
from miren.entities.store.rules import ended

__all__ = ["Clock", "LeaseClock", "Timer"]


class Timer(Protocol):
    """A call that is to come."""

    def cancel(self) -> None:
        """Let it not come."""
        ...


class Clock(Protocol):
    """What leases last by: seconds that never go back, and calls at given ones. A loop is one."""

    def time(self) -> float:
        """Return the seconds since some moment."""
        ...

    def call_at(self, when: float, callback: Callable[..., object], *args: Any) -> Timer:
        """Call `callback` on the loop as soon as `time` is `when`."""
        ...


@dataclass(slots=True)
class _Running:
    ttl: float
    deadline: float
    timer: Timer


class LeaseClock:
    """The leases that live while a store is open. `expire` is called once for each that ends.

    It is called on the loop, with the lease gone already from here, and must not raise. `clock`
    is the running loop's unless given.
    """

    def __init__(self, expire: Callable[[Lease], None], clock: Clock | None = None) -> None:
        self._expire = expire
        self._running: dict[Lease, _Running] = {}
        self._clock: Clock = clock or asyncio.get_running_loop()

    def start(self, lease: Lease, ttl: float) -> None:
        """Let `lease` last `ttl` seconds from now on."""
        deadline = self._clock.time() + ttl
        self._running[lease] = _Running(ttl, deadline, self._set(lease, deadline))

    def keep_alive(self, lease: Lease) -> float:
        """Let it last its whole time from now on and return that; raise NotFound if it ended."""
        running = self._find(lease)
        running.deadline = self._clock.time() + running.ttl
        return running.ttl

    def times(self, lease: Lease) -> tuple[float, float]:
        """Return the seconds it lasts in all, and from now on; raise NotFound if it ended."""
        running = self._find(lease)
        return running.ttl, running.deadline - self._clock.time()

    def forget(self, lease: Lease) -> None:
        """Stop its time: it was ended otherwise, or is unknown."""
        running = self._running.pop(lease, None)
        if running:
            running.timer.cancel()

    def close(self) -> None:
        """Stop every lease's time."""
        for lease in list(self._running):
            self.forget(lease)

    def _find(self, lease: Lease) -> _Running:
        running = self._running.get(lease)
        # A busy loop may be late with the timer; that does not bring a lease back.
        if running is None or running.deadline <= self._clock.time():
            raise ended(lease)
        return running

    def _set(self, lease: Lease, deadline: float) -> Timer:
        return self._clock.call_at(deadline, self._look, lease, deadline)

    def _look(self, lease: Lease, deadline: float) -> None:
        running = self._running[lease]
        # Not compared with the time: timers go off early by up to the clock's resolution.
        if running.deadline != deadline:
            running.timer = self._set(lease, running.deadline)
            return
        del self._running[lease]
        self._expire(lease)
