"""Engines in somebody's program: starting, stopping, breaking, several at once."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Iterable

import pytest

from miren.entities.store.memory import MemoryStore
from miren.reconcile.controller import index, watches
from miren.reconcile.engine import Engine
from miren.reconcile.results import Key
from tests.builders import Greeting, Room, make_greeting
from tests.reconcile.greeters import Greeter, Slow
from tests.reconcile.virtual import make_client, now, running, settle, virtually
from tests.stores import Around, Faulty


def others() -> set[asyncio.Task[object]]:
    return asyncio.all_tasks() - {asyncio.current_task()}


@virtually
async def test_leaving_finishes_what_is_in_work_and_starts_nothing_new() -> None:
    class Single(Slow, concurrency=1):
        pass

    single, store = Single(), MemoryStore()
    async with running(single, store=store) as engine:
        await settle()
        for name in ("a", "b"):
            await engine.client.create(make_greeting(name))
        await asyncio.sleep(3)
    assert now() == pytest.approx(10, abs=0.1)
    async with store:
        listing = await make_client(store).list(Greeting)
    assert [greeting.status.shout for greeting in listing.items] == ["HEY", ""]
    assert len(single.calls) == 1


@virtually
async def test_leaving_waits_no_longer_than_the_grace() -> None:
    slow = Slow()
    async with running(slow, grace=2) as engine:
        await engine.client.create(make_greeting())
        await asyncio.sleep(3)
    assert now() == pytest.approx(5, abs=0.1)
    assert not slow.running["hi"], "what was cut off was cancelled, not left behind"


@virtually
async def test_an_error_in_the_body_stops_the_engine_and_comes_out_as_it_is() -> None:
    async def body() -> None:
        async with running(Slow()) as engine:
            await engine.client.create(make_greeting())
            await asyncio.sleep(1)
            raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        await body()
    assert now() < 1.1, "a broken body is not drained"
    assert not others()


@virtually
async def test_cancelling_the_body_stops_everything() -> None:
    async def body() -> None:
        async with running(Slow()) as engine:
            await engine.client.create(make_greeting())
            await asyncio.sleep(1000)

    task = asyncio.ensure_future(body())
    await asyncio.sleep(1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not others()


class Rotten(Around):
    """A store that breaks in a way nobody foresaw."""

    async def before(self, what: str) -> None:
        if what == "list":
            raise LookupError("the disk is rotten")


@virtually
async def test_a_broken_engine_cancels_the_body() -> None:
    async def body() -> None:
        async with running(Greeter(), store=Rotten(MemoryStore())):
            await asyncio.sleep(1000)
            pytest.fail("it ran on half an engine")

    with pytest.raises(ExceptionGroup) as caught:
        await body()
    assert caught.value.subgroup(LookupError) is not None
    assert now() < 1
    assert not others()


class Broken(Greeter, primary=False):
    @watches(Room)
    def greetings(self, room: Room) -> Iterable[Key[Greeting]]:
        raise LookupError(f"no greetings for {room.name}")

    @index
    def by_text(self, greeting: Greeting) -> Iterable[str]:
        raise LookupError("no text")

    def forget(self, key: Key[Greeting]) -> None:
        raise LookupError("forgets nothing")


@virtually
async def test_a_controller_whose_methods_break_stops_no_other_and_says_so() -> None:
    broken = Broken()
    async with running(broken, Greeter()) as engine:
        await engine.client.create(Room.new("hall"))
        await engine.client.create(make_greeting())
        await engine.run_until_idle()
        assert (await engine.client.get(Greeting, "hi")).status.shout == "HEY"
        assert broken.by_text["hey"] == ()
        health, _ = engine.health()
        assert health.errors >= 2
        assert health.last_error in (
            "@watches greetings: no greetings for hall",
            "@index by_text: no text",
        )
        await engine.client.delete(Greeting, "hi")
        await settle()
        assert engine.health()[0].last_error == "forget: forgets nothing"
        await engine.client.create(make_greeting("still"))
        await engine.run_until_idle()
        assert (await engine.client.get(Greeting, "still")).status.shout == "HEY"


@virtually
async def test_an_engine_outlives_its_store_being_away() -> None:
    greeter = Greeter()
    async with Faulty(MemoryStore()) as store:
        engine = Engine(make_client(store), [greeter])
        async with engine:
            await settle()
            store.go_down()
            await make_client(store.inner).create(make_greeting())
            await asyncio.sleep(60)
            store.is_down = False
            await asyncio.sleep(15)
            found = await engine.client.get(Greeting, "hi")
            assert found.status.shout == "HEY"
        assert await store.status(), "the client's store is not the engine's to close"


@virtually
async def test_two_engines_live_in_one_loop() -> None:
    class Other(Greeter, primary=False):
        pass

    first, second = Greeter(), Other()
    async with MemoryStore() as store:
        client = make_client(store)
        async with Engine(client, [first]) as one, Engine(client, [second]) as other:
            await client.create(make_greeting())
            await one.run_until_idle()
            await other.run_until_idle()
            assert len(first.calls) in (1, 2)
            assert len(second.calls) in (1, 2)
            assert (await client.get(Greeting, "hi")).status.shout == "HEY"
    assert not others()


@virtually
async def test_starting_and_stopping_leaves_nothing_behind() -> None:
    store = MemoryStore()
    handlers = signal.getsignal(signal.SIGTERM), logging.getLogger().handlers[:]
    for number in range(50):
        async with running(Greeter(), store=store) as engine:
            await engine.client.create(make_greeting(f"g{number}"))
            if number % 2:
                await engine.run_until_idle()
        assert not others()
    assert (signal.getsignal(signal.SIGTERM), logging.getLogger().handlers[:]) == handlers


@virtually
async def test_the_number_of_tasks_does_not_depend_on_the_number_of_entities() -> None:
    async with running(Greeter()) as engine:
        await settle()
        before = len(others())
        for number in range(100):
            await engine.client.create(make_greeting(f"g{number}"))
        await engine.run_until_idle()
        assert len(others()) == before <= Greeter.settings.concurrency + 10


@virtually
async def test_an_engine_runs_once() -> None:
    engine = Engine(MemoryStore(), [Greeter()])
    async with engine:
        pass
    with pytest.raises(RuntimeError, match="an engine runs once: make a new one"):
        await engine.__aenter__()


@virtually
async def test_health_tells_of_every_controller() -> None:
    class Late(Slow, primary=False):
        pass

    async with running(Greeter(), Late()) as engine:
        await engine.client.create(make_greeting())
        await asyncio.sleep(5)
        greeter, slow = engine.health()
        assert (greeter.name, greeter.is_running) == ("greeter", True)
        assert greeter.reconciles >= 1
        assert (slow.name, slow.reconciles, slow.errors, slow.last_error) == ("late", 0, 0, None)


async def test_an_engine_runs_on_a_real_loop_too() -> None:
    async with Engine(MemoryStore(), [Greeter()]) as engine:
        await engine.client.apply(Greeting.partial("hi", text="hey"), manager="ci")
        found = await engine.client.wait(
            Greeting, "hi", lambda g: g is not None and g.status.shout == "HEY", timeout=30
        )
        assert found is not None


async def test_an_engine_is_not_idle_before_it_knows_what_there_is() -> None:
    async with Engine(MemoryStore(), [Greeter()]) as engine:
        await engine.run_until_idle()
        assert all(check.trouble != "not listed yet" for check in engine.health().checks)
