"""Contract cases: what a store shows of its keys, now and at older revisions."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace

import pytest

from miren.base.errors import Compacted, InvalidInput, Refused, Unavailable
from miren.entities.store.api import Delete, KeyRange, KeyValue, Put, Store

EVERYTHING = KeyRange("\0", "\U0010ffff")

OpenStore = Callable[[], Store]


async def put(store: Store, key: str, value: bytes = b"") -> int:
    """Write one key and return the revision it made."""
    return (await store.transact([], [Put(key, value)])).revision


async def delete(store: Store, key: str) -> int:
    """Delete one key and return the store's revision after it."""
    return (await store.transact([], [Delete(KeyRange.key(key))])).revision


class StoreFixture:
    """Gives each case one open, empty store."""

    #: To how many seconds the store rounds what remains of a lease.
    lease_unit = 0.0

    @pytest.fixture
    def open_store(self) -> OpenStore:
        """Return a function that makes an unopened store over the same data at each call."""
        raise NotImplementedError

    @pytest.fixture
    async def store(self, open_store: OpenStore) -> AsyncIterator[Store]:
        async with open_store() as store:
            yield store


class ReadingContract(StoreFixture):
    async def test_a_written_key_is_read_back_with_its_history(self, store: Store) -> None:
        created = await put(store, "/a", b"1")
        changed = await put(store, "/a", b"2")
        assert await store.get("/a") == KeyValue("/a", b"2", created, changed, 2)
        assert await store.get("/b") is None

    async def test_an_empty_value_is_a_value(self, store: Store) -> None:
        await put(store, "/a", b"")
        found = await store.get("/a")
        assert found is not None
        assert found.value == b""

    async def test_a_key_created_again_starts_a_new_history(self, store: Store) -> None:
        await put(store, "/a")
        await delete(store, "/a")
        created = await put(store, "/a", b"new")
        assert await store.get("/a") == KeyValue("/a", b"new", created, created, 1)

    async def test_old_revisions_show_what_the_keys_were_then(self, store: Store) -> None:
        before = (await store.status()).revision
        first = await put(store, "/a", b"1")
        second = await put(store, "/a", b"2")
        gone = await delete(store, "/a")
        await put(store, "/a", b"3")
        seen = [await store.get("/a", revision=at) for at in (before, first, second, gone)]
        assert [item and item.value for item in seen] == [None, b"1", b"2", None]
        lists = [await store.list(EVERYTHING, revision=at) for at in (before, first, second, gone)]
        assert [page.items for page in lists] == [(item,) if item else () for item in seen]
        assert [page.revision for page in lists] == [before, first, second, gone]

    async def test_a_list_holds_its_range_in_code_point_order(self, store: Store) -> None:
        keys = ["/a", "/a\0", "/a/b", "/aé", "/a\ud7ff", "/a\uffff", "/a\U0001f600", "/b"]
        for key in reversed(keys):
            await put(store, key)
        page = await store.list(KeyRange.prefix("/a"))
        assert [item.key for item in page.items] == keys[:-1]
        # The end of this range is a lone surrogate, which is a place and not a key.
        page = await store.list(KeyRange.prefix("/a\ud7ff"))
        assert [item.key for item in page.items] == ["/a\ud7ff"]
        assert (await store.list(KeyRange("/b", "/a"))).items == ()

    async def test_pages_of_the_first_pages_revision_are_one_snapshot(self, store: Store) -> None:
        await store.transact([], [Put(f"/k/{n}", b"old") for n in range(7)])
        first = await store.list(KeyRange.prefix("/k/"), limit=3)
        seen, more = list(first.items), first.more
        while more:
            await store.transact([], [Delete(KeyRange.key("/k/4")), Put("/k/5", b"new")])
            await put(store, f"/k/35{len(seen)}")
            page = await store.list(
                KeyRange.prefix("/k/"), revision=first.revision, limit=3, after=seen[-1].key
            )
            assert page.revision == first.revision
            seen += page.items
            more = page.more
        assert [item.key for item in seen] == [f"/k/{n}" for n in range(7)]
        assert {item.value for item in seen} == {b"old"}

    async def test_more_is_said_only_when_keys_follow(self, store: Store) -> None:
        await store.transact([], [Put(f"/k/{n}", b"") for n in range(4)])
        keys = KeyRange.prefix("/k/")
        more = [(await store.list(keys, limit=limit)).more for limit in (3, 4, 5, 0)]
        assert more == [True, False, False, False]
        assert not (await store.list(keys, limit=1, after="/k/2")).more
        assert [item.key for item in (await store.list(keys, after="/k/15")).items] == [
            "/k/2",
            "/k/3",
        ]
        assert len((await store.list(keys, after="/")).items) == 4

    async def test_a_list_of_keys_only_leaves_the_values_out(self, store: Store) -> None:
        revision = await put(store, "/a", b"long")
        await put(store, "/b", b"later")
        gone = await delete(store, "/b")
        for at, limit in ((0, 0), (0, 5), (gone - 1, 1), (gone, 5)):
            page = await store.list(EVERYTHING, revision=at, limit=limit, keys_only=True)
            assert page.items[0] == KeyValue("/a", b"", revision, revision, 1)

    async def test_a_long_list_is_one_snapshot_with_and_without_limit(self, store: Store) -> None:
        keys = [f"/k/{n:04}" for n in range(1700)]
        await store.transact([], [Put(key, b"") for key in keys])
        old = await store.transact([], [Delete(KeyRange("/k/0100", "/k/1500"))])
        await put(store, "/k/0001", b"newer")
        left = keys[:100] + keys[1500:]
        for at in (old.revision, 0):
            for limit in (0, 5000, 300, 299):
                page = await store.list(KeyRange.prefix("/k/"), revision=at, limit=limit)
                assert [item.key for item in page.items] == left[: limit or None]
                assert page.more == (limit == 299)
        page = await store.list(KeyRange.prefix("/k/"), revision=old.revision - 1, limit=1699)
        assert [item.key for item in page.items] == keys[:1699]
        assert page.more

    async def test_a_long_list_skips_no_key_that_begins_with_another(self, store: Store) -> None:
        # The odd first key keeps the pairs from ending where a part of the list might.
        keys = ["/k/!", *(f"/k/{n:04}{end}" for n in range(700) for end in ("", "\0"))]
        old = await store.transact([], [Put(key, b"") for key in keys])
        await put(store, "/other")
        for at in (0, old.revision):
            page = await store.list(KeyRange.prefix("/k/"), revision=at)
            assert [item.key for item in page.items] == keys

    async def test_a_list_never_shows_half_of_a_transaction(self, store: Store) -> None:
        keys = [f"/{n:04}" for n in range(1300)]
        await store.transact([], [Put(key, b"") for key in keys])

        async def rewrite() -> None:
            for _ in range(100):
                await store.transact([], [Put(keys[0], b""), Put(keys[-1], b"")])

        async with asyncio.timeout(30), asyncio.TaskGroup() as group:
            rewriting = group.create_task(rewrite())
            while not rewriting.done():
                for limit in (0, 1300, 500):
                    page = await store.list(EVERYTHING, limit=limit)
                    assert len(page.items) == (limit or 1300)
                    if limit != 500:
                        assert page.items[0].mod_revision == page.items[-1].mod_revision

    async def test_a_revision_not_yet_made_is_invalid(self, store: Store) -> None:
        newest = await put(store, "/a")
        for revision in (newest + 1, -1):
            with pytest.raises(InvalidInput):
                await store.get("/a", revision=revision)
            with pytest.raises(InvalidInput):
                await store.list(EVERYTHING, revision=revision)
            with pytest.raises(InvalidInput):
                await store.list(EVERYTHING, revision=revision, limit=1)
        with pytest.raises(InvalidInput):
            await store.list(EVERYTHING, limit=-1)

    async def test_an_impossible_key_is_invalid(self, store: Store) -> None:
        for key in ("", "/half\ud800"):
            with pytest.raises(InvalidInput):
                await store.get(key)

    async def test_compaction_forgets_history_and_keeps_newest_values(self, store: Store) -> None:
        created = await put(store, "/a", b"1")
        await put(store, "/gone")
        changed = await put(store, "/a", b"2")
        compacted = await delete(store, "/gone")
        last = await put(store, "/b")
        await store.compact(compacted)
        for revision in (1, created, changed):
            for read in (
                store.get("/a", revision=revision),
                store.list(EVERYTHING, revision=revision),
                store.list(EVERYTHING, revision=revision, limit=1),
            ):
                with pytest.raises(Compacted) as caught:
                    await read
                assert caught.value.oldest == compacted
        kept = KeyValue("/a", b"2", created, changed, 2)
        assert (await store.list(EVERYTHING, revision=compacted)).items == (kept,)
        assert await store.get("/gone", revision=compacted) is None
        assert len((await store.list(EVERYTHING)).items) == 2
        status = await store.status()
        assert (status.revision, status.compacted) == (last, compacted)

    async def test_compacting_the_future_is_invalid_and_the_past_nothing(
        self, store: Store
    ) -> None:
        revision = await put(store, "/a")
        with pytest.raises(InvalidInput) as caught:
            await store.compact(revision + 1)
        assert caught.value.hint
        assert int(caught.value.hint.removeprefix("the newest revision is ")) >= revision
        for _ in range(2):
            with pytest.raises(InvalidInput, match="-3 is negative"):
                await store.compact(-3)
            await store.compact(revision)
        await store.compact(0)
        assert (await store.status()).compacted == revision

    async def test_an_empty_store_has_a_revision_that_can_be_asked_for(self, store: Store) -> None:
        page = await store.list(EVERYTHING)
        assert page.revision > 0
        assert await store.list(EVERYTHING, revision=page.revision) == page

    async def test_a_store_opened_again_is_the_same_store(self, open_store: OpenStore) -> None:
        async with open_store() as store:
            first = await put(store, "/a", b"1")
            await put(store, "/b")
            await delete(store, "/b")
            await store.compact(first)
            before = (replace(await store.status(), size=0), await store.list(EVERYTHING))
        async with open_store() as store:
            after = (replace(await store.status(), size=0), await store.list(EVERYTHING))
            assert after == before
            assert await store.get("/b", revision=first + 1) is not None
            assert await put(store, "/c") == before[0].revision + 1

    async def test_a_store_is_usable_only_while_it_is_open(self, open_store: OpenStore) -> None:
        store = open_store()
        for _ in range(2):
            for call in (
                store.get("/a"),
                store.list(EVERYTHING),
                store.transact([], [Put("/a", b"")]),
                store.compact(0),
                store.status(),
            ):
                with pytest.raises(Unavailable):
                    await call
            with pytest.raises(Unavailable):
                async with store.watch(EVERYTHING, after=1):
                    pass
            async with store:
                with pytest.raises(Refused):
                    await store.__aenter__()
                assert await store.get("/a") is None
