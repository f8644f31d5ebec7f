"""Daemons: a task for each entity that fits, and nobody's task is left behind."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from itertools import pairwise

import pytest

from miren.entities.entity import ConditionStatus
from miren.entities.store.memory import MemoryStore
from miren.reconcile.context import Context
from miren.reconcile.daemons import DaemonContext
from miren.reconcile.engine import Engine
from miren.reconcile.registry import Registry
from miren.reconcile.results import Permanent, Temporary
from miren.reconcile.testing import reconcile_once
from tests.builders import Greeting, GreetingSpec, GreetingStatus, make_greeting
from tests.reconcile.virtual import make_client, now, running, settle, virtually

LOUD = GreetingSpec(text="hey", tone="loud")


class Lives:
    """A daemon's function that notes when it begins and ends."""

    def __init__(self, *, cleanup: float = 0.0, fails: Callable[[int], bool] = lambda _n: False):
        self.told: list[tuple[str, str, float]] = []
        self.begun: list[float] = []
        self._cleanup = cleanup
        self._fails = fails

    async def live(self, ctx: DaemonContext[Greeting], greeting: Greeting) -> None:
        self.begun.append(now())
        self.told.append(("begin", greeting.name, now()))
        try:
            if self._fails(len(self.begun)):
                raise ValueError("fell over")
            await asyncio.sleep(100_000)
        finally:
            if self._cleanup:
                await asyncio.sleep(self._cleanup)
            self.told.append(("end", greeting.name, now()))


def rounded(lives: Lives) -> list[tuple[str, int]]:
    return [(what, round(when)) for what, _, when in lives.told]


def daemons() -> int:
    return sum(1 for task in asyncio.all_tasks() if task.get_name().startswith("daemon "))


@virtually
async def test_a_daemon_runs_from_when_its_entity_is_seen_until_it_begins_to_go() -> None:
    registry, lives, order = Registry("runs"), Lives(cleanup=3), []

    @registry.deleted(Greeting)
    async def gone(ctx: Context[Greeting], greeting: Greeting) -> None:
        order.append((daemons(), round(now())))

    registry.daemon(Greeting, initial_delay=5)(lives.live)
    async with running(registry) as engine:
        await engine.client.create(make_greeting())
        await asyncio.sleep(20)
        assert rounded(lives) == [("begin", 5)]
        await engine.client.patch(Greeting, "hi", {"spec": {"text": "yo"}})
        await asyncio.sleep(20)
        assert daemons() == 1, "a change of its entity does not disturb it"
        assert engine.health()[0].daemons == 1
        await engine.client.delete(Greeting, "hi")
        await asyncio.sleep(10)
        assert rounded(lives)[1:] == [("end", 43)]
        assert order == [(0, 43)], "it had cleaned up before"
        assert await engine.client.get(Greeting, "hi", default=None) is None


@virtually
async def test_without_deleted_handlers_it_ends_when_its_entity_begins_to_go_or_is_gone() -> None:
    registry, lives = Registry("runs"), Lives()
    registry.daemon(Greeting)(lives.live)
    async with running(registry) as engine:
        held = make_greeting("held").with_metadata(finalizers=("example.dev/other",))
        await engine.client.create(held)
        await engine.client.create(make_greeting("free"))
        await settle()
        assert daemons() == 2
        assert (await engine.client.get(Greeting, "free")).metadata.finalizers == ()
        await engine.client.delete(Greeting, "held")
        await engine.client.delete(Greeting, "free")
        await settle()
        assert daemons() == 0
        found = await engine.client.get(Greeting, "held")
        assert found.is_deleting


