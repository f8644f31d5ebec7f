"""Exponential back-off with jitter, as a pure function of the attempt."""

from __future__ import annotations

import random
from dataclasses import dataclass

__all__ = ["Backoff"]


@dataclass(frozen=True, slots=True)
class Backoff:
    """Delays in seconds: `first * factor ** failures`, at most `cap`, spread by `jitter`.

    `jitter` 0.2 means that a delay lies between 0.8 and 1.0 of the exact value, so that
    clients that failed together do not come back together, and none comes later than `cap`.
    """

    first: float = 0.005
    factor: float = 2.0
    cap: float = 300.0
    jitter: float = 0.2

    def delay(self, failures: int, rng: random.Random) -> float:
        """Return how long to wait after `failures` failures in a row (1 is the first)."""
        # The exponent is bounded so that a key failing for weeks does not overflow a float.
        exact = min(self.cap, self.first * self.factor ** min(failures - 1, 64))
        return exact * (1.0 - self.jitter * rng.random())
