from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from miren.entities import keys
from miren.entities.store.api import Delete, KeyRange, Store
from miren.entities.store.memory import MemoryStore
from miren.reconcile.context import Context
from miren.reconcile.controller import watches
from miren.reconcile.results import Key, Permanent, Requeue
from tests.builders import Greeting, GreetingStatus, Room
from tests.reconcile.engines import Desk, Member, Shouting, eventually, shouts
from tests.reconcile.greeters import Hook, Keeper
from tests.reconcile.virtual import make_client, now, running, settle, virtually


@asynccontextmanager
async def members(*everybody: Member) -> AsyncIterator[None]:
    """Run these, the first of them leading, until the body ends."""
    async with asyncio.TaskGroup() as group:
        for member in everybody:
            group.create_task(member.run())
            await member.started.wait()
            await asyncio.sleep(1)
        yield
        for member in everybody:
            member.stop.set()


async def make(store: Store, *names: str, text: str = "hi") -> None:
    client = make_client(store)
    for name in names:
        await client.apply(Greeting.partial(name, text=text), manager="test", force=True)


async def depose(store: Store, name: str = "shop") -> None:
    """Take the lead away from who has it, as an operator might."""
    led = await make_client(store).leader(name)
    assert led is not None
    await store.transact([], [Delete(KeyRange.key(led.key))])


def pair(
    store: Store, desk: Desk, *, takes: float = 0.5
) -> tuple[Member, Shouting, Member, Shouting]:
    one, two = Shouting(desk, "n1", takes=takes), Shouting(desk, "n2", takes=takes)
    first = Member(store, "n1", one, elect="shop")
    second = Member(store, "n2", two, elect="shop")
    return first, one, second, two


@virtually
async def test_only_the_leader_works_and_a_standby_has_a_full_cache() -> None:
    async with MemoryStore() as store:
        first, one, second, two = pair(store, Desk())
        async with members(first, second):
            await make(store, "a", "b")
            await eventually(lambda: len(one.calls) >= 2)
            await first.engine.run_until_idle()
            await second.engine.run_until_idle()
            assert await shouts(store) == {"a": "HI by n1", "b": "HI by n1"}
            assert two.calls == []
            told = [member.engine.health()[0] for member in (first, second)]
            assert [(each.is_leading, each.leader) for each in told] == [
                (True, "n1"),
                (False, "n1"),
            ]
            assert [each.queued for each in told] == [0, 0]


@virtually
async def test_on_a_hand_over_work_is_finished_first_and_the_next_one_takes_all_up() -> None:
    async with MemoryStore() as store:
        desk = Desk()
        first, one, second, two = pair(store, desk, takes=5)
        async with members(first, second):
            await make(store, "a")
            await eventually(lambda: bool(desk.by))
            begun = now()
            first.stop.set()
            await eventually(lambda: second.is_leading)
            assert 3 < now() - begun < 6, "as soon as the last reconcile has ended, not later"
            assert one.cancelled == 0
            assert await shouts(store) == {"a": "HI by n1"}
            await second.engine.run_until_idle()
            assert two.calls == ["a"], "it looks at everything once"
        assert desk.clashes == []


@virtually
async def test_a_leader_that_is_cut_off_stops_before_another_one_works() -> None:
    async with MemoryStore() as store:
        desk = Desk()
        first, one, second, _ = pair(store, desk, takes=40)
        async with members(first, second):
            await make(store, "a")
            await eventually(lambda: bool(desk.by))
            begun = now()
            first.crash()
            await eventually(lambda: one.cancelled == 1)
            assert now() - begun <= 12.1
            assert not first.is_leading
            await eventually(lambda: desk.by.get("a") == "n2")
            assert 10 <= now() - begun <= 15.1, "five seconds after a heartbeat at most"
            await second.engine.run_until_idle()
            assert await shouts(store) == {"a": "HI by n2"}
            first.store.is_down = False
            await asyncio.sleep(60)
            assert not first.is_leading
            assert first.engine.health()[0].leader == "n2"
            second.stop.set()
            await eventually(lambda: first.is_leading)
        assert desk.clashes == []


