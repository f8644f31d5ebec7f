"""What comes next after each outcome of a reconcile."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from itertools import pairwise

import pytest

from miren.base.errors import Unavailable
from miren.entities.store.memory import MemoryStore
from miren.reconcile.context import Context
from miren.reconcile.engine import Engine
from miren.reconcile.results import LOW, NORMAL, Permanent, Requeue, Temporary
from tests.builders import Greeting, GreetingStatus, make_greeting
from tests.reconcile.greeters import Doing, Greeter, Slow
from tests.reconcile.virtual import now, running, virtually


async def ready_of(engine: Engine, name: str = "hi") -> tuple[str, str, str]:
    ready = (await engine.client.get(Greeting, name)).condition("Ready")
    assert ready is not None
    return ready.status, ready.reason, ready.message


class Failing(Greeter):
    """Raises for greetings whose text is `bad`; notes when it was called for which."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error
        self.times: dict[str, list[float]] = {}

    async def act(self, ctx: Context[Greeting], greeting: Greeting) -> Requeue | None:
        self.times.setdefault(greeting.name, []).append(now())
        if greeting.spec.text == "bad":
            raise self.error
        return await super().act(ctx, greeting)


@virtually
async def test_an_error_is_retried_with_back_off_and_said_in_the_condition() -> None:
    failing = Failing(ValueError("no such word"))
    async with running(failing) as engine:
        await engine.client.create(make_greeting(text="bad"))
        await asyncio.sleep(100)
        times = failing.times["hi"]
        pauses = [after - before for before, after in pairwise(times)]
        assert 0.004 <= pauses[0] <= 0.006
        assert all(1.5 * first <= second for first, second in pairwise(pauses))
        assert len(times) < 20
        assert await ready_of(engine) == ("False", "ValueError", "no such word")
        (health,) = engine.health()
        assert health.errors == len(times)
        assert health.last_error == "default/hi: no such word"


@virtually
async def test_a_failing_key_does_not_slow_others() -> None:
    failing = Failing(ValueError("no"))
    async with running(failing) as engine:
        await engine.client.create(make_greeting("bad", text="bad"))
        for number in range(10):
            await asyncio.sleep(1)
            name = f"good{number}"
            await engine.client.create(make_greeting(name))
            before = now()
            await engine.client.wait(
                Greeting, name, lambda g: g is not None and g.status.shout == "HEY", timeout=1
            )
            assert now() - before < 0.1


@virtually
async def test_its_own_condition_does_not_retry_a_failing_key_early() -> None:
    failing = Failing(ValueError("no"))
    async with running(failing) as engine:
        await engine.client.create(make_greeting(text="bad"))
        await asyncio.sleep(50)
        calls = len(failing.calls)
        for _ in range(30):
            await engine.client.patch(Greeting, "hi", {"spec": {"text": "bad"}})
        assert len(failing.calls) == calls
        assert calls < 16


@virtually
async def test_events_do_not_inflate_the_back_off() -> None:
    failing = Failing(ValueError("no"))
    async with running(failing) as engine:
        await engine.client.create(make_greeting(text="bad"))
        for number in range(50):
            labels = {"n": str(number)}
            await engine.client.patch(Greeting, "hi", {"metadata": {"labels": labels}})
            await asyncio.sleep(0.004)
        last = now()
        assert len(failing.calls) > 50, "each event is tried at once"
        await asyncio.sleep(1)
        retried = next(time for time in failing.times["hi"] if time > last)
        assert retried - last < 0.7, "fifty failures in 0.2 s are no fifty delays"


@virtually
async def test_success_forgets_the_failures() -> None:
    failing = Failing(ValueError("no"))
    async with running(failing) as engine:
        await engine.client.create(make_greeting(text="bad"))
        await asyncio.sleep(30)
        await engine.client.patch(Greeting, "hi", {"spec": {"text": "good"}})
        await engine.run_until_idle()
        assert await ready_of(engine) == ("True", "Greeted", "")
        await engine.client.patch(Greeting, "hi", {"spec": {"text": "bad"}})
        await asyncio.sleep(0.004)
        calls = len(failing.calls)
        await asyncio.sleep(0.1)
        assert len(failing.calls) >= calls + 3


