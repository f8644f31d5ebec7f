"""Contract cases: leases. Times are short, and asked for again: a store may grant longer ones.

They pass by `pass_time`: really, unless a backend's tests have a clock to turn.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from miren.base.errors import InvalidInput, NotFound, Unavailable
from miren.entities.store.api import (
    NO_LEASE,
    Bookmark,
    Compare,
    Delete,
    KeyRange,
    KeyValue,
    Lease,
    Put,
    Revision,
    Store,
    StoreEvent,
)
from tests.contracts.store_reading import EVERYTHING, OpenStore, StoreFixture, delete, put

SHORT, KEPT, LONG = 0.2, 0.6, 600.0

PassTime = Callable[[float], Awaitable[object]]


async def next_revision(items: AsyncIterator[Revision | Bookmark]) -> Revision:
    """Read up to the next revision; drop the bookmarks before it."""
    async with asyncio.timeout(20):
        while not isinstance(item := await anext(items), Revision):
            pass
        return item


async def put_leased(store: Store, lease: Lease, *keys: str) -> int:
    """Attach keys to a lease in one revision, and return that."""
    return (await store.transact([], [Put(key, b"leased", lease) for key in keys])).revision


async def keys_of(store: Store) -> list[str]:
    return [item.key for item in (await store.list(EVERYTHING)).items]


async def outlast(store: Store, lease: Lease, pass_time: PassTime) -> None:
    """Let a lease's whole time pass."""
    await pass_time((await store.lease(lease)).ttl)


