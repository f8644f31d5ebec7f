"""The work queue: every key at most once, never handed out twice at a time.

Semantics are client-go's workqueue: adding a waiting key changes nothing, adding a key in work
parks it until `done`. Back-off counts failures, not events: an event runs a key at once, but a
failure that comes before the delay was over neither lengthens nor restarts that delay. Memory is
bounded by the number of keys; one loop timer serves all delays.

Low priority is for first lists and resyncs. A low key that has waited for a second takes every
other turn: it is not starved, and a thousand of them do not hold up what somebody waits for.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
import random
from collections import deque
from collections.abc import Hashable
from typing import Generic, TypeVar

from miren.base.backoff import Backoff

__all__ = ["WorkQueue"]

log = logging.getLogger(__name__)

K = TypeVar("K", bound=Hashable)

#: A key of low priority takes turns with the others after waiting this long.
_PATIENCE = 1.0
#: Stale heap entries kept before the heap is swept, beside as many as there are delayed keys.
_SLACK = 64


class WorkQueue(Generic[K]):
    """A queue of keys for one controller. Used from one event loop."""

    def __init__(self, backoff: Backoff, rng: random.Random) -> None:
        self._backoff = backoff
        self._rng = rng
        # Dicts, not sets: they keep order, so that a seeded run repeats in any process.
        self._ready: dict[K, None] = {}
        self._low: dict[K, float] = {}  # since when it waits
        # In work; None, or parked to be handed out again with (True) low priority.
        self._running: dict[K, bool | None] = {}
        self._low_was_last = False
        self.handed_out = 0  # so far
        self._due: dict[K, float] = {}  # canonical; heap entries that disagree are stale
        self._heap: list[tuple[float, int, K]] = []
        self._sequence = 0
        self._timer: asyncio.TimerHandle | None = None
        self._failures: dict[K, tuple[int, float]] = {}  # count, end of the last delay
        self._idle: deque[asyncio.Future[None]] = deque()
        self._draining: asyncio.Future[None] | None = None

    def __len__(self) -> int:
        return len(self._ready) + len(self._low)

    @property
    def is_idle(self) -> bool:
        """Whether nothing is ready or in work; delayed keys may wait."""
        return not (self._ready or self._low or self._running)

    def add(self, key: K, *, low: bool = False) -> None:
        """Make a key ready. `low` is for work that nobody waits for: first lists, resyncs."""
        if key in self._running:
            self._running[key] = low and self._running[key] is not False
        elif low and key not in self._ready:
            self._low.setdefault(key, _now())
        else:
            self._low.pop(key, None)
            self._ready[key] = None
        if not low:
            self._due.pop(key, None)  # a delay may still raise what is only low
        self._wake_one()

    def add_after(self, key: K, delay: float) -> None:
        """Make a key ready in `delay` seconds, unless it is before; the earliest time wins."""
        if key in self._ready or self._running.get(key) is not None:
            return
        if delay <= 0:
            self.add(key)
            return
        due = _now() + delay
        if due >= self._due.get(key, due + 1):
            return
        self._due[key] = due
        self._sequence += 1
        heapq.heappush(self._heap, (due, self._sequence, key))
        if len(self._heap) > 2 * len(self._due) + _SLACK:
            self._heap = [entry for entry in self._heap if self._due.get(entry[2]) == entry[0]]
            heapq.heapify(self._heap)
        self._arm()

    async def get(self) -> K:
        """Take the next key; `done` must follow."""
        while True:
            key = self._next()
            if key is not None:
                self._running[key] = None
                self._due.pop(key, None)
                self.handed_out += 1
                return key
            waiter = asyncio.get_running_loop().create_future()
            self._idle.append(waiter)
            try:
                await waiter
            except asyncio.CancelledError:
                if waiter.done() and not waiter.cancelled():
                    self._wake_one()  # it was woken and cannot work: let another one
                raise

    def done(self, key: K) -> None:
        """Give a key back; it comes again if it was added meanwhile."""
        parked = self._running.pop(key)
        if parked is not None:
            self.add(key, low=parked)
        if self._draining is not None and not self._running and not self._draining.done():
            self._draining.set_result(None)

    def succeeded(self, key: K) -> None:
        """Forget a key's failures."""
        self._failures.pop(key, None)

    def failed(self, key: K) -> float:
        """Count a failure and schedule the retry; return its delay in seconds."""
        count, due = self._failures.get(key, (0, 0.0))
        now = _now()
        if now >= due:
            count += 1
            due = now + self._backoff.delay(count, self._rng)
            self._failures[key] = (count, due)
        self.add_after(key, due - now)
        return due - now

    def failures(self, key: K) -> int:
        """Return how many times in a row a key has failed."""
        return self._failures.get(key, (0, 0.0))[0]

    def _next(self) -> K | None:
        if self._draining is not None:
            return None
        if self._low:
            key, since = next(iter(self._low.items()))
            is_its_turn = not self._low_was_last and _now() - since >= _PATIENCE
            if not self._ready or is_its_turn:
                del self._low[key]
                self._low_was_last = True
                return key
        if self._ready:
            key = next(iter(self._ready))
            del self._ready[key]
            self._low_was_last = False
            return key
        return None

    def _wake_one(self) -> None:
        while self._idle:
            waiter = self._idle.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return

    def _arm(self) -> None:
        while self._heap and self._due.get(self._heap[0][2]) != self._heap[0][0]:
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
        now = _now()
        while self._heap and self._heap[0][0] <= now:
            due, _, key = heapq.heappop(self._heap)
            if self._due.get(key) == due:
                self.add(key)
        self._arm()

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


def _now() -> float:
    return asyncio.get_running_loop().time()
