"""The recorder: gathers what is told, writes it once a second, and bounds what it holds."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta

import pytest

from miren.base.errors import OutcomeUnknown
from miren.entities.events import RING, EntityEvent, EventType
from miren.entities.store.api import Compare, Lease, Operation, Store, TransactionResult
from miren.entities.store.memory import MemoryStore
from miren.reconcile.recorder import Recorder
from tests.builders import Greeting
from tests.reconcile.virtual import date, make_client, now, virtually
from tests.stores import Counting, Faulty

MOST = 10_000


class World:
    """A recorder at work over a store, and greetings to tell of."""

    def __init__(self, store: Store) -> None:
        self.client = make_client(store)
        self.recorder = Recorder(self.client)
        self.greetings: list[Greeting] = []

    async def make(self, count: int = 1) -> None:
        made = [
            await self.client.create(Greeting.new(f"g{number}", text="a"))
            for number in range(count)
        ]
        self.greetings += made

    def tell(self, number: int = 0, reason: str = "Pulled", message: str = "") -> None:
        self.recorder.note(
            self.greetings[number],
            reason,
            message,
            type=EventType.NORMAL,
            source="tests",
            when=date(),
        )

    async def events(self, number: int = 0) -> Sequence[EntityEvent]:
        return await self.client.events(Greeting, f"g{number}")

    async def counts(self) -> list[int]:
        """Return how often each greeting's events were told, as written by now."""
        every = [await self.events(number) for number in range(len(self.greetings))]
        return [sum(event.count for event in events) for events in every]


@asynccontextmanager
async def recording(store: Store, *, subjects: int = 1) -> AsyncIterator[World]:
    async with store:
        world = World(store)
        await world.make(subjects)
        task = asyncio.ensure_future(world.recorder.run())
        await asyncio.sleep(0)
        try:
            yield world
        finally:
            task.cancel()
            await asyncio.wait([task])


@virtually
async def test_what_is_told_is_written_within_a_second_in_one_write() -> None:
    store = Counting(MemoryStore())
    async with recording(store) as world:
        await asyncio.sleep(100)
        store.calls.clear()
        for _ in range(3):
            world.tell()
            await asyncio.sleep(0.25)
        world.tell(reason="Started")
        assert store.calls == {}
        await asyncio.sleep(0.3)
        assert store.calls == {"lease": 1, "write": 1}
        pulled, started = await world.events()
        assert (pulled.reason, pulled.count, started.count) == ("Pulled", 3, 1)
        assert pulled.last - pulled.first == timedelta(seconds=0.5)
        store.calls.clear()
        await asyncio.sleep(3600)
        assert store.calls == {}
        assert not world.recorder._some.is_set(), "with nothing to write there is no work"


@virtually
async def test_a_flush_is_of_some_subjects_and_no_one_starves() -> None:
    async with recording(MemoryStore(), subjects=500) as world:
        for number in range(500):
            world.tell(number)
        noisy = asyncio.ensure_future(_tell_on(world))
        await asyncio.sleep(1.01)
        assert sum(1 for count in await world.counts() if count) == 200
        await asyncio.sleep(2)
        assert min(await world.counts()) == 1
        noisy.cancel()


async def _tell_on(world: World) -> None:
    while True:
        await asyncio.sleep(0.1)
        world.tell(0)


@virtually
async def test_what_a_store_that_is_down_did_not_take_is_written_later() -> None:
    store = Faulty(MemoryStore())
    async with recording(store, subjects=3) as world:
        store.is_down = True
        for _ in range(30):
            world.tell(0)
            world.tell(1, message=f"{now():g}")
            await asyncio.sleep(1)
        assert len(store.refused) <= 30, "one refusal is enough for all subjects"
        store.is_down = False
        await asyncio.sleep(2)
        assert await world.counts() == [30, 30, 0]
        assert world.recorder.dropped == 0


class Slow(Faulty):
    """Takes ten seconds for everything."""

    async def before(self, call: str) -> None:
        await asyncio.sleep(10)
        await super().before(call)


