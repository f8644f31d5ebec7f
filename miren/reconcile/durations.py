"""How long things took: counts in buckets, cheap enough for every turn of every key."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from itertools import accumulate

__all__ = ["BOUNDS", "Durations"]

#: The upper bounds of the buckets, in seconds; what took longer is in one more.
BOUNDS = (1e-5, 1e-4, 5e-4, 1e-3, 5e-3, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 60.0, 300.0, 1000.0)


class Durations:
    """A histogram of seconds, as plain numbers."""

    __slots__ = ("counts", "total")

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS) + 1)
        self.total = 0.0

    def add(self, seconds: float) -> None:
        """Count one."""
        self.counts[bisect_left(BOUNDS, seconds)] += 1
        self.total += seconds

    @property
    def count(self) -> int:
        """How many there were."""
        return sum(self.counts)

    def buckets(self) -> Iterator[tuple[float, int]]:
        """Return each bound with how many took at most that long; the last bound is infinite."""
        return zip((*BOUNDS, float("inf")), accumulate(self.counts), strict=True)
