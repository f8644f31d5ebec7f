"""What the engine promises of every key."""

from __future__ import annotations

import asyncio

import pytest

from miren.base.errors import DeadlineExceeded
from miren.entities.store.memory import MemoryStore
from miren.reconcile.context import Context
from miren.reconcile.results import Key, Requeue
from tests.builders import Greeting, GreetingStatus, make_greeting
from tests.reconcile.greeters import Doing, Greeter, Slow
from tests.reconcile.virtual import now, running, virtually
from tests.stores import Counting


@virtually
async def test_a_greeting_is_greeted() -> None:
    greeter = Greeter()
    async with running(greeter) as engine:
        await engine.client.apply(Greeting.partial("hi", text="hey"), manager="ci")
        found = await engine.client.wait(
            Greeting, "hi", lambda g: g is not None and g.status.shout == "HEY", timeout=30
        )
        assert found is not None
        assert found.observed_generation == 1
        ready = found.condition("Ready")
        assert ready is not None
        assert (ready.status, ready.reason, ready.observed_generation) == ("True", "Greeted", 1)


@virtually
async def test_what_was_there_before_the_engine_is_greeted_too() -> None:
    async with MemoryStore() as store:
        pass
    async with running(Greeter(), store=store) as engine:
        await engine.client.create(make_greeting())
    greeter = Greeter()
    async with running(greeter, store=store) as engine:
        await engine.client.patch(Greeting, "hi", {"spec": {"text": "yo"}})
        await engine.run_until_idle()
        assert (await engine.client.get(Greeting, "hi")).status.shout == "YO"


@virtually
async def test_the_newest_revision_of_a_key_is_reconciled_in_the_end() -> None:
    slow = Slow()
    async with running(slow) as engine:
        await engine.client.create(make_greeting(text="0"))
        for number in range(1, 50):
            await asyncio.sleep(0.7)
            await engine.client.patch(Greeting, "hi", {"spec": {"text": str(number)}})
        await engine.run_until_idle()
        assert slow.texts[-1] == "49"
        assert (await engine.client.get(Greeting, "hi")).status.shout == "49"
        assert len(slow.calls) <= 6, "what came while it was in work is one reconcile"
        assert slow.most_running == 1


@virtually
async def test_many_keys_are_worked_on_at_once_and_each_only_once() -> None:
    class Wide(Slow, concurrency=8):
        pass

    wide = Wide()
    async with running(wide) as engine:
        for number in range(16):
            await engine.client.create(make_greeting(f"g{number}"))
        await engine.run_until_idle()
        assert 20 <= now() <= 21
        assert wide.most_running == 1
        assert len(wide.calls) == 16


@virtually
async def test_an_own_status_write_causes_no_second_reconcile() -> None:
    greeter, store = Greeter(), Counting(MemoryStore())
    async with running(greeter, store=store) as engine:
        for number in range(10):
            await engine.client.create(make_greeting(f"g{number}"))
        await engine.run_until_idle()
        await asyncio.sleep(60)
        assert len(greeter.calls) == 10
        assert store.calls["write"] == 10 + 10, "one to create it, one for its status"


@virtually
async def test_a_reconcile_that_changes_nothing_writes_nothing() -> None:
    greeter, store = Greeter(), Counting(MemoryStore())
    async with running(greeter, store=store) as engine:
        await engine.client.create(make_greeting())
        await engine.run_until_idle()
        await engine.client.patch(Greeting, "hi", {"metadata": {"labels": {"a": "b"}}})
        await engine.run_until_idle()
        assert len(greeter.calls) == 2
        assert store.calls["write"] == 3, "create, status, label"
        before = await engine.client.revision()
        await asyncio.sleep(600)
        assert await engine.client.revision() == before


@virtually
async def test_status_said_over_somebody_elses_write_keeps_both() -> None:
    async def race(ctx: Context[Greeting], greeting: Greeting) -> Requeue | None:
        if greeting.status.heard == 0:
            newer = await ctx.client.get(Greeting, greeting.name)
            await ctx.client.update_status(newer.with_status(GreetingStatus(heard=7)))
            await ctx.client.patch(Greeting, greeting.name, {"spec": {"text": "newer"}})
        shout = greeting.spec.text.upper()
        ctx.status = greeting.status.model_copy(update={"shout": shout})
        ctx.ready("Greeted")
        return None

    racing = Doing(race)
    async with running(racing) as engine:
        await engine.client.create(make_greeting())
        await engine.run_until_idle()
        found = await engine.client.get(Greeting, "hi")
        assert found.status == GreetingStatus(shout="NEWER", heard=7)
        assert racing.texts == ["hey", "newer"]
        assert found.observed_generation == 2


