from __future__ import annotations

import asyncio
import itertools
import shutil
from collections.abc import AsyncIterator, Iterator

import pytest

from miren.base.errors import Compacted, MirenError, StoreReset
from miren.entities.store.api import Bookmark, Delete, KeyRange, Put, Revision, Store
from miren.entities.store.etcd.client import Client
from miren.entities.store.etcd.identity import renew
from miren.entities.store.etcd.mapping import KeySpace
from miren.entities.store.etcd.store import EtcdStore
from miren.entities.store.etcd.watches import WatchStream
from tests.contracts.store_leases import keys_of, next_revision
from tests.contracts.store_reading import EVERYTHING, delete, put
from tests.contracts.store_watching import next_item, until_bookmark, until_revision
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


async def write_many(store: Store, count: int) -> list[int]:
    """Make `count` revisions and return them, in order."""
    limit = asyncio.Semaphore(64)

    async def one(n: int) -> int:
        async with limit:
            return await put(store, f"/{n % 97}", str(n).encode())

    return sorted(await asyncio.gather(*map(one, range(count))))


async def write(store: Store, count: int) -> int:
    """Make `count` revisions and return the last one."""
    return (await write_many(store, count))[-1]


async def raises(items: AsyncIterator[Revision | Bookmark], error: type[MirenError]) -> MirenError:
    """Read on until that error."""
    with pytest.raises(error) as caught:
        await until_revision(items, 1 << 60)
    return caught.value


async def test_a_backlog_goes_on_where_it_was_when_etcd_dies_in_its_middle(
    own_etcd: Member,
) -> None:
    count = 5000
    async with EtcdStore([own_etcd.endpoint]) as store:
        start = (await store.status()).revision
        written = await write_many(store, count)
    async with (
        EtcdStore([own_etcd.endpoint]) as store,
        store.watch(EVERYTHING, after=start) as items,
    ):
        seen = [await next_revision(items)]
        # Whoever reads slowly has no more of it sent than a few responses.
        stream = await _paused(store)
        assert stream.position < start + 4000
        seen += await until_revision(items, start + 1500)
        own_etcd.kill()
        own_etcd.start()
        seen += await until_revision(items, written[-1])
        assert [item.revision for item in seen] == written
        assert all(item.events[0].current for item in seen)
        assert sum(not item.events[0].previous for item in seen) == 97
        following = await put(store, "/after")
        assert (await next_revision(items)).revision == following


async def _paused(store: EtcdStore) -> WatchStream:
    """Wait until the only watch that catches up is paused, and return it."""
    assert store._open
    async with asyncio.timeout(10):
        while not any(  # noqa: ASYNC110
            stream.is_paused for stream in store._open.history._kept.values()
        ):
            await asyncio.sleep(0.01)
    (stream,) = store._open.history._kept.values()
    return stream


async def test_a_live_watch_misses_nothing_while_etcd_restarts(own_etcd: Member) -> None:
    async with EtcdStore([own_etcd.endpoint]) as store:
        start = (await store.status()).revision
        async with store.watch(EVERYTHING, after=start) as items:
            written = []
            for _ in range(3):
                written += await write_many(store, 300)
                own_etcd.kill()
                own_etcd.start()
                await own_etcd.until_ready()
            written += await write_many(store, 300)
            seen = await until_revision(items, written[-1])
        # A revision in between may be the tick of a store that doubts its watch.
        assert [item.revision for item in seen] == written


async def test_what_happened_while_a_store_was_cut_off_comes_afterwards(own_etcd: Member) -> None:
    door = Door(own_etcd)
    async with (
        EtcdStore([own_etcd.endpoint]) as inside,
        EtcdStore([door.endpoint]) as outside,
    ):
        start = await put(inside, "/a")
        async with outside.watch(EVERYTHING, after=start) as items:
            assert await next_item(items) == Bookmark(start)
            await door.close()
            written = await write_many(inside, 1200)
            door.open()
            seen = await until_revision(items, written[-1])
        assert [item.revision for item in seen] == written


async def test_a_compaction_of_what_a_cut_off_store_missed_ends_its_watches(
    own_etcd: Member,
) -> None:
    door = Door(own_etcd)
    async with (
        EtcdStore([own_etcd.endpoint]) as inside,
        EtcdStore([door.endpoint]) as outside,
    ):
        start = await put(inside, "/a")
        async with outside.watch(EVERYTHING, after=start - 1) as items:
            assert (await next_revision(items)).revision == start
            await door.close()
            compacted = await delete(inside, "/a")
            last = await put(inside, "/b")
            # etcd would leave the deletion out and say nothing of it.
            own_etcd.control("compact", str(compacted), "--physical")
            door.open()
            error = await raises(items, Compacted)
            assert isinstance(error, Compacted)
            assert error.oldest == compacted
        page = await outside.list(EVERYTHING)
        assert ([item.key for item in page.items], page.revision) == (["/b"], last)
        async with outside.watch(EVERYTHING, after=page.revision) as items:
            following = await put(inside, "/c")
            assert (await next_revision(items)).revision == following
        with pytest.raises(Compacted):
            await outside.get("/a", revision=start)


