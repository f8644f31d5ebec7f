"""The root watch, which begins with the first watch: nothing is lost by its not being there."""

from __future__ import annotations

import asyncio
import itertools
import shutil
from collections.abc import AsyncIterator, Iterator

import pytest

from miren.base.errors import Compacted, InvalidInput, StoreReset
from miren.entities.store.api import Bookmark, Delete, Put
from miren.entities.store.etcd.client import Client
from miren.entities.store.etcd.identity import renew
from miren.entities.store.etcd.mapping import KeySpace
from miren.entities.store.etcd.messages import message
from miren.entities.store.etcd.store import EtcdStore
from tests.contracts.store_leases import next_revision
from tests.contracts.store_reading import EVERYTHING, delete, put
from tests.contracts.store_watching import next_item, until_revision
from tests.entities.store.etcd.cutting import Door
from tests.etcd import Member, running_etcd

_numbers = itertools.count()


@pytest.fixture(scope="module")
def etcd() -> Iterator[Member]:
    with running_etcd() as member:
        yield member


@pytest.fixture
def own_etcd() -> Iterator[Member]:
    """Run an etcd for a test that does something to it."""
    with running_etcd() as member:
        yield member


@pytest.fixture
def prefix() -> str:
    return f"/{next(_numbers)}"


@pytest.fixture
async def store(etcd: Member, prefix: str) -> AsyncIterator[EtcdStore]:
    async with EtcdStore([etcd.endpoint], prefix=prefix) as store:
        yield store


@pytest.fixture
async def other(etcd: Member, prefix: str) -> AsyncIterator[EtcdStore]:
    """Yield the same store, open a second time: what is done here `store` has not heard of."""
    async with EtcdStore([etcd.endpoint], prefix=prefix) as other:
        yield other


async def write(store: EtcdStore, count: int) -> list[int]:
    """Make `count` revisions, one after the other, and return them."""
    return [await put(store, f"/{n % 7}") for n in range(count)]


async def restart_empty(etcd: Member) -> None:
    """Put another etcd in the place of this one, which has nothing."""
    etcd.kill()
    shutil.rmtree(etcd.folder / "solo.data")
    etcd.start()
    await etcd.until_ready()


async def test_nobody_is_told_of_writes_before_the_first_watch(own_etcd: Member) -> None:
    async with EtcdStore([own_etcd.endpoint]) as store:
        last = (await write(store, 5))[-1]
        await store.compact(last - 1)
        assert own_etcd.metric("etcd_debugging_mvcc_watcher_total") == 0
        for _ in range(2):
            async with store.watch(EVERYTHING, after=last) as items:
                last = await put(store, "/a")
                assert (await next_revision(items)).revision == last
                assert own_etcd.metric("etcd_debugging_mvcc_watcher_total") == 1


@pytest.mark.parametrize("known", [True, False])
async def test_a_first_watch_delivers_what_was_and_what_is_written_meanwhile(
    store: EtcdStore, other: EtcdStore, *, known: bool
) -> None:
    start = await put(store, "/a")
    written = await write(other, 60)
    if known:
        await store.status()
    writing = asyncio.create_task(write(other, 200))
    async with store.watch(EVERYTHING, after=start) as items:
        seen = [await next_revision(items)]
        written += await writing
        seen += await until_revision(items, written[-1])
    assert [item.revision for item in seen] == written


async def test_after_ones_own_writes_a_first_watch_writes_nothing(store: EtcdStore) -> None:
    start = (await store.status()).revision
    await put(store, "/a")
    await store.transact([], [Put("/b", b""), Put("/c", b"")])
    last = await delete(store, "/a")
    async with store.watch(EVERYTHING, after=start) as items:
        seen = await until_revision(items, last)
        assert await next_item(items) == Bookmark(last)
    assert [item.revision for item in seen] == list(range(start + 1, last + 1))
    assert (await store.status()).revision == last


async def test_a_first_watch_needs_no_history_from_before_its_start(
    store: EtcdStore, other: EtcdStore
) -> None:
    await write(other, 30)
    start = await delete(other, "/0")
    await other.compact(start)
    # The store has not heard of `start` yet, and what followed what it knows is gone.
    async with store.watch(EVERYTHING, after=start) as items:
        last = await put(other, "/b")
        assert (await next_revision(items)).revision == last


async def test_a_first_watch_of_history_that_is_gone_says_so(
    store: EtcdStore, other: EtcdStore
) -> None:
    start = await put(store, "/a")
    compacted = await delete(other, "/a")
    await put(other, "/b")
    await other.compact(compacted)
    async with store.watch(EVERYTHING, after=start) as items:
        with pytest.raises(Compacted):
            await until_revision(items, compacted)
    async with store.watch(EVERYTHING, after=compacted) as items:
        assert [event.key for event in (await next_revision(items)).events] == ["/b"]


async def test_a_first_watch_of_the_future_is_invalid_and_the_next_one_works(
    store: EtcdStore,
) -> None:
    last = await put(store, "/a")
    with pytest.raises(InvalidInput):
        async with store.watch(EVERYTHING, after=last + 1000):
            pass
    async with store.watch(EVERYTHING, after=last) as items:
        assert await next_item(items) == Bookmark(last)


async def test_a_first_watch_may_begin_while_etcd_is_away(own_etcd: Member) -> None:
    async with EtcdStore([own_etcd.endpoint]) as store:
        last = await put(store, "/a")
        own_etcd.kill()
        async with store.watch(EVERYTHING, after=last) as items:
            own_etcd.start()
            await own_etcd.until_ready()
            last = await put(store, "/b")
            assert (await next_revision(items)).revision == last


