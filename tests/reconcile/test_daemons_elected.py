"""Daemons live where their entity is worked on: never at two engines at once."""

from __future__ import annotations

import asyncio

import pytest

from miren.entities.store.memory import MemoryStore
from miren.reconcile.daemons import DaemonContext
from miren.reconcile.registry import Registry
from tests.builders import Greeting, make_greeting
from tests.reconcile.engines import Desk, Member, eventually
from tests.reconcile.virtual import make_client, virtually


def tending(desk: Desk, who: str, *, shards: int | None = None) -> Registry:
    registry = Registry("tending", shards=shards)

    @registry.daemon(Greeting)
    async def tend(ctx: DaemonContext[Greeting], greeting: Greeting) -> None:
        async with desk.work(greeting.name, who):
            try:
                await asyncio.sleep(100_000)
            finally:
                await asyncio.sleep(3)

    return registry


@pytest.mark.parametrize("shards", [None, 8])
def test_what_an_engine_gives_up_it_has_ended_before_another_begins(shards: int | None) -> None:
    @virtually
    async def hand_over() -> None:
        desk, names = Desk(), [f"g{number:02}" for number in range(12)]
        async with MemoryStore() as store, asyncio.TaskGroup() as tasks:
            for name in names:
                await make_client(store).create(make_greeting(name))
            members = []
            for who in ("a", "b"):
                (controller,) = tending(desk, who, shards=shards).controllers()
                elect = None if shards else "tending"
                members.append(Member(store, who, controller, elect=elect))
                tasks.create_task(members[-1].run())
                await eventually(lambda: sorted(desk.by) == names)
                await asyncio.sleep(60)
            first, second = members
            assert sorted(desk.by) == names
            assert set(desk.by.values()) == ({"a", "b"} if shards else {"a"})
            first.stop.set()
            await eventually(lambda: sorted(desk.by.items()) == [(name, "b") for name in names])
            second.stop.set()
        assert desk.clashes == []
        assert desk.by == {}

    hand_over()
