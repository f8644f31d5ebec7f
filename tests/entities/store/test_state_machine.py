"""Random programs against a model: a list of revisions, each a whole dict of keys.

The model is slow and obvious; both backends must agree with it about everything they say.
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
    Delete,
    Get,
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
from miren.entities.store.memory import MemoryStore
from miren.entities.store.sqlite import SQLiteStore
from tests.contracts.store_watching import next_item
from tests.effort import tries

T = TypeVar("T")
State = dict[str, KeyValue]

KEYS = ["a", "a\0", "a/b", "b", "é", "\uffff", "\U0001f600"]
BOUNDS = [*KEYS, "\0", "\ud800", "\U0010ffff"]

keys = st.sampled_from(KEYS)
values = st.binary(max_size=3)
ranges = st.one_of(
    keys.map(KeyRange.key), st.builds(KeyRange, st.sampled_from(BOUNDS), st.sampled_from(BOUNDS))
)
compares = st.builds(
    Compare, ranges, st.sampled_from(Target), st.integers(0, 12), negated=st.booleans()
)
# A lease in a drawn operation is a number: the n-th that lives when the operation runs.
operations = st.one_of(
    st.builds(Put, keys, values),
    st.builds(Put, keys, values, st.integers(1, 3).map(Lease)),
    st.builds(Delete, ranges),
    st.builds(Get, ranges),
)


def is_valid(branch: list[Operation]) -> bool:
    puts = [step.key for step in branch if isinstance(step, Put)]
    deletes = [step.range for step in branch if isinstance(step, Delete)]
    return len(puts) == len(set(puts)) and not any(
        key in range for key in puts for range in deletes
    )


branches = st.lists(operations, max_size=5).filter(is_valid)


def select(state: State, range: KeyRange) -> tuple[KeyValue, ...]:
    return tuple(state[key] for key in sorted(state) if key in range)


@dataclass
class Watching:
    items: AsyncIterator[Revision | Bookmark]
    range: KeyRange
    position: int


class StoreMachine(RuleBasedStateMachine):
    """The model is `states`: what the store held at each revision, from 1 on."""

    persistent: ClassVar[bool]

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.folder = tempfile.TemporaryDirectory()
        self.memory = MemoryStore()
        self.states: dict[int, State] = {1: {}}
        self.newest = 1
        self.compacted = 0
        self.watches: list[Watching] = []
        self.leases: list[Lease] = []

    def run_(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(coroutine)

    @initialize()
    def open(self) -> None:
        path = Path(self.folder.name) / "store.db"
        store = SQLiteStore(path, durability="relaxed") if self.persistent else self.memory
        self.store: Store = store
        self.stack = AsyncExitStack()
        self.run_(self.stack.enter_async_context(store))

    def teardown(self) -> None:
        self.run_(self.stack.aclose())
        self.runner.close()
        self.folder.cleanup()

    @rule()
    def reopen(self) -> None:
        self.run_(self.stack.aclose())
        self.watches.clear()
        self.open()

    @rule(compares=st.lists(compares, max_size=2), then=branches, otherwise=branches)
    def transact(
        self, compares: list[Compare], then: list[Operation], otherwise: list[Operation]
    ) -> None:
        self.transact_valid(compares, self.named(then), self.named(otherwise))

    def named(self, branch: list[Operation]) -> list[Operation]:
        """Return the branch with real leases in place of numbers."""
        known = [NO_LEASE, *self.leases, NO_LEASE, NO_LEASE, NO_LEASE]
        return [
            replace(step, lease=known[step.lease]) if isinstance(step, Put) else step
            for step in branch
        ]

    @precondition(lambda self: len(self.leases) < 3)
    @rule(ttl=st.floats(1000, 5000))
    def grant(self, ttl: float) -> None:
        lease = self.run_(self.store.grant(ttl))
        self.leases.append(lease)
        assert self.run_(self.store.lease(lease)).ttl == ttl

    @precondition(lambda self: self.leases)
    @rule(data=st.data(), key=keys)
    def revoke(self, data: st.DataObject, key: str) -> None:
        lease = data.draw(st.sampled_from(self.leases))
        self.run_(self.store.revoke(lease))
        self.leases.remove(lease)
        state = self.states[self.newest]
        kept = {key: item for key, item in state.items() if item.lease != lease}
        if kept != state:
            self.newest += 1
            self.states[self.newest] = kept
        assert self.run_(self.store.status()).revision == self.newest
        with pytest.raises(NotFound):
            self.run_(self.store.keep_alive(lease))
        with pytest.raises(NotFound):
            self.run_(self.store.transact([], [Put("new", b""), Put(key, b"", lease)]))

    @precondition(lambda self: self.leases)
    @rule(data=st.data())
    def look_at_a_lease(self, data: st.DataObject) -> None:
        lease = data.draw(st.sampled_from(self.leases))
        ttl = self.run_(self.store.keep_alive(lease))
        status = self.run_(self.store.lease(lease))
        held = sorted(key for key, item in self.states[self.newest].items() if item.lease == lease)
        assert (list(status.keys), status.ttl) == (held, ttl)

    def transact_valid(
        self, compares: list[Compare], then: list[Operation], otherwise: list[Operation]
    ) -> None:
        result = self.run_(self.store.transact(compares, then, otherwise))
        succeeded = all(self.holds(compare) for compare in compares)
        state = dict(self.states[self.newest])
        reads = tuple(self.step(state, step) for step in (then if succeeded else otherwise))
        if state != self.states[self.newest]:
            self.newest += 1
            self.states[self.newest] = state
        assert (result.succeeded, result.revision) == (succeeded, self.newest)
        assert result.reads == reads

    def holds(self, compare: Compare) -> bool:
        found = select(self.states[self.newest], compare.range)
        actual = [getattr(item, compare.target.value) for item in found] or [0]
        return all((value != compare.value) == compare.negated for value in actual)

    def step(self, state: State, step: Operation) -> tuple[KeyValue, ...]:
        if isinstance(step, Put):
            old = state.get(step.key)
            revision = self.newest + 1
            create, version = (old.create_revision, old.version + 1) if old else (revision, 1)
            new = KeyValue(step.key, step.value, create, revision, version, step.lease)
            state[step.key] = new
            return ()
        found = select(state, step.range)
        if isinstance(step, Delete):
            for item in found:
                del state[item.key]
        return found

    @rule(key=keys, back=st.integers(0, 8))
    def get(self, key: str, back: int) -> None:
        revision = max(1, self.newest - back)
        assert self.run_(self.store.get(key)) == self.states[self.newest].get(key)
        if revision < self.compacted:
            with pytest.raises(Compacted):
                self.run_(self.store.get(key, revision=revision))
        else:
            found = self.run_(self.store.get(key, revision=revision))
            assert found == self.states[revision].get(key)

    @rule(range=ranges, back=st.integers(0, 8), limit=st.integers(1, 3))
    def list_in_pages(self, range: KeyRange, back: int, limit: int) -> None:
        revision = max(self.compacted, 1, self.newest - back)
        found: list[KeyValue] = []
        more = True
        while more:
            after = found[-1].key if found else None
            page = self.run_(self.store.list(range, revision=revision, limit=limit, after=after))
            assert page.revision == revision
            found += page.items
            more = page.more
        assert tuple(found) == select(self.states[revision], range)
        whole = self.run_(self.store.list(range, revision=revision))
        assert whole.items == tuple(found)

    @rule(back=st.integers(0, 8))
    def compact(self, back: int) -> None:
        revision = max(0, self.newest - back)
        self.run_(self.store.compact(revision))
        self.compacted = max(self.compacted, revision)
        status = self.run_(self.store.status())
        assert (status.revision, status.compacted) == (self.newest, self.compacted)

    @rule(range=ranges, back=st.integers(0, 12))
    def watch(self, range: KeyRange, back: int) -> None:
        after = max(0, self.newest - back)
        watching = self.store.watch(range, after=after)
        items = self.run_(self.stack.enter_async_context(watching))
        self.watches.append(Watching(items, range, after))

    @precondition(lambda self: self.watches)
    @rule(data=st.data())
    def read_a_watch(self, data: st.DataObject) -> None:
        watching = data.draw(st.sampled_from(self.watches))
        before, target = watching.position, self.newest
        # Fifty more revisions bring a live watch to speak of `target`, whatever its range is.
        for _ in range(50):
            self.transact_valid([], [Put("z", b"")], [])
        found: list[Revision] = []
        try:
            while watching.position < target:
                item = self.run_(next_item(watching.items))
                found += [item] if isinstance(item, Revision) else []
                watching.position = item.revision
        except Compacted:
            assert watching.position < self.compacted
            self.watches.remove(watching)
        whole = self.events(watching.range, before)
        assert found == [each for each in whole if each.revision <= watching.position]

    def events(self, range: KeyRange, after: int) -> list[Revision]:
        found = []
        for revision in (each for each in self.states if each > max(after, 1)):
            old, new = self.states[revision - 1], self.states[revision]
            events = tuple(
                StoreEvent(key, new.get(key), old.get(key))
                for key in sorted(old.keys() | new.keys())
                if key in range and new.get(key) != old.get(key)
            )
            found += [Revision(revision, events)] if events else []
        return found


class MemoryMachine(StoreMachine):
    persistent = False


class SQLiteMachine(StoreMachine):
    persistent = True


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