async def test_a_compaction_waits_for_nothing_where_nobody_watches(
    store: EtcdStore, etcd: Member, prefix: str
) -> None:
    start = await put(store, "/a")
    async with EtcdStore([etcd.endpoint], prefix=f"{prefix}/foreign") as foreign:
        last = (await write(foreign, 5))[-1]
    await store.compact(last)
    status = await store.status()
    assert (status.revision, status.compacted) == (last, last)
    async with store.watch(EVERYTHING, after=last) as items:
        assert (await put(store, "/b"), await put(store, "/c")) == (last + 1, last + 2)
        assert [(await next_revision(items)).revision for _ in range(2)] == [last + 1, last + 2]
    async with store.watch(EVERYTHING, after=start) as items:
        with pytest.raises(Compacted):
            await next_item(items)


async def test_compactions_and_a_first_watch_at_once_lose_nothing(
    store: EtcdStore, other: EtcdStore
) -> None:
    start = await put(store, "/a")
    writing = asyncio.create_task(write(other, 100))
    compacting = asyncio.create_task(store.compact(start))
    async with store.watch(EVERYTHING, after=start) as items:
        seen = [await next_revision(items)]
        written = await writing
        seen += await until_revision(items, written[-1])
    await compacting
    assert [item.revision for item in seen] == written


async def test_a_store_that_nobody_watches_writes_nothing(etcd: Member, prefix: str) -> None:
    async with (
        EtcdStore([etcd.endpoint], prefix=f"{prefix}/mine", silence=0.001) as mine,
        EtcdStore([etcd.endpoint], prefix=f"{prefix}/other") as other,
        Client(endpoints=[etcd.endpoint]) as client,
    ):
        for _ in range(30):
            await put(other, "/a")
            await mine.status()
        tick = message("RangeRequest")(key=KeySpace(f"{prefix}/mine").tick)
        assert not (await client.range(tick)).kvs


async def test_an_identity_renewed_while_nobody_watched_ends_the_first_watch(
    store: EtcdStore, etcd: Member, prefix: str
) -> None:
    start = await put(store, "/a")
    async with Client(endpoints=[etcd.endpoint]) as client:
        uuid = await renew(client, KeySpace(prefix))
    last = await put(store, "/b")
    async with store.watch(EVERYTHING, after=start) as items:
        with pytest.raises(StoreReset):
            await until_revision(items, last)
    status = await store.status()
    assert status.uuid == uuid
    async with store.watch(EVERYTHING, after=status.revision) as items:
        last = await put(store, "/c")
        assert (await next_revision(items)).revision == last


@pytest.mark.parametrize("further", [True, False])
async def test_another_etcd_found_by_the_first_watch_ends_it(
    own_etcd: Member, *, further: bool
) -> None:
    async with EtcdStore([own_etcd.endpoint]) as store:
        last = (await write(store, 20))[-1]
        await restart_empty(own_etcd)
        if further:
            async with EtcdStore([own_etcd.endpoint]) as other:
                await write(other, 60)
        async with store.watch(EVERYTHING, after=last) as items:
            with pytest.raises(StoreReset):
                await until_revision(items, 1 << 60)
        status = await store.status()
        async with store.watch(EVERYTHING, after=status.revision) as items:
            last = await put(store, "/c")
            assert (await next_revision(items)).revision == last


async def test_another_etcd_is_used_like_the_first_while_nobody_watches(own_etcd: Member) -> None:
    async with EtcdStore([own_etcd.endpoint]) as earlier:
        compacted = (await write(earlier, 60))[-1]
    async with EtcdStore([own_etcd.endpoint]) as store:
        before = await store.status()
        await store.compact(compacted)
        await restart_empty(own_etcd)
        status = await store.status()
        assert status.uuid != before.uuid
        assert (status.revision < 10, status.compacted) == (True, 0)
        written = await write(store, 20)
        await store.compact(written[9])
        assert (await store.status()).compacted == written[9]
        with pytest.raises(Compacted) as caught:
            await store.get("/0", revision=written[3])
        assert caught.value.oldest == written[9]
        async with store.watch(EVERYTHING, after=written[-1]) as items:
            assert await next_item(items) == Bookmark(written[-1])
        async with store.watch(EVERYTHING, after=written[9]) as items:
            seen = await until_revision(items, written[-1])
            assert [item.revision for item in seen] == written[10:]
            last = await put(store, "/c")
            assert (await next_revision(items)).revision == last


async def test_reading_what_is_compacted_in_another_etcd_says_so(own_etcd: Member) -> None:
    async with EtcdStore([own_etcd.endpoint]) as store:
        await store.compact((await write(store, 60))[-1])
        await restart_empty(own_etcd)
        async with EtcdStore([own_etcd.endpoint]) as other:
            written = await write(other, 10)
            await other.compact(written[5])
        with pytest.raises(Compacted) as caught:
            await store.list(EVERYTHING, revision=written[2])
        assert caught.value.oldest == written[5]


async def test_a_first_watch_of_a_store_that_is_cut_off_ends_with_what_it_missed(
    own_etcd: Member,
) -> None:
    door = Door(own_etcd)
    async with (
        EtcdStore([own_etcd.endpoint]) as inside,
        EtcdStore([door.endpoint]) as outside,
    ):
        start = await put(outside, "/a")
        await door.close()
        async with outside.watch(EVERYTHING, after=start) as items:
            written = await write(inside, 30)
            written.append((await inside.transact([], [Delete(EVERYTHING)])).revision)
            door.open()
            seen = await until_revision(items, written[-1])
        assert [item.revision for item in seen] == written