async def test_a_deletion_in_the_compacted_revision_is_not_skipped(store: Store) -> None:
    before = await put(store, "/a")
    deleted = await delete(store, "/a")
    await put(store, "/b")
    await store.compact(deleted)
    async with store.watch(EVERYTHING, after=before) as items:
        error = await raises(items, Compacted)
        assert isinstance(error, Compacted)
        assert error.oldest == deleted
    async with store.watch(EVERYTHING, after=deleted) as items:
        assert [event.key for event in (await next_revision(items)).events] == ["/b"]


async def test_a_new_identity_ends_every_watch(store: Store, etcd: Member, prefix: str) -> None:
    before = await store.status()
    space = KeySpace(prefix)
    async with store.watch(EVERYTHING, after=before.revision) as items:
        await next_item(items)
        async with Client(endpoints=[etcd.endpoint]) as client:
            uuid = await renew(client, space)
        await raises(items, StoreReset)
    status = await store.status()
    assert status.uuid == uuid != before.uuid
    async with store.watch(EVERYTHING, after=status.revision) as items:
        revision = await put(store, "/a")
        assert (await next_revision(items)).revision == revision
    # What was before the change is another history.
    async with store.watch(EVERYTHING, after=before.revision) as items:
        await raises(items, StoreReset)


async def test_another_etcd_in_the_place_of_the_first_is_found_out(own_etcd: Member) -> None:
    async with EtcdStore([own_etcd.endpoint]) as store:
        before = await write(store, 20)
        uuid = (await store.status()).uuid
        async with store.watch(EVERYTHING, after=before) as items:
            await next_item(items)
            own_etcd.kill()
            shutil.rmtree(own_etcd.folder / "solo.data")
            own_etcd.start()
            await raises(items, StoreReset)
        status = await store.status()
        assert status.uuid != uuid
        assert status.revision < before
        async with store.watch(EVERYTHING, after=status.revision) as items:
            revision = await put(store, "/a")
            assert (await next_revision(items)).revision == revision


async def test_another_history_that_has_gone_further_is_found_out(own_etcd: Member) -> None:
    door = Door(own_etcd)
    async with EtcdStore([door.endpoint]) as store:
        before = await write(store, 20)
        async with store.watch(EVERYTHING, after=before) as items:
            await next_item(items)
            shutil.rmtree(own_etcd.folder / "solo.data")
            await door.close()
            async with EtcdStore([own_etcd.endpoint]) as other:
                status = await other.status()
                last = await write(other, before + 50)
            door.open()
            await raises(items, StoreReset)
        assert (await store.status()).uuid == status.uuid
        assert (await store.list(EVERYTHING)).revision == last


async def test_a_history_cut_back_under_the_same_identity_is_found_out(own_etcd: Member) -> None:
    door = Door(own_etcd)
    async with EtcdStore([door.endpoint]) as store:
        before = await write(store, 20)
        uuid = (await store.status()).uuid
        async with store.watch(EVERYTHING, after=before) as items:
            await next_item(items)
            shutil.rmtree(own_etcd.folder / "solo.data")
            await door.close()
            own_etcd.control("put", "/miren/m/store", uuid)
            door.open()
            await raises(items, StoreReset)
        assert (await store.status()).revision < before
        assert await keys_of(store) == []


async def test_a_revision_in_fragments_is_delivered_whole(store: Store) -> None:
    # Both values make more than etcd sends at once, each alone less than it takes at once.
    values = [bytes([65 + n]) * 11_000 for n in range(2)]
    for value in values:
        last = (await store.transact([], [Put(f"/{n:03}", value) for n in range(120)])).revision
    async with store.watch(EVERYTHING, after=last - 1) as items:
        revision = await next_revision(items)
    assert [event.key for event in revision.events] == [f"/{n:03}" for n in range(120)]
    for event in revision.events:
        assert event.current
        assert event.previous
        assert [event.previous.value, event.current.value] == values


