"""What becomes of handlers that fail: each stands for itself."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from itertools import pairwise

import pytest

from miren.entities.store.memory import MemoryStore
from miren.reconcile.context import Context
from miren.reconcile.handled import digest
from miren.reconcile.registry import Change, Registry
from miren.reconcile.results import Permanent, Requeue, Temporary
from tests.builders import Greeting, make_greeting
from tests.reconcile.virtual import now, running, virtually

Plan = Callable[[int], Exception | None]


class Failing:
    """A handler that fails as planned for its n-th call, and notes when it was called."""

    def __init__(self, plan: Plan = lambda _call: None) -> None:
        self.plan = plan
        self.times: list[float] = []
        self.retries: list[int] = []

    @property
    def function(self) -> Callable[[Context[Greeting], Greeting], Awaitable[None]]:
        async def call(ctx: Context[Greeting], greeting: Greeting) -> None:
            self.times.append(now())
            self.retries.append(ctx.retry)
            error = self.plan(len(self.times))
            if error is not None:
                raise error
            ctx.ready("Fine")

        return call


def always(error: Exception) -> Plan:
    return lambda _call: error


def until(call: int, error: Exception) -> Plan:
    return lambda number: error if number < call else None


def ready(greeting: Greeting) -> tuple[str, str]:
    found = greeting.condition("Ready")
    assert found is not None
    return found.status.value, found.reason


@virtually
async def test_one_failing_handler_holds_up_no_other_and_undoes_nothing() -> None:
    registry = Registry("mixed")
    first, bad, last = Failing(), Failing(until(4, ValueError("not yet"))), Failing()
    for name, handler in (("first", first), ("bad", bad), ("last", last)):
        registry.created(Greeting, name=name)(handler.function)
    async with running(registry) as engine:
        await engine.client.create(make_greeting())
        await engine.run_until_idle()
        found = await engine.client.get(Greeting, "hi")
        through = digest(found.uid, "")
        wanted = {"generation": 1, "first": through, "bad": "?", "last": through}
        assert found.handled["mixed-greeting"] == wanted
        assert ready(found) == ("False", "ValueError")
        await asyncio.sleep(60)
        assert (len(first.times), len(bad.times), len(last.times)) == (1, 4, 1)
        assert (first.retries, bad.retries, last.retries) == ([0], [0, 1, 2, 3], [0])
        delays = [after - before for before, after in pairwise(bad.times)]
        assert delays == sorted(delays), "each is longer than the one before"
        assert engine.health()[0].errors == 3
        assert ready(await engine.client.get(Greeting, "hi")) == ("True", "Fine")


@virtually
async def test_a_timer_is_on_time_while_another_handler_backs_off() -> None:
    registry = Registry("both")
    bad, tick = Failing(always(ValueError("never"))), Failing()
    registry.created(Greeting, name="bad")(bad.function)
    registry.every(10, Greeting, name="tick")(tick.function)
    async with running(registry) as engine:
        await engine.client.create(make_greeting())
        await asyncio.sleep(95)
        assert tick.times == pytest.approx([10 * number for number in range(10)], abs=0.1)
        assert len(bad.times) <= 11, "the timer does not try the other one again"
        failures = len(bad.times)
        for number in range(20):
            found = await engine.client.get(Greeting, "hi")
            status = found.status.model_copy(update={"heard": number})
            await engine.client.update_status(found.with_status(status))
        assert len(bad.times) == failures, "nor does what somebody writes into the status"


@virtually
async def test_a_new_wish_is_tried_at_once() -> None:
    registry = Registry("wishes")
    bad = Failing(until(5, Temporary("later", after=1000)))
    registry.created(Greeting, name="bad")(bad.function)
    async with running(registry) as engine:
        await engine.client.create(make_greeting())
        for change in ({"spec": {"text": "yo"}}, {"metadata": {"labels": {"a": "b"}}}):
            await asyncio.sleep(10)
            await engine.client.patch(Greeting, "hi", change)
        await asyncio.sleep(980)
        assert bad.times == pytest.approx([0, 10, 20], abs=0.1)
        await asyncio.sleep(30)
        assert bad.times[3:] == pytest.approx([1020], abs=0.1)


@virtually
async def test_permanent_is_recorded_and_not_tried_again_until_what_it_selects_changes() -> None:
    registry, texts, store = Registry("strict"), [], MemoryStore()

    @registry.changed(Greeting, lambda greeting: greeting.spec.text)
    async def text(ctx: Context[Greeting], change: Change[Greeting, str]) -> None:
        texts.append(change.new)
        if change.new == "bad":
            raise Permanent("no such word", reason="Rude")

    other = Failing()

    @registry.changed(Greeting, lambda greeting: greeting.spec.tone)
    async def tone(ctx: Context[Greeting], change: Change[Greeting, str]) -> None:
        await other.function(ctx, change.entity)

    async with running(registry, store=store) as engine:
        await engine.client.create(make_greeting(text="bad"))
        await engine.run_until_idle()
        found = await engine.client.get(Greeting, "hi")
        assert ready(found) == ("False", "Rude")
        assert str(found.handled["strict-greeting"]["text"]).startswith("!")
        await engine.client.patch(Greeting, "hi", {"spec": {"tone": "loud"}})
        await asyncio.sleep(1000)
        assert (texts, len(other.times)) == (["bad"], 2)
        found = await engine.client.get(Greeting, "hi")
        assert ready(found) == ("False", "Rude"), "what another says does not hide it"
    async with running(registry, store=store) as engine:
        await engine.run_until_idle()
        assert texts == ["bad"], "nor is it tried again by another process"
        await engine.client.patch(Greeting, "hi", {"spec": {"text": "good"}})
        await engine.run_until_idle()
        assert texts == ["bad", "good"]
        assert ready(await engine.client.get(Greeting, "hi")) == ("True", "Handled")


@virtually
async def test_a_deleted_handler_that_is_rejected_holds_the_entity_until_its_spec_changes() -> (
    None
):
    registry = Registry("holding")
    first, bad = Failing(), Failing(until(2, Permanent("cannot go", reason="Stuck")))
    registry.deleted(Greeting, name="first")(first.function)
    registry.deleted(Greeting, name="bad")(bad.function)
    async with running(registry) as engine:
        await engine.client.create(make_greeting())
        await engine.run_until_idle()
        await engine.client.delete(Greeting, "hi")
        await asyncio.sleep(10)
        await engine.client.patch(Greeting, "hi", {"metadata": {"labels": {"a": "b"}}})
        await asyncio.sleep(1000)
        assert (len(first.times), len(bad.times)) == (1, 1)
        assert ready(await engine.client.get(Greeting, "hi")) == ("False", "Stuck")
        await engine.client.patch(Greeting, "hi", {"spec": {"text": "please"}})
        await engine.run_until_idle()
        assert await engine.client.get(Greeting, "hi", default=None) is None
        assert (len(first.times), len(bad.times)) == (1, 2)


@virtually
async def test_after_so_many_retries_it_is_given_up() -> None:
    registry = Registry("patient")
    bad = Failing(always(ValueError("never")))
    registry.created(Greeting, name="bad", retries=3)(bad.function)
    async with running(registry) as engine:
        await engine.client.create(make_greeting())
        await asyncio.sleep(1000)
        assert len(bad.times) == 3
        found = await engine.client.get(Greeting, "hi")
        assert ready(found) == ("False", "RetriesExhausted")
        await engine.client.patch(Greeting, "hi", {"spec": {"text": "yo"}})
        await asyncio.sleep(1000)
        assert len(bad.times) == 6


@virtually
async def test_a_timer_that_fails_backs_off_and_a_permanent_one_waits_for_a_new_spec() -> None:
    registry = Registry("clock")
    soft, hard = Failing(until(3, Temporary("later", after=7))), Failing(always(Permanent("no")))
    registry.every(100, Greeting, name="soft")(soft.function)
    registry.every(5, Greeting, name="hard")(hard.function)
    async with running(registry) as engine:
        await engine.client.create(make_greeting())
        await asyncio.sleep(150)
        assert soft.times == pytest.approx([0, 7, 14, 114], abs=0.1)
        assert len(hard.times) == 1
        await engine.client.patch(Greeting, "hi", {"spec": {"text": "yo"}})
        await asyncio.sleep(20)
        assert len(hard.times) == 2


@virtually
async def test_what_a_select_or_a_where_raises_is_the_handlers_failure() -> None:
    registry = Registry("broken")
    good = Failing()

    def broken(greeting: Greeting) -> bool:
        raise LookupError("nothing there")

    registry.created(Greeting, name="where", where=broken)(Failing().function)

    @registry.changed(Greeting, broken)
    async def select(ctx: Context[Greeting], change: Change[Greeting, bool]) -> None: ...

    @registry.changed(Greeting, lambda greeting: greeting)
    async def whole(ctx: Context[Greeting], change: Change[Greeting, Greeting]) -> None: ...

    registry.created(Greeting, name="good")(good.function)
    async with running(registry) as engine:
        await engine.client.create(make_greeting())
        await engine.run_until_idle()
        assert len(good.times) == 1
        found = await engine.client.get(Greeting, "hi")
        assert ready(found) == ("False", "LookupError")
        before = engine.health()[0].reconciles
        await asyncio.sleep(600)
        assert engine.health()[0].reconciles - before < 40, "it backs off"


@virtually
async def test_a_handler_has_its_own_deadline() -> None:
    registry, ended = Registry("late"), []

    @registry.created(Greeting, timeout=5, retries=1)
    async def stuck(ctx: Context[Greeting], greeting: Greeting) -> None:
        try:
            await asyncio.sleep(1000)
        finally:
            ended.append(now())

    @registry.created(Greeting, timeout=200)
    async def slow(ctx: Context[Greeting], greeting: Greeting) -> None:
        await asyncio.sleep(100)
        ended.append(now())

    async with running(registry) as engine:
        await engine.client.create(make_greeting())
        await asyncio.sleep(200)
        assert ended == pytest.approx([5, 105], abs=0.1)


@virtually
async def test_a_wrong_answer_and_a_cancellation_from_inside_are_errors() -> None:
    registry = Registry("odd")

    @registry.created(Greeting)
    async def answer(ctx: Context[Greeting], greeting: Greeting) -> Requeue | None:
        return "done"  # type: ignore[return-value]  # what is tested

    async def forgotten(ctx: Context[Greeting], greeting: Greeting) -> None: ...

    @registry.created(Greeting)
    def wrapped(ctx: Context[Greeting], greeting: Greeting) -> Awaitable[None]:
        return forgotten(ctx, greeting)

    @registry.created(Greeting)
    async def cancel(ctx: Context[Greeting], greeting: Greeting) -> None:
        raise asyncio.CancelledError

    async with running(registry) as engine:
        await engine.client.create(make_greeting())
        await engine.run_until_idle()
        told = engine.health()[0].last_error
        assert told == "default/hi: answer must return None or Requeue, not str"
        await engine.client.create(make_greeting("other"))
        await engine.run_until_idle()
        assert engine.health()[0].errors >= 2, "the worker is still there"
