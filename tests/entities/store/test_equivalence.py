"""The same program has the same results on every backend, but for what revisions are called.

The model of `test_state_machine` says what is right; here nobody does, so this also holds for
what it does not know: what is refused, and with which error.
"""

from __future__ import annotations

import asyncio
import tempfile
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from miren.base.errors import MirenError
from miren.entities.store.api import (
    Compare,
    Delete,
    KeyRange,
    KeyValue,
    Lease,
    Operation,
    Put,
    Revision,
    Store,
    StoreEvent,
    Target,
)
from tests.backends import BACKENDS, make_store
from tests.effort import tries
from tests.entities.store.model import BOUNDS, compares, operations, ranges
from tests.etcd import Member, running_etcd

LAST = KeyRange.key("zz/last")


@dataclass(frozen=True)
class Transact:
    compares: list[Compare]
    then: list[Operation]
    otherwise: list[Operation]


@dataclass(frozen=True)
class Look:
    """List a range, `back` changes ago, or in the future where that is negative."""

    range: KeyRange
    back: int
    limit: int
    after: str | None
    keys_only: bool


@dataclass(frozen=True)
class Fetch:
    key: str
    back: int


@dataclass(frozen=True)
class Compact:
    back: int


@dataclass(frozen=True)
class Grant:
    ttl: float


@dataclass(frozen=True)
class End:
    """Revoke the n-th lease that was granted, whether it still lives or not."""

    number: int


@dataclass(frozen=True)
class Watch:
    """Read all that followed `back` changes ago."""

    range: KeyRange
    back: int


Step = Transact | Look | Fetch | Compact | Grant | End | Watch

# Not only valid branches, and keys that no store can hold.
odd_operations = st.one_of(
    operations, operations, st.builds(Put, st.sampled_from(["", "\ud800"]), st.just(b""))
)
branches = st.lists(odd_operations, max_size=4)
backs = st.integers(-1, 8)
steps = st.one_of(
    st.builds(Transact, st.lists(compares, max_size=2), branches, branches),
    st.builds(Transact, st.just([]), st.lists(operations, max_size=4), st.just([])),
    st.builds(
        Look,
        ranges,
        backs,
        st.integers(-1, 3),
        st.none() | st.sampled_from(BOUNDS),
        st.booleans(),
    ),
    st.builds(Fetch, st.sampled_from(["", "\ud800", "a", "b", "é", "missing"]), backs),
    st.builds(Compact, st.integers(-1, 8)),
    st.builds(Grant, st.sampled_from([0.0, -1.0, float("nan"), float("inf"), 600, 700])),
    st.builds(End, st.integers(0, 3)),
    st.builds(Watch, ranges, backs),
)
programs = st.lists(steps, max_size=25)


