"""What else than its own changes wakes a key: owned kinds, watched kinds, the world outside."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable

from miren.base.errors import Unavailable
from miren.entities.client import Client
from miren.entities.store.api import KeyRange, Page
from miren.entities.store.memory import MemoryStore
from miren.reconcile.context import Context
from miren.reconcile.controller import Controller, index, watches
from miren.reconcile.results import Key, Permanent, Requeue
from tests.builders import Greeting, Room, RoomStatus, make_greeting
from tests.reconcile.greeters import Greeter
from tests.reconcile.virtual import now, running, virtually
from tests.stores import Around, Watched


class Host(Controller[Room], owns=[Greeting]):
    """Keeps one greeting in every room."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, int]] = []

    async def reconcile(self, ctx: Context[Room], entity: Room) -> None:
        name = f"in-{entity.name}"
        await ctx.apply(Greeting.partial(name, text=f"size {entity.spec.size}"))
        owned = await ctx.owned(Greeting)
        self.calls.append((entity.name, len(owned)))
        ctx.status = RoomStatus(greetings=len(owned))


@virtually
async def test_what_a_controller_makes_belongs_to_the_entity() -> None:
    async with running(Host()) as engine:
        room = await engine.client.in_project("shop").create(Room.new("hall"))
        await engine.run_until_idle()
        greeting = await engine.client.get(Greeting, "in-hall", project="shop")
        (owner,) = greeting.metadata.owner_references
        assert (owner.kind, owner.name, owner.uid) == ("Room", "hall", room.uid)
        assert (await engine.client.get(Room, "hall", project="shop")).status.greetings == 1


@virtually
async def test_a_deleted_child_is_made_again() -> None:
    async with running(Host()) as engine:
        for name in ("hall", "attic"):
            await engine.client.create(Room.new(name))
        await engine.run_until_idle()
        first = await engine.client.get(Greeting, "in-hall")
        await engine.client.delete(Greeting, "in-hall")
        await engine.run_until_idle()
        again = await engine.client.get(Greeting, "in-hall")
        assert again.uid != first.uid


@virtually
async def test_a_change_of_a_child_wakes_only_its_owner() -> None:
    host = Host()
    async with running(host) as engine:
        for name in ("hall", "attic"):
            await engine.client.create(Room.new(name))
        await engine.run_until_idle()
        host.calls.clear()
        await engine.client.patch(Greeting, "in-hall", {"spec": {"tone": "loud"}})
        await engine.run_until_idle()
        assert {name for name, _ in host.calls} == {"hall"}


@virtually
async def test_a_child_that_is_given_away_wakes_both_owners() -> None:
    host = Host()
    async with running(host) as engine:
        await engine.client.create(Room.new("hall"))
        attic = await engine.client.create(Room.new("attic"))
        await engine.run_until_idle()
        host.calls.clear()
        child = await engine.client.get(Greeting, "in-hall")
        other = await engine.client.get(Greeting, "in-attic")
        assert other.metadata.owner_references[0].uid == attic.uid
        owners = other.metadata.owner_references
        await engine.client.update(child.with_metadata(owner_references=owners))
        await engine.run_until_idle()
        assert {name for name, _ in host.calls} == {"hall", "attic"}


@virtually
async def test_an_owner_is_the_same_one_whatever_the_version_that_it_is_named_in() -> None:
    host = Host()
    async with running(host) as engine:
        await engine.client.create(Room.new("hall"))
        await engine.run_until_idle()
        child = await engine.client.get(Greeting, "in-hall")
        (owner,) = child.metadata.owner_references
        older = owner.model_copy(update={"api_version": "example.dev/v1beta1"})
        await engine.client.update(child.with_metadata(owner_references=[older]))
        await engine.run_until_idle()
        host.calls.clear()
        await engine.client.delete(Greeting, "in-hall")
        await engine.run_until_idle()
        assert {name for name, _ in host.calls} == {"hall"}


class SlowList(Around):
    """Takes five seconds to list greetings."""

    async def list(
        self,
        range: KeyRange,
        *,
        revision: int = 0,
        limit: int = 0,
        after: str | None = None,
        keys_only: bool = False,
    ) -> Page:
        if "/Greeting/" in range.start:
            await asyncio.sleep(5)
        return await super().list(
            range, revision=revision, limit=limit, after=after, keys_only=keys_only
        )


@virtually
async def test_listing_children_at_the_start_brings_owners_by_once() -> None:
    store = SlowList(MemoryStore())
    async with running(Host(), store=store) as engine:
        for number in range(5):
            await engine.client.create(Room.new(f"r{number}"))
        await engine.run_until_idle()
    host = Host()
    async with running(host, store=store) as engine:
        await engine.run_until_idle()
        assert sorted(host.calls) == [(f"r{number}", 1) for number in range(5)]


