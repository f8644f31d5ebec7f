"""The work queue: every key at most once, never handed out twice at a time.

Semantics are controller-runtime's: adding a waiting key only ever raises its priority, adding a
key in work parks it until `done`. Back-off counts failures, not events: an event runs a key at
once, but a failure that comes before the delay was over neither lengthens nor restarts that delay.
Memory is bounded by the number of keys; one loop timer serves all delays.

Higher priorities go first, and inside one projects take turns. What has waited for `PATIENCE` at a
lower priority takes every other turn: it is not starved, and a thousand of them do not hold up
what somebody waits for. A turn looks at every priority in use: they are meant to be few.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
import random
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Hashable, Mapping
from typing import Any, Generic, TypeVar

from miren.base.backoff import Backoff
from miren.reconcile.durations import BOUNDS, Durations
from miren.reconcile.fairness import Turns
from miren.reconcile.results import NORMAL

__all__ = ["PATIENCE", "WorkQueue"]

log = logging.getLogger(__name__)

K = TypeVar("K", bound=Hashable)

#: A key of a lower priority takes turns with the others after waiting so many seconds.
PATIENCE = 1.0
#: Stale heap entries kept before the heap is swept, beside as many as there are delayed keys.
_SLACK = 64
#: Priorities remembered though no key has them, so that they are not made anew for every key.
_SPARE = 4


def _of_nobody(_key: Hashable) -> None:
    return None


def _since(level: Turns[Any]) -> float:
    return level.since


class WorkQueue(Generic[K]):
    """A queue of keys for one controller. Used from one event loop.

    `project` says whose a key is; keys of different projects take turns. `adds`, `retries` and
    `handed_out` count from the beginning; `waits` and `works` hold how long keys were ready
    before they were taken, and in work.
    """

    def __init__(
        self,
        backoff: Backoff,
        rng: random.Random,
        *,
        project: Callable[[K], Hashable] = _of_nobody,
    ) -> None:
        self.adds = 0
        self.retries = 0
        self.handed_out = 0
        self.waits = Durations()
        self.works = Durations()
        self._backoff = backoff
        self._rng = rng
        self._project = project
        self._now: Callable[[], float] = self._first_now
        # Dicts, not sets: they keep order, so that a seeded run repeats in any process.
        self._waiting: dict[K, Turns[K]] = {}
        self._levels: dict[int, Turns[K]] = {}  # by priority, highest first
        self._passed_over = False  # whether keys of lower priorities waited in the last turn
        self._running: dict[K, tuple[float, int]] = {}  # since when, at which priority
        self._parked: dict[K, int] = {}  # in work and added meanwhile, at which priority
        # Canonical; heap entries that disagree are stale.
        self._due: dict[K, tuple[float, int]] = {}
        self._heap: list[tuple[float, int, K]] = []
        self._sequence = 0
        self._timer: asyncio.TimerHandle | None = None
        self._failures: dict[K, tuple[int, float]] = {}  # count, end of the last delay
        self._idle: deque[asyncio.Future[None]] = deque()
        self._draining: asyncio.Future[None] | None = None

    # -- what is in it ---------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def is_idle(self) -> bool:
        """Whether nothing is ready or in work; delayed keys may wait."""
        return not (self._waiting or self._running)

    @property
    def delayed(self) -> int:
        """How many keys wait for their time."""
        return len(self._due)

    def depths(self) -> Mapping[int, int]:
        """Return how many keys are ready at each priority that has some."""
        return {level.priority: len(level.ready) for level in self._levels.values() if level.ready}

    def oldest_wait(self) -> float:
        """Return how many seconds the key that has been ready longest has waited; 0 if none."""
        since = [level.since for level in self._levels.values() if level.ready]
        return self._now() - min(since) if since else 0.0

    def unfinished(self) -> tuple[float, float]:
        """Return the seconds that all keys now in work have taken, and the longest of these."""
        now = self._now()
        taken = [now - since for since, _ in self._running.values()]
        return sum(taken), max(taken, default=0.0)

    def failures(self, key: K) -> int:
        """Return how many times in a row a key has failed."""
        return self._failures.get(key, (0, 0.0))[0]

    # -- in and out ------------------------------------------------------------------------

    def add(self, key: K, *, priority: int = NORMAL) -> None:
        """Make a key ready. A higher priority than it has raises it, a lower one does nothing."""
        # In one piece, as `get` is: a turn is so short that each call shows.
        if key in self._running:
            if priority > self._parked.get(key, priority - 1):
                self._parked[key] = priority
        else:
            level = self._waiting.get(key)
            if level is None or level.priority < priority:
                if level is None:
                    since = self._now()
                    self.adds += 1
                else:
                    since = level.remove(key)
                level = self._levels.get(priority) or self._add_level(priority)
                level.add(key, since)
                self._waiting[key] = level
                if self._idle:
                    self._wake_one()
        # A delay may still raise what is ready at a lower priority.
        if self._due and key in self._due and self._due[key][1] <= priority:
            del self._due[key]

    def add_after(self, key: K, delay: float, *, priority: int | None = None) -> None:
        """Make a key ready in `delay` seconds, unless it is before; the earliest time wins.

        Without a priority it keeps the one it has been taken at.
        """
        if priority is None:
            priority = self._running[key][1] if key in self._running else NORMAL
        if delay <= 0:
            self.add(key, priority=priority)
            return
        if priority <= self._priority_ready(key, below=priority):
            return
        due = self._now() + delay
        known = self._due.get(key)
        if known is not None:
            priority = max(priority, known[1])
            if due >= known[0]:
                self._due[key] = (known[0], priority)
                return
        self._due[key] = (due, priority)
        self._sequence += 1
        heapq.heappush(self._heap, (due, self._sequence, key))
        if len(self._heap) > 2 * len(self._due) + _SLACK:
            self._heap = [entry for entry in self._heap if self._is_due(entry)]
            heapq.heapify(self._heap)
        self._arm()

    async def get(self) -> K:
        """Take the next key; `done` must follow."""
        while not self._waiting or self._draining is not None:
            waiter = asyncio.get_running_loop().create_future()
            self._idle.append(waiter)
            try:
                await waiter
            except asyncio.CancelledError:
                if waiter.done() and not waiter.cancelled():
                    self._wake_one()  # it was woken and cannot work: let another one
                raise
        now = self._now()
        level = self._next_level(now)
        key, since = level.take()
        del self._waiting[key]
        self._running[key] = (now, level.priority)
        if self._due:
            self._due.pop(key, None)
        self.handed_out += 1
        seconds = now - since
        waits = self.waits
        waits.counts[bisect_left(BOUNDS, seconds)] += 1  # as `Durations.add`, without the call
        waits.total += seconds
        return key

    def done(self, key: K) -> None:
        """Give a key back; it comes again if it was added meanwhile."""
        since, _ = self._running.pop(key)
        seconds = self._now() - since
        works = self.works
        works.counts[bisect_left(BOUNDS, seconds)] += 1  # as `Durations.add`, without the call
        works.total += seconds
        if self._parked and key in self._parked:
            self.add(key, priority=self._parked.pop(key))
        if self._draining is not None and not self._running and not self._draining.done():
            self._draining.set_result(None)

    def succeeded(self, key: K) -> None:
        """Forget a key's failures."""
        self._failures.pop(key, None)

    def failed(self, key: K) -> float:
        """Count a failure and schedule the retry at the same priority; return its delay."""
        count, due = self._failures.get(key, (0, 0.0))
        now = self._now()
        if now >= due:
            count += 1
            due = now + self._backoff.delay(count, self._rng)
            self._failures[key] = (count, due)
        self.retries += 1
        self.add_after(key, due - now)
        return due - now

    # -- turns -----------------------------------------------------------------------------

    def _add_level(self, priority: int) -> Turns[K]:
        levels = list(self._levels.values())
        used = [level for level in levels if level.ready]
        if len(levels) - len(used) >= _SPARE:
            levels = used
        new = Turns(priority, self._project)
        ordered = sorted((*levels, new), key=lambda level: -level.priority)
        self._levels = {level.priority: level for level in ordered}
        return new

    def _next_level(self, now: float) -> Turns[K]:
        """Return the highest priority's keys, or every other time those that waited too long."""
        for highest in self._levels.values():
            if highest.ready:
                break
        if len(highest.ready) == len(self._waiting):
            self._passed_over = False
            return highest
        if self._passed_over:
            others = [level for level in self._levels.values() if level.ready]
            oldest = min(others[1:], key=_since)
            if now - oldest.since >= PATIENCE:
                self._passed_over = False
                return oldest
        self._passed_over = True
        return highest

    def _wake_one(self) -> None:
        while self._idle:
            waiter = self._idle.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return

    # -- delays ----------------------------------------------------------------------------

    def _priority_ready(self, key: K, *, below: int) -> int:
        """Return at which priority a key is ready or parked; one below `below` if it is not."""
        level = self._waiting.get(key)
        return level.priority if level is not None else self._parked.get(key, below - 1)

    def _is_due(self, entry: tuple[float, int, K]) -> bool:
        known = self._due.get(entry[2])
        return known is not None and known[0] == entry[0]

    def _arm(self) -> None:
        while self._heap and not self._is_due(self._heap[0]):
            heapq.heappop(self._heap)
        if not self._heap:
            return
        due = self._heap[0][0]
        if self._timer is not None:
            if self._timer.when() <= due and not self._timer.cancelled():
                return
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_at(due, self._fire)

    def _fire(self) -> None:
        self._timer = None
        now = self._now()
        while self._heap and self._heap[0][0] <= now:
            entry = heapq.heappop(self._heap)
            if self._is_due(entry):
                self.add(entry[2], priority=self._due.pop(entry[2])[1])
        self._arm()

    def _first_now(self) -> float:
        """Return the running loop's time, and ask that loop directly from then on."""
        self._now = asyncio.get_running_loop().time
        return self._now()

    # -- the end ---------------------------------------------------------------------------

    async def drain(self, grace: float) -> None:
        """Hand out nothing more; return when nothing is in work, or after `grace` seconds."""
        self._draining = asyncio.get_running_loop().create_future()
        if not self._running:
            return
        try:
            async with asyncio.timeout(grace):
                await self._draining
        except TimeoutError:
            log.warning("stopping with work unfinished", extra={"keys": len(self._running)})

    def close(self) -> None:
        """Cancel the timer; keys still inside are dropped."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