@virtually
async def test_it_runs_only_while_its_entity_fits() -> None:
    registry, lives = Registry("runs"), Lives(cleanup=2)
    registry.daemon(Greeting, where=lambda greeting: greeting.spec.tone == "loud")(lives.live)
    async with running(registry) as engine:
        await engine.client.create(make_greeting())
        for tone in ("loud", "plain", "loud"):
            await asyncio.sleep(10)
            await engine.client.patch(Greeting, "hi", {"spec": {"tone": tone}})
        await asyncio.sleep(10)
        assert rounded(lives) == [("begin", 10), ("end", 22), ("begin", 30)]
    assert lives.told[-1][0] == "end"


@virtually
async def test_one_that_breaks_is_started_again_with_back_off_and_told_by_health() -> None:
    registry, lives = Registry("breaks"), Lives(fails=lambda number: number < 4)
    registry.daemon(Greeting)(lives.live)
    async with running(registry) as engine:
        await engine.client.create(make_greeting())
        await asyncio.sleep(1.5)
        (health,) = engine.health()
        assert health.troubles == ("default/hi: daemon live: ValueError: fell over",)
        await asyncio.sleep(60)
        begun = lives.begun
        delays = [after - before for before, after in pairwise(begun)]
        assert len(delays) == 3
        assert delays == sorted(delays)
        assert 0.8 <= delays[0] <= 1.0
        assert engine.health()[0].is_running


@virtually
async def test_one_that_returns_is_through_and_permanent_ends_it() -> None:
    registry, calls = Registry("ends"), []

    @registry.daemon(Greeting)
    async def brief(ctx: DaemonContext[Greeting], greeting: Greeting) -> None:
        calls.append("brief")

    @registry.daemon(Greeting)
    async def never(ctx: DaemonContext[Greeting], greeting: Greeting) -> None:
        calls.append("never")
        raise Permanent("not here")

    @registry.daemon(Greeting)
    async def later(ctx: DaemonContext[Greeting], greeting: Greeting) -> None:
        calls.append("later")
        raise Temporary("not now", after=1000)

    async with running(registry) as engine:
        await engine.client.create(make_greeting())
        await asyncio.sleep(900)
        await engine.client.patch(Greeting, "hi", {"spec": {"text": "yo"}})
        await asyncio.sleep(50)
        assert sorted(calls) == ["brief", "later", "never"]
        assert len(engine.health()[0].troubles) == 2
        await asyncio.sleep(100)
        assert calls.count("later") == 2


@virtually
async def test_it_sees_the_newest_version_and_writes_when_it_wants_to() -> None:
    registry, seen = Registry("hears"), []

    @registry.daemon(Greeting)
    async def hear(ctx: DaemonContext[Greeting], greeting: Greeting) -> None:
        for number in (1, 2):
            await asyncio.sleep(10)
            seen.append((greeting.spec.text, ctx.entity.spec.text))
            ctx.status = ctx.status.model_copy(update={"heard": number})
            ctx.set_condition("Heard", ConditionStatus.TRUE, "Yes")
            await ctx.save()
        await asyncio.sleep(10)
        ctx.status = GreetingStatus(heard=3)

    @registry.created(Greeting)
    async def shout(ctx: Context[Greeting], greeting: Greeting) -> None:
        ctx.status = GreetingStatus(shout="HEY")

    async with running(registry) as engine:
        await engine.client.create(make_greeting())
        await asyncio.sleep(5)
        await engine.client.patch(Greeting, "hi", {"spec": {"text": "yo"}})
        await asyncio.sleep(7)
        found = await engine.client.get(Greeting, "hi")
        assert found.status == GreetingStatus(shout="HEY", heard=1)
        assert found.condition("Heard") is not None
        await asyncio.sleep(20)
        assert seen == [("hey", "yo"), ("hey", "yo")]
        found = await engine.client.get(Greeting, "hi")
        assert found.status.heard == 3, "what it said at last is written when it returns"
        assert found.observed_generation == 2