@virtually
async def test_an_engine_that_lost_the_lead_stands_again_and_misses_nothing() -> None:
    async with MemoryStore() as store:
        first, one, second, two = pair(store, Desk())
        async with members(first, second):
            await make(store, "a")
            await eventually(lambda: one.calls == ["a"])
            await depose(store)
            await eventually(lambda: second.is_leading)
            await make(store, "a", "b", text="yo")
            await eventually(lambda: sorted(two.calls[-2:]) == ["a", "b"])
            await second.engine.run_until_idle()
            assert await shouts(store) == {"a": "YO by n2", "b": "YO by n2"}
            await depose(store)
            await eventually(lambda: first.is_leading)
            await first.engine.run_until_idle()
            assert await shouts(store) == {"a": "YO by n1", "b": "YO by n1"}


async def _status(ctx: Context[Greeting], greeting: Greeting) -> None:
    ctx.status = GreetingStatus(shout="LATE")


async def _apply(ctx: Context[Greeting], greeting: Greeting) -> None:
    await ctx.apply(Greeting.partial("late", text="late"))


async def _ensure(ctx: Context[Greeting], greeting: Greeting) -> None:
    await ctx.ensure(Greeting.new("late", text="late"))


async def _delete(ctx: Context[Greeting], greeting: Greeting) -> None:
    await ctx.delete(greeting)


async def _client(ctx: Context[Greeting], greeting: Greeting) -> None:
    await ctx.client.patch(Greeting, greeting.name, {"spec": {"text": "late"}})


class Late(Shouting):
    """Loses the lead, unknown to it, just before it writes."""

    def __init__(self, store: Store, write: Hook) -> None:
        super().__init__(Desk(), "n1")
        self.store = store
        self.write = write

    async def reconcile(self, ctx: Context[Greeting], entity: Greeting) -> Requeue | None:
        self.calls.append(entity.name)
        await self.store.transact([], [Delete(keys.candidates_range("shop"))])
        return await self.write(ctx, entity)


@pytest.mark.parametrize("write", [_status, _apply, _ensure, _delete, _client])
def test_what_a_deposed_leader_writes_late_is_refused(write: Hook) -> None:
    @virtually
    async def test() -> None:
        async with MemoryStore() as store:
            late = Late(store, write)
            async with members(Member(store, "n1", late, elect="shop")):
                await make(store, "a")
                await eventually(lambda: len(late.calls) == 3)  # it was elected again, and called
                left = await make_client(store).get(Greeting, "a")
                assert (left.spec.text, left.status.shout, left.is_deleting) == ("hi", "", False)
                assert list(await shouts(store)) == ["a"]

    test()


@virtually
async def test_the_finalizer_of_a_deposed_leader_stays_on() -> None:
    async with MemoryStore() as store:

        async def clean(ctx: Context[Greeting], greeting: Greeting) -> None:
            if len(keeper.finalized) == 1:
                await store.transact([], [Delete(keys.candidates_range("shop"))])

        keeper = Keeper(clean)
        member = Member(store, "n1", keeper, elect="shop")
        async with members(member):
            await make(store, "a")
            await member.engine.run_until_idle()
            await make_client(store).delete(Greeting, "a")
            await eventually(lambda: len(keeper.finalized) == 1)
            await settle()
            assert list(await shouts(store)) == ["a"], "still held"
            await eventually(lambda: len(keeper.finalized) == 2)
            await member.engine.run_until_idle()
            assert await shouts(store) == {}


