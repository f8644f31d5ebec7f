"""Session attributes change while the revision of their entity stays: controllers hear of it."""

from __future__ import annotations

import asyncio
import random

from miren.entities.store.memory import MemoryStore
from miren.reconcile.context import Context
from miren.reconcile.controller import Controller
from miren.reconcile.informer import Delta, Informer
from tests.entities.beacons import Beacon, Phase, make_client
from tests.reconcile.virtual import now, running, settle, virtually
from tests.stores import Faulty


class Painter(Controller[Beacon]):
    """Paints a beacon after its phase, which takes a while."""

    takes = 0.0

    def __init__(self) -> None:
        self.phases: list[Phase] = []

    async def reconcile(self, ctx: Context[Beacon], beacon: Beacon) -> None:
        self.phases.append(beacon.status.phase)
        await asyncio.sleep(self.takes)
        # The other attributes are not this controller's: what it says of them does not count.
        ctx.status = beacon.status.model_copy(update={"painted": f"as {beacon.status.phase}"})


class SlowPainter(Painter):
    takes = 5.0


@virtually
async def test_a_session_change_after_an_own_write_is_reconciled() -> None:
    store, painter = MemoryStore(), Painter()
    async with running(painter, store=store) as engine:
        client = make_client(store)
        await client.create(Beacon.new("b"))
        await engine.run_until_idle()
        async with client.session(holder="n1", ttl=60) as session:
            await session.set(Beacon, "b", phase="ready")
            await engine.run_until_idle()
            assert (await client.get(Beacon, "b")).status.painted == "as ready"
            calls = len(painter.phases)
            await asyncio.sleep(600)
            assert len(painter.phases) == calls, "heartbeats wake nobody"
        await engine.run_until_idle()
        assert painter.phases == [Phase.UNKNOWN, Phase.READY, Phase.UNKNOWN]


@virtually
async def test_a_session_change_during_a_reconcile_causes_another() -> None:
    store, painter = MemoryStore(), SlowPainter()
    async with running(painter, store=store) as engine:
        client = make_client(store)
        await client.create(Beacon.new("b"))
        async with client.session(holder="n1", ttl=60) as session:
            await asyncio.sleep(3)
            await session.set(Beacon, "b", phase="ready")
            await engine.run_until_idle()
            assert painter.phases == [Phase.UNKNOWN, Phase.READY]
            assert (await client.get(Beacon, "b")).status.painted == "as ready"


@virtually
async def test_an_expired_session_wakes_the_controller_when_its_time_is_over() -> None:
    store, painter = MemoryStore(), Painter()
    async with running(painter, store=store) as engine:
        faulty = Faulty(store)
        client = make_client(faulty)
        await client.create(Beacon.new("b"))
        async with client.session(holder="n1", ttl=30) as session:
            await session.set(Beacon, "b", phase="ready")
            faulty.go_down()  # for the holder alone
            said = now()
            await session.lost.wait()
            await settle()
        await engine.run_until_idle()
        assert painter.phases[-1] is Phase.UNKNOWN
        assert now() - said <= 31


@virtually
async def test_a_relist_tells_a_session_change_that_nobody_saw() -> None:
    async with MemoryStore() as store:
        faulty = Faulty(store)
        client, direct = make_client(faulty), make_client(store)
        await direct.create(Beacon.new("b"))
        changes: list[Delta[Beacon]] = []
        informer = Informer(client, Beacon, rng=random.Random(0))
        informer.listen(changes.append)
        following = asyncio.create_task(informer.run())
        await informer.is_synced.wait()
        async with direct.session(holder="n1", ttl=600) as session:
            faulty.go_down()
            await session.set(Beacon, "b", phase="ready")
            await store.compact((await store.status()).revision)
            faulty.is_down = False
            assert not await informer.is_current()
            await asyncio.sleep(60)
            assert await informer.is_current()
            following.cancel()
            await asyncio.wait([following])
        assert [change.entity.status.phase for change in changes] == [Phase.UNKNOWN, Phase.READY]