@virtually
async def test_owners_woken_by_the_first_list_wait_behind_what_somebody_waits_for() -> None:
    class SlowHost(Host, concurrency=1):
        async def reconcile(self, ctx: Context[Room], entity: Room) -> None:
            await asyncio.sleep(0.1)
            await super().reconcile(ctx, entity)

    store = MemoryStore()
    async with running(SlowHost(), store=store) as engine:
        for number in range(5):
            await engine.client.create(Room.new(f"r{number}"))
        await engine.run_until_idle()
    host = SlowHost()
    async with running(host, store=store) as engine:
        await asyncio.sleep(0.05)
        await engine.client.create(Room.new("new"))
        await engine.run_until_idle()
        assert [name for name, _ in host.calls].index("new") == 1


class Pair(Controller[Greeting], primary=False):
    """Makes an answer to each greeting and looks for it in the cache the next time."""

    def __init__(self) -> None:
        self.seen: list[list[str]] = []

    @index
    def by_tone(self, greeting: Greeting) -> Iterable[str]:
        return [greeting.spec.tone]

    async def reconcile(self, ctx: Context[Greeting], entity: Greeting) -> Requeue | None:
        if entity.spec.tone == "answer":
            return None
        self.seen.append([greeting.name for greeting in self.by_tone["answer"]])
        answer = Greeting.partial(f"{entity.name}-too", text="hey", tone="answer")
        await ctx.apply(answer)
        return Requeue(after=0) if len(self.seen) == 1 else None


@virtually
async def test_a_key_sees_what_its_last_reconcile_wrote() -> None:
    pair, store = Pair(), Watched(MemoryStore())
    async with running(pair, store=store) as engine:
        await engine.run_until_idle()
        store.lag = 1
        await engine.client.create(make_greeting())
        await asyncio.sleep(20)
        assert pair.seen == [[], ["hi-too"]]


@virtually
async def test_what_is_not_seen_for_too_long_is_not_waited_for() -> None:
    pair, store = Pair(), Watched(MemoryStore())
    async with running(pair, store=store) as engine:
        await engine.run_until_idle()
        await asyncio.sleep(1)  # the watch has told that it begins
        store.lag = 60
        await engine.client.create(make_greeting())
        await asyncio.sleep(100)
        assert pair.seen == [[], []], "the answer shows after 120 s, and five are enough"


class Echo(Greeter):
    """Greets again whenever a room that the greeting names as its tone changes."""

    @index
    def by_room(self, greeting: Greeting) -> Iterable[str]:
        return [greeting.spec.tone]

    @watches(Room)
    def greetings(self, room: Room) -> Iterable[Key[Greeting]]:
        return [Key.of(greeting) for greeting in self.by_room[room.name]]


@virtually
async def test_a_watched_kind_wakes_the_keys_that_an_index_finds() -> None:
    echo = Echo()
    async with running(echo) as engine:
        await engine.client.create(make_greeting("a", tone="hall"))
        await engine.client.create(make_greeting("b", tone="attic"))
        await engine.run_until_idle()
        echo.calls.clear()
        await engine.client.create(Room.new("hall"))
        await engine.run_until_idle()
        assert [greeting.name for greeting in echo.calls] == ["a"]
        await engine.client.patch(Greeting, "b", {"spec": {"tone": "hall"}})
        await engine.run_until_idle()
        echo.calls.clear()
        await engine.client.delete(Room, "hall")
        await engine.run_until_idle()
        assert sorted(greeting.name for greeting in echo.calls) == ["a", "b"]


@virtually
async def test_a_watched_change_retries_what_was_rejected() -> None:
    class Strict(Echo):
        async def reconcile(self, ctx: Context[Greeting], entity: Greeting) -> None:
            self.calls.append(entity)
            if await ctx.client.get(Room, entity.spec.tone, default=None) is None:
                raise Permanent("no such room")
            ctx.ready()

    strict = Strict()
    async with running(strict) as engine:
        await engine.client.create(make_greeting(tone="hall"))
        await asyncio.sleep(600)
        assert len(strict.calls) == 1
        await engine.client.create(Room.new("hall"))
        await engine.run_until_idle()
        ready = (await engine.client.get(Greeting, "hi")).condition("Ready")
        assert ready is not None
        assert ready.status == "True"
        await engine.client.patch(Greeting, "hi", {"metadata": {"labels": {"a": "b"}}})
        await engine.run_until_idle()
        assert len(strict.calls) == 3, "what was rejected once is not rejected for ever"


class Listening(Greeter):
    """Looks at greetings that the world outside names, and loses its line now and then."""

    def __init__(self) -> None:
        super().__init__()
        self.began: list[float] = []

    async def source(self, client: Client) -> AsyncIterator[Key[Greeting]]:
        self.began.append(now())
        await asyncio.sleep(10)
        yield Key("default", "hi")
        raise Unavailable("lost the line")


@virtually
async def test_a_source_wakes_keys_and_begins_again_when_it_breaks() -> None:
    listening = Listening()
    async with running(listening) as engine:
        await engine.client.create(make_greeting())
        await asyncio.sleep(35)
        assert len(listening.began) == 4
        assert len(listening.calls) == 1 + 3
        (health,) = engine.health()
        assert health.last_error == "source: lost the line"
