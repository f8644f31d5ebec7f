"""What people's code says wrongly is an error of theirs, and stops nobody else."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Callable, Iterable
from datetime import timedelta
from typing import Any

import pytest

from miren.entities.client import Client
from miren.reconcile.context import Context
from miren.reconcile.controller import Controller, index, watches
from miren.reconcile.engine import Engine
from miren.reconcile.results import Key, Requeue, Temporary
from tests.builders import Greeting, Room, make_greeting
from tests.reconcile.greeters import Doing, Greeter
from tests.reconcile.virtual import running, virtually


class Rooms(Controller[Room]):
    """Somebody else's, which must not suffer."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    async def reconcile(self, ctx: Context[Room], entity: Room) -> None:
        self.calls.append(entity.name)


async def works(engine: Engine, rooms: Rooms) -> bool:
    """Return whether the engine still reconciles a room, and a greeting comes to its cache."""
    await asyncio.sleep(1)
    await engine.client.create(Room.new("r"))
    await asyncio.sleep(1)
    return rooms.calls == ["r"]


WRONG: dict[str, Callable[[], Any]] = {
    "no seconds": lambda: Requeue(None),  # type: ignore[arg-type]
    "words": lambda: Requeue("5"),  # type: ignore[arg-type]
    "a timedelta": lambda: Requeue(timedelta(seconds=5)),  # type: ignore[arg-type]
    "no number": lambda: Requeue(math.nan),
    "no priority": lambda: Requeue(5, priority="high"),  # type: ignore[arg-type]
    "a wait of no number": lambda: Temporary("wait", after=math.nan),
    "a wait of words": lambda: Temporary("wait", after="5"),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_result_that_makes_no_sense_is_an_error_of_the_handler(wrong: str) -> None:
    async def act(ctx: Context[Greeting], greeting: Greeting) -> Requeue | None:
        made: object = WRONG[wrong]()
        if isinstance(made, Exception):
            raise made
        return made  # type: ignore[return-value]

    @virtually
    async def test() -> None:
        doing, rooms = Doing(act), Rooms()
        async with running(doing, rooms) as engine:
            await engine.client.create(make_greeting())
            assert await works(engine, rooms)
            assert 2 < len(doing.calls) < 15, "it is retried with back-off"
            assert engine.health()[0].errors == len(doing.calls)

    test()


ANSWERS: dict[str, Callable[[Any], Any]] = {
    "names": lambda room: [room.name],
    "a name": lambda room: room.name,
    "plain tuples": lambda room: [("default", room.name)],
    "entities": lambda room: [room],
    "nothing at all": lambda room: None,
}


@pytest.mark.parametrize("answer", ANSWERS)
def test_a_mapping_to_what_is_no_key_is_told_and_stops_nobody(answer: str) -> None:
    class Mapping(Greeter):
        @watches(Room)
        def of_room(self, room: Room) -> Iterable[Key[Greeting]]:
            return ANSWERS[answer](room)  # type: ignore[no-any-return]

    @virtually
    async def test() -> None:
        rooms = Rooms()
        async with running(Mapping(), rooms) as engine:
            assert await works(engine, rooms)
            assert "@watches of_room" in (engine.health()[0].last_error or "")

    test()


VALUES: dict[str, Callable[[Any], Any]] = {
    "lists": lambda greeting: [[greeting.name]],
    "one value": lambda greeting: greeting.name,
    "nothing at all": lambda greeting: None,
}


@pytest.mark.parametrize("values", VALUES)
def test_an_index_of_what_are_no_values_is_told_and_stops_nobody(values: str) -> None:
    class Indexing(Greeter):
        @index
        def by_name(self, greeting: Greeting) -> Iterable[str]:
            return VALUES[values](greeting)  # type: ignore[no-any-return]

    @virtually
    async def test() -> None:
        indexing, rooms = Indexing(), Rooms()
        async with running(indexing, rooms) as engine:
            await engine.client.create(make_greeting("hi"))
            assert await works(engine, rooms)
            assert len(indexing.calls) == 1
            assert indexing.by_name["h"] == ()
            assert "@index by_name" in (engine.health()[0].last_error or "")

    test()


@virtually
async def test_a_source_that_breaks_before_it_begins_is_asked_again() -> None:
    class Sourced(Greeter):
        asked = 0

        def source(self, client: Client) -> AsyncIterator[Key[Greeting]] | None:
            self.asked += 1
            raise LookupError("no such place")

    sourced, rooms = Sourced(), Rooms()
    async with running(sourced, rooms) as engine:
        assert await works(engine, rooms)
        assert 2 < sourced.asked < 10
        assert engine.health()[0].last_error == "source: no such place"


@virtually
async def test_a_source_of_what_are_no_keys_is_told_and_stops_nobody() -> None:
    class Sourced(Greeter):
        def source(self, client: Client) -> AsyncIterator[Key[Greeting]]:
            return self.names()  # type: ignore[return-value]

        async def names(self) -> AsyncIterator[str]:
            yield "hi"

    rooms = Rooms()
    async with running(Sourced(), rooms) as engine:
        assert await works(engine, rooms)
        assert "source" in (engine.health()[0].last_error or "")
