from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from miren.entities import keys
from miren.entities.store.api import Delete, Store
from miren.entities.store.memory import MemoryStore
from miren.reconcile.context import Context
from miren.reconcile.controller import Controller
from miren.reconcile.results import Key
from miren.reconcile.sharding import preferred, slot_of
from tests.builders import Greeting, GreetingStatus
from tests.reconcile.engines import Desk, Member, Sharer, eventually, shouts
from tests.reconcile.virtual import make_client, running, settle, virtually

NAMES = [f"g{number}" for number in range(40)]


class Group:
    """Engines that share the work of a store, and come and go."""

    def __init__(self, store: Store, desk: Desk, group: asyncio.TaskGroup) -> None:
        self.desk = desk
        self.members: dict[str, Member] = {}
        self.sharers: dict[str, Sharer] = {}
        self._store = store
        self._group = group
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def join(self, name: str) -> None:
        self.sharers[name] = Sharer(self.desk, name)
        member = Member(self._store, name, self.sharers[name])
        self.members[name] = member
        self._tasks[name] = self._group.create_task(member.run())
        await member.started.wait()

    def leave(self, name: str) -> None:
        self.members.pop(name).stop.set()

    async def crash(self, name: str) -> None:
        """Cut an engine off for good: it goes on for a while without a store."""
        member = self.members.pop(name)
        member.crash()
        await asyncio.sleep(20)
        self._tasks[name].cancel()

    def slots(self, name: str) -> tuple[int, ...]:
        return self.members[name].engine.health()[0].slots or ()

    def is_settled(self) -> bool:
        """Whether each slot is held, by who is preferred for it."""
        expected = {name: list[int]() for name in self.members}
        for slot in range(8):
            expected[preferred(slot, self.members)].append(slot)
        return all(list(self.slots(name)) == expected[name] for name in self.members)


@asynccontextmanager
async def sharing(store: Store, desk: Desk, *names: str) -> AsyncIterator[Group]:
    async with asyncio.TaskGroup() as tasks:
        group = Group(store, desk, tasks)
        for name in names:
            await group.join(name)
        await eventually(group.is_settled)
        yield group
        for name in tuple(group.members):
            group.leave(name)


async def ask(store: Store, text: str, names: list[str] = NAMES) -> None:
    client = make_client(store)
    for name in names:
        await client.apply(Greeting.partial(name, text=text), manager="test", force=True)


async def all_shout(store: Store, text: str) -> None:
    """Return once every greeting was served in this state, in ten minutes."""
    async with asyncio.timeout(600):
        while True:
            found = await shouts(store)
            if all(shout.startswith(text.upper()) for shout in found.values()):
                return
            await asyncio.sleep(0.5)


# -- which slot, and whose -----------------------------------------------------------------


def test_a_key_is_in_the_same_slot_in_every_process() -> None:
    slots = [slot_of(Key("p", f"g{number}"), 16) for number in range(8)]
    assert slots == [9, 6, 9, 5, 3, 11, 1, 4]
    assert [preferred(slot, ["c", "b", "a"]) for slot in range(8)] == [
        "b",
        "b",
        "b",
        "b",
        "b",
        "a",
        "b",
        "a",
    ]


def test_keys_spread_evenly_over_slots() -> None:
    counted = Counter(slot_of(Key("p", f"g{number}"), 16) for number in range(16_000))
    assert len(counted) == 16
    assert all(850 < count < 1150 for count in counted.values())


@given(st.lists(st.text(min_size=1), min_size=2, max_size=6, unique=True))
def test_who_leaves_moves_only_its_own_slots(members: list[str]) -> None:
    gone, *left = members
    for slot in range(32):
        was = preferred(slot, members)
        assert preferred(slot, left) == was or was == gone
        assert was == preferred(slot, reversed(members))


# -- engines that share --------------------------------------------------------------------


@virtually
async def test_engines_share_the_keys_and_each_key_has_one() -> None:
    async with MemoryStore() as store:
        desk = Desk()
        await ask(store, "hi")
        async with sharing(store, desk, "n1", "n2", "n3") as group:
            await all_shout(store, "hi")
            assert all(group.slots(name) for name in group.members)
            for member in group.members.values():
                await member.engine.run_until_idle()
            desk.served.clear()
            await ask(store, "yo")
            await all_shout(store, "yo")
            assert sum(desk.served.values()) == len(NAMES), "each was served once"
            assert set(desk.served) == {"n1", "n2", "n3"}
        assert desk.clashes == []


@virtually
async def test_one_engine_alone_has_all_slots() -> None:
    async with MemoryStore() as store:
        await ask(store, "hi")
        async with sharing(store, Desk(), "n1") as group:
            assert group.slots("n1") == tuple(range(8))
            await group.members["n1"].engine.run_until_idle()
            assert set((await shouts(store)).values()) == {"HI by n1"}


