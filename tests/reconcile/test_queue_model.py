"""The work queue against a model of a few lines, under virtual time."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Coroutine
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from miren.base.backoff import Backoff
from miren.reconcile.queue import WorkQueue
from miren.reconcile.testing import VirtualLoop
from tests.effort import tries

KEYS = st.sampled_from(["a", "b", "c"])
# Powers of two, so that sums of times are exact.
DELAYS = st.sampled_from([0.5, 1.0, 2.0, 8.0])
EXACT = Backoff(first=1.0, factor=2.0, cap=8.0, jitter=0.0)


class Model:
    """Sets of keys, in no order: which of the ready ones comes is not its business."""

    def __init__(self) -> None:
        self.now = 0.0
        self.ready: set[str] = set()
        self.running: set[str] = set()
        self.parked: set[str] = set()
        self.due: dict[str, float] = {}
        self.failures: dict[str, int] = {}
        self.delay_ends: dict[str, float] = {}

    def add(self, key: str, *, low: bool = False) -> None:
        (self.parked if key in self.running else self.ready).add(key)
        if not low:
            self.due.pop(key, None)

    def add_after(self, key: str, delay: float, *, is_low: bool = False) -> None:
        if is_low or key not in self.ready | self.parked:
            self.due[key] = min(self.due.get(key, 1e9), self.now + delay)

    def get(self, key: str) -> None:
        self.ready.remove(key)
        self.due.pop(key, None)
        self.running.add(key)

    def done(self, key: str) -> None:
        self.running.remove(key)
        if key in self.parked:
            self.parked.remove(key)
            self.ready.add(key)

    def failed(self, key: str) -> None:
        if self.now >= self.delay_ends.get(key, 0):
            self.failures[key] = self.failures.get(key, 0) + 1
            self.delay_ends[key] = self.now + min(8.0, 2.0 ** (self.failures[key] - 1))
        self.add_after(key, self.delay_ends[key] - self.now)

    def succeeded(self, key: str) -> None:
        self.failures.pop(key, None)
        self.delay_ends.pop(key, None)

    def advance(self, seconds: float) -> None:
        self.now += seconds
        for key in [key for key, due in self.due.items() if due <= self.now]:
            del self.due[key]
            self.add(key)


class QueueMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.loop = VirtualLoop()
        self.model = Model()
        self.queue: WorkQueue[str] = WorkQueue(EXACT, random.Random(0))

    def teardown(self) -> None:
        self.queue.close()
        self.loop.close()

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return self.loop.run_until_complete(coroutine)

    async def call(self, name: str, *args: Any) -> None:
        getattr(self.queue, name)(*args)

    @rule(key=KEYS, low=st.booleans())
    def add(self, key: str, low: bool) -> None:
        async def add() -> None:
            self.queue.add(key, low=low)

        self.run(add())
        self.model.add(key, low=low)

    @rule(key=KEYS, delay=DELAYS)
    def add_after(self, key: str, delay: float) -> None:
        is_low = key in self.queue._low
        self.run(self.call("add_after", key, delay))
        self.model.add_after(key, delay, is_low=is_low)  # a delay may raise a low key

    @precondition(lambda self: self.model.ready)
    @rule()
    def get(self) -> None:
        async def get() -> str:
            async with asyncio.timeout(0.25):
                return await self.queue.get()

        key = self.run(get())
        assert key not in self.model.running, "a key was handed out twice at once"
        self.model.get(key)

    @precondition(lambda self: self.model.running)
    @rule(data=st.data(), how=st.sampled_from(["failed", "succeeded", "nothing"]))
    def done(self, data: st.DataObject, how: str) -> None:
        key = data.draw(st.sampled_from(sorted(self.model.running)))
        if how != "nothing":
            self.run(self.call(how, key))
            getattr(self.model, how)(key)
        self.run(self.call("done", key))
        self.model.done(key)

    @rule(seconds=DELAYS)
    def advance(self, seconds: float) -> None:
        self.run(asyncio.sleep(seconds))
        self.model.advance(seconds)

    @invariant()
    def agree(self) -> None:
        queue, model = self.queue, self.model
        assert {*queue._ready, *queue._low} == model.ready
        assert len(queue) == len(model.ready)
        assert set(queue._running) == model.running
        assert {key for key, low in queue._running.items() if low is not None} == model.parked
        assert queue._due == model.due
        assert queue.is_idle == (not model.ready and not model.running)
        for key in "abc":
            assert queue.failures(key) == model.failures.get(key, 0)


QueueMachine.TestCase.settings = settings(
    max_examples=tries(60, soak=2000), stateful_step_count=40, deadline=None
)
TestQueueModel = QueueMachine.TestCase