async def test_a_backlog_that_ends_with_somebody_elses_revisions_comes_to_its_end(
    etcd: Member, prefix: str
) -> None:
    async with (
        EtcdStore([etcd.endpoint], prefix=f"{prefix}/mine") as first,
        EtcdStore([etcd.endpoint], prefix=f"{prefix}/other") as other,
    ):
        start = (await first.status()).revision
        mine = await put(first, "/a")
        foreign = await write(other, 30)
        async with (
            EtcdStore([etcd.endpoint], prefix=f"{prefix}/mine") as second,
            second.watch(EVERYTHING, after=start) as items,
        ):
            revisions, bookmark = await until_bookmark(items)
            assert [item.revision for item in revisions] == [mine]
            assert bookmark.revision >= foreign


async def test_who_saw_somebody_elses_revision_gets_a_bookmark_for_it(
    etcd: Member, prefix: str
) -> None:
    async with (
        EtcdStore([etcd.endpoint], prefix=f"{prefix}/mine") as mine,
        EtcdStore([etcd.endpoint], prefix=f"{prefix}/other") as other,
    ):
        start = await put(mine, "/a")
        foreign = await put(other, "/a")
        page = await mine.list(EVERYTHING)
        assert page.revision == foreign
        async with (
            mine.watch(EVERYTHING, after=page.revision) as ahead,
            mine.watch(EVERYTHING, after=start) as behind,
        ):
            assert await next_item(ahead) == Bookmark(foreign)
            item = await next_item(behind)
            assert isinstance(item, Bookmark)
            assert item.revision >= foreign
            revision = await put(mine, "/b")
            for items in (ahead, behind):
                assert (await next_revision(items)).revision == revision


async def test_a_store_to_which_nothing_happens_moves_on_with_its_cluster(
    etcd: Member, prefix: str
) -> None:
    async with (
        EtcdStore([etcd.endpoint], prefix=f"{prefix}/mine", silence=0.1) as mine,
        EtcdStore([etcd.endpoint], prefix=f"{prefix}/other") as other,
    ):
        start = (await mine.status()).revision
        async with mine.watch(EVERYTHING, after=start) as items:
            await next_item(items)
            foreign = await write(other, 60)
            item = await next_item(items)
            assert isinstance(item, Bookmark)
            assert item.revision >= start + 50
            if item.revision < foreign:
                await until_revision(items, foreign)
        assert await keys_of(mine) == []


async def test_a_store_to_which_nothing_happens_writes_nothing(etcd: Member, prefix: str) -> None:
    async with EtcdStore([etcd.endpoint], prefix=prefix, silence=0.02) as store:
        revision = await put(store, "/a")
        async with store.watch(EVERYTHING, after=revision) as items:
            assert await next_item(items) == Bookmark(revision)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(anext(items), 0.5)
        assert (await store.status()).revision == revision


async def test_readers_of_one_backlog_do_not_disturb_each_other(store: Store) -> None:
    start = (await store.status()).revision
    for n in range(30):
        await store.transact([], [Put(f"/{n % 3}/{k}", b"") for k in range(20)])
    last = await delete(store, "/0/0")
    spans = [KeyRange.prefix(f"/{n}/") for n in range(3)] * 3

    async def read(span: KeyRange, after: int) -> list[Revision]:
        async with store.watch(span, after=after) as items:
            return await until_revision(items, last)

    found = await asyncio.gather(*(read(span, start + n) for n, span in enumerate(spans)))
    for n, seen in enumerate(found):
        expected = [at for at in range(start + 1, last) if (at - start - 1) % 3 == n % 3]
        expected = [at for at in expected if at > start + n]
        if n % 3 == 0:
            expected.append(last)
        assert [item.revision for item in seen] == expected


@pytest.mark.parametrize("part", [1, 7, 100])
async def test_a_history_read_in_parts_is_whole(store: EtcdStore, part: int) -> None:
    start = (await store.status()).revision
    last = await write(store, 100)
    assert store._open
    history = store._open.history
    async with store.watch(EVERYTHING, after=last):  # without one, etcd is not listened to
        whole, reached = await history.replay(EVERYTHING, after=start, through=last)
        assert reached == last
        found: list[Revision] = []
        at = start
        while at < last:
            through = min(at + part, last)
            revisions, at = await history.replay(EVERYTHING, after=at, through=through)
            assert at <= through
            found += revisions
    assert found == whole
    assert [item.revision for item in found] == list(range(start + 1, last + 1))


async def test_a_stuck_watch_is_made_anew(store: EtcdStore) -> None:
    start = (await store.status()).revision
    async with store.watch(EVERYTHING, after=start) as items:
        await next_item(items)
        assert store._open
        store._open.history._watches.interrupt()
        written = await write_many(store, 200)
        seen = await until_revision(items, written[-1])
        assert [item.revision for item in seen] == written
        store._open.history._watches.interrupt()
        result = await store.transact([], [Delete(EVERYTHING)])
        revision = await next_revision(items)
        assert revision.revision == result.revision
        assert len(revision.events) == 97
