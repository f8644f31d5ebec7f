"""What an engine is measured by, and how Prometheus reads it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from miren.base.errors import Conflict, DeadlineExceeded
from miren.entities.store.memory import MemoryStore
from miren.reconcile.context import Context
from miren.reconcile.engine import Engine
from miren.reconcile.metrics import METRICS, Histogram, MetricType
from miren.reconcile.outcome import Outcome
from miren.reconcile.prometheus import EngineCollector
from miren.reconcile.registry import Registry
from miren.reconcile.results import LOW, Permanent, Requeue, Temporary
from miren.reconcile.tally import Result, Tally
from tests.builders import Greeting, make_greeting
from tests.reconcile.engines import Desk, Member, Sharer, Shouting, eventually
from tests.reconcile.greeters import Doing, Greeter, Slow
from tests.reconcile.virtual import running, settle, virtually
from tests.stores import Faulty


def value(engine: Engine, name: str, /, **labels: str) -> float | Histogram:
    """Return the one sample of this name that has these labels."""
    found = [
        sample.value
        for sample in engine.metrics()
        if sample.name == name and labels.items() <= sample.labels.items()
    ]
    assert len(found) == 1, (name, labels, found)
    return found[0]


def exposed(collector: EngineCollector) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Return all samples as Prometheus would read them; each is there once."""
    registry = CollectorRegistry(auto_describe=True)
    registry.register(collector)
    text = generate_latest(registry).decode()
    samples = [
        sample for family in text_string_to_metric_families(text) for sample in family.samples
    ]
    found = {(one.name, frozenset(one.labels.items())): float(one.value) for one in samples}
    assert len(found) == len(samples)
    return found


def of(**labels: str) -> frozenset[tuple[str, str]]:
    return frozenset(labels.items())


@pytest.mark.parametrize(
    ("outcome", "result", "more"),
    [
        (Outcome(), "success", (0, 0, 0)),
        (Outcome(requeue=Requeue(0)), "requeue", (0, 0, 0)),
        (Outcome(requeue=Requeue(3)), "requeue_after", (0, 0, 0)),
        (Outcome(error=Temporary("wait")), "requeue", (0, 0, 0)),
        (Outcome(error=Temporary("wait", after=3)), "requeue_after", (0, 0, 0)),
        (Outcome(error=Permanent("never")), "error", (1, 0, 0)),
        (Outcome(error=TimeoutError()), "error", (0, 1, 0)),
        (Outcome(error=KeyError("bug")), "error", (0, 0, 1)),
        (Outcome(error=Conflict("overtaken")), "error", (0, 0, 0)),
        (Outcome(Requeue(3), Permanent("one handler"), is_settled=True), "error", (1, 0, 0)),
    ],
    ids=lambda each: str(each) if isinstance(each, str) else "",
)
def test_an_outcome_is_counted_once_and_by_what_it_means(
    outcome: Outcome, result: str, more: tuple[int, int, int]
) -> None:
    tally = Tally()
    tally.count(outcome, 0.02)
    assert tally.results == {each: int(each == result) for each in Result}
    assert (tally.terminal, tally.timeouts, tally.panics) == more
    assert (tally.seconds.count, tally.seconds.total) == (1, 0.02)


@virtually
async def test_reconciles_are_told_by_their_results() -> None:
    async def act(_ctx: Context[Greeting], greeting: Greeting) -> Requeue | None:
        match greeting.spec.text:
            case "later":
                return Requeue(1000)
            case "never":
                raise Permanent("no")
            case "bug":
                raise ValueError("bug")
        return None

    async with running(Doing(act)) as engine:
        for text in ("fine", "well", "later", "never", "bug"):
            await engine.client.create(make_greeting(text, text=text))
        await settle()
        name, total = "doing", "controller_runtime_reconcile_total"
        counts = {result: value(engine, total, result=result.value) for result in Result}
        assert counts == {"success": 2, "error": 2, "requeue": 0, "requeue_after": 1}
        expected = {"reconcile_errors": 2, "terminal_reconcile_errors": 1, "reconcile_panics": 1}
        for metric, count in expected.items():
            assert value(engine, f"controller_runtime_{metric}_total", controller=name) == count
        assert value(engine, "workqueue_retries_total", name=name) == 1
        assert value(engine, "workqueue_adds_total", name=name) == 5


@virtually
async def test_queues_and_workers_are_told_as_they_are_now() -> None:
    class Single(Slow, concurrency=1):
        """Works on one at a time."""

    store = MemoryStore()
    async with running(store=store) as before:
        await before.client.create(make_greeting("old"))
    async with running(Single(), store=store) as engine:
        await settle()
        for name in ("a", "b"):
            await engine.client.create(make_greeting(name))
        await asyncio.sleep(3)
        assert value(engine, "controller_runtime_active_workers") == 1
        assert value(engine, "controller_runtime_max_concurrent_reconciles") == 1
        assert value(engine, "workqueue_depth", priority="0") == 2
        assert value(engine, "workqueue_unfinished_work_seconds") == pytest.approx(3, abs=0.1)
        assert value(engine, "workqueue_longest_running_processor_seconds") == pytest.approx(
            3, abs=0.1
        )
        assert value(engine, "miren_oldest_ready_seconds") == pytest.approx(3, abs=0.1)
        await asyncio.sleep(8)
        took = value(engine, "controller_runtime_reconcile_time_seconds")
        waited = value(engine, "workqueue_queue_duration_seconds")
    assert isinstance(took, Histogram)
    assert isinstance(waited, Histogram)
    assert dict(took.buckets)[5.0] == 0, "none took less than ten seconds"
    assert (took.count, waited.count) == (1, 2)
    assert took.sum == pytest.approx(10, abs=0.1)
    assert waited.sum == pytest.approx(10, abs=0.1)


