"""A value that is taken back: the world may have the one in between, so it is handled again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from miren.base.errors import Unavailable
from miren.entities.store.api import Store
from miren.entities.store.memory import MemoryStore
from miren.reconcile.context import Context
from miren.reconcile.engine import Engine
from miren.reconcile.registry import Change, Registry
from miren.reconcile.results import LOW, Requeue, Temporary
from tests.builders import Greeting, make_greeting
from tests.reconcile.virtual import now, running, virtually


class Painter:
    """Says every text aloud, then does what is planned for that text."""

    def __init__(self, *, primary: bool = True) -> None:
        self.said: list[str] = []
        self.changes: list[Change[Greeting, str]] = []
        self.plans: dict[str, Callable[[], Requeue | None]] = {}
        self.registry = Registry("painter", primary=primary)

        @self.registry.changed(Greeting, lambda greeting: greeting.spec.text)
        async def paint(ctx: Context[Greeting], change: Change[Greeting, str]) -> Requeue | None:
            self.said.append(change.new)
            self.changes.append(change)
            plan = self.plans.get(change.new)
            return None if plan is None else plan()


def fails() -> None:
    raise Temporary("half done", after=1000)


async def say(engine: Engine, text: str) -> None:
    await engine.client.patch(Greeting, "hi", {"spec": {"text": text}})
    await engine.run_until_idle()


@virtually
async def test_what_failed_half_way_is_undone_when_the_value_is_taken_back() -> None:
    painter = Painter()
    painter.plans["b"] = fails
    async with running(painter.registry) as engine:
        await engine.client.create(make_greeting(text="a"))
        await engine.run_until_idle()
        await say(engine, "b")
        await say(engine, "a")
        assert painter.said == ["a", "b", "a"]
        assert painter.changes[-1].old is None, "what the world has is not known"
        assert not painter.changes[-1].is_first
        await say(engine, "a")
        assert painter.said == ["a", "b", "a"], "once it is through that is that"


@pytest.mark.parametrize("plan", [fails, lambda: Requeue(1000)])
@pytest.mark.parametrize("primary", [True, False])
def test_what_is_half_done_is_known_to_the_next_process(
    plan: Callable[[], Requeue | None], primary: bool
) -> None:
    @virtually
    async def run() -> None:
        store = MemoryStore()
        before, after = Painter(primary=primary), Painter(primary=primary)
        before.plans["b"] = plan
        async with running(before.registry, store=store) as engine:
            await engine.client.create(make_greeting(text="a"))
            await engine.run_until_idle()
            await say(engine, "b")
        async with running(store=store) as engine:
            await say(engine, "a")
        async with running(after.registry, store=store) as engine:
            await engine.run_until_idle()
        assert after.said == ["a"]

    run()


async def _unrecorded(*args: object, **kwargs: object) -> object:
    raise Unavailable("not now")


def test_what_was_done_and_could_not_be_recorded_is_undone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    @virtually
    async def run() -> None:
        painter = Painter()
        async with running(painter.registry) as engine:
            await engine.client.create(make_greeting(text="a"))
            await engine.run_until_idle()
            with monkeypatch.context() as patched:
                patched.setattr("miren.reconcile.attempt.record", _unrecorded)
                for text in ("b", "a"):
                    await engine.client.patch(Greeting, "hi", {"spec": {"text": text}})
                    await asyncio.sleep(0.05)
            await engine.run_until_idle()
            assert "b" in painter.said
            assert painter.said[-1] == "a"

    run()


async def _crash_with_b(store: Store, patch: pytest.MonkeyPatch) -> None:
    """Let a process handle "a", call its handler with "b", and die before it can record that."""
    painter = Painter()
    async with running(painter.registry, store=store, grace=0) as engine:
        await engine.client.create(make_greeting(text="a"))
        await engine.run_until_idle()
        with patch.context() as patched:
            patched.setattr("miren.reconcile.attempt.record", _unrecorded)
            await engine.client.patch(Greeting, "hi", {"spec": {"text": "b"}})
            await asyncio.sleep(0.05)
    assert "b" in painter.said


def test_what_a_process_did_before_it_died_is_undone(monkeypatch: pytest.MonkeyPatch) -> None:
    @virtually
    async def run() -> None:
        store, after = MemoryStore(), Painter()
        await _crash_with_b(store, monkeypatch)
        async with running(store=store) as engine:
            await say(engine, "a")
        async with running(after.registry, store=store) as engine:
            await engine.run_until_idle()
            assert after.said == ["a"]

    run()


@virtually
async def test_after_a_restart_only_a_spec_that_may_have_come_and_gone_is_handled_again() -> None:
    store = MemoryStore()
    async with running(Painter().registry, store=store) as engine:
        await engine.client.create(make_greeting(text="a"))
        await engine.run_until_idle()
    async with running(store=store) as engine:
        await engine.client.patch(Greeting, "hi", {"spec": {"tone": "loud"}})
    after = Painter()
    async with running(after.registry, store=store) as engine:
        await engine.run_until_idle()
    assert after.said == []


@virtually
async def test_the_priority_that_a_handler_asks_for_is_its_next_turns() -> None:
    registry, order, priorities = Registry("turns", concurrency=1), [], {"late": LOW, "soon": 10}

    @registry.created(Greeting)
    async def twice(ctx: Context[Greeting], greeting: Greeting) -> Requeue | None:
        order.append(greeting.name)
        await asyncio.sleep(1)
        left = (60.2 if greeting.name == "soon" else 60) - now()  # due after the other one
        return Requeue(left, priorities[greeting.name]) if left > 10 else None

    async with running(registry) as engine:
        await asyncio.sleep(1)  # what the first list shows is of low priority anyway
        for name in priorities:
            await engine.client.create(make_greeting(name))
            await asyncio.sleep(5)
        await asyncio.sleep(48.5)
        await engine.client.create(make_greeting("busy"))  # until both are due
        await asyncio.sleep(60)
    assert order == ["late", "soon", "busy", "soon", "late"]


@virtually
async def test_what_failed_before_a_restart_is_ready_once_it_is_handled() -> None:
    store, plans = MemoryStore(), [fails]
    registry = Registry("silent")

    @registry.created(Greeting)
    async def silent(ctx: Context[Greeting], greeting: Greeting) -> None:
        for plan in plans:
            plan()

    async with running(registry, store=store) as engine:
        await engine.client.create(make_greeting())
        await engine.run_until_idle()
        ready = (await engine.client.get(Greeting, "hi")).condition("Ready")
        assert ready is not None
        assert ready.reason == "Waiting"
    plans.clear()
    async with running(registry, store=store) as engine:
        await engine.run_until_idle()
        ready = (await engine.client.get(Greeting, "hi")).condition("Ready")
        assert ready is not None
        assert (ready.status.value, ready.reason) == ("True", "Handled")


@virtually
async def test_what_a_handler_that_is_through_says_of_ready_outlives_a_restart() -> None:
    store, registry = MemoryStore(), Registry("wary")

    @registry.created(Greeting)
    async def wary(ctx: Context[Greeting], greeting: Greeting) -> None:
        ctx.not_ready("Waiting")

    for _ in range(2):
        async with running(registry, store=store) as engine:
            await engine.client.ensure(make_greeting())
            await engine.run_until_idle()
            await engine.client.patch(Greeting, "hi", {"spec": {"text": "yo"}})
            await engine.run_until_idle()
            ready = (await engine.client.get(Greeting, "hi")).condition("Ready")
            assert ready is not None
            assert ready.reason == "Waiting"
