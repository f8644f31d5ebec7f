"""Handlers that are not async run in threads, on a real loop."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from miren.entities import keys
from miren.entities.store.api import Delete
from miren.entities.store.memory import MemoryStore
from miren.reconcile.context import Context
from miren.reconcile.engine import Engine
from miren.reconcile.registry import Change, Registry
from miren.reconcile.results import Permanent, Requeue
from tests.builders import Greeting, GreetingStatus, make_greeting


@asynccontextmanager
async def real(registry: Registry, *, threads: int = 8) -> AsyncIterator[Engine]:
    async with Engine(MemoryStore(), [registry], threads=threads, grace=0.1) as engine:
        yield engine


async def until(is_so: Callable[[], object]) -> None:
    async with asyncio.timeout(20):
        while not is_so():  # noqa: ASYNC110  # threads set no event of the loop
            await asyncio.sleep(0.005)


async def shouted(engine: Engine, name: str, shout: str) -> Greeting:
    def is_so(greeting: Greeting | None) -> bool:
        return greeting is not None and greeting.status.shout == shout

    found = await engine.client.wait(Greeting, name, is_so, timeout=20)
    assert found is not None
    return found


async def test_a_plain_function_is_a_handler_and_registering_it_warns_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    registry, where = Registry("plain"), []
    with caplog.at_level(logging.WARNING, "miren.reconcile.handlers"):

        @registry.changed(Greeting, lambda greeting: greeting.spec.text)
        def shout(ctx: Context[Greeting], change: Change[Greeting, str]) -> None:
            where.append(threading.current_thread().name)
            ctx.status = GreetingStatus(shout=change.new.upper())
            ctx.ready("Shouted")

    assert [record.getMessage() for record in caplog.records] == [
        "handler runs in a thread: it is not async"
    ]
    async with real(registry) as engine:
        await engine.client.create(make_greeting())
        await shouted(engine, "hi", "HEY")
        assert where[0].startswith("miren")
        assert engine.health()[0].errors == 0


async def test_at_most_so_many_threads_are_made_and_none_before_it_is_needed() -> None:
    registry, lock = Registry("bounded", concurrency=10), threading.Lock()
    running = most = 0

    @registry.created(Greeting)
    def work(ctx: Context[Greeting], greeting: Greeting) -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.01)
        with lock:
            running -= 1
        ctx.status = GreetingStatus(shout="DONE")

    before = threading.active_count()
    async with real(registry, threads=3) as engine:
        assert threading.active_count() == before
        for number in range(12):
            await engine.client.create(make_greeting(f"g{number}"))
        for number in range(12):
            await shouted(engine, f"g{number}", "DONE")
        assert most == 3


async def test_after_its_deadline_a_thread_is_waited_for_and_its_entity_left_alone() -> None:
    registry, release = Registry("late"), threading.Event()
    calls: list[int] = []

    @registry.changed(Greeting, timeout=0.05, retries=1)
    def stuck(ctx: Context[Greeting], change: Change[Greeting, object]) -> None:
        calls.append(1)
        assert release.wait(20)
        calls.append(-1)

    async with real(registry) as engine:
        await engine.client.create(make_greeting())
        await until(lambda: calls)
        for text in ("a", "b"):
            await engine.client.patch(Greeting, "hi", {"spec": {"text": text}})
            await asyncio.sleep(0.06)
        assert calls == [1], "nothing is begun for it while the thread runs"
        assert engine.health()[0].errors == 0
        release.set()
        await engine.run_until_idle()
        assert sum(calls) == 0
        assert calls == [1, -1, 1, -1]
        assert (engine.health()[0].last_error or "").startswith("default/hi:")


async def test_an_engine_that_stops_does_not_wait_for_a_thread_that_hangs() -> None:
    registry, release, begun = Registry("hang"), threading.Event(), threading.Event()

    @registry.created(Greeting)
    def hang(ctx: Context[Greeting], greeting: Greeting) -> None:
        begun.set()
        assert release.wait(20)
        raise LookupError("nobody waits for this")

    try:
        async with asyncio.timeout(10), real(registry) as engine:
            await engine.client.create(make_greeting())
            await until(begun.is_set)
    finally:
        release.set()


async def test_what_a_thread_returns_and_raises_means_the_same() -> None:
    registry, calls = Registry("results"), []

    @registry.created(Greeting)
    def twice(ctx: Context[Greeting], greeting: Greeting) -> Requeue | None:
        calls.append("twice")
        return Requeue(after=0.01) if calls.count("twice") < 2 else None

    @registry.created(Greeting)
    def never(ctx: Context[Greeting], greeting: Greeting) -> None:
        calls.append("never")
        raise Permanent("cannot", reason="Stuck")

    async with real(registry) as engine:
        await engine.client.create(make_greeting())
        await until(lambda: calls.count("twice") == 2)
        await engine.run_until_idle()
        found = await engine.client.get(Greeting, "hi")
        ready = found.condition("Ready")
        assert ready is not None
        assert ready.reason == "Stuck"
        assert calls.count("never") == 1


async def test_a_call_that_waits_for_a_thread_is_not_begun_once_the_lead_is_lost() -> None:
    registry, store = Registry("shop", elect="shop"), MemoryStore()
    release, begun, called = threading.Event(), threading.Event(), []

    @registry.created(Greeting)
    def work(ctx: Context[Greeting], greeting: Greeting) -> None:
        called.append(greeting.name)
        begun.set()
        assert release.wait(20)

    try:
        async with Engine(store, [registry], threads=1, grace=0.1) as engine:
            for name in ("a", "b", "c"):
                await engine.client.create(make_greeting(name))
            await until(begun.is_set)
            await until(lambda: not engine.health()[0].queued)
            await store.transact([], [Delete(keys.candidates_range("shop"))])
            await until(lambda: not engine.is_ready or not engine.health()[0].is_leading)
            await until(lambda: engine.health()[0].is_leading)
            release.set()
            await engine.run_until_idle(timeout=20)
    finally:
        release.set()
    assert sorted(called) == ["a", "a", "b", "c"], "what waited in the first term was dropped"


async def test_the_time_that_a_call_waits_for_a_thread_is_none_of_its_own() -> None:
    registry, called = Registry("busy", concurrency=6), list[str]()

    @registry.created(Greeting, timeout=0.3)
    def work(ctx: Context[Greeting], greeting: Greeting) -> None:
        called.append(greeting.name)
        time.sleep(0.1)

    async with real(registry, threads=1) as engine:
        for name in "abcdef":
            await engine.client.create(make_greeting(name))
        await engine.run_until_idle(timeout=20)
        assert engine.health()[0].last_error is None
    assert sorted(called) == list("abcdef")
