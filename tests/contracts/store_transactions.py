"""Contract cases: transactions."""

from __future__ import annotations

import asyncio

import pytest

from miren.base.errors import InvalidInput
from miren.entities.store.api import (
    Compare,
    Delete,
    Get,
    KeyRange,
    KeyValue,
    Operation,
    Put,
    Store,
    Target,
    TransactionResult,
)
from tests.contracts.store_reading import EVERYTHING, StoreFixture, delete, put


class TransactionContract(StoreFixture):
    async def test_a_transaction_of_many_keys_is_one_revision(self, store: Store) -> None:
        before = await put(store, "/old")
        result = await store.transact(
            [], [Put("/b", b""), Put("/a", b""), Delete(KeyRange.key("/old"))]
        )
        assert result.succeeded
        assert result.revision == before + 1
        page = await store.list(EVERYTHING)
        assert [(item.key, item.mod_revision) for item in page.items] == [
            ("/a", result.revision),
            ("/b", result.revision),
        ]

    async def test_each_operation_is_answered_in_its_place(self, store: Store) -> None:
        await store.transact([], [Put("/a", b"1"), Put("/b", b"2"), Put("/c", b"3")])
        a, b, c = (await store.list(EVERYTHING)).items
        result = await store.transact(
            [],
            [
                Get(KeyRange.prefix("/")),
                Delete(KeyRange("/a", "/c")),
                Put("/c", b"4"),
                Get(KeyRange.prefix("/")),
                Get(KeyRange.key("/a")),
                Get(KeyRange.key("/c")),
            ],
        )
        new = KeyValue("/c", b"4", c.create_revision, result.revision, 2)
        assert result.reads == ((a, b, c), (a, b), (), (new,), (), (new,))

    async def test_when_a_comparison_fails_the_other_branch_runs(self, store: Store) -> None:
        revision = await put(store, "/a", b"1")
        current = await store.get("/a")
        assert current is not None
        result = await store.transact(
            [Compare.exists("/a"), Compare.absent("/a")],
            [Put("/a", b"2")],
            [Get(KeyRange.key("/a")), Get(KeyRange.key("/b"))],
        )
        assert result == TransactionResult(False, revision, ((current,), ()))
        result = await store.transact([Compare.absent("/a")], [], [Put("/b", b"")])
        assert (result.succeeded, result.revision) == (False, revision + 1)
        assert await store.get("/b") is not None

    async def test_comparisons_hold_exactly_when_they_say(self, store: Store) -> None:
        created = await put(store, "/a/1")
        changed = await put(store, "/a/1")
        other = await put(store, "/a/2")
        both = KeyRange.prefix("/a/")
        expected = {
            Compare.absent("/a/1"): False,
            Compare.absent("/a/3"): True,
            Compare.exists("/a/1"): True,
            Compare.exists("/a/3"): False,
            Compare.unchanged("/a/1", changed): True,
            Compare.unchanged("/a/1", created): False,
            Compare.unchanged("/a/3", 0): True,
            Compare.same("/a/1", created): True,
            Compare.same("/a/2", created): False,
            Compare.empty(both): False,
            Compare.empty(KeyRange.prefix("/b/")): True,
            Compare(KeyRange.key("/a/1"), Target.VERSION, 2): True,
            Compare(KeyRange.key("/a/3"), Target.VERSION, 0): True,
            Compare(both, Target.VERSION, 2): False,
            Compare(both, Target.VERSION, 3, negated=True): True,
            Compare(both, Target.VERSION, 1, negated=True): False,
            Compare(both, Target.CREATE, 0, negated=True): True,
            Compare(KeyRange.prefix("/b/"), Target.MOD, 0, negated=True): False,
            Compare(both, Target.MOD, other): False,
        }
        for compare, holds in expected.items():
            result = await store.transact([compare], [], [])
            assert result.succeeded == holds, compare

    async def test_a_branch_that_changes_nothing_makes_no_revision(self, store: Store) -> None:
        revision = await put(store, "/a")
        for branch in ([], [Get(EVERYTHING)], [Delete(KeyRange.prefix("/none/"))]):
            result = await store.transact([], branch)
            assert (result.succeeded, result.revision) == (True, revision)
        assert (await store.status()).revision == revision

    async def test_putting_equal_bytes_is_a_write(self, store: Store) -> None:
        first = await put(store, "/a", b"same")
        assert await put(store, "/a", b"same") == first + 1
        current = await store.get("/a")
        assert current == KeyValue("/a", b"same", first, first + 1, 2)

    @pytest.mark.parametrize(
        "branch",
        [
            [Put("/a", b"1"), Put("/a", b"1")],
            [Put("/a", b"1"), Delete(KeyRange.key("/a"))],
            [Delete(KeyRange.prefix("/")), Put("/a", b"1")],
            [Put("", b"")],
            [Put("/half\udfff", b"")],
        ],
    )
    async def test_a_branch_that_cannot_be_right_is_invalid(
        self, store: Store, branch: list[Operation]
    ) -> None:
        for then, otherwise in ((branch, []), ([], branch)):
            with pytest.raises(InvalidInput):
                await store.transact([], then, otherwise)
        assert (await store.list(EVERYTHING)).items == ()

    async def test_the_two_branches_may_write_the_same_key(self, store: Store) -> None:
        result = await store.transact(
            [Compare.exists("/a")], [Put("/a", b"then")], [Put("/a", b"otherwise")]
        )
        assert not result.succeeded
        current = await store.get("/a")
        assert current is not None
        assert current.value == b"otherwise"

    async def test_a_range_of_an_impossible_key_is_just_empty(self, store: Store) -> None:
        nowhere = KeyRange.key("/half\ud800")
        result = await store.transact([Compare.empty(nowhere)], [Get(nowhere), Delete(nowhere)])
        assert result.succeeded
        assert result.reads == ((), ())

    async def test_overlapping_deletes_delete_each_key_once(self, store: Store) -> None:
        await store.transact([], [Put("/a", b""), Put("/b", b"")])
        result = await store.transact([], [Delete(KeyRange.key("/a")), Delete(EVERYTHING)])
        assert [[item.key for item in read] for read in result.reads] == [["/a"], ["/b"]]

    async def test_too_many_changes_for_one_revision_are_invalid(self, store: Store) -> None:
        half = 40_000
        await store.transact([], [Put(f"/a/{n}", b"") for n in range(half)])
        await store.transact([], [Put(f"/b/{n}", b"") for n in range(half)])
        revision = (await store.status()).revision
        # A failed transaction spoils nothing of the others that are under way.
        doomed, fine = await asyncio.gather(
            store.transact([], [Put("/c", b""), Delete(KeyRange("/a", "/c"))]),
            store.transact([], [Put("/d", b"")]),
            return_exceptions=True,
        )
        assert isinstance(doomed, InvalidInput)
        assert isinstance(fine, TransactionResult)
        assert fine.revision == revision + 1
        assert await store.get("/c") is None
        assert len((await store.list(EVERYTHING, keys_only=True)).items) == 2 * half + 1

    async def test_concurrent_compare_and_swap_loses_no_update(self, store: Store) -> None:
        await put(store, "/n", b"0")

        async def increment() -> None:
            while True:
                old = await store.get("/n")
                assert old is not None
                value = str(int(old.value) + 1).encode()
                guard = Compare.unchanged("/n", old.mod_revision)
                if (await store.transact([guard], [Put("/n", value)])).succeeded:
                    return

        async with asyncio.timeout(20), asyncio.TaskGroup() as group:
            for _ in range(20):
                group.create_task(increment())
        final = await store.get("/n")
        assert final is not None
        assert (final.value, final.version) == (b"20", 21)

    async def test_one_of_many_claims_of_an_empty_range_succeeds(self, store: Store) -> None:
        places = KeyRange.prefix("/claims/")
        async with asyncio.timeout(20):
            results = await asyncio.gather(
                *(
                    store.transact([Compare.empty(places)], [Put(f"/claims/{n}", b"")])
                    for n in range(20)
                )
            )
        assert [result.succeeded for result in results].count(True) == 1
        assert len((await store.list(places)).items) == 1

    async def test_a_read_that_starts_after_an_answer_sees_it(self, store: Store) -> None:
        async def write_and_read(key: str) -> None:
            for _ in range(20):
                revision = await put(store, key)
                current = await store.get(key)
                assert current is not None
                assert current.mod_revision == revision
                assert (await store.list(KeyRange.key(key))).revision >= revision
                assert (await store.status()).revision >= revision

        async with asyncio.timeout(20), asyncio.TaskGroup() as group:
            for n in range(10):
                group.create_task(write_and_read(f"/{n}"))

    async def test_a_cancelled_write_happens_wholly_or_not_at_all(self, store: Store) -> None:
        for round in range(20):
            writing = asyncio.create_task(
                store.transact([], [Put(f"/{round}/a", b""), Put(f"/{round}/b", b"")])
            )
            await asyncio.sleep(0)
            writing.cancel()
            await asyncio.wait([writing], timeout=5)
            await put(store, "/after")
            assert len((await store.list(KeyRange.prefix(f"/{round}/"))).items) in (0, 2)

    async def test_deleting_what_is_not_there_is_no_error(self, store: Store) -> None:
        revision = (await store.status()).revision
        assert await delete(store, "/a") == revision