@virtually
async def test_temporary_comes_back_when_it_said() -> None:
    failing = Failing(Temporary("no room yet", reason="NoRoom", after=30))
    async with running(failing) as engine:
        await engine.client.create(make_greeting(text="bad"))
        await asyncio.sleep(100)
        assert [round(time) for time in failing.times["hi"]] == [0, 30, 60, 90]
        assert await ready_of(engine) == ("False", "NoRoom", "no room yet")


@virtually
async def test_temporary_without_a_time_backs_off() -> None:
    failing = Failing(Temporary("no room yet"))
    async with running(failing) as engine:
        await engine.client.create(make_greeting(text="bad"))
        await asyncio.sleep(10)
        assert 8 <= len(failing.calls) <= 14
        assert await ready_of(engine) == ("False", "Waiting", "no room yet")


@virtually
async def test_permanent_is_not_retried_until_the_spec_changes() -> None:
    failing = Failing(Permanent("never", reason="Rude"))
    async with running(failing) as engine:
        await engine.client.create(make_greeting(text="bad"))
        await engine.run_until_idle()
        assert await ready_of(engine) == ("False", "Rude", "never")
        await engine.client.patch(Greeting, "hi", {"metadata": {"labels": {"a": "b"}}})
        found = await engine.client.get(Greeting, "hi")
        await engine.client.update_status(found.with_status(GreetingStatus(heard=3)))
        await asyncio.sleep(600)
        assert len(failing.calls) == 1
        await engine.client.patch(Greeting, "hi", {"spec": {"text": "good"}})
        await engine.run_until_idle()
        assert await ready_of(engine) == ("True", "Greeted", "")


@virtually
async def test_permanent_holds_for_what_came_while_it_was_found_out() -> None:
    async def reject(ctx: Context[Greeting], greeting: Greeting) -> Requeue | None:
        await ctx.client.patch(Greeting, "hi", {"metadata": {"labels": {"a": "b"}}})
        await asyncio.sleep(1)
        raise Permanent("never")

    rejecting = Doing(reject)
    async with running(rejecting) as engine:
        await engine.client.create(make_greeting())
        await asyncio.sleep(600)
        assert len(rejecting.calls) == 1


@virtually
async def test_permanent_of_one_entity_is_not_that_of_the_next_with_its_name() -> None:
    failing = Failing(Permanent("never"))
    async with running(failing) as engine:
        await engine.client.create(make_greeting(text="bad"))
        await engine.run_until_idle()
        await engine.client.delete(Greeting, "hi")
        await engine.client.create(make_greeting(text="bad"))
        await engine.run_until_idle()
        assert len(failing.calls) == 2


@virtually
async def test_requeue_comes_back_in_time_or_sooner_when_something_changes() -> None:
    times = []

    async def again(ctx: Context[Greeting], greeting: Greeting) -> Requeue | None:
        times.append(round(now()))
        return Requeue(after=30)

    async with running(Doing(again)) as engine:
        await engine.client.create(make_greeting())
        await asyncio.sleep(70)
        await engine.client.patch(Greeting, "hi", {"spec": {"text": "yo"}})
        await asyncio.sleep(40)
        assert times == [0, 30, 60, 70, 100]


@virtually
async def test_a_reconcile_that_takes_too_long_is_stopped_and_says_so() -> None:
    class Hasty(Slow, timeout=2):
        pass

    hasty = Hasty()
    async with running(hasty) as engine:
        await engine.client.create(make_greeting())
        await asyncio.sleep(2.5)
        status, reason, message = await ready_of(engine)
        assert (status, reason) == ("False", "DeadlineExceeded")
        assert "took too long" in message
        await asyncio.sleep(10)
        assert len(hasty.calls) > 2


@virtually
async def test_a_cancellation_from_inside_does_not_end_the_worker() -> None:
    async def cancelled(ctx: Context[Greeting], greeting: Greeting) -> Requeue | None:
        if greeting.spec.text == "bad":
            raise asyncio.CancelledError
        ctx.ready()
        return None

    class Single(Doing, concurrency=1):
        pass

    async with running(Single(cancelled)) as engine:
        await engine.client.create(make_greeting("bad", text="bad"))
        await engine.client.create(make_greeting("good"))
        await asyncio.sleep(1)
        assert (await ready_of(engine, "good"))[0] == "True"
        assert (await ready_of(engine, "bad"))[2] == "the reconcile was cancelled from inside"