@virtually
async def test_low_priorities_have_depths_of_their_own() -> None:
    class Single(Slow, concurrency=1):
        """Works on one at a time."""

    store = MemoryStore()
    async with running(store=store) as before:
        for name in ("a", "b", "c"):
            await before.client.create(make_greeting(name))
    async with running(Single(), store=store) as engine:
        await settle()
        assert value(engine, "workqueue_depth", priority=str(LOW)) == 2
        assert value(engine, "workqueue_depth", priority="0") == 0


@virtually
async def test_a_cache_tells_how_much_it_has_and_whether_it_follows() -> None:
    store = Faulty(MemoryStore())
    cache = {"kind": "greeting.example.dev", "version": "v1", "selected": ""}
    async with running(Greeter(), store=store) as engine:
        assert value(engine, "miren_watch_lag_seconds", **cache) == float("inf")
        await engine.client.create(make_greeting())
        await settle()
        assert value(engine, "miren_cache_entities", **cache) == 1
        assert value(engine, "miren_watch_following", **cache) == 1
        store.go_down()
        await asyncio.sleep(30)
        assert value(engine, "miren_watch_following", **cache) == 0
        lag = value(engine, "miren_watch_lag_seconds", **cache)
        assert lag == pytest.approx(30, abs=1)


class Second(Greeter, primary=False):
    pass


class Spread(Sharer, primary=False):
    @property
    def name(self) -> str:
        return "spread"


@virtually
async def test_elections_tell_who_leads_once_for_all_their_controllers() -> None:
    desk = Desk()
    async with MemoryStore() as store:
        first = Member(store, "n1", Shouting(desk, "n1"), Second(), elect="shop")
        second = Member(store, "n2", Shouting(desk, "n2"), Spread(desk, "n2"), elect="shop")
        async with asyncio.TaskGroup() as group:
            group.create_task(first.run())
            await eventually(lambda: first.is_leading)
            group.create_task(second.run())
            await asyncio.sleep(5)
            assert value(first.engine, "miren_leader", election="shop") == 1
            assert value(second.engine, "miren_leader", election="shop") == 0
            assert value(second.engine, "miren_leader", election="spread") == 1, "all slots"
            first.stop.set()
            second.stop.set()


@virtually
async def test_daemons_are_counted() -> None:
    registry = Registry("night")

    @registry.daemon(Greeting)
    async def watch(_ctx: Context[Greeting], _greeting: Greeting) -> None:
        await asyncio.Event().wait()

    async with running(registry) as engine:
        for name in ("a", "b"):
            await engine.client.create(make_greeting(name))
        await settle()
        assert value(engine, "miren_daemons", controller="night-greeting") == 2


async def test_every_metric_is_exposed_under_its_name_with_its_labels() -> None:
    registry = Registry("night", primary=False)

    @registry.daemon(Greeting)
    async def watch(_ctx: Context[Greeting], _greeting: Greeting) -> None: ...

    async with Engine(MemoryStore(), [Greeter(), registry], elect="shop") as engine:
        await engine.client.create(make_greeting())
        await engine.run_until_idle(timeout=30)
        found = exposed(EngineCollector(engine))
    for name, metric in METRICS.items():
        suffixes = ("_bucket", "_count", "_sum") if metric.type is MetricType.HISTOGRAM else ("",)
        for suffix in suffixes:
            labels = [dict(known) for told, known in found if told == name + suffix]
            assert labels, name + suffix
            wanted = {*metric.labels, *(["le"] if suffix == "_bucket" else [])}
            assert all(set(known) == wanted for known in labels), name
    ours = of(controller="greeter", name="greeter")
    assert found["workqueue_adds_total", ours] >= 1
    counts = [count for (name, labels), count in found.items() if ("le", "+Inf") in labels]
    assert len(counts) == 6, "three histograms of two controllers end in infinity"


async def test_several_engines_are_told_apart() -> None:
    async with Engine(MemoryStore(), [Greeter()]) as east, Engine(MemoryStore()) as idle:
        async with Engine(MemoryStore(), [Greeter()]) as west:
            await west.client.create(make_greeting())
            await west.run_until_idle(timeout=30)
            collector = EngineCollector({"east": east, "west": west, "idle": idle})
            found = exposed(collector)
            name = "controller_runtime_reconcile_total"
            counts = {
                engine: found[name, of(engine=engine, controller="greeter", result="success")]
                for engine in ("east", "west")
            }
            assert counts == {"east": 0, "west": 1}
        found = exposed(collector)
    engines = {dict(labels)["engine"] for _, labels in found}
    assert engines == {"east"}, "what does not run, or has no parts, has no samples"


async def test_another_thread_gets_samples_made_in_the_engines_loop() -> None:
    loop = asyncio.get_running_loop()

    class Watching(Engine):
        def metrics(self) -> tuple[()]:
            assert asyncio.get_running_loop() is loop
            return ()

    async with Watching(MemoryStore()) as engine:
        collector = EngineCollector(engine)
        families = await asyncio.to_thread(lambda: list(collector.collect()))
        assert len(families) == len(METRICS)
    assert all(not family.samples for family in families)


async def test_a_loop_that_is_blocked_makes_a_scrape_fail(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("miren.reconcile.prometheus._PATIENCE", 0.05)

    def collect(collector: EngineCollector, done: Callable[[], None]) -> str:
        try:
            list(collector.collect())
        except DeadlineExceeded as error:
            return error.message
        finally:
            done()
        return ""

    async with Engine(MemoryStore()) as engine:
        collector, finished = EngineCollector(engine), threading.Event()
        scrape = asyncio.get_running_loop().run_in_executor(None, collect, collector, finished.set)
        finished.wait(10)  # blocks the loop
        assert "did not answer" in await scrape
