"""Random programs against a model, which every backend must agree with in everything it says.

etcd is one process for all of them: each program has a prefix of its own, and finds at its birth
whatever revision the cluster is at. There time cannot be turned, so leases end by being revoked.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from miren.base.errors import Compacted, NotFound
from miren.entities.store.api import (
    NO_LEASE,
    Bookmark,
    Compare,
    KeyRange,
    KeyValue,
    Lease,
    Operation,
    Put,
    Revision,
    Store,
    Target,
)
from miren.entities.store.etcd.store import EtcdStore
from miren.entities.store.memory import MemoryStore
from miren.entities.store.sqlite import SQLiteStore
from tests.backends import new_prefix
from tests.clocks import ManualClock
from tests.contracts.store_watching import next_item
from tests.effort import tries
from tests.entities.store.model import Model, branches, compares, keys, ranges
from tests.etcd import Member, running_etcd

T = TypeVar("T")


@dataclass
class Watching:
    items: AsyncIterator[Revision | Bookmark]
    range: KeyRange
    position: int


@dataclass
class Granted:
    ttl: float
    deadline: float


class StoreMachine(RuleBasedStateMachine):
    """`dense` says that nobody else makes revisions, so that each number can be foretold."""

    dense = True

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.clock = ManualClock()
        self.watches: list[Watching] = []
        self.leases: dict[Lease, Granted] = {}
        self.granted = 0
        self.stack = AsyncExitStack()

    def make(self) -> Store:
        """Return the store, not open: the same one at each call."""
        raise NotImplementedError

    def run_(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(coroutine)

    @initialize()
    def begin(self) -> None:
        self.open()
        status = self.run_(self.store.status())
        self.model = Model(status.revision)
        self.compacted = status.compacted

    def open(self) -> None:
        self.stack = AsyncExitStack()
        self.store = self.make()
        self.run_(self.stack.enter_async_context(self.store))

    def teardown(self) -> None:
        self.run_(self.stack.aclose())
        self.runner.close()

    @rule()
    def reopen(self) -> None:
        self.run_(self.stack.aclose())
        self.watches.clear()
        for lease in self.leases.values():
            lease.deadline = self.clock.time() + lease.ttl
        self.open()

    def check_revision(self, revision: int, *, changed: bool) -> None:
        """Check the number that an answer named, before the model knows of a change."""
        least = self.model.newest + changed
        assert revision == least if self.dense else revision >= least

    # Transactions.

    @rule(compares=st.lists(compares, max_size=2), then=branches, otherwise=branches)
    def transact(
        self, compares: list[Compare], then: list[Operation], otherwise: list[Operation]
    ) -> None:
        numbered = [
            compare
            if compare.target is Target.VERSION
            else replace(compare, value=self.model.number(compare.value))
            for compare in compares
        ]
        self.transact_named(numbered, self.named(then), self.named(otherwise))

    def named(self, branch: list[Operation]) -> list[Operation]:
        """Return the branch with real leases in place of numbers."""
        known = [NO_LEASE, *self.leases, NO_LEASE, NO_LEASE, NO_LEASE]
        return [
            replace(step, lease=known[step.lease]) if isinstance(step, Put) else step
            for step in branch
        ]

    def transact_named(
        self, compares: list[Compare], then: list[Operation], otherwise: list[Operation]
    ) -> None:
        result = self.run_(self.store.transact(compares, then, otherwise))
        before = self.model.newest
        answer = self.model.transact(compares, then, otherwise, revision=result.revision)
        assert (result.succeeded, result.reads) == (answer.succeeded, answer.reads)
        assert result.revision >= before + answer.changes
        if self.dense:
            assert result.revision == before + answer.changes

    # Leases.

    @precondition(lambda self: len(self.leases) < 3)
    @rule(ttl=st.integers(1000, 5000))
    def grant(self, ttl: float) -> None:
        self.granted += 1
        if self.dense:
            ttl += self.granted / 1024  # no two end at once
        lease = self.run_(self.store.grant(ttl))
        self.leases[lease] = Granted(ttl, self.clock.time() + ttl)
        assert self.run_(self.store.lease(lease)).ttl == ttl

    @precondition(lambda self: self.leases)
    @rule(data=st.data(), key=keys)
    def revoke(self, data: st.DataObject, key: str) -> None:
        lease = data.draw(st.sampled_from(list(self.leases)))
        self.run_(self.store.revoke(lease))
        self.end(lease)
        self.check_revision(self.run_(self.store.status()).revision, changed=False)
        with pytest.raises(NotFound):
            self.run_(self.store.keep_alive(lease))
        with pytest.raises(NotFound):
            self.run_(self.store.transact([], [Put("new", b""), Put(key, b"", lease)]))

    def end(self, lease: Lease) -> None:
        """Let the model follow the end of a lease, whose revision only a watch tells."""
        del self.leases[lease]
        held = self.model.held(lease)
        revision = self.model.newest + 1
        if held and not self.dense:
            revision = self.run_(self.deleted(held[0]))
        self.model.end(lease, revision=revision)

    async def deleted(self, key: str) -> int:
        """Return the revision at which `key` was deleted, which is its next one."""
        async with self.store.watch(KeyRange.key(key), after=self.model.newest) as items:
            while not isinstance(item := await next_item(items), Revision):
                pass
            return item.revision

    @precondition(lambda self: self.dense and self.leases)
    @rule(seconds=st.integers(1, 4000))
    def pass_time(self, seconds: int) -> None:
        self.run_(self.clock.pass_time(seconds))
        now = self.clock.time()
        for lease, granted in sorted(self.leases.items(), key=lambda each: each[1].deadline):
            if granted.deadline <= now:
                self.end(lease)
                with pytest.raises(NotFound):
                    self.run_(self.store.lease(lease))
        self.run_(self.until_revision(self.model.newest))

    async def until_revision(self, revision: int) -> None:
        """Wait until the ends of leases are written, which happens behind their backs."""
        async with asyncio.timeout(10):
            while (await self.store.status()).revision < revision:  # noqa: ASYNC110 - no event tells
                await asyncio.sleep(0.001)

    @precondition(lambda self: self.leases)
    @rule(data=st.data())
    def keep_a_lease_alive(self, data: st.DataObject) -> None:
        lease = data.draw(st.sampled_from(list(self.leases)))
        granted = self.leases[lease]
        assert self.run_(self.store.keep_alive(lease)) == granted.ttl
        granted.deadline = self.clock.time() + granted.ttl
        self.look_at(lease)

    @precondition(lambda self: self.leases)
    @rule(data=st.data())
    def look_at_a_lease(self, data: st.DataObject) -> None:
        self.look_at(data.draw(st.sampled_from(list(self.leases))))

    def look_at(self, lease: Lease) -> None:
        status = self.run_(self.store.lease(lease))
        granted = self.leases[lease]
        assert (list(status.keys), status.ttl) == (self.model.held(lease), granted.ttl)
        if self.dense:
            assert status.remaining == pytest.approx(granted.deadline - self.clock.time())

    # Reads.

    @rule(key=keys, back=st.integers(0, 8))
    def get(self, key: str, back: int) -> None:
        revision = self.model.back(back)
        assert self.run_(self.store.get(key)) == self.model.state.get(key)
        if revision < self.compacted:
            with pytest.raises(Compacted):
                self.run_(self.store.get(key, revision=revision))
        else:
            found = self.run_(self.store.get(key, revision=revision))
            assert found == self.model.at(revision).get(key)

    @rule(range=ranges, back=st.integers(0, 8), limit=st.integers(1, 3))
    def list_in_pages(self, range: KeyRange, back: int, limit: int) -> None:
        revision = max(self.compacted, self.model.back(back))
        found: list[KeyValue] = []
        more = True
        while more:
            after = found[-1].key if found else None
            page = self.run_(self.store.list(range, revision=revision, limit=limit, after=after))
            assert page.revision == revision
            found += page.items
            more = page.more
        assert tuple(found) == self.model.select(range, revision)
        whole = self.run_(self.store.list(range, revision=revision))
        assert whole.items == tuple(found)

    @rule(range=ranges)
    def list_the_newest(self, range: KeyRange) -> None:
        page = self.run_(self.store.list(range))
        self.check_revision(page.revision, changed=False)
        assert page.items == self.model.select(range, self.model.newest)

    # History.

    @rule(back=st.integers(0, 8))
    def compact(self, back: int) -> None:
        revision = self.model.back(back)
        self.run_(self.store.compact(revision))
        self.compacted = max(self.compacted, revision)
        status = self.run_(self.store.status())
        assert status.compacted == self.compacted
        self.check_revision(status.revision, changed=False)

    @rule(range=ranges, back=st.integers(0, 12))
    def watch(self, range: KeyRange, back: int) -> None:
        # The birth changed nothing, so before it is as good a place to begin.
        is_long_ago = self.dense and back > len(self.model.revisions)
        after = 0 if is_long_ago else self.model.back(back)
        watching = self.store.watch(range, after=after)
        items = self.run_(self.stack.enter_async_context(watching))
        self.watches.append(Watching(items, range, after))

    @precondition(lambda self: self.watches)
    @rule(data=st.data())
    def read_a_watch(self, data: st.DataObject) -> None:
        watching = data.draw(st.sampled_from(self.watches))
        before, target = watching.position, self.model.newest
        # Fifty more revisions bring a live watch to speak of `target`, whatever its range is.
        for _ in range(50):
            self.transact_named([], [Put("z", b"")], [])
        found: list[Revision] = []
        try:
            while watching.position < target:
                item = self.run_(next_item(watching.items))
                found += [item] if isinstance(item, Revision) else []
                watching.position = item.revision
        except Compacted:
            assert watching.position < self.compacted
            self.watches.remove(watching)
        whole = self.model.events(watching.range, after=before)
        assert found == [each for each in whole if each.revision <= watching.position]


class MemoryMachine(StoreMachine):
    def __init__(self) -> None:
        super().__init__()
        self.memory = MemoryStore(clock=self.clock)

    def make(self) -> Store:
        return self.memory


class SQLiteMachine(StoreMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()

    def make(self) -> Store:
        path = Path(self.folder.name) / "store.db"
        return SQLiteStore(path, durability="relaxed", clock=self.clock)

    def teardown(self) -> None:
        super().teardown()
        self.folder.cleanup()


class EtcdMachine(StoreMachine):
    dense = False
    member: ClassVar[Member]

    def __init__(self) -> None:
        super().__init__()
        self.prefix = new_prefix()

    def make(self) -> Store:
        return EtcdStore([self.member.endpoint], prefix=self.prefix)


_SETTINGS = settings(
    max_examples=tries(60, soak=1000),
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)

TestMemoryMachine = MemoryMachine.TestCase
TestMemoryMachine.settings = _SETTINGS
TestSQLiteMachine = SQLiteMachine.TestCase
TestSQLiteMachine.settings = _SETTINGS


class TestEtcdMachine(EtcdMachine.TestCase):  # type: ignore[valid-type,misc]  # is made at run time
    settings = settings(_SETTINGS, max_examples=tries(25, soak=300))

    @classmethod
    def setUpClass(cls) -> None:
        # Compaction is everybody's, so no other test may share it.
        cls.etcd = running_etcd()
        EtcdMachine.member = cls.etcd.__enter__()

    @classmethod
    def tearDownClass(cls) -> None:
        cls.etcd.__exit__(None, None, None)