@virtually
async def test_a_new_member_waits_for_the_keys_in_work_and_takes_only_its_slots() -> None:
    async with MemoryStore() as store:
        desk = Desk()
        async with sharing(store, desk, "n1") as group:
            (one,) = [group.members["n1"].engine]
            await ask(store, "hi")
            await settle()
            assert desk.by, "n1 works"
            before = group.slots("n1")
            await group.join("n2")
            await eventually(group.is_settled)
            assert set(group.slots("n1")) | set(group.slots("n2")) == set(before)
            assert group.slots("n2")
            await all_shout(store, "hi")
            await one.run_until_idle()
            assert group.sharers["n1"].cancelled == 0, "nothing was cut off"
        assert desk.clashes == []


@virtually
async def test_the_slots_of_who_crashed_are_taken_over_when_its_leases_end() -> None:
    async with MemoryStore() as store:
        desk = Desk()
        async with sharing(store, desk, "n1", "n2") as group:
            await ask(store, "hi")
            await settle()
            await group.crash("n1")
            await ask(store, "yo")
            await eventually(group.is_settled)
            assert group.slots("n2") == tuple(range(8))
            await all_shout(store, "yo")
        assert desk.clashes == []


@pytest.mark.parametrize("seed", range(12))
def test_engines_that_come_and_go_never_share_a_key_and_leave_none_unserved(seed: int) -> None:
    @virtually
    async def test() -> None:
        rng = random.Random(seed)
        async with MemoryStore() as store:
            desk = Desk()
            async with sharing(store, desk, "n0") as group:
                for step in range(1, 12):
                    await ask(store, f"t{step}", rng.sample(NAMES, 10))
                    names = list(group.members)
                    match rng.choice(["join", "leave", "crash", "depose"]):
                        case "join" if len(names) < 4:
                            await group.join(f"n{step}")
                        case "leave" if len(names) > 1:
                            group.leave(rng.choice(names))
                        case "crash" if len(names) > 1:
                            await group.crash(rng.choice(names))
                        case _:
                            # Somebody's lease of a slot is gone, as after a long pause.
                            slot = keys.candidates_range(f"shouting/{rng.randrange(8)}")
                            await store.transact([], [Delete(slot)])
                    await asyncio.sleep(rng.choice([0.0, 0.3, 2.0, 30.0]))
                await ask(store, "end")
                await eventually(group.is_settled)
                await all_shout(store, "end")
                assert len(await shouts(store)) == len(NAMES)
            assert desk.clashes == []

    test()


class Late(Controller[Greeting], shards=4):
    """Loses the slot of each key it works on, without knowing, before it writes."""

    def __init__(self, store: MemoryStore) -> None:
        self.store = store
        self.calls = 0

    async def reconcile(self, ctx: Context[Greeting], entity: Greeting) -> None:
        self.calls += 1
        if self.calls == 1:
            slot = keys.candidates_range(f"late/{slot_of(ctx.key, 4)}")
            await self.store.transact([], [Delete(slot)])
            ctx.status = GreetingStatus(shout="LATE")
            return
        left = await ctx.client.get(Greeting, entity.name)
        assert left.status.shout == ""
        ctx.status = GreetingStatus(shout="AGAIN")


@virtually
async def test_writes_are_fenced_by_the_slot() -> None:
    async with MemoryStore() as store:
        await ask(store, "hi", ["a"])
        late = Late(store)
        member = Member(store, "n1", late)
        async with member.engine:
            await eventually(lambda: late.calls == 2)
            await member.engine.run_until_idle()
            assert await shouts(store) == {"a": "AGAIN"}
        assert late.calls == 2


@virtually
async def test_an_engine_that_stops_leaves_nothing_behind() -> None:
    store = MemoryStore()
    async with running(Sharer(Desk(), "n1"), store=store) as engine:
        await engine.client.create(Greeting.new("a", text="hi"))
        await engine.run_until_idle()
        assert engine.health()[0].slots == tuple(range(8))
    async with store:
        page = await store.list(keys.candidates_range("shouting/members"))
        assert page.items == ()
        assert (await store.list(keys.candidates_range("shouting/0"))).items == ()


def test_options_that_exclude_each_other_are_refused() -> None:
    with pytest.raises(TypeError, match="shards must be at least 1"):

        class Nowhere(Controller[Greeting], shards=0): ...

    with pytest.raises(TypeError, match="elect and shards exclude each other"):

        class Both(Controller[Greeting], elect="x", shards=2): ...

    with pytest.raises(TypeError, match='shards and scope="node" exclude each other'):

        class Local(Controller[Greeting], scope="node", shards=2): ...


@virtually
async def test_a_controller_that_cannot_forget_hands_its_keys_over_all_the_same() -> None:
    class Clinging(Sharer):
        def forget(self, key: Key[Greeting]) -> None:
            raise LookupError("it is somewhere")

    async with MemoryStore() as store:
        desk = Desk()
        first = Member(store, "n1", Clinging(desk, "n1"))
        second = Member(store, "n2", Clinging(desk, "n2"))
        async with asyncio.TaskGroup() as group:
            group.create_task(first.run())
            await first.started.wait()
            client = make_client(store)
            for name in NAMES:
                await client.create(Greeting.new(name, text="hi"))
            await asyncio.sleep(10)
            group.create_task(second.run())
            await asyncio.sleep(60)
            assert set(desk.served) == {"n1", "n2"}
            assert "somewhere" in (first.engine.health()[0].last_error or "")
            first.stop.set()
            second.stop.set()
