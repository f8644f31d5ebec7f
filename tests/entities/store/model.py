"""What a store is, slowly and obviously: a whole dict of keys for each revision.

Revisions are numbered by the store that is held against this, because one in a shared cluster
counts what others do too: between two revisions of ours there may be some that are not.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from hypothesis import strategies as st

from miren.entities.store.api import (
    NO_LEASE,
    Compare,
    Delete,
    Get,
    KeyRange,
    KeyValue,
    Lease,
    Operation,
    Put,
    Revision,
    StoreEvent,
    Target,
)

__all__ = ["Answer", "Model", "branches", "compares", "keys", "ranges"]

State = dict[str, KeyValue]

KEYS = ["a", "a\0", "a/b", "b", "é", "\uffff", "\U0001f600"]
BOUNDS = [*KEYS, "\0", "\ud800", "\U0010ffff"]

keys = st.sampled_from(KEYS)
values = st.binary(max_size=3)
ranges = st.one_of(
    keys.map(KeyRange.key), st.builds(KeyRange, st.sampled_from(BOUNDS), st.sampled_from(BOUNDS))
)
# A revision in a drawn comparison is a number: the n-th that the store made.
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


def is_valid(branch: Sequence[Operation]) -> bool:
    puts = [step.key for step in branch if isinstance(step, Put)]
    deletes = [step.range for step in branch if isinstance(step, Delete)]
    return len(puts) == len(set(puts)) and not any(
        key in range for key in puts for range in deletes
    )


branches = st.lists(operations, max_size=5).filter(is_valid)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a transaction has to answer, and whether it makes a revision."""

    succeeded: bool
    reads: tuple[tuple[KeyValue, ...], ...]
    changes: bool


class Model:
    """The states since the store's birth; `newest` is the last revision that changed something."""

    def __init__(self, birth: int) -> None:
        self.revisions = [birth]
        self._states: list[State] = [{}]

    @property
    def newest(self) -> int:
        return self.revisions[-1]

    @property
    def state(self) -> State:
        return self._states[-1]

    def back(self, steps: int) -> int:
        """Return the revision that was the newest so many changes ago, at most the birth."""
        return self.revisions[max(0, len(self.revisions) - 1 - steps)]

    def number(self, ordinal: int) -> int:
        """Return the revision that was the n-th, or one not made yet; 0 stays 0."""
        if ordinal == 0:
            return 0
        known = self.revisions[ordinal - 1 : ordinal]
        return known[0] if known else self.newest + 1000 + ordinal

    def at(self, revision: int) -> State:
        """Return what the store held at `revision`."""
        return self._states[bisect_right(self.revisions, revision) - 1]

    def select(self, range: KeyRange, revision: int) -> tuple[KeyValue, ...]:
        state = self.at(revision)
        return tuple(state[key] for key in sorted(state) if key in range)

    def transact(
        self,
        compares: Sequence[Compare],
        then: Sequence[Operation],
        otherwise: Sequence[Operation],
        *,
        revision: int,
    ) -> Answer:
        """Do it; if it changes anything, that is `revision`."""
        succeeded = all(self._holds(compare) for compare in compares)
        state = dict(self.state)
        branch = then if succeeded else otherwise
        reads = tuple(_step(state, step, revision) for step in branch)
        changes = state != self.state
        if changes:
            self._record(state, revision)
        return Answer(succeeded, reads, changes)

    def held(self, lease: Lease) -> list[str]:
        """Return the keys that are attached to `lease`."""
        return sorted(key for key, item in self.state.items() if item.lease == lease)

    def end(self, lease: Lease, *, revision: int) -> bool:
        """Delete what a lease holds; return whether that was anything."""
        kept = {key: item for key, item in self.state.items() if item.lease != lease}
        changes = kept != self.state
        if changes:
            self._record(kept, revision)
        return changes

    def events(self, range: KeyRange, *, after: int) -> list[Revision]:
        """Return everything that a watch of `range` from `after` on delivers."""
        found = []
        for before, revision in enumerate(self.revisions[1:]):
            if revision <= after:
                continue
            old, new = self._states[before], self._states[before + 1]
            events = tuple(
                StoreEvent(key, new.get(key), old.get(key))
                for key in sorted(old.keys() | new.keys())
                if key in range and new.get(key) != old.get(key)
            )
            found += [Revision(revision, events)] if events else []
        return found

    def _record(self, state: State, revision: int) -> None:
        assert revision > self.newest
        self.revisions.append(revision)
        self._states.append(state)

    def _holds(self, compare: Compare) -> bool:
        found = self.select(compare.range, self.newest)
        actual = [getattr(item, compare.target.value) for item in found] or [0]
        return all((value != compare.value) == compare.negated for value in actual)


def _step(state: State, step: Operation, revision: int) -> tuple[KeyValue, ...]:
    if isinstance(step, Put):
        old = state.get(step.key)
        create, version = (old.create_revision, old.version + 1) if old else (revision, 1)
        state[step.key] = KeyValue(
            step.key, step.value, create, revision, version, step.lease or NO_LEASE
        )
        return ()
    found = tuple(state[key] for key in sorted(state) if key in step.range)
    if isinstance(step, Delete):
        for item in found:
            del state[item.key]
    return found