class LeaseContract(StoreFixture):
    @pytest.fixture
    def pass_time(self) -> PassTime:
        """Return what lets seconds pass for the store's leases."""
        return asyncio.sleep

    async def test_a_key_tells_its_lease_wherever_it_is_shown(self, store: Store) -> None:
        lease = await store.grant(LONG)
        created = await put_leased(store, lease, "/a")
        changed = await put(store, "/a", b"plain")
        leased = KeyValue("/a", b"leased", created, created, 1, lease)
        plain = KeyValue("/a", b"plain", created, changed, 2, NO_LEASE)
        assert await store.get("/a", revision=created) == leased
        assert await store.get("/a") == plain
        for revision, item in ((created, leased), (changed, plain)):
            for limit in (0, 1):
                page = await store.list(EVERYTHING, revision=revision, limit=limit)
                assert page.items == (item,)
        async with store.watch(EVERYTHING, after=created - 1) as items:
            assert (await next_revision(items)).events == (StoreEvent("/a", leased, None),)
            assert (await next_revision(items)).events == (StoreEvent("/a", plain, leased),)

    async def test_a_lease_that_expires_takes_its_keys_in_one_revision(
        self, store: Store, pass_time: PassTime
    ) -> None:
        await put(store, "/stays")
        lease = await store.grant(SHORT)
        revision = await put_leased(store, lease, "/c", "/a", "/b")
        async with store.watch(EVERYTHING, after=revision) as items:
            await outlast(store, lease, pass_time)
            ended = await next_revision(items)
        assert ended.revision == revision + 1
        assert ended.events == tuple(
            StoreEvent(key, None, KeyValue(key, b"leased", revision, revision, 1, lease))
            for key in ("/a", "/b", "/c")
        )
        assert await keys_of(store) == ["/stays"]
        assert (await store.status()).revision == ended.revision

    async def test_a_revoked_lease_takes_its_keys_in_one_revision(self, store: Store) -> None:
        lease, other = await store.grant(LONG), await store.grant(LONG)
        assert lease != other
        await put_leased(store, other, "/other")
        revision = await put_leased(store, lease, "/a", "/b")
        async with store.watch(EVERYTHING, after=revision) as items:
            await store.revoke(lease)
            assert await keys_of(store) == ["/other"]
            ended = await next_revision(items)
        assert [event.key for event in ended.events] == ["/a", "/b"]
        assert (await store.status()).revision == ended.revision == revision + 1
        assert (await store.lease(other)).keys == ("/other",)

    async def test_the_end_of_a_lease_without_keys_makes_no_revision(self, store: Store) -> None:
        revision = await put(store, "/a")
        await store.revoke(await store.grant(LONG))
        assert (await store.status()).revision == revision

    async def test_a_lease_tells_how_long_it_lasts_and_what_it_holds(self, store: Store) -> None:
        lease = await store.grant(LONG)
        await put_leased(store, lease, "/b", "/a")
        status = await store.lease(lease)
        assert status.ttl == LONG
        assert LONG - 20 < status.remaining <= LONG
        assert status.keys == ("/a", "/b")

    async def test_a_lease_kept_alive_outlasts_its_time_and_makes_no_revision(
        self, store: Store, pass_time: PassTime
    ) -> None:
        lease = await store.grant(KEPT)
        ttl = (await store.lease(lease)).ttl
        revision = await put_leased(store, lease, "/a")
        for _ in range(15):
            await pass_time(ttl / 10)
            before = (await store.lease(lease)).remaining
            assert await store.keep_alive(lease) == ttl
            assert (await store.lease(lease)).remaining > before - self.lease_unit
        assert (await store.status()).revision == revision
        async with store.watch(EVERYTHING, after=revision) as items:
            await pass_time(ttl)
            assert (await next_revision(items)).events[0].key == "/a"

    async def test_what_ended_is_not_found_by_any_call(
        self, store: Store, pass_time: PassTime
    ) -> None:
        revoked, expired = await store.grant(LONG), await store.grant(SHORT)
        revision = await put_leased(store, expired, "/a")
        async with store.watch(EVERYTHING, after=revision) as items:
            await outlast(store, expired, pass_time)
            await next_revision(items)
        await store.revoke(revoked)
        revision = (await store.status()).revision
        for lease in (revoked, expired, Lease(987_654_321)):
            for call in (store.keep_alive, store.revoke, store.lease):
                with pytest.raises(NotFound):
                    await call(lease)
            with pytest.raises(NotFound):
                await store.transact([], [Put("/b", b""), Put("/a", b"", lease)])
        assert await keys_of(store) == []
        assert (await store.status()).revision == revision

    async def test_only_the_branch_that_runs_needs_its_leases(self, store: Store) -> None:
        missing = Put("/a", b"", Lease(987_654_321))
        result = await store.transact([Compare.exists("/a")], [missing], [Put("/b", b"")])
        assert not result.succeeded
        with pytest.raises(NotFound):
            await store.transact([Compare.exists("/a")], [], [missing])
        assert await keys_of(store) == ["/b"]

    async def test_a_key_put_without_its_lease_stays_when_that_ends(self, store: Store) -> None:
        lease, later = await store.grant(LONG), await store.grant(LONG)
        await put_leased(store, lease, "/plain", "/moved", "/deleted", "/again", "/kept")
        await put(store, "/plain")
        await put_leased(store, later, "/moved")
        await delete(store, "/deleted")
        await put(store, "/deleted")
        await put_leased(store, lease, "/again")
        assert (await store.lease(lease)).keys == ("/again", "/kept")
        await store.revoke(lease)
        assert await keys_of(store) == ["/deleted", "/moved", "/plain"]
        await store.revoke(later)
        assert await keys_of(store) == ["/deleted", "/plain"]

    async def test_a_deleted_range_leaves_its_leases(self, store: Store) -> None:
        lease = await store.grant(LONG)
        await put_leased(store, lease, "/a/1", "/a/2", "/b")
        await store.transact([], [Delete(KeyRange.prefix("/a/"))])
        assert (await store.lease(lease)).keys == ("/b",)

    @pytest.mark.parametrize("ttl", [0, -1, math.inf, math.nan, 1e12])
    async def test_a_lease_needs_a_time_that_passes(self, store: Store, ttl: float) -> None:
        with pytest.raises(InvalidInput):
            await store.grant(ttl)

    async def test_a_cancelled_revocation_happens_wholly_or_not_at_all(self, store: Store) -> None:
        for round in range(10):
            lease = await store.grant(LONG)
            await put_leased(store, lease, f"/{round}/a", f"/{round}/b")
            revoking = asyncio.create_task(store.revoke(lease))
            await asyncio.sleep(0)
            revoking.cancel()
            await asyncio.wait([revoking], timeout=5)
            await put(store, "/after")
            left = (await store.list(KeyRange.prefix(f"/{round}/"))).items
            if left:
                assert (await store.lease(lease)).keys == (f"/{round}/a", f"/{round}/b")
            else:
                with pytest.raises(NotFound):
                    await store.keep_alive(lease)

    async def test_leases_that_end_at_once_each_make_their_revision(
        self, store: Store, pass_time: PassTime
    ) -> None:
        leases = [await store.grant(SHORT) for _ in range(20)]
        revision = 0
        for number, lease in enumerate(leases):
            revision = await put_leased(store, lease, f"/{number}/a", f"/{number}/b")
        async with store.watch(EVERYTHING, after=revision) as items:
            await outlast(store, leases[-1], pass_time)
            for number in range(1, 21):
                ended = await next_revision(items)
                assert ended.revision == revision + number
                assert len({event.key.split("/")[1] for event in ended.events}) == 1
                assert len(ended.events) == 2
        assert await keys_of(store) == []

    async def test_after_a_restart_a_lease_lasts_its_whole_time_again(
        self, open_store: OpenStore, pass_time: PassTime
    ) -> None:
        async with open_store() as store:
            lease, long = await store.grant(KEPT), await store.grant(LONG)
            revision = await put_leased(store, lease, "/a")
            await put_leased(store, long, "/b")
            ttl = (await store.lease(lease)).ttl
            await pass_time(ttl / 2)
            before = (await store.lease(lease)).remaining
        with pytest.raises(Unavailable):
            await store.keep_alive(lease)
        async with open_store() as store:
            assert (await store.lease(lease)).remaining > before
            assert await keys_of(store) == ["/a", "/b"]
            async with store.watch(EVERYTHING, after=revision + 1) as items:
                await pass_time(ttl)
                assert [event.key for event in (await next_revision(items)).events] == ["/a"]
            assert (await store.lease(long)).keys == ("/b",)
        async with open_store() as store:
            with pytest.raises(NotFound):
                await store.lease(lease)
