"""The work queue against a model of a few lines, under virtual time."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Coroutine
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from miren.base.backoff import Backoff
from miren.reconcile.queue import PATIENCE, WorkQueue
from miren.reconcile.results import LOW, NORMAL
from miren.reconcile.testing import VirtualLoop
from tests.effort import tries

#: The first letter is a key's project.
NAMES = ["a1", "a2", "a3", "b1", "b2", "c1"]
KEYS = st.sampled_from(NAMES)
PRIORITIES = st.sampled_from([LOW, NORMAL, 5])
# Powers of two, so that sums of times are exact.
DELAYS = st.sampled_from([0.5, 1.0, 2.0, 8.0])
EXACT = Backoff(first=1.0, factor=2.0, cap=8.0, jitter=0.0)


class Model:
    """Lists, searched through: which key comes next, and when."""

    def __init__(self) -> None:
        self.now = 0.0
        self.ready: dict[str, tuple[int, float]] = {}  # priority, since when; in order
        self.turns: dict[int, list[str]] = {}  # the projects of each priority, the next one first
        self.is_owed = False
        self.running: dict[str, int] = {}
        self.parked: dict[str, int] = {}
        self.due: dict[str, tuple[float, int]] = {}
        self.failures: dict[str, int] = {}
        self.delay_ends: dict[str, float] = {}

    def add(self, key: str, priority: int) -> None:
        if key in self.running:
            self.parked[key] = max(self.parked.get(key, priority), priority)
        else:
            known, since = self.ready.get(key, (priority - 1, self.now))
            if known < priority:
                self.remove(key)
                self.ready[key] = (priority, since)
                projects = self.turns.setdefault(priority, [])
                if key[0] not in projects:
                    projects.append(key[0])
        if key in self.due and self.due[key][1] <= priority:
            del self.due[key]

    def remove(self, key: str) -> None:
        if key in self.ready:
            priority, _ = self.ready.pop(key)
            if not self.line(priority, key[0]):
                self.turns[priority].remove(key[0])

    def line(self, priority: int, project: str) -> list[str]:
        """Return the keys of a project at a priority, in the order they come."""
        ready = self.ready.items()
        return [key for key, (at, _) in ready if at == priority and key[0] == project]

    def add_after(self, key: str, delay: float, priority: int) -> None:
        waits = self.ready[key][0] if key in self.ready else self.parked.get(key)
        if waits is None or waits < priority:
            due, known = self.due.get(key, (1e9, priority))
            self.due[key] = (min(due, self.now + delay), max(known, priority))

    def get(self) -> str:
        priorities = sorted({priority for priority, _ in self.ready.values()}, reverse=True)
        chosen = priorities[0]
        # The first of a priority's keys, of whatever project, has been there longest.
        oldest = {p: next(s for at, s in self.ready.values() if at == p) for p in priorities[1:]}
        was_owed, self.is_owed = self.is_owed, len(priorities) > 1
        if was_owed and oldest:
            aged = min(oldest, key=lambda each: oldest[each])
            if self.now - oldest[aged] >= PATIENCE:
                chosen, self.is_owed = aged, False
        project = self.turns[chosen].pop(0)
        key, *left = self.line(chosen, project)
        del self.ready[key]
        if left:
            self.turns[chosen].append(project)
        self.due.pop(key, None)
        self.running[key] = chosen
        return key

    def done(self, key: str) -> None:
        del self.running[key]
        if key in self.parked:
            self.add(key, self.parked.pop(key))

    def failed(self, key: str) -> None:
        if self.now >= self.delay_ends.get(key, 0):
            self.failures[key] = self.failures.get(key, 0) + 1
            self.delay_ends[key] = self.now + min(8.0, 2.0 ** (self.failures[key] - 1))
        delay = self.delay_ends[key] - self.now
        self.add_after(key, delay, self.running[key])

    def succeeded(self, key: str) -> None:
        self.failures.pop(key, None)
        self.delay_ends.pop(key, None)

    def advance(self, seconds: float) -> None:
        self.now += seconds
        past = [(due, key) for key, (due, _) in self.due.items() if due <= self.now]
        for due, key in sorted(past, key=lambda each: each[0]):
            _, priority = self.due.pop(key)
            now, self.now = self.now, due
            self.add(key, priority)
            self.now = now


class QueueMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.loop = VirtualLoop()
        self.model = Model()
        self.queue: WorkQueue[str] = WorkQueue(EXACT, random.Random(0), project=lambda key: key[0])
        # What started since a project's first key became ready at a priority, by project.
        self.overtaken: dict[tuple[int, str], Counter[str]] = {}

    def teardown(self) -> None:
        self.queue.close()
        self.loop.close()

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return self.loop.run_until_complete(coroutine)

    async def call(self, name: str, *args: Any, **more: Any) -> None:
        getattr(self.queue, name)(*args, **more)

    @rule(key=KEYS, priority=PRIORITIES)
    def add(self, key: str, priority: int) -> None:
        self.run(self.call("add", key, priority=priority))
        self.model.add(key, priority)

    @rule(key=KEYS, delay=DELAYS, priority=PRIORITIES)
    def add_after(self, key: str, delay: float, priority: int) -> None:
        self.run(self.call("add_after", key, delay, priority=priority))
        self.model.add_after(key, delay, priority)

    @precondition(lambda self: self.model.running)
    @rule(data=st.data(), delay=DELAYS)
    def add_again_after(self, data: st.DataObject, delay: float) -> None:
        key = data.draw(st.sampled_from(sorted(self.model.running)))
        self.run(self.call("add_after", key, delay))
        self.model.add_after(key, delay, self.model.running[key])

    @precondition(lambda self: self.model.ready)
    @rule()
    def get(self) -> None:
        async def get() -> str:
            async with asyncio.timeout(0.25):
                return await self.queue.get()

        at = {key: priority for key, (priority, _) in self.model.ready.items()}
        key = self.run(get())
        assert key not in self.model.running, "a key was handed out twice at once"
        assert key == self.model.get(), "it was another one's turn"
        self.check_fairness(at[key], key[0])

    def check_fairness(self, priority: int, project: str) -> None:
        """Whoever waits is overtaken by each other project once at most."""
        self.overtaken.pop((priority, project), None)
        for (at, _), starts in self.overtaken.items():
            if at == priority:
                starts[project] += 1
                assert starts[project] == 1, f"{project} took two turns while another waited"

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
        waiting = queue._waiting.items()
        ready = {key: (level.priority, level.ready[key]) for key, level in waiting}
        assert ready == model.ready
        assert len(queue) == len(model.ready)
        assert {key: at for key, (_, at) in queue._running.items()} == model.running
        assert queue._parked == model.parked
        assert queue._due == model.due
        assert queue.is_idle == (not model.ready and not model.running)
        for key in NAMES:
            assert queue.failures(key) == model.failures.get(key, 0)

    @invariant()
    def whoever_waits_is_watched(self) -> None:
        waiting = {(priority, key[0]) for key, (priority, _) in self.model.ready.items()}
        for gone in self.overtaken.keys() - waiting:
            del self.overtaken[gone]  # raised
        for who in sorted(waiting - self.overtaken.keys()):
            self.overtaken[who] = Counter()


QueueMachine.TestCase.settings = settings(
    max_examples=tries(60, soak=2000), stateful_step_count=40, deadline=None
)
TestQueueModel = QueueMachine.TestCase