@virtually
async def test_a_change_of_something_else_than_the_spec_is_reconciled_once() -> None:
    greeter = Greeter()
    async with running(greeter) as engine:
        await engine.client.create(make_greeting())
        await engine.run_until_idle()
        found = await engine.client.get(Greeting, "hi")
        changed = found.with_status(GreetingStatus(shout="wrong"))
        await engine.client.update_status(changed)
        await engine.run_until_idle()
        assert (await engine.client.get(Greeting, "hi")).status.shout == "HEY"
        assert len(greeter.calls) == 2


@virtually
async def test_a_transition_time_changes_only_when_the_status_flips() -> None:
    async def answer(ctx: Context[Greeting], greeting: Greeting) -> Requeue | None:
        if greeting.spec.text.startswith("no"):
            ctx.not_ready("Silent", greeting.spec.text)
        else:
            ctx.ready("Greeted", greeting.spec.text)
        return None

    seen = []
    async with running(Doing(answer)) as engine:
        await engine.client.create(make_greeting(text="yes"))
        for text in ("yes again", "no", "no again", "yes"):
            await engine.run_until_idle()
            ready = (await engine.client.get(Greeting, "hi")).condition("Ready")
            assert ready is not None
            assert ready.last_transition_time is not None
            seen.append((ready.message, ready.last_transition_time.second // 10))
            await asyncio.sleep(10)
            await engine.client.patch(Greeting, "hi", {"spec": {"text": text}})
    assert seen == [("yes", 0), ("yes again", 0), ("no", 2), ("no again", 2)]


@virtually
async def test_an_idle_engine_reads_nothing() -> None:
    store = Counting(MemoryStore())
    async with running(Greeter(), store=store) as engine:
        for number in range(10):
            await engine.client.create(make_greeting(f"g{number}"))
        await engine.run_until_idle()
        store.calls.clear()
        await asyncio.sleep(600)
        assert not store.calls


@virtually
async def test_resync_brings_all_keys_by_again_behind_other_work() -> None:
    class Regular(Greeter, resync=100):
        pass

    regular = Regular()
    async with running(regular) as engine:
        await engine.run_until_idle()
        for name in ("a", "b"):
            await engine.client.create(make_greeting(name))
        await engine.run_until_idle()
        await asyncio.sleep(115)
        assert [greeting.name for greeting in regular.calls] == ["a", "b", "a", "b"]


@virtually
async def test_the_first_list_waits_behind_what_somebody_waits_for() -> None:
    class Single(Slow, concurrency=1):
        pass

    async with MemoryStore() as store:
        pass
    async with running(store=store) as engine:
        for number in range(20):
            await engine.client.create(make_greeting(f"old{number:02}"))
    single = Single()
    async with running(single, store=store) as engine:
        await asyncio.sleep(5)
        for number in range(3):
            await engine.client.create(make_greeting(f"new{number}"))
        await asyncio.sleep(60)
        order = [greeting.name for greeting in single.calls]
        assert order == ["old00", "new0", "old01", "new1", "old02", "new2", "old03"]


@virtually
async def test_until_idle_means_that_everything_so_far_is_done() -> None:
    async def forever(ctx: Context[Greeting], greeting: Greeting) -> Requeue | None:
        await asyncio.sleep(1)
        return Requeue(after=0)

    async with running(Slow()) as engine:
        await engine.run_until_idle()
        for number in range(8):
            await engine.client.create(make_greeting(f"g{number}"))
        await engine.run_until_idle()
        listing = await engine.client.list(Greeting)
        assert all(greeting.status.shout for greeting in listing.items)
    async with running(Doing(forever)) as engine:
        await engine.client.create(make_greeting())
        with pytest.raises(DeadlineExceeded, match="still busy after 5 s"):
            await engine.run_until_idle(timeout=5)


@virtually
async def test_what_arrives_while_a_key_is_long_in_work_takes_no_more_room() -> None:
    slow = Slow()
    async with running(slow) as engine:
        await engine.client.create(make_greeting())
        await asyncio.sleep(1)
        for number in range(200):
            patch = {
                "metadata": {"labels": {"n": f"{number}"}},
                "spec": {"text": f"{number // 50}"},
            }
            await engine.client.patch(Greeting, "hi", patch)
        await asyncio.sleep(1)
        assert len(engine._runners[0]._seen[Key("default", "hi")]) == 6
        await asyncio.sleep(60)
        assert slow.texts == ["hey", "3"]
