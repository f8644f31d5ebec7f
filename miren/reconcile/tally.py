"""How the reconciles of one controller ended, counted as they end.

A reconcile costs an addition here; what these numbers mean to a reader is said by `metrics`.
"""

from __future__ import annotations

from enum import StrEnum

from miren.base.errors import MirenError
from miren.reconcile.durations import Durations
from miren.reconcile.outcome import Outcome
from miren.reconcile.results import Permanent, Temporary

__all__ = ["Result", "Tally"]


class Result(StrEnum):
    """How a reconcile ended, in controller-runtime's words."""

    SUCCESS = "success"
    ERROR = "error"
    REQUEUE = "requeue"
    REQUEUE_AFTER = "requeue_after"


class Tally:
    """Counts of one controller.

    What raises Temporary waits, and is no error. Errors are `terminal` if they are not tried
    again until something changes, `timeouts` if the time was over, and `panics` if nobody
    expected them: whatever is not of the tree of MirenError.
    """

    __slots__ = ("panics", "results", "seconds", "terminal", "timeouts")

    def __init__(self) -> None:
        self.results = dict.fromkeys(Result, 0)
        self.terminal = 0
        self.timeouts = 0
        self.panics = 0
        self.seconds = Durations()

    def count(self, outcome: Outcome, seconds: float) -> None:
        """Count one reconcile, and how long it took."""
        self.seconds.add(seconds)
        error, requeue = outcome.error, outcome.requeue
        if error is not None:
            self._count_error(error)
        elif requeue is None:
            self.results[Result.SUCCESS] += 1
        else:
            self.results[Result.REQUEUE_AFTER if requeue.after > 0 else Result.REQUEUE] += 1

    def _count_error(self, error: Exception) -> None:
        match error:
            case Temporary(after=after):
                self.results[Result.REQUEUE if after is None else Result.REQUEUE_AFTER] += 1
                return
            case Permanent():
                self.terminal += 1
            case TimeoutError():
                self.timeouts += 1
            case MirenError():
                pass
            case _:
                self.panics += 1
        self.results[Result.ERROR] += 1
