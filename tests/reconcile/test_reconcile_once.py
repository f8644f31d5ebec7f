"""A controller's test: a few lines, no server. Each of these is at most fifteen."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from miren import Requeue, Temporary
from miren.reconcile.context import Context
from miren.reconcile.registry import Registry
from miren.reconcile.testing import reconcile_once
from tests.builders import Greeting, GreetingStatus, Room, RoomStatus, make_greeting
from tests.reconcile.greeters import Doing, Greeter, Keeper
from tests.reconcile.test_wakeups import Host


async def test_status_and_conditions() -> None:
    out = await reconcile_once(Greeter(), Greeting.new("hi", text="yo"))
    assert out.entity.status.shout == "YO"
    ready = out.entity.condition("Ready")
    assert ready is not None
    assert ready.status == "True"
    assert (out.requeue, out.error) == (None, None)


async def test_what_was_made() -> None:
    out = await reconcile_once(Host(), Room.new("hall"))
    made = await out.client.get(Greeting, "in-hall")
    assert made.metadata.owner_references[0].uid == out.entity.uid
    assert out.entity.status.greetings == 1


async def test_what_was_there_before() -> None:
    existing = [make_greeting("in-hall", text="mine", tone="loud")]
    out = await reconcile_once(Host(), Room.new("hall"), existing=existing)
    made = await out.client.get(Greeting, "in-hall")
    assert (made.spec.text, made.spec.tone) == ("size 1", "loud")


async def test_a_requeue() -> None:
    async def later(ctx: Context[Greeting], greeting: Greeting) -> Requeue:
        return Requeue(after=5)

    out = await reconcile_once(Doing(later), make_greeting())
    assert out.requeue == Requeue(after=5)


async def test_an_error() -> None:
    async def not_yet(ctx: Context[Greeting], greeting: Greeting) -> Requeue:
        raise Temporary("not yet", reason="Early", after=5)

    out = await reconcile_once(Doing(not_yet), make_greeting())
    assert isinstance(out.error, Temporary)
    ready = out.entity.condition("Ready")
    assert ready is not None
    assert (ready.status, ready.reason) == ("False", "Early")


async def test_the_finalizer() -> None:
    out = await reconcile_once(Keeper(), make_greeting())
    assert out.entity.metadata.finalizers == ("example.dev/keeper",)
    assert not out.is_gone


async def test_finalizing() -> None:
    keeper = Keeper()
    going = make_greeting().with_metadata(deletion_timestamp=datetime.now(UTC))
    out = await reconcile_once(keeper, going)
    assert out.is_gone
    assert len(keeper.finalized) == 1


async def test_a_status_from_before() -> None:
    before = make_greeting().with_status(GreetingStatus(shout="OLD", heard=3))
    out = await reconcile_once(Greeter(), before)
    assert out.entity.status == GreetingStatus(shout="HEY")


async def test_the_time() -> None:
    noon = datetime(2030, 1, 1, 12, tzinfo=UTC)
    out = await reconcile_once(Greeter(), make_greeting(), now=noon)
    ready = out.entity.condition("Ready")
    assert ready is not None
    assert ready.last_transition_time == noon


async def test_a_status_of_another_kind_is_refused() -> None:
    async def wrong(ctx: Context[Greeting], greeting: Greeting) -> None:
        ctx.status = RoomStatus()  # type: ignore[assignment]  # what is tested

    out = await reconcile_once(Doing(wrong), make_greeting())
    with pytest.raises(TypeError, match=r"ctx\.status must be a GreetingStatus, not RoomStatus"):
        raise out.error or AssertionError("no error")


async def test_a_condition_beside_ready_is_kept_and_sorted_behind_it() -> None:
    async def say(ctx: Context[Greeting], greeting: Greeting) -> None:
        for type in ("Zealous", "Audible"):
            ctx.set_condition(type, "True", "Said")  # type: ignore[arg-type]  # a StrEnum's text
        ctx.ready()

    out = await reconcile_once(Doing(say), make_greeting())
    assert [known.type for known in out.entity.conditions] == ["Ready", "Audible", "Zealous"]


async def test_deleting_what_is_gone_or_another_is_nothing() -> None:
    async def delete(ctx: Context[Greeting], greeting: Greeting) -> None:
        room = await ctx.client.get(Room, "hall")
        await ctx.delete(room.with_metadata(uid="another"))
        await ctx.delete(room)
        await ctx.delete(room)

    out = await reconcile_once(Doing(delete), make_greeting(), existing=[Room.new("hall")])
    assert out.error is None
    assert await out.client.get(Room, "hall", default=None) is None


async def test_what_was_deleted_while_it_was_reconciled_needs_no_record() -> None:
    async def gone(ctx: Context[Greeting], greeting: Greeting) -> None:
        await ctx.client.delete(Greeting, greeting.name)
        ctx.status = replace_shout(greeting)

    out = await reconcile_once(Doing(gone), make_greeting())
    assert (out.error, out.is_gone) == (None, True)


def replace_shout(greeting: Greeting) -> GreetingStatus:
    return replace(greeting).status.model_copy(update={"shout": "too late"})


async def test_a_registry_is_called_as_the_controller_that_it_is_compiled_to() -> None:
    registry = Registry("shouting")

    @registry.created(Greeting)
    async def shout(ctx: Context[Greeting], greeting: Greeting) -> None:
        ctx.status = GreetingStatus(shout=greeting.spec.text.upper())

    out = await reconcile_once(registry, make_greeting(text="yo"))
    assert out.entity.status.shout == "YO"
    with pytest.raises(TypeError, match="no handlers for Room"):
        await reconcile_once(registry, Room.new("hall"))