@virtually
async def test_what_is_told_during_a_write_that_fails_is_added_to_it() -> None:
    store = Slow(MemoryStore())
    async with recording(store) as world:
        world.tell(message="x")
        for number in range(RING - 1):
            world.tell(message=str(number))
        await asyncio.sleep(5)
        store.is_down = True
        world.tell(message="x")
        world.tell(message="new")
        await asyncio.sleep(6.5)
        (held,) = world.recorder._pending.values()
        assert len(held.tallies) == world.recorder._held == RING
        store.is_down = False
        await asyncio.sleep(60)
        found = {event.message: event.count for event in await world.events()}
        assert len(found) == RING
        assert (found["x"], found["new"]) == (2, 1)


class Unsure(Faulty):
    """Writes, and does not know it, while `is_unsure`."""

    is_unsure = False

    async def transact(
        self,
        compares: Sequence[Compare],
        then: Sequence[Operation],
        otherwise: Sequence[Operation] = (),
    ) -> TransactionResult:
        result = await super().transact(compares, then, otherwise)
        if self.is_unsure:
            raise OutcomeUnknown("the line broke")
        return result


@virtually
async def test_what_may_have_been_written_is_not_counted_twice() -> None:
    store = Unsure(MemoryStore())
    async with recording(store) as world:
        world.tell()
        store.is_unsure = True
        await asyncio.sleep(2)
        store.is_unsure = False
        world.tell()
        await asyncio.sleep(2)
        assert await world.counts() == [2]
        assert world.recorder.dropped == 1


@virtually
async def test_what_is_held_is_bounded_and_the_newest_of_a_subject_is_kept() -> None:
    store = Faulty(MemoryStore())
    async with recording(store, subjects=400) as world:
        store.is_down = True
        for number in range(400):
            for turn in range(40):
                world.tell(number, message=str(turn))
        await asyncio.sleep(5)
        held = [len(one.tallies) for one in world.recorder._pending.values()]
        assert sum(held) == world.recorder._held == MOST
        assert max(held) == RING
        kept = MOST // RING
        assert world.recorder.dropped == (400 - kept - 1) * 40 + (40 - MOST % RING)
        store.is_down = False
        await asyncio.sleep(5)
        assert [event.message for event in await world.events()] == [str(n) for n in range(8, 40)]
        assert world.recorder._held == 0
        assert not world.recorder._pending


@virtually
async def test_trouble_is_logged_once_a_minute() -> None:
    lines: list[logging.LogRecord] = []
    handler = logging.Handler()
    handler.emit = lines.append  # type: ignore[method-assign,assignment]  # the shortest there is
    logger = logging.getLogger("miren.reconcile.recorder")
    logger.addHandler(handler)
    store = Faulty(MemoryStore())
    try:
        async with recording(store) as world:
            store.is_down = True
            world.tell()
            await asyncio.sleep(119)
    finally:
        logger.removeHandler(handler)
    assert [line.getMessage() for line in lines] == ["events not written"] * 2
    assert vars(lines[0])["waiting"] == 1


@virtually
async def test_draining_writes_everything_at_once() -> None:
    async with recording(MemoryStore(), subjects=500) as world:
        for number in range(500):
            world.tell(number)
        await world.recorder.drain(10)
        assert now() < 1
        assert await world.counts() == [1] * 500


class Stuck(MemoryStore):
    """Answers no lease."""

    async def grant(self, ttl: float) -> Lease:
        await asyncio.sleep(1e6)
        return await super().grant(ttl)


@virtually
async def test_draining_gives_up_after_its_grace_and_where_the_store_is_down() -> None:
    async with recording(Stuck()) as world:
        world.tell()
        await world.recorder.drain(3)
        assert now() == pytest.approx(3)
    store = Faulty(MemoryStore())
    async with recording(store) as world:
        world.tell()
        store.is_down = True
        before = now()
        await world.recorder.drain(3)
        assert now() == before


async def test_a_thread_may_tell_something() -> None:
    async with recording(MemoryStore()) as world:
        thread = threading.Thread(target=_tell_from_outside, args=(world, date()))
        thread.start()
        thread.join()
        assert not world.recorder._pending, "the loop's own thread takes it"
        await asyncio.sleep(0)
        await world.recorder.drain(5)
        assert await world.counts() == [1]


def _tell_from_outside(world: World, when: datetime) -> None:
    world.recorder.note(
        world.greetings[0],
        "Pulled",
        type=EventType.NORMAL,
        source="tests",
        when=when,
    )
