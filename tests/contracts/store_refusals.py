"""Contract cases: what cannot be right is InvalidInput, says what to do, and changes nothing.

What is passed here breaks the types on purpose: nobody checks the types of whoever calls.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from miren.base.errors import InvalidInput
from miren.entities.store.api import Compare, Delete, Get, KeyRange, Lease, Put, Store, Target
from tests.contracts.store_reading import EVERYTHING, StoreFixture, put

__all__ = ["RefusalContract"]

#: More than any store can count.
HUGE = 2**70

A = KeyRange.key("/a")

#: By what is wrong: operations, comparisons, and the place that is named.
OPERATIONS: dict[str, tuple[Any, str]] = {
    "text as a value": (Put("/a", "text"), "value"),  # type: ignore[arg-type]  # as said
    "no value": (Put("/a", None), "value"),  # type: ignore[arg-type]  # as said
    "a buffer as a value": (Put("/a", bytearray(b"x")), "value"),  # type: ignore[arg-type]  # as said
    "bytes as a key": (Put(b"/a", b""), "key"),  # type: ignore[arg-type]  # as said
    "no key": (Put("", b""), "key"),
    "half a surrogate pair": (Put("/half\udfff", b""), "key"),
    "a key past the last": (Put("\U0010ffff/a", b""), "key"),
    "a lease too large": (Put("/a", b"", Lease(HUGE)), "lease"),
    "a negative lease": (Put("/a", b"", Lease(-1)), "lease"),
    "no lease": (Put("/a", b"", None), "lease"),  # type: ignore[arg-type]  # as said
    "a key as a range": (Delete("/a"), "range"),  # type: ignore[arg-type]  # as said
    "bounds of bytes": (Get(KeyRange(b"/a", b"/b")), "range"),  # type: ignore[arg-type]  # as said
    "one bound of bytes": (Get(KeyRange("/a", b"/b")), "range"),  # type: ignore[arg-type]  # as said
    "no operation": (A, ""),
}

COMPARES: dict[str, tuple[Any, str]] = {
    "a revision too large": (Compare.unchanged("/a", HUGE), "value"),
    "a negative revision": (Compare.unchanged("/a", -1), "value"),
    "text as a number": (Compare(A, Target.VERSION, "1"), "value"),  # type: ignore[arg-type]  # as said
    "text as a target": (Compare(A, "lease", 1), "target"),  # type: ignore[arg-type]  # as said
    "bounds of bytes": (Compare.empty(KeyRange("/a", b"/b")), "range"),  # type: ignore[arg-type]  # as said
    "no comparison": (A, ""),
}

Call = Callable[[Any], Coroutine[Any, Any, object]]


async def watch(store: Any, range: Any, after: Any) -> None:
    async with store.watch(range, after=after):
        pass


#: By what is wrong: a call on a store.
CALLS: dict[str, Call] = {
    "get of bytes": lambda store: store.get(b"/a"),
    "get of no key": lambda store: store.get(""),
    "get of half a pair": lambda store: store.get("/half\ud800"),
    "get past the last": lambda store: store.get("\U0010ffff"),
    "get at a huge revision": lambda store: store.get("/a", revision=HUGE),
    "get at a negative revision": lambda store: store.get("/a", revision=-HUGE),
    "get at text": lambda store: store.get("/a", revision="1"),
    "list of a key": lambda store: store.list("/a"),
    "list of bytes": lambda store: store.list(KeyRange(b"/a", b"/b")),  # type: ignore[arg-type]  # as said
    "list at a huge revision": lambda store: store.list(A, revision=HUGE),
    "list at a negative revision": lambda store: store.list(A, revision=-1),
    "list at text": lambda store: store.list(A, revision="1"),
    "list of fewer than none": lambda store: store.list(A, limit=-1),
    "list of text many": lambda store: store.list(A, limit="1"),
    "list after bytes": lambda store: store.list(A, after=b"/a"),
    "watch of a key": lambda store: watch(store, "/a", 1),
    "watch after a huge revision": lambda store: watch(store, A, HUGE),
    "watch after a negative revision": lambda store: watch(store, A, -1),
    "watch after text": lambda store: watch(store, A, "1"),
    "a lease of no time": lambda store: store.grant(0),
    "a lease of text": lambda store: store.grant("60"),
    "a lease for ever": lambda store: store.grant(float("inf")),
    "a lease of huge time": lambda store: store.grant(10**400),
    "keep a huge lease alive": lambda store: store.keep_alive(HUGE),
    "keep text alive": lambda store: store.keep_alive("1"),
    "revoke a huge lease": lambda store: store.revoke(HUGE),
    "revoke a negative lease": lambda store: store.revoke(-1),
    "look at a huge lease": lambda store: store.lease(HUGE),
    "compact up to a huge revision": lambda store: store.compact(HUGE),
    "compact up to text": lambda store: store.compact("1"),
}


class RefusalContract(StoreFixture):
    @pytest.mark.parametrize("what", OPERATIONS)
    async def test_an_operation_that_cannot_be_right_is_told_with_its_place(
        self, store: Store, what: str
    ) -> None:
        operation, field = OPERATIONS[what]
        before = await put(store, "/b")
        with pytest.raises(InvalidInput) as caught:
            await store.transact([], [operation], [operation])
        places = [problem.path[:2] for problem in caught.value.problems]
        assert places == [("then", 0), ("otherwise", 0)]
        fine = Put("/fine", b"")
        with pytest.raises(InvalidInput) as caught:
            await store.transact([], [fine, operation])
        (problem,) = caught.value.problems
        assert problem.path == ("then", 1, *([field] if field else []))
        assert (await store.list(EVERYTHING)).revision == before

    @pytest.mark.parametrize("what", COMPARES)
    async def test_a_comparison_that_cannot_be_right_is_told_with_its_place(
        self, store: Store, what: str
    ) -> None:
        compare, field = COMPARES[what]
        before = await put(store, "/b")
        with pytest.raises(InvalidInput) as caught:
            await store.transact([compare], [Put("/a", b"")])
        (problem,) = caught.value.problems
        assert problem.path == ("compares", 0, *([field] if field else []))
        assert (await store.list(EVERYTHING)).revision == before

    async def test_every_problem_of_a_transaction_is_told(self, store: Store) -> None:
        with pytest.raises(InvalidInput) as caught:
            await store.transact(
                [Compare.unchanged("/a", -1)], [Put("", b""), Put("/a", b"")], [Put("", b"")]
            )
        paths = [problem.dotted() for problem in caught.value.problems]
        assert paths == ["compares[0].value", "then[0].key", "otherwise[0].key"]

    @pytest.mark.parametrize("what", CALLS)
    async def test_a_call_that_cannot_be_right_is_refused_with_a_hint(
        self, store: Store, what: str
    ) -> None:
        with pytest.raises(InvalidInput) as caught:
            await CALLS[what](store)
        assert caught.value.hint

    async def test_a_revision_of_the_future_is_refused_with_the_newest_there_is(
        self, store: Store
    ) -> None:
        newest = await put(store, "/a")
        for read in (
            store.get("/a", revision=newest + 1000),
            store.list(EVERYTHING, revision=newest + 1000),
            watch(store, EVERYTHING, newest + 1000),
        ):
            with pytest.raises(InvalidInput, match=r"the newest is \d+") as caught:
                await read
            assert caught.value.hint
            assert int(caught.value.message.rpartition(" ")[2]) >= newest
