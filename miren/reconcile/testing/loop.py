"""Event loops whose time does not pass: it jumps to the next timer once nothing is ready.

With a seed a loop also picks which of the tasks that are ready runs first. Any order of those is
one that a busy machine could have produced, so what depends on one of them is a race. Only the
steps of tasks change places, and none passes a callback that stands between them: what
`call_soon` promises, that callbacks run in the order they were scheduled, is kept for those that
are not tasks, and between these and tasks. Timers keep the order of their times.

Nothing here runs in threads: what would, runs at once. Sockets do not work.
"""

from __future__ import annotations

import asyncio
import random
import selectors
from collections import deque
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

__all__ = ["VirtualLoop", "run_virtual"]

T = TypeVar("T")

_BEGINNING = datetime(2030, 1, 1, tzinfo=UTC)
#: Turns of a seeded loop without time passing, after which it counts as running in circles.
_CIRCLES = 500_000


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose time jumps to the next timer as soon as nothing is ready.

    `rng` is what chance in it should come from, so that the seed says everything. A deadlock, in
    which every task waits and no timer is set, raises RuntimeError; with a seed so does running
    in circles without time passing.
    """

    _ready: deque[asyncio.Handle]  # asyncio's own

    def __init__(self, seed: int | None = None) -> None:
        self._virtual = 0.0
        self._idle_turns = 0
        self._is_seeded = seed is not None
        self._order = random.Random(f"{seed}:order")  # noqa: S311  # guards nothing
        self.rng = random.Random(f"{seed}:loop")  # noqa: S311  # guards nothing
        self._tasks = 0
        super().__init__(_JumpingSelector(self))
        if self._is_seeded:
            self.set_task_factory(self._make_task)

    def time(self) -> float:
        """Return the virtual time in seconds since the loop was made."""
        return self._virtual

    def advance(self, seconds: float) -> None:
        """Let time pass; called by the selector."""
        self._virtual += seconds
        self._idle_turns = 0

    def now(self) -> datetime:
        """Return virtual time as a date, from a fixed day on."""
        return _BEGINNING + timedelta(seconds=self._virtual)

    def run_in_executor(  # type: ignore[override]  # typeshed has it take *args: Unpack[Ts]
        self, executor: object, func: Callable[..., Any], *args: Any
    ) -> asyncio.Future[Any]:
        """Run `func` here and now: a thread would make runs differ."""
        future = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as error:
            future.set_exception(error)
        return future

    def _make_task(
        self, loop: asyncio.AbstractEventLoop, coro: Any, **options: Any
    ) -> asyncio.Task[Any]:
        self._tasks += 1
        return _Numbered(self._tasks, coro, loop=loop, **options)

    def _run_once(self) -> None:
        # Private to asyncio, like `_ready`; both are the same from 3.11 to 3.13.
        if self._is_seeded:
            if len(self._ready) > 1:
                _shuffle(self._ready, self._order)
            self._idle_turns += 1
            if self._idle_turns > _CIRCLES:
                self._idle_turns = 0
                raise RuntimeError(f"running in circles: {_CIRCLES} turns, and no time passed")
        super()._run_once()  # type: ignore[misc]  # typeshed leaves private methods out


class _Numbered(asyncio.Task[Any]):
    """A task whose place in a set is the same in every run.

    A TaskGroup keeps its tasks in a set, and cancels them in its order, which is that of their
    addresses otherwise.
    """

    def __init__(self, number: int, coro: Any, **options: Any) -> None:
        self._number = number
        super().__init__(coro, **options)

    def __hash__(self) -> int:
        return self._number


def _shuffle(ready: deque[asyncio.Handle], rng: random.Random) -> None:
    """Give the steps of tasks another order, within each run of them between other callbacks."""
    ordered: list[asyncio.Handle] = []
    steps: list[asyncio.Handle] = []
    for handle in ready:
        if _is_step(handle):
            steps.append(handle)
            continue
        rng.shuffle(steps)
        ordered += steps
        ordered.append(handle)
        steps.clear()
    rng.shuffle(steps)
    ready.clear()
    ready.extend(ordered)
    ready.extend(steps)


def _is_step(handle: asyncio.Handle) -> bool:
    """Return whether a callback is the next step of a task, as asyncio itself finds out."""
    callback = getattr(handle, "_callback", None)
    return isinstance(getattr(callback, "__self__", None), asyncio.Task)


class _JumpingSelector(selectors.DefaultSelector):
    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise RuntimeError("deadlock: every task waits and no timer is set")
        if timeout > 0:
            self._loop.advance(timeout)
        return super().select(0)


def run_virtual(main: Coroutine[Any, Any, T], *, seed: int | None = None) -> T:
    """Run `main` on a new VirtualLoop; a deadlock raises RuntimeError at once."""
    with asyncio.Runner(loop_factory=lambda: VirtualLoop(seed)) as runner:
        return runner.run(main)
