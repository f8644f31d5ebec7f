from __future__ import annotations

import asyncio

from miren.entities.store.memory import MemoryStore
from miren.reconcile.context import Context
from miren.reconcile.results import Permanent, Requeue
from tests.builders import Greeting, GreetingSpec, GreetingStatus, make_greeting
from tests.reconcile.greeters import Greeter, Keeper
from tests.reconcile.virtual import make_client, running, virtually
from tests.stores import Counting

KEEPER = "example.dev/keeper"


@virtually
async def test_the_finalizer_is_on_before_the_first_reconcile() -> None:
    keeper, store = Keeper(), Counting(MemoryStore())
    async with running(keeper, store=store) as engine:
        await engine.client.create(make_greeting())
        await engine.run_until_idle()
        assert [call.metadata.finalizers for call in keeper.calls] == [(KEEPER,)]
        assert (await engine.client.get(Greeting, "hi")).status.shout == "HEY"
        assert store.calls["write"] == 3, "create, finalizer, status"


@virtually
async def test_deletion_finalizes_once_and_lets_go() -> None:
    keeper = Keeper()
    async with running(keeper) as engine:
        await engine.client.create(make_greeting())
        await engine.run_until_idle()
        await engine.client.delete(Greeting, "hi")
        await engine.run_until_idle()
        assert await engine.client.get(Greeting, "hi", default=None) is None
        assert len(keeper.finalized) == 1
        assert len(keeper.calls) == 1
        await asyncio.sleep(600)
        assert len(keeper.finalized) == 1


@virtually
async def test_finalizing_takes_as_long_as_it_needs() -> None:
    async def thrice(ctx: Context[Greeting], greeting: Greeting) -> Requeue | None:
        ctx.not_ready("Leaving", "says goodbye")
        if len(keeper.finalized) == 2:
            raise ValueError("not a good time")
        return Requeue(after=10) if len(keeper.finalized) < 3 else None

    keeper = Keeper(thrice)
    async with running(keeper) as engine:
        await engine.client.create(make_greeting())
        await engine.run_until_idle()
        await engine.client.delete(Greeting, "hi")
        await asyncio.sleep(5)
        held = await engine.client.get(Greeting, "hi")
        assert len(keeper.finalized) == 1
        ready = held.condition("Ready")
        assert ready is not None
        assert ready.reason == "Leaving"
        await asyncio.sleep(10)
        assert await engine.client.get(Greeting, "hi", default=None) is None
        assert len(keeper.finalized) == 3


@virtually
async def test_permanent_keeps_the_entity_and_is_not_tried_again() -> None:
    async def stuck(ctx: Context[Greeting], greeting: Greeting) -> Requeue | None:
        raise Permanent("cannot go", reason="Stuck")

    keeper = Keeper(stuck)
    async with running(keeper) as engine:
        await engine.client.create(make_greeting())
        await engine.run_until_idle()
        await engine.client.delete(Greeting, "hi")
        await asyncio.sleep(60)
        await engine.client.patch(Greeting, "hi", {"metadata": {"labels": {"a": "b"}}})
        await asyncio.sleep(600)
        assert len(keeper.finalized) == 1
        await engine.client.patch(Greeting, "hi", {"spec": {"text": "please"}})
        await asyncio.sleep(1)
        assert len(keeper.finalized) == 2


@virtually
async def test_other_finalizers_are_left_alone() -> None:
    keeper = Keeper()
    async with running(keeper) as engine:
        other = "example.dev/other"
        await engine.client.create(make_greeting().with_metadata(finalizers=(other,)))
        await engine.run_until_idle()
        await engine.client.delete(Greeting, "hi")
        await engine.run_until_idle()
        held = await engine.client.get(Greeting, "hi")
        assert held.metadata.finalizers == (other,)
        await engine.client.update(held.with_metadata(finalizers=()))
        await engine.run_until_idle()
        assert len(keeper.finalized) == 1


@virtually
async def test_writes_of_others_do_not_stop_the_finalizer_from_going() -> None:
    async def race(ctx: Context[Greeting], greeting: Greeting) -> Requeue | None:
        newer = await ctx.client.get(Greeting, greeting.name)
        await ctx.client.update_status(newer.with_status(GreetingStatus(heard=1)))
        return None

    keeper = Keeper(race)
    async with running(keeper) as engine:
        await engine.client.create(make_greeting())
        await engine.run_until_idle()
        await engine.client.delete(Greeting, "hi")
        await engine.run_until_idle()
        assert await engine.client.get(Greeting, "hi", default=None) is None
        assert len(keeper.finalized) == 1
        assert engine.health()[0].errors == 0


@virtually
async def test_what_is_deleted_before_it_was_seen_gets_no_finalizer() -> None:
    keeper, store = Keeper(), MemoryStore()
    async with store:
        other = "example.dev/other"
        client = make_client(store)
        await client.create(make_greeting().with_metadata(finalizers=(other,)))
        await client.delete(Greeting, "hi")
    async with running(keeper, store=store) as engine:
        await engine.run_until_idle()
        held = await engine.client.get(Greeting, "hi")
        assert held.metadata.finalizers == (other,)
        assert (keeper.calls, keeper.finalized) == ([], [])


@virtually
async def test_a_delete_while_the_engine_was_away_is_finalized() -> None:
    store = MemoryStore()
    async with running(Keeper(), store=store) as engine:
        await engine.client.create(make_greeting())
        await engine.run_until_idle()
    async with store:
        await make_client(store).delete(Greeting, "hi")
        await store.compact((await store.status()).revision)
    keeper = Keeper()
    async with running(keeper, store=store) as engine:
        await engine.run_until_idle()
        assert len(keeper.finalized) == 1
        assert await engine.client.get(Greeting, "hi", default=None) is None


@virtually
async def test_two_controllers_finalize_each_for_itself() -> None:
    class Second(Keeper, finalizer="example.dev/second", primary=False):
        pass

    first, second = Keeper(), Second()
    async with running(first, second) as engine:
        await engine.client.create(make_greeting())
        await engine.run_until_idle()
        found = await engine.client.get(Greeting, "hi")
        assert sorted(found.metadata.finalizers) == [KEEPER, "example.dev/second"]
        await engine.client.delete(Greeting, "hi")
        await engine.run_until_idle()
        assert await engine.client.get(Greeting, "hi", default=None) is None
        assert (len(first.finalized), len(second.finalized)) == (1, 1)


@virtually
async def test_a_controller_without_finalizer_does_not_see_deletion() -> None:
    greeter = Greeter()
    async with running(greeter) as engine:
        await engine.client.create(make_greeting().with_metadata(finalizers=("a.dev/x",)))
        await engine.run_until_idle()
        held = await engine.client.delete(Greeting, "hi")
        await engine.client.update(held.with_spec(GreetingSpec(text="bye")))
        await engine.run_until_idle()
        assert greeter.texts == ["hey"]