@virtually
async def test_an_answer_that_is_no_result_is_an_error_that_says_so() -> None:
    async def wrong(ctx: Context[Greeting], greeting: Greeting) -> Requeue | None:
        return True  # type: ignore[return-value]  # what people without a type checker write

    async with running(Doing(wrong)) as engine:
        await engine.client.create(make_greeting())
        await asyncio.sleep(1)
        told = "Doing.reconcile must return None or Requeue, not bool"
        assert await ready_of(engine) == ("False", "TypeError", told)


@virtually
async def test_errors_of_the_tree_give_their_name_as_reason() -> None:
    failing = Failing(Unavailable("the registry is down"))
    async with running(failing) as engine:
        await engine.client.create(make_greeting(text="bad"))
        await asyncio.sleep(1)
        assert await ready_of(engine) == ("False", "Unavailable", "the registry is down")


def test_unexpected_errors_are_logged_with_their_traceback(
    caplog: pytest.LogCaptureFixture,
) -> None:
    @virtually
    async def run() -> None:
        async with running(Failing(ValueError("no"))) as engine:
            await engine.client.create(make_greeting(text="bad"))
            await engine.run_until_idle()

    with caplog.at_level(logging.INFO):
        run()
    first = caplog.records[0]
    assert (first.levelname, first.message) == ("WARNING", "reconcile failed")
    assert first.exc_info is not None


def test_a_storm_of_errors_is_logged_once_a_second_for_each_kind(
    caplog: pytest.LogCaptureFixture,
) -> None:
    kinds = [ValueError, KeyError]

    async def fail(ctx: Context[Greeting], greeting: Greeting) -> Requeue | None:
        raise kinds[int(greeting.spec.text) % 2](greeting.name)

    @virtually
    async def run() -> None:
        async with running(Doing(fail)) as engine:
            for number in range(100):
                await engine.client.create(make_greeting(f"g{number}", text=f"{number}"))
            await asyncio.sleep(3.5)
            assert engine.health()[0].errors > 500

    with caplog.at_level(logging.INFO):
        run()
    lines = [record for record in caplog.records if record.message == "reconcile failed"]
    assert 6 <= len(lines) <= 8
    assert sum(vars(line)["untold"] for line in lines) > 300


@virtually
async def test_reconciles_that_wait_for_nothing_let_others_work() -> None:
    turns = 0

    async def nothing(ctx: Context[Greeting], greeting: Greeting) -> Requeue | None:
        seen.append(turns)
        return None

    class Idle(Doing, primary=False):
        pass

    seen: list[int] = []
    async with MemoryStore() as store:
        pass
    async with running(store=store) as engine:
        for number in range(200):
            await engine.client.create(make_greeting(f"g{number}"))
    async with running(Idle(nothing), store=store):
        while len(seen) < 200:
            await asyncio.sleep(0)
            turns += 1
    assert max(Counter(seen).values()) <= 64


@virtually
async def test_requeue_says_with_which_priority_or_keeps_that_of_the_first_list() -> None:
    async def again(ctx: Context[Greeting], greeting: Greeting) -> Requeue | None:
        return Requeue(after=5, priority=7 if greeting.name == "urgent" else None)

    async with MemoryStore() as store:
        pass
    async with running(store=store) as engine:
        for name in ("slow", "urgent"):
            await engine.client.create(make_greeting(name))
    async with running(Doing(again), store=store) as engine:
        await asyncio.sleep(1)
        assert {at for _, at in engine._runners[0].queue._due.values()} == {7, LOW}


@virtually
async def test_a_finalizer_put_on_in_the_first_list_is_no_reason_to_hurry() -> None:
    priorities: list[int] = []

    class Held(Greeter, finalizer="example.dev/held"):
        async def reconcile(self, ctx: Context[Greeting], entity: Greeting) -> None:
            priorities.append(engine._runners[0].queue._running[ctx.key][1])

        async def finalize(self, ctx: Context[Greeting], entity: Greeting) -> None:
            pass

    async with MemoryStore() as store:
        pass
    async with running(store=store) as engine:
        await engine.client.create(make_greeting())
    async with running(Held(), store=store) as engine:
        await engine.run_until_idle()
        await engine.client.create(make_greeting("new"))
        await asyncio.sleep(1)
        assert sorted(priorities) == [LOW, NORMAL]
