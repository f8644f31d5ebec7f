"""Contract cases: watches."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from miren.base.errors import Compacted, InvalidInput, Unavailable
from miren.entities.store.api import (
    Bookmark,
    Delete,
    KeyRange,
    Put,
    Revision,
    Store,
    StoreEvent,
)
from tests.contracts.store_reading import EVERYTHING, OpenStore, StoreFixture, delete, put

Items = AsyncIterator[Revision | Bookmark]


async def next_item(items: Items) -> Revision | Bookmark:
    async with asyncio.timeout(10):
        return await anext(items)


async def until_bookmark(items: Items) -> tuple[list[Revision], Bookmark]:
    """Read up to and including the next bookmark."""
    revisions = []
    while isinstance(item := await next_item(items), Revision):
        revisions.append(item)
    return revisions, item


async def until_revision(
    items: Items, revision: int, *, into: list[Revision] | None = None
) -> list[Revision]:
    """Read until everything up to `revision` is delivered; drop the bookmarks.

    Nothing comes that a bookmark before it has announced.
    """
    revisions: list[Revision] = [] if into is None else into
    told = -1
    while True:
        item = await next_item(items)
        assert item.revision > told - isinstance(item, Bookmark)
        told = item.revision
        if isinstance(item, Revision):
            revisions.append(item)
        if item.revision >= revision:
            return revisions


async def reach(store: Store, revision: int) -> None:
    """Wait until the store is at `revision`."""
    newest = (await store.status()).revision
    async with store.watch(EVERYTHING, after=newest) as items:
        await until_revision(items, revision)


async def _put_many(store: Store, number: int) -> None:
    """Write more in one revision than a few hundred of them leave unread for a slow reader."""
    await store.transact([], [Put(f"/{number}/{each}", b"") for each in range(20)])


class WatchContract(StoreFixture):
    async def test_a_watch_delivers_the_backlog_whole_and_then_a_bookmark(
        self, store: Store
    ) -> None:
        start = await put(store, "/a", b"1")
        old = await store.get("/a")
        second = await store.transact([], [Put("/b", b"1"), Put("/a", b"2"), Put("/other", b"")])
        a, b = (await store.list(KeyRange("/a", "/c"))).items
        third = await store.transact([], [Delete(EVERYTHING)])
        async with store.watch(KeyRange("/a", "/c"), after=start) as items:
            revisions = await until_revision(items, third.revision)
            none_left, bookmark = await until_bookmark(items)
        assert none_left == []
        assert revisions == [
            Revision(second.revision, (StoreEvent("/a", a, old), StoreEvent("/b", b, None))),
            Revision(third.revision, (StoreEvent("/a", None, a), StoreEvent("/b", None, b))),
        ]
        assert bookmark == Bookmark(third.revision)

    async def test_live_revisions_follow_the_backlog_without_gap_or_repeat(
        self, store: Store
    ) -> None:
        start = (await store.status()).revision

        async def write() -> None:
            for n in range(300):
                await store.transact([], [Put(f"/k/{n % 7}", b""), Put(f"/x/{n}", b"")])

        async def follow(begin: int) -> None:
            await reach(store, begin)
            async with store.watch(KeyRange.prefix("/k/"), after=start) as items:
                seen = await until_revision(items, start + 300)
            assert [item.revision for item in seen] == list(range(start + 1, start + 301))

        async with asyncio.timeout(20), asyncio.TaskGroup() as group:
            group.create_task(write())
            for begin in range(start, start + 301, 25):
                group.create_task(follow(begin))

    async def test_a_live_revision_equals_the_replayed_one(self, store: Store) -> None:
        start = (await store.status()).revision
        async with store.watch(EVERYTHING, after=start) as items:
            await until_bookmark(items)
            await store.transact([], [Put("/b", b"1"), Put("/a", b"1")])
            await put(store, "/a", b"2")
            last = await delete(store, "/b")
            live = await until_revision(items, last)
        async with store.watch(EVERYTHING, after=start) as items:
            assert await until_revision(items, last) == live

    async def test_an_up_to_date_watch_begins_with_a_bookmark(self, store: Store) -> None:
        revision = await put(store, "/a")
        async with store.watch(EVERYTHING, after=revision) as items:
            assert await next_item(items) == Bookmark(revision)
            changed = await put(store, "/a")
            item = await next_item(items)
            assert (type(item), item.revision) == (Revision, changed)

    async def test_a_list_and_a_watch_from_its_revision_miss_nothing(self, store: Store) -> None:
        keys = [f"/{n:03}" for n in range(200)]
        last = (await store.status()).revision + len(keys)

        async def write() -> None:
            for key in keys:
                await put(store, key)

        async def follow(begin: int) -> None:
            await reach(store, begin)
            page = await store.list(EVERYTHING)
            async with store.watch(EVERYTHING, after=page.revision) as items:
                later = await until_revision(items, last)
            seen = [item.key for item in page.items]
            assert seen + [event.key for item in later for event in item.events] == keys

        async with asyncio.timeout(20), asyncio.TaskGroup() as group:
            group.create_task(write())
            for begin in range(last - len(keys), last + 1, 20):
                group.create_task(follow(begin))

    async def test_a_bookmark_comes_after_fifty_revisions_of_no_concern(
        self, store: Store
    ) -> None:
        start = (await store.status()).revision
        async with store.watch(KeyRange.prefix("/mine/"), after=start) as items:
            assert await next_item(items) == Bookmark(start)
            for n in range(50):
                await put(store, f"/other/{n}")
            assert await next_item(items) == Bookmark(start + 50)
            revision = await put(store, "/mine/a")
            item = await next_item(items)
            assert (type(item), item.revision) == (Revision, revision)
            for n in range(120):
                await put(store, f"/other/{n}")
            item = await next_item(items)
            assert isinstance(item, Bookmark)
            assert revision + 50 <= item.revision <= revision + 120

    async def test_a_slow_reader_holds_up_nobody_and_loses_nothing(self, store: Store) -> None:
        count = 300
        start = (await store.status()).revision
        async with (
            store.watch(EVERYTHING, after=start) as slow,
            store.watch(EVERYTHING, after=start) as fast,
        ):
            await until_bookmark(slow)
            async with asyncio.timeout(30), asyncio.TaskGroup() as group:
                for n in range(count):
                    group.create_task(_put_many(store, n))
                seen = await until_revision(fast, start + count)
            expected = list(range(start + 1, start + count + 1))
            assert [item.revision for item in seen] == expected
            last = await put(store, "/last")
            seen = await until_revision(slow, last)
            assert [item.revision for item in seen] == [*expected, last]

    async def test_a_reader_that_fell_behind_a_compaction_is_told(self, store: Store) -> None:
        start = (await store.status()).revision
        async with store.watch(EVERYTHING, after=start) as items:
            await until_bookmark(items)
            async with asyncio.timeout(30), asyncio.TaskGroup() as group:
                for n in range(300):
                    group.create_task(_put_many(store, n))
            await store.compact(start + 300)
            delivered: list[Revision] = []
            with pytest.raises(Compacted) as caught:
                await until_revision(items, start + 300, into=delivered)
            assert caught.value.oldest == start + 300
            whole = [start + n for n in range(1, len(delivered) + 1)]
            assert [item.revision for item in delivered] == whole

    async def test_a_reader_that_keeps_up_survives_compaction(self, store: Store) -> None:
        start = (await store.status()).revision
        async with store.watch(EVERYTHING, after=start) as items:
            await until_bookmark(items)
            for n in range(5):
                revision = await put(store, f"/{n}")
                await store.compact(revision)
                item = await next_item(items)
                assert (type(item), item.revision) == (Revision, revision)

    async def test_watching_from_before_a_compaction_fails_on_the_first_read(
        self, store: Store
    ) -> None:
        first = await put(store, "/a", b"1")
        second = await put(store, "/a", b"2")
        for compacted in (first, second):
            await store.compact(compacted)
            async with store.watch(EVERYTHING, after=compacted - 1) as items:
                for _ in range(2):
                    with pytest.raises(Compacted) as caught:
                        await next_item(items)
                    assert caught.value.oldest == compacted
        async with store.watch(EVERYTHING, after=second) as items:
            assert await next_item(items) == Bookmark(second)

    async def test_events_after_a_compaction_still_know_the_previous_value(
        self, store: Store
    ) -> None:
        await put(store, "/a", b"1")
        compacted = await put(store, "/a", b"2")
        old = await store.get("/a")
        await delete(store, "/a")
        await store.compact(compacted)
        async with store.watch(EVERYTHING, after=compacted) as items:
            item = await next_item(items)
        assert item == Revision(compacted + 1, (StoreEvent("/a", None, old),))

    async def test_watching_from_the_future_is_invalid(self, store: Store) -> None:
        revision = (await store.status()).revision
        for after in (revision + 1, -1):
            with pytest.raises(InvalidInput):
                async with store.watch(EVERYTHING, after=after):
                    pass

    async def test_a_cancelled_read_loses_nothing(self, store: Store) -> None:
        start = (await store.status()).revision
        seen: list[Revision | Bookmark] = []
        async with store.watch(EVERYTHING, after=start) as items:
            for round in range(40):
                reading = asyncio.create_task(next_item(items))
                writing = asyncio.create_task(put(store, "/a"))
                for _ in range(round % 8):
                    await asyncio.sleep(0)
                reading.cancel()
                await asyncio.wait([reading, writing], timeout=5)
                if not reading.cancelled():
                    seen.append(reading.result())
            last = await put(store, "/a")
            seen += await until_revision(items, last)
        revisions = [item.revision for item in seen if isinstance(item, Revision)]
        assert revisions == list(range(start + 1, last + 1))

    async def test_closing_the_store_ends_its_watches(self, open_store: OpenStore) -> None:
        store = open_store()
        async with store:
            start = (await store.status()).revision
            watch = store.watch(EVERYTHING, after=start)
            items = await watch.__aenter__()
            idle = store.watch(EVERYTHING, after=start)
            unread = await idle.__aenter__()
            await until_bookmark(items)
            async with asyncio.TaskGroup() as group:
                waiting = group.create_task(self._expect_unavailable(items))
                await asyncio.sleep(0)
                await store.__aexit__(None, None, None)
            assert waiting.done()
        await self._expect_unavailable(unread)
        for each in (watch, idle):
            await each.__aexit__(None, None, None)

    @staticmethod
    async def _expect_unavailable(items: Items) -> None:
        with pytest.raises(Unavailable, match="the store is closed"):
            await next_item(items)

    async def test_a_closed_watch_says_so(self, store: Store) -> None:
        async with store.watch(EVERYTHING, after=0) as items:
            pass
        with pytest.raises(Unavailable):
            await next_item(items)
