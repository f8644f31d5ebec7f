"""Engines that share a store of each kind, in real time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from miren.entities import keys
from miren.entities.store.api import Delete, Store
from miren.entities.store_client import StoreClient
from miren.reconcile.context import Context
from miren.reconcile.controller import Controller
from miren.reconcile.engine import Engine
from tests.backends import BACKENDS, make_store
from tests.builders import Greeting, GreetingStatus, make_kinds
from tests.etcd import Member

_SECONDS = 20.0


@pytest.fixture(params=BACKENDS)
async def store(
    request: pytest.FixtureRequest, tmp_path: Path, shared_etcd: Member
) -> AsyncIterator[Store]:
    async with make_store(request.param, folder=tmp_path, etcd=shared_etcd) as opened:
        yield opened


class Signing(Controller[Greeting]):
    """Signs what it sees; the first engine loses the lead, unknown to it, when told to."""

    def __init__(self, who: str, store: Store) -> None:
        self.who = who
        self.store = store

    async def reconcile(self, ctx: Context[Greeting], entity: Greeting) -> None:
        if entity.spec.text == "lose" and self.who == "n1":
            await self.store.transact([], [Delete(keys.candidates_range("shop"))])
            ctx.status = GreetingStatus(shout="LATE")
            return
        ctx.status = GreetingStatus(shout=f"{entity.spec.text} {self.who}")


def engine_of(store: Store, name: str) -> Engine:
    client = StoreClient(store=store, kinds=make_kinds())
    return Engine(client, [Signing(name, store)], elect="shop", identity=name)


@asynccontextmanager
async def two_in_turn(one: Engine, two: Engine) -> AsyncIterator[asyncio.Event]:
    """Run both, the first leading, which stops when the event is set."""
    stop = asyncio.Event()

    async def run_first(leads: asyncio.Event) -> None:
        async with one:
            await one.run_until_idle(timeout=_SECONDS)
            leads.set()
            await stop.wait()

    async with asyncio.TaskGroup() as group:
        leads = asyncio.Event()
        group.create_task(run_first(leads))
        await leads.wait()
        async with two:
            yield stop
        stop.set()


async def signed(client: StoreClient, holds: Callable[[str], bool]) -> str:
    def is_signed(found: Greeting | None) -> bool:
        return found is not None and holds(found.status.shout)

    found = await client.wait(Greeting, "a", is_signed, timeout=_SECONDS)
    assert found is not None
    return found.status.shout


async def test_the_next_engine_takes_over_when_the_leader_stops(store: Store) -> None:
    client = StoreClient(store=store, kinds=make_kinds())
    one, two = engine_of(store, "n1"), engine_of(store, "n2")
    async with two_in_turn(one, two) as stop_first:
        await client.create(Greeting.new("a", text="hi"))
        assert await signed(client, bool) == "hi n1"
        stop_first.set()
        assert await signed(client, lambda shout: shout != "hi n1") == "hi n2"
        led = await client.leader("shop")
        assert led is not None
        assert led.holder == "n2"
    assert await client.leader("shop") is None


async def test_the_late_write_of_a_deposed_engine_is_refused(store: Store) -> None:
    client = StoreClient(store=store, kinds=make_kinds())
    seen: list[str] = []
    async with two_in_turn(engine_of(store, "n1"), engine_of(store, "n2")):
        await client.create(Greeting.new("a", text="hi"))
        assert await signed(client, bool) == "hi n1"
        await client.patch(Greeting, "a", {"spec": {"text": "lose"}})

        def is_next(shout: str) -> bool:
            seen.append(shout)
            return shout == "lose n2"

        await signed(client, is_next)
        assert "LATE" not in seen
