"""The deadline of every reconcile, with one timer for all of a controller's workers.

`asyncio.timeout` costs a timer for each reconcile, most of which never fire. All reconciles of a
controller have the same time, so they are due in the order they began: one timer, for the first of
them, is enough, and it is set once in that time however many there are.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

__all__ = ["Deadlines"]

T = TypeVar("T")


class Deadlines:
    """Gives every piece of work the same `seconds`."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._due: dict[asyncio.Task[Any], float] = {}  # in the order they are due
        self._timer: asyncio.TimerHandle | None = None

    async def limit(self, work: Coroutine[Any, Any, T]) -> T:
        """Return what `work` returns, in this task, which must not limit anything inside of it.

        Raises TimeoutError when the time is over; then it was cancelled and has ended.
        """
        task = asyncio.current_task()
        assert task is not None, "coroutines run in tasks"
        cancelling = task.cancelling()
        due = asyncio.get_running_loop().time() + self._seconds
        self._due[task] = due
        if self._timer is None:
            self._arm(due)
        try:
            result = await work
        except asyncio.CancelledError as error:
            if self._due.pop(task, None) is None and task.uncancel() <= cancelling:
                raise TimeoutError from error
            raise
        except BaseException:
            self._leave(task)
            raise
        self._leave(task)
        return result

    def close(self) -> None:
        """Cancel the timer: nothing is limited any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _leave(self, task: asyncio.Task[Any]) -> None:
        if self._due.pop(task, None) is None:
            task.uncancel()  # it was cancelled by us, and ended as if it had not been

    def _arm(self, due: float) -> None:
        self._timer = asyncio.get_running_loop().call_at(due, self._fire)

    def _fire(self) -> None:
        self._timer = None
        now = asyncio.get_running_loop().time()
        for task, due in list(self._due.items()):
            if due > now:
                self._arm(due)
                return
            del self._due[task]
            task.cancel()