class Caching(Shouting):
    """Notes which text its cache had, and when it served."""

    def __init__(self, desk: Desk, who: str) -> None:
        super().__init__(desk, who, takes=0)
        self.texts: list[str] = []
        self.serving_now = 0

    async def reconcile(self, ctx: Context[Greeting], entity: Greeting) -> None:
        assert self.serving_now == 1
        self.texts.append(entity.spec.text)

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        self.serving_now += 1
        try:
            yield
        finally:
            self.serving_now -= 1


@virtually
async def test_a_new_leader_works_only_on_what_the_old_one_left() -> None:
    async with MemoryStore() as store:
        two = Caching(Desk(), "n2")
        first = Member(store, "n1", Caching(Desk(), "n1"), elect="shop")
        second = Member(store, "n2", two, elect="shop")
        second.watched.lag = 2.0
        async with members(first, second):
            await make(store, "a", text="old")
            await asyncio.sleep(10)
            await make(store, "a", text="new")
            first.stop.set()  # its cache is two seconds behind
            await eventually(lambda: bool(two.texts))
            assert two.texts == ["new"]


@virtually
async def test_a_controller_serves_in_its_terms() -> None:
    async with MemoryStore() as store:
        one, two = Caching(Desk(), "n1"), Caching(Desk(), "n2")
        first = Member(store, "n1", one, elect="shop")
        second = Member(store, "n2", two, elect="shop")
        async with members(first, second):
            assert (one.serving_now, two.serving_now) == (1, 0)
            await depose(store)
            await eventually(lambda: second.is_leading)
            assert (one.serving_now, two.serving_now) == (0, 1)
        assert (one.serving_now, two.serving_now) == (0, 0)


class Alone(Shouting, elect="alone"):
    """Has an election of its own."""


@virtually
async def test_a_controller_may_have_an_election_of_its_own() -> None:
    async with MemoryStore() as store:
        desk = Desk()
        first = Member(store, "n1", Alone(desk, "n1"))
        second = Member(store, "n2", Alone(desk, "n2"), elect="shop")
        async with members(first, second):
            await make(store, "a")
            await eventually(lambda: desk.served["n1"] == 1)
            client = make_client(store)
            led = await client.leader("alone")
            assert led is not None
            assert led.holder == "n1"
            assert await client.leader("shop") is None, "nobody needs it"


@virtually
async def test_an_engine_without_an_election_works_at_once() -> None:
    desk = Desk()
    async with running(Shouting(desk, "n1")) as engine:
        await engine.client.create(Greeting.new("a", text="hi"))
        await engine.run_until_idle()
        assert desk.served["n1"] == 1
        (told,) = engine.health()
        assert (told.is_leading, told.leader, told.slots) == (True, None, None)


@virtually
async def test_idle_means_that_the_leader_has_worked_too() -> None:
    async with MemoryStore() as store:
        await make(store, "a")
        first, one, _, _ = pair(store, Desk())
        async with first.engine:
            await first.engine.run_until_idle()
            assert one.calls == ["a"]


class Guest(Shouting):
    """Cannot do anything without a room."""

    async def reconcile(self, ctx: Context[Greeting], entity: Greeting) -> Requeue | None:
        if await ctx.client.get(Room, "hall", default=None) is None:
            raise Permanent("there is no hall")
        return await super().reconcile(ctx, entity)

    @watches(Room)
    def of_room(self, room: Room) -> list[Key[Greeting]]:
        return [Key(room.project, "a")]


@virtually
async def test_what_was_refused_is_asked_again_by_who_takes_the_lead() -> None:
    async with MemoryStore() as store:
        member = Member(store, "n1", Guest(Desk(), "n1"), elect="shop")
        async with members(member):
            await make(store, "a")
            await member.engine.run_until_idle()
            await depose(store)
            await eventually(lambda: not member.is_leading)
            await make_client(store).create(Room.new("hall"))  # while nobody leads
            await settle()
            assert not member.is_leading
            await eventually(lambda: member.is_leading)
            await member.engine.run_until_idle()
            assert await shouts(store) == {"a": "HI by n1"}
