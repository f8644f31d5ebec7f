"""The decorator style: what handlers are called with, when, and what is remembered of it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from miren.base.errors import Unavailable
from miren.entities.store.memory import MemoryStore
from miren.reconcile.attempt import Attempts
from miren.reconcile.context import Context
from miren.reconcile.controller import Controller
from miren.reconcile.engine import Engine
from miren.reconcile.handled import digest
from miren.reconcile.plugins import load_plugins
from miren.reconcile.predicates import has_labels
from miren.reconcile.registry import Change, Registry
from miren.reconcile.results import Requeue
from miren.reconcile.testing import reconcile_once
from tests.builders import Greeting, GreetingSpec, GreetingStatus, Room, make_greeting, make_parcel
from tests.reconcile.virtual import date, make_client, now, running, settle, virtually
from tests.stores import Around, Counting

Told = list[tuple[object, ...]]


def telling(told: Told) -> Registry:
    """Return a registry with a handler for every occasion, which notes what it was called with."""
    registry = Registry("told")

    @registry.created(Greeting)
    async def born(ctx: Context[Greeting], greeting: Greeting) -> None:
        told.append(("created", greeting.name))

    @registry.resumed(Greeting)
    async def back(ctx: Context[Greeting], greeting: Greeting) -> None:
        told.append(("resumed", greeting.name))

    @registry.changed(Greeting, lambda greeting: greeting.spec.text)
    async def text(ctx: Context[Greeting], change: Change[Greeting, str]) -> None:
        told.append(("text", change.old, change.new))

    @registry.changed(Greeting)
    async def spec(ctx: Context[Greeting], change: Change[Greeting, GreetingSpec]) -> None:
        told.append(("spec", change.old is not None, change.new.tone))
        assert change.is_first == (change.entity.metadata.generation == 1)

    @registry.deleted(Greeting)
    async def gone(ctx: Context[Greeting], greeting: Greeting) -> None:
        told.append(("deleted", greeting.name))

    return registry


@virtually
async def test_handlers_are_called_in_their_order_when_what_they_are_for_comes_to_pass() -> None:
    told: Told = []
    async with running(telling(told)) as engine:
        await engine.client.create(make_greeting())
        await engine.run_until_idle()
        assert told == [("created", "hi"), ("text", None, "hey"), ("spec", False, "plain")]
        told.clear()
        await engine.client.patch(Greeting, "hi", {"spec": {"text": "yo"}})
        await engine.run_until_idle()
        assert told == [("text", "hey", "yo"), ("spec", True, "plain")]
        told.clear()
        await engine.client.patch(Greeting, "hi", {"spec": {"tone": "loud"}})
        await engine.run_until_idle()
        assert told == [("spec", True, "loud")]
        told.clear()
        await engine.client.patch(Greeting, "hi", {"metadata": {"labels": {"a": "b"}}})
        await engine.run_until_idle()
        assert told == []
        await engine.client.delete(Greeting, "hi")
        await engine.run_until_idle()
        assert told == [("deleted", "hi")]
        assert await engine.client.get(Greeting, "hi", default=None) is None


@virtually
async def test_what_was_handled_is_remembered_in_the_status_across_processes() -> None:
    told: Told = []
    store = MemoryStore()
    async with running(telling(told), store=store) as engine:
        await engine.client.create(make_greeting())
        await engine.run_until_idle()
        found = await engine.client.get(Greeting, "hi")
        assert found.handled["told-greeting"] == {
            "generation": 1,
            "born": digest(found.uid, ""),
            "text": digest(found.uid, "hey"),
            "spec": digest(found.uid, 1),
        }
    told.clear()
    async with running(telling(told), store=store) as engine:
        await engine.run_until_idle()
        assert told == [("resumed", "hi")]
        told.clear()
        await engine.client.patch(Greeting, "hi", {"spec": {"text": "yo"}})
        await engine.run_until_idle()
        assert told == [("text", "hey", "yo"), ("spec", True, "plain")], "known since it was seen"
        await engine.client.create(make_greeting("new"))
        await engine.run_until_idle()
        assert ("resumed", "new") not in told


@virtually
async def test_a_change_while_nobody_worked_is_handled_without_an_old_value() -> None:
    told: Told = []
    store = MemoryStore()
    async with running(telling(told), store=store) as engine:
        await engine.client.create(make_greeting())
        await engine.run_until_idle()
    async with running(store=store) as engine:
        await engine.client.patch(Greeting, "hi", {"spec": {"text": "yo"}})
    told.clear()
    async with running(telling(told), store=store) as engine:
        await engine.run_until_idle()
        assert told == [("resumed", "hi"), ("text", None, "yo"), ("spec", False, "plain")]


@virtually
async def test_what_is_created_anew_under_its_name_is_handled_anew() -> None:
    told: Told = []
    registry = Registry("told")

    @registry.created(Greeting)
    async def born(ctx: Context[Greeting], greeting: Greeting) -> None:
        told.append((greeting.uid,))

    async with running(registry) as engine:
        for _ in range(2):
            await engine.client.create(make_greeting())
            await engine.run_until_idle()
            await engine.client.delete(Greeting, "hi")
        await engine.run_until_idle()
        assert len(set(told)) == 2


@virtually
async def test_status_conditions_and_what_was_handled_are_one_write_that_wakes_nobody() -> None:
    registry, calls, store = Registry("shouting"), [], Counting(MemoryStore())

    @registry.changed(Greeting, lambda greeting: greeting.spec.text)
    async def shout(ctx: Context[Greeting], change: Change[Greeting, str]) -> None:
        calls.append(change.new)
        ctx.status = GreetingStatus(shout=change.new.upper())

    @registry.created(Greeting)
    async def hear(ctx: Context[Greeting], greeting: Greeting) -> None:
        ctx.status = ctx.status.model_copy(update={"heard": 1})
        ctx.ready("Heard")

    async with running(registry, store=store) as engine:
        await engine.client.create(make_greeting())
        await engine.run_until_idle()
        await asyncio.sleep(60)
        found = await engine.client.get(Greeting, "hi")
        assert found.status == GreetingStatus(shout="HEY", heard=1)
        assert found.observed_generation == 1
        assert found.condition("Ready") is not None
        assert store.calls["write"] == 2, "one to create it, one for all of its status"
        assert engine.health()[0].reconciles == 1
        await engine.client.patch(Greeting, "hi", {"metadata": {"labels": {"a": "b"}}})
        await engine.run_until_idle()
        assert store.calls["write"] == 3, "nothing was handled, so nothing is written"
        assert calls == ["hey"]


@virtually
async def test_two_registries_and_a_class_keep_their_own_account_of_an_entity() -> None:
    class Writing(Controller[Greeting], primary=False):
        async def reconcile(self, ctx: Context[Greeting], entity: Greeting) -> None:
            ctx.set_condition("Written", "True", "Yes")  # type: ignore[arg-type]  # equal to one

    one, other = telling([]), Registry("other", primary=False)

    @other.created(Greeting)
    async def born(ctx: Context[Greeting], greeting: Greeting) -> None: ...

    async with running(one, other, Writing()) as engine:
        await engine.client.create(make_greeting())
        await engine.run_until_idle()
        found = await engine.client.get(Greeting, "hi")
        assert sorted(found.handled) == ["other-greeting", "told-greeting"]
        assert found.condition("Written") is not None


@virtually
async def test_a_handler_is_called_only_for_what_fits_and_once_that_does() -> None:
    registry, told = Registry("choosy"), []

    @registry.created(Greeting, where=lambda greeting: greeting.spec.tone == "loud")
    async def loud(ctx: Context[Greeting], greeting: Greeting) -> None:
        told.append(("loud", greeting.name))

    @registry.created(Greeting, where=has_labels({"color": "red"}))
    async def red(ctx: Context[Greeting], greeting: Greeting) -> None:
        told.append(("red", greeting.name))

    async with running(registry) as engine:
        await engine.client.create(make_greeting("a", labels={"color": "red"}))
        await engine.client.create(make_greeting("b", tone="loud"))
        await engine.run_until_idle()
        assert sorted(told) == [("loud", "b"), ("red", "a")]
        await engine.client.patch(Greeting, "a", {"spec": {"tone": "loud"}})
        await engine.run_until_idle()
        assert told[2:] == [("loud", "a")]


@virtually
async def test_a_handler_that_is_not_through_asks_to_be_called_again() -> None:
    registry, told = Registry("slow"), []

    @registry.created(Greeting)
    async def build(ctx: Context[Greeting], greeting: Greeting) -> Requeue | None:
        told.append(now())
        return Requeue(after=10) if len(told) < 3 else None

    @registry.deleted(Greeting)
    async def tear_down(ctx: Context[Greeting], greeting: Greeting) -> Requeue | None:
        told.append(now())
        return Requeue(after=5) if len(told) < 5 else None

    async with running(registry) as engine:
        await engine.client.create(make_greeting())
        await asyncio.sleep(100)
        assert told == pytest.approx([0, 10, 20], abs=0.1)
        assert engine.health()[0].errors == 0
        await engine.client.delete(Greeting, "hi")
        await asyncio.sleep(4)
        assert await engine.client.get(Greeting, "hi", default=None) is not None
        await asyncio.sleep(4)
        assert await engine.client.get(Greeting, "hi", default=None) is None
        assert told[3:] == pytest.approx([100, 105], abs=0.1)


@virtually
async def test_a_finalizer_is_put_on_only_for_deleted_handlers() -> None:
    plain, keeping = Registry("plain", primary=False), Registry("keeping")

    @plain.created(Greeting)
    @keeping.deleted(Greeting)
    async def either(ctx: Context[Greeting], greeting: Greeting) -> None: ...

    async with running(plain, keeping) as engine:
        await engine.client.create(make_greeting())
        await engine.run_until_idle()
        found = await engine.client.get(Greeting, "hi")
        assert found.metadata.finalizers == ("miren.dev/keeping",)


@virtually
async def test_an_index_is_read_by_handlers_of_every_kind_in_each_engine_its_own() -> None:
    registry, told = Registry("hotel"), []

    @registry.index(Greeting)
    def by_tone(greeting: Greeting) -> Iterable[str]:
        return [greeting.spec.tone]

    @registry.changed(Room)
    async def furnish(ctx: Context[Room], change: Change[Room, Any]) -> None:
        told.append([greeting.name for greeting in by_tone["loud"]])

    async with running(registry) as one, running(registry) as other:
        for number in range(3):
            await one.client.create(make_greeting(f"g{number}", tone="loud"))
        await other.client.create(make_greeting("x", tone="loud"))
        await settle()
        await one.client.create(Room.new("r"))
        await one.run_until_idle()
        await other.client.create(Room.new("r"))
        await other.run_until_idle()
        assert told == [["g0", "g1", "g2"], ["x"]]
        assert by_tone["loud"] == (), "outside of handlers it is empty"
        names = [health.name for health in one.health()]
        assert names == ["hotel-room", "hotel-greeting"]
        assert one.health()[1].reconciles == 0, "an index alone calls nothing"


class Stumbling(Around):
    """A store that refuses one write, when it is asked to."""

    refuses = False

    async def before(self, call: str) -> None:
        if self.refuses and call == "write":
            self.refuses = False
            raise Unavailable("away")


@virtually
async def test_a_handler_that_looks_at_the_status_is_called_when_another_one_changes_it() -> None:
    registry, told = Registry("chain"), list[str]()

    @registry.created(Greeting, where=lambda greeting: greeting.condition("Ready") is not None)
    async def last(ctx: Context[Greeting], greeting: Greeting) -> None:
        told.append("last")

    @registry.changed(Greeting, lambda greeting: greeting.status.heard)
    async def count(ctx: Context[Greeting], change: Change[Greeting, int]) -> None:
        told.append(f"{change.old} {change.new}")
        if change.new < 2:
            ctx.status = GreetingStatus(heard=change.new + 1)
        else:
            ctx.ready()

    async with running(registry) as engine:
        await engine.client.create(make_greeting())
        await engine.run_until_idle()
        assert told == ["None 0", "0 1", "1 2", "last"]
        assert engine.health()[0].reconciles == 4, "and never once more than that"


@virtually
async def test_what_could_not_be_recorded_is_handled_again() -> None:
    registry, told, store = Registry("stumbling"), [], Stumbling(MemoryStore())

    @registry.created(Greeting)
    async def born(ctx: Context[Greeting], greeting: Greeting) -> None:
        told.append(now())
        store.refuses = len(told) == 1

    async with running(registry, store=store) as engine:
        await engine.client.create(make_greeting())
        await asyncio.sleep(10)
        assert len(told) == 2
        assert "born" in (await engine.client.get(Greeting, "hi")).handled["stumbling-greeting"]


# -- timers ----------------------------------------------------------------------------------


@virtually
async def test_a_sharp_timer_keeps_its_times_when_a_call_fails() -> None:
    registry, times = Registry("clock"), list[float]()

    @registry.every(10, Greeting, sharp=True)
    async def tick(ctx: Context[Greeting], greeting: Greeting) -> None:
        times.append(round(now() - times[0], 1) if times else now())
        if len(times) == 2:
            raise ValueError("missed")

    async with running(registry) as engine:
        await engine.client.create(make_greeting())
        await asyncio.sleep(35)
    assert times[1:] == [10, 10.1, 20, 30], "and what failed is tried again before"


@virtually
async def test_a_timer_is_called_again_after_it_ended_and_a_sharp_one_when_it_is_due() -> None:
    registry = Registry("clock")
    times: Mapping[str, list[float]] = {"soft": [], "sharp": [], "late": []}

    @registry.every(10, Greeting, initial_delay=5)
    async def soft(ctx: Context[Greeting], greeting: Greeting) -> None:
        times["soft"].append(now())
        await asyncio.sleep(2)

    @registry.every(10, Greeting, sharp=True)
    async def sharp(ctx: Context[Greeting], greeting: Greeting) -> None:
        times["sharp"].append(now())

    @registry.every(10, Greeting, sharp=True, where=lambda greeting: greeting.spec.tone == "loud")
    async def late(ctx: Context[Greeting], greeting: Greeting) -> None:
        times["late"].append(now())

    async with running(registry) as engine:
        await engine.client.create(make_greeting())
        await asyncio.sleep(33)
        await engine.client.patch(Greeting, "hi", {"spec": {"tone": "loud"}})
        await asyncio.sleep(15)
        await engine.client.delete(Greeting, "hi")
        await asyncio.sleep(100)
        assert times["soft"] == pytest.approx([5, 17, 29, 41], abs=0.1)
        assert times["sharp"] == pytest.approx([0, 10, 20, 30, 40], abs=2.1)
        assert times["late"] == pytest.approx([33, 43], abs=0.1)
        assert engine.health()[0].errors == 0


@virtually
async def test_an_idle_timer_waits_until_its_entity_is_left_alone() -> None:
    registry, times = Registry("idle"), []

    @registry.every(10, Greeting, idle=20)
    async def rest(ctx: Context[Greeting], greeting: Greeting) -> None:
        times.append(now())
        ctx.status = GreetingStatus(heard=len(times))

    async with running(registry) as engine:
        await engine.client.create(make_greeting())
        await asyncio.sleep(35)
        assert times == pytest.approx([20, 30], abs=0.1)
        await engine.client.patch(Greeting, "hi", {"spec": {"text": "yo"}})
        await asyncio.sleep(31)
        assert times[2:] == pytest.approx([55, 65], abs=0.1)


@virtually
async def test_ten_thousand_timers_cost_no_task() -> None:
    registry, calls = Registry("many"), 0

    async def tick(ctx: Context[Greeting], greeting: Greeting) -> None:
        nonlocal calls
        calls += 1

    for number in range(50):
        registry.every(60, Greeting, initial_delay=60, name=f"tick{number}")(tick)
    async with running(registry) as engine:
        await engine.run_until_idle()
        await settle()
        before = len(asyncio.all_tasks())
        for number in range(200):
            await engine.client.create(make_greeting(f"g{number}"))
        await asyncio.sleep(30)
        assert len(asyncio.all_tasks()) == before
        await asyncio.sleep(31)
        assert calls == 10_000
        assert len(asyncio.all_tasks()) == before


# -- beside engines --------------------------------------------------------------------------


@virtually
async def test_an_engine_that_leads_again_takes_its_entities_up_again() -> None:
    told: Told = []
    (controller,) = telling(told).controllers()
    async with MemoryStore() as store:
        client = make_client(store)
        stored = await client.create(make_greeting())
        stored = await client.update_status(
            replace(stored, handled={"told-greeting": {"generation": 1}})
        )
        attempts = Attempts(controller, client, now=date)
        for _ in range(2):
            async with controller.serving():
                for _ in range(3):
                    found = await client.get(Greeting, stored.name)
                    await attempts.make(found)
        assert told.count(("resumed", "hi")) == 2


@virtually
async def test_a_compiled_controller_can_be_reconciled_once() -> None:
    registry = Registry("units")

    @registry.changed(Greeting, lambda greeting: greeting.spec.text)
    async def shout(ctx: Context[Greeting], change: Change[Greeting, str]) -> None:
        ctx.status = GreetingStatus(shout=change.new.upper())

    (controller,) = registry.controllers()
    out = await reconcile_once(controller, make_greeting(text="yo"))
    assert out.entity.status.shout == "YO"
    assert list(out.entity.handled) == ["units-greeting"]


PLUGIN = """
from miren import Registry
from tests.builders import Greeting
from tests.reconcile.greeters import Greeter