@dataclass
class Run:
    """One store going through a program, and how it calls the revisions of it."""

    store: Store
    revisions: list[int]
    leases: list[Lease] = field(default_factory=list)

    async def do(self, step: Step) -> Any:
        """Return what a step answers, in words that all stores share."""
        try:
            return await self._answer(step)
        except MirenError as error:
            return type(error).__name__

    async def _answer(self, step: Step) -> Any:
        match step:
            case Transact(compares, then, otherwise):
                return await self._transact(compares, then, otherwise)
            case Look(range, back, limit, after, keys_only):
                page = await self.store.list(
                    range, revision=self._back(back), limit=limit, after=after, keys_only=keys_only
                )
                return [self._item(item) for item in page.items], page.more
            case Fetch(key, back):
                return self._item(await self.store.get(key, revision=self._back(back)))
            case Compact(back):
                await self.store.compact(self._back(back))
                return self._ordinal((await self.store.status()).compacted)
            case Grant(ttl):
                self.leases.append(await self.store.grant(ttl))
                return (await self.store.lease(self.leases[-1])).ttl
            case End(number):
                return await self._end(number)
            case Watch(range, back):
                return await self._watch(range, self._back(back))

    async def _transact(
        self,
        compares: Sequence[Compare],
        then: Sequence[Operation],
        otherwise: Sequence[Operation],
    ) -> Any:
        result = await self.store.transact(
            [self._compare(each) for each in compares], self._named(then), self._named(otherwise)
        )
        branch = then if result.succeeded else otherwise
        deleted = [
            reads
            for step, reads in zip(branch, result.reads, strict=True)
            if isinstance(step, Delete) and reads
        ]
        changed = bool(deleted) or any(isinstance(step, Put) for step in branch)
        if changed:
            assert result.revision > self.revisions[-1]
            self.revisions.append(result.revision)
        reads = [[self._item(item) for item in items] for items in result.reads]
        return result.succeeded, self._ordinal(result.revision), reads

    async def _end(self, number: int) -> list[str]:
        lease = self.leases[number] if number < len(self.leases) else Lease(123456789)
        held = (await self.store.lease(lease)).keys
        await self.store.revoke(lease)
        if held:
            # Only a watch tells which revision that was.
            async with (
                asyncio.timeout(10),
                self.store.watch(KeyRange.key(held[0]), after=self.revisions[-1]) as items,
            ):
                async for item in items:
                    if isinstance(item, Revision):
                        self.revisions.append(item.revision)
                        break
        return list(held)

    async def _watch(self, range: KeyRange, after: int) -> list[Any]:
        last = (await self.store.transact([], [Put(LAST.start, b"")])).revision
        self.revisions.append(last)
        found = []
        async with asyncio.timeout(10), self.store.watch(range, after=after) as items:
            async for item in items:
                if isinstance(item, Revision):
                    events = [self._event(each) for each in item.events]
                    found.append((self._ordinal(item.revision), events))
                if item.revision >= last:
                    break
        return found

    def _event(self, event: StoreEvent) -> Any:
        return event.key, self._item(event.current), self._item(event.previous)

    def _item(self, item: KeyValue | None) -> KeyValue | None:
        return item and replace(
            item,
            create_revision=self._ordinal(item.create_revision),
            mod_revision=self._ordinal(item.mod_revision),
            lease=Lease(self.leases.index(item.lease) + 1 if item.lease else 0),
        )

    def _ordinal(self, revision: int) -> int:
        return bisect_right(self.revisions, revision)

    def _back(self, back: int) -> int:
        if back < 0:
            return self.revisions[-1] + 1_000_000
        return self.revisions[max(0, len(self.revisions) - 1 - back)]

    def _compare(self, compare: Compare) -> Compare:
        if compare.target is Target.VERSION or not compare.value:
            return compare
        known = self.revisions[compare.value - 1 : compare.value]
        return replace(compare, value=known[0] if known else 1 << 40)

    def _named(self, branch: Sequence[Operation]) -> list[Operation]:
        """Return the branch with leases that were granted in place of numbers."""
        known = [Lease(0), *self.leases]
        return [
            replace(step, lease=known[step.lease % len(known)]) if isinstance(step, Put) else step
            for step in branch
        ]


@pytest.fixture(scope="module")
def etcd() -> Iterator[Member]:
    """One of its own: a compaction is everybody's."""
    with running_etcd() as member:
        yield member


async def answers(backend: str, program: Sequence[Step], etcd: Member) -> list[Any]:
    with tempfile.TemporaryDirectory() as folder:
        async with make_store(backend, folder=Path(folder), etcd=etcd) as store:
            run = Run(store, [(await store.status()).revision])
            return [await run.do(step) for step in program]


@settings(
    max_examples=tries(40, soak=3000),
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(programs)
def test_a_program_has_the_same_results_everywhere(etcd: Member, program: list[Step]) -> None:
    with asyncio.Runner() as runner:
        memory, *others = [runner.run(answers(each, program, etcd)) for each in BACKENDS]
    for backend, other in zip(BACKENDS[1:], others, strict=True):
        for at, (expected, found) in enumerate(zip(memory, other, strict=True)):
            assert found == expected, f"{backend} differs at {at}: {program[at]}"