@virtually
async def test_what_is_created_anew_under_its_name_has_a_daemon_of_its_own() -> None:
    registry, uids = Registry("anew"), []
    store = MemoryStore()

    @registry.daemon(Greeting)
    async def live(ctx: DaemonContext[Greeting], greeting: Greeting) -> None:
        uids.append(greeting.uid)
        try:
            await asyncio.sleep(1000)
        finally:
            await asyncio.sleep(2)
            uids.append(greeting.uid)

    async with running(registry, store=store) as engine:
        await engine.client.create(make_greeting())
        await settle()
        client = make_client(store)
        await client.delete(Greeting, "hi")
        await client.create(make_greeting())
        await asyncio.sleep(10)
        first, ended, second = uids
        assert first == ended != second, "the old one had ended before the new one began"


@virtually
async def test_an_engine_that_stops_waits_for_its_daemons_to_clean_up() -> None:
    registry, lives = Registry("stops"), Lives(cleanup=4)
    registry.daemon(Greeting)(lives.live)
    async with running(registry) as engine:
        for number in range(20):
            await engine.client.create(make_greeting(f"g{number}"))
        await engine.run_until_idle()
        await settle()
        assert daemons() == 20
        began = now()
    assert daemons() == 0
    assert now() - began == pytest.approx(4, abs=0.1), "all of them at once"
    assert sum(what == "end" for what, _, _ in lives.told) == 20


@virtually
async def test_one_that_refuses_to_end_holds_up_nothing_for_longer_than_its_grace() -> None:
    registry, ended = Registry("stubborn"), asyncio.Event()

    @registry.daemon(Greeting, grace=5)
    async def stubborn(ctx: DaemonContext[Greeting], greeting: Greeting) -> None:
        while not ended.is_set():
            with suppress(asyncio.CancelledError):
                await ended.wait()

    @registry.deleted(Greeting)
    async def gone(ctx: Context[Greeting], greeting: Greeting) -> None: ...

    async with running(registry) as engine:
        await engine.client.create(make_greeting())
        await settle()
        await engine.client.delete(Greeting, "hi")
        await asyncio.sleep(6)
        assert await engine.client.get(Greeting, "hi", default=None) is None
        began = now()
    assert now() - began <= 6
    ended.set()
    await settle()
    assert daemons() == 0


@virtually
async def test_one_that_begins_while_its_entity_goes_is_not_left_behind() -> None:
    registry, lives = Registry("race"), Lives()

    @registry.created(Greeting)
    async def slow(ctx: Context[Greeting], greeting: Greeting) -> None:
        await asyncio.sleep(10)

    registry.daemon(Greeting)(lives.live)
    async with running(registry) as engine:
        await engine.client.create(make_greeting())
        await asyncio.sleep(5)
        await engine.client.delete(Greeting, "hi")
        await asyncio.sleep(20)
        assert await engine.client.get(Greeting, "hi", default=None) is None
        assert daemons() == 0


@virtually
async def test_an_error_of_the_body_ends_daemons_too() -> None:
    registry, lives = Registry("crash"), Lives()
    registry.daemon(Greeting)(lives.live)

    async def body() -> None:
        async with running(registry) as engine:
            await engine.client.create(make_greeting())
            await settle()
            assert daemons() == 1
            raise LookupError

    with pytest.raises(LookupError):
        await body()
    assert daemons() == 0


async def test_a_unit_test_of_its_controller_starts_none() -> None:
    registry, lives = Registry("unit"), Lives()
    registry.daemon(Greeting)(lives.live)
    (controller,) = registry.controllers()
    await reconcile_once(controller, make_greeting())
    assert daemons() == 0


async def test_on_a_real_loop_too_nobodys_task_is_left() -> None:
    registry, lives = Registry("real"), Lives()
    registry.daemon(Greeting)(lives.live)
    before = asyncio.all_tasks()
    for _ in range(10):
        async with Engine(MemoryStore(), [registry]) as engine:
            await engine.client.create(make_greeting())
            await engine.run_until_idle()
            assert daemons() == 1
    assert asyncio.all_tasks() == before
