"""Where an engine of a simulation runs: what can crash, and be started again.

An engine that crashes takes nothing along and gives nothing back: its connection reaches nobody
from that moment on, and its tasks are cancelled. What was on its way to the store has happened, or
not. One that is started again knows nothing of what its controllers had in memory.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Any, TypeVar

from miren.entities.client import Client
from miren.entities.entity import Entity
from miren.reconcile.attempt import Attempt
from miren.reconcile.controller import Controller
from miren.reconcile.engine import Engine
from miren.reconcile.registry import Registry
from miren.reconcile.results import Key
from miren.reconcile.runner import Runner
from miren.reconcile.testing.faults import Connection
from miren.reconcile.testing.trace import Entry, Trace
from miren.reconcile.tracing import Make

__all__ = ["Controllers", "Machine"]

E = TypeVar("E", bound=Entity[Any, Any])

#: Makes the controllers of one engine, anew for each start.
Controllers = Callable[[], Iterable[Controller[Any] | Registry]]

#: Virtual seconds in which everything of a crashed engine must have ended.
_END = 60.0


@dataclass(kw_only=True)
class Machine:
    """One engine, from start to start. `engine` is the one that runs, or else ran last."""

    name: str
    controllers: Controllers
    connect: Callable[[str], Connection]
    known: Callable[[], Iterable[type[Entity[Any, Any]]]]
    trace: Trace
    fail: Callable[[BaseException], None]
    seed: str
    options: dict[str, Any]
    now: Callable[[], datetime]
    jump: timedelta = timedelta()
    starts: int = 0
    returns: bool = False  # it has crashed, and chance is to start it again
    engine: Engine = field(init=False)
    connection: Connection = field(init=False)
    _task: asyncio.Task[None] | None = None
    _stop: asyncio.Event = field(init=False)

    @property
    def is_up(self) -> bool:
        """Whether its engine runs."""
        return self._task is not None

    def make(self) -> Engine:
        """Make the engine, without starting it."""
        self.starts += 1
        self.connection = self.connect(self.name)
        self._stop = asyncio.Event()
        self.engine = _Observed(
            self.connection,
            self.controllers(),
            known=self.known(),
            identity=self.name,
            rng=random.Random(f"{self.seed}:{self.name}:{self.starts}"),  # noqa: S311
            now=lambda: self.now() + self.jump,
            **self.options,
            observer=_Observer(self.name, self.trace, self.fail),
        )
        return self.engine

    def begin(self) -> None:
        """Start the engine that `make` made."""
        self.returns = False
        self._note("starts")
        # In no TaskGroup: it ends at any time, and what breaks it must be told as it is.
        self._task = asyncio.create_task(self._run(), name=self.name)
        self._task.add_done_callback(self._look)

    async def stop(self) -> None:
        """Stop it in an orderly way."""
        if self._task is None:
            return
        self._note("stops")
        self._stop.set()
        await self._end()

    async def crash(self) -> None:
        """End it from one moment to the next."""
        if self._task is None:
            return
        self._note("crashes")
        self.connection.die()
        self._task.cancel()
        await self._end()

    async def _end(self) -> None:
        task, self._task = self._task, None
        assert task is not None, "it runs"
        _, running = await asyncio.wait([task], timeout=_END)
        if running:
            self.fail(AssertionError(f"{self.name} still runs {_END:g} s after its end"))

    async def _run(self) -> None:
        async with self.engine:
            await self._stop.wait()

    def _look(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self.fail(error)
        elif self._task is task:
            self.fail(AssertionError(f"{self.name} ended by itself"))

    def _note(self, what: str) -> None:
        self.trace.add(Entry(_time(), self.name, what))


class _Observed(Engine):
    """An engine whose attempts are noted."""

    def __init__(self, *args: Any, observer: _Observer, **options: Any) -> None:
        self._observer = observer
        super().__init__(*args, **options)

    def _runner(self, controller: Controller[Any]) -> Runner[Any]:
        runner = super()._runner(controller)
        runner.trace(self._observer)
        return runner


class _Observer:
    """Notes every attempt, and sees to it that no key is in two at once."""

    def __init__(self, who: str, trace: Trace, fail: Callable[[BaseException], None]) -> None:
        self._who = who
        self._trace = trace
        self._fail = fail
        self._in_work: dict[tuple[str, Key[Any]], None] = {}

    def around(self, make: Make[E], controller: str) -> Make[E]:
        """Return what notes an attempt; see `Tracing`."""

        async def observed(entity: E, client: Client | None = None) -> Attempt:
            which = (controller, Key.of(entity))
            if which in self._in_work:
                twice = f"{self._who}: {controller} works on {entity} twice at once"
                self._fail(AssertionError(twice))
            self._in_work[which] = None
            try:
                return await self._observe(partial(make, entity, client), controller, entity)
            finally:
                self._in_work.pop(which, None)

        return observed

    async def _observe(
        self, work: Callable[[], Awaitable[Attempt]], controller: str, entity: E
    ) -> Attempt:
        who, key = f"{self._who}/{controller}", _key(entity)
        self._trace.add(Entry(_time(), who, "begins", key, entity.revision, entity))
        try:
            attempt = await work()
        except BaseException:
            self._trace.add(Entry(_time(), who, "is cancelled", key))
            raise
        told = _in_words(attempt)
        self._trace.add(Entry(_time(), who, told, key, attempt.written or 0, attempt))
        return attempt


def _key(entity: Entity[Any, Any]) -> str:
    return f"{entity.kind.name}/{Key.of(entity)}"


def _in_words(attempt: Attempt) -> str:
    outcome = attempt.outcome
    if outcome.error is not None:
        return f"fails with {type(outcome.error).__name__}"
    if attempt.again and not attempt.was_called:
        return "puts its finalizer on"
    return "is done" if outcome.requeue is None else f"comes back in {outcome.requeue.after:g} s"


def _time() -> float:
    return asyncio.get_running_loop().time()
