"""Leases kept alive in the background, on a loop whose time jumps."""

from __future__ import annotations

import asyncio
import logging

import pytest

from miren.base.errors import InvalidInput, Unavailable
from miren.entities.store.api import Lease, Store
from miren.entities.store.keeping import KeptLease, kept_lease
from miren.entities.store.memory import MemoryStore
from tests.contracts.store_leases import keys_of, put_leased
from tests.reconcile.virtual import now, virtually
from tests.stores import Around, Faulty


class Hanging(Around):
    """A store whose heartbeats get no answer while it `hangs`."""

    hangs = False

    async def keep_alive(self, lease: Lease) -> float:
        if self.hangs:
            await asyncio.Event().wait()
        return await super().keep_alive(lease)


class Slow(Around):
    """A store that answers each call about leases after `delay` seconds."""

    delay = 0.0

    async def before(self, call: str) -> None:
        await asyncio.sleep(self.delay if call == "lease" else 0.0)


async def lost_after(lease: KeptLease) -> float:
    """Wait until the lease is lost, and return how long that took."""
    begun = now()
    async with asyncio.timeout(1000):
        await lease.lost.wait()
    return now() - begun


@virtually
async def test_it_is_kept_for_as_long_as_the_body_runs() -> None:
    async with MemoryStore() as store:
        async with kept_lease(store, 10) as kept:
            await put_leased(store, kept.lease, "/a")
            before = (await store.status()).revision
            await asyncio.sleep(10_000)
            assert kept.ttl == 10
            assert not kept.lost.is_set()
            assert await keys_of(store) == ["/a"]
            assert (await store.status()).revision == before
        assert await keys_of(store) == []


@virtually
async def test_a_lease_that_the_store_ended_is_lost_at_the_next_heartbeat() -> None:
    async with MemoryStore() as store, kept_lease(store, 9) as kept:
        await store.revoke(kept.lease)
        assert await lost_after(kept) == pytest.approx(3)


@virtually
async def test_a_store_away_for_less_than_the_whole_time_loses_nothing() -> None:
    async with MemoryStore() as inner:
        store = Faulty(inner)
        async with kept_lease(store, 10) as kept:
            await put_leased(inner, kept.lease, "/a")
            for _ in range(20):
                store.go_down()
                await asyncio.sleep(5.5)
                store.is_down = False
                await asyncio.sleep(2)
            assert not kept.lost.is_set()
            assert await keys_of(inner) == ["/a"]
            assert len(store.refused) >= 20 * 2


@virtually
async def test_a_store_away_for_the_whole_time_loses_it_just_then() -> None:
    async with MemoryStore() as inner:
        store = Faulty(inner)
        async with kept_lease(store, 9) as kept:
            await asyncio.sleep(4)  # the last heartbeat was a second ago
            store.go_down()
            assert await lost_after(kept) == pytest.approx(8, abs=0.1)
            store.is_down = False
            await asyncio.sleep(100)
            assert kept.lost.is_set()


@virtually
async def test_a_heartbeat_that_hangs_leaves_time_for_others() -> None:
    async with MemoryStore() as inner:
        store = Hanging(inner)
        async with kept_lease(store, 9) as kept:
            await asyncio.sleep(2)
            store.hangs = True
            await asyncio.sleep(2)
            store.hangs = False
            await asyncio.sleep(100)
            assert not kept.lost.is_set()
            store.hangs = True
            assert 6 <= await lost_after(kept) <= 9.1


@virtually
async def test_its_time_counts_from_before_it_was_asked_for() -> None:
    async with MemoryStore() as inner:
        store = Slow(inner)
        store.delay = 2.0
        begun = now()
        async with kept_lease(store, 9) as kept:
            store.delay = 100.0
            await lost_after(kept)
            assert now() - begun == pytest.approx(9, abs=0.1)
            store.delay = 0.0


@virtually
async def test_a_body_that_fails_gives_the_lease_up() -> None:
    async with MemoryStore() as store:

        async def fail() -> None:
            async with kept_lease(store, 10) as kept:
                await put_leased(store, kept.lease, "/a")
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await fail()
        assert await keys_of(store) == []
        with pytest.raises(InvalidInput):
            async with kept_lease(store, -1):
                pass


@virtually
async def test_a_lease_nobody_could_ask_about_is_given_up_too() -> None:
    class Half(Faulty):
        async def grant(self, ttl: float) -> Lease:
            lease = await super().grant(ttl)
            granted.append(lease)
            self.is_down = True
            return lease

        async def revoke(self, lease: Lease) -> None:
            await self.inner.revoke(lease)

    granted: list[Lease] = []
    async with MemoryStore() as inner:
        with pytest.raises(Unavailable):
            async with kept_lease(Half(inner), 10):
                pass
        assert await _is_gone(inner, granted[0])


async def _is_gone(store: Store, lease: Lease) -> bool:
    try:
        await store.keep_alive(lease)
    except Exception:
        return True
    return False


def test_leaving_while_the_store_is_away_raises_nothing_and_says_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    @virtually
    async def leave() -> None:
        async with MemoryStore() as inner:
            store = Faulty(inner)
            async with kept_lease(store, 10, name="the lease of a test"):
                store.go_down()

    leave()
    assert "the lease of a test ends only when its time is over: the store is down" in caplog.text


def test_a_loss_is_an_event_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Around):
        async def keep_alive(self, lease: Lease) -> float:
            raise ZeroDivisionError

    @virtually
    async def lose() -> None:
        async with MemoryStore() as store:
            async with kept_lease(store, 9, name="the first") as kept:
                await store.revoke(kept.lease)
                await kept.lost.wait()
                kept.lose("again")
            async with kept_lease(Broken(store), 9, name="the second") as kept:
                await kept.lost.wait()

    with caplog.at_level(logging.WARNING):
        lose()
    lost = [each for each in caplog.records if getattr(each, "event", "") == "lease.lost"]
    assert [each.getMessage() for each in lost] == [
        "the first is lost: the store has ended it",
        "the second is lost: keeping it alive broke: ZeroDivisionError()",
    ]
    assert any(each.exc_info for each in caplog.records)