registry = Registry("plugged", primary=False)

@registry.created(Greeting)
async def born(ctx, greeting):
    ctx.ready("Born")

def taking(engine):
    assert engine is None or hasattr(engine, "health")
    second = Registry("second", primary=False)
    second.created(Greeting)(born)
    return [second, Greeter()]
"""


async def test_a_plugin_may_be_a_registry_or_a_callable_that_takes_the_engine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = tmp_path / "registries-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: registries\nVersion: 1.0\n")
    points = "one = registries_plugin:registry\ntwo = registries_plugin:taking\n"
    (info / "entry_points.txt").write_text(f"[miren.controllers]\n{points}")
    (tmp_path / "registries_plugin.py").write_text(PLUGIN)
    monkeypatch.syspath_prepend(tmp_path)
    one, two = [plugin for plugin in load_plugins() if plugin.name in {"one", "two"}]
    assert [controller.name for controller in one.controllers] == ["plugged-greeting"]
    assert [controller.name for controller in two.controllers] == ["second-greeting", "greeter"]
    async with Engine(MemoryStore(), plugins=True) as engine:
        assert all(health.is_running for health in engine.health())


def test_a_digest_is_of_a_value_and_of_one_entity() -> None:
    assert digest("u", {"a": {3, 1, 2}, "b": 1}) == digest("u", {"b": 1, "a": {2, 3, 1}})
    assert digest("u", "x") != digest("v", "x")
    assert digest("u", 1) != digest("u", "1")
    assert digest("u", b"\xff") != digest("u", b"\xfe")
    parcel = make_parcel(env={"a": "b"})
    assert digest("u", parcel.spec) == digest("u", make_parcel(env={"a": "b"}).spec)
    assert digest("u", parcel.spec.env) != digest("u", {})
    with pytest.raises(TypeError, match="no plain data"):
        digest("u", object())
    with pytest.raises(TypeError, match="select parts of a Parcel"):
        digest("u", parcel)
