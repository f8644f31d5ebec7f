"""What every backend decides in the same way: which requests are valid and what they do.

A backend hands a transaction and its newest state to `evaluate`, which answers with the events
it makes; the backend only has to record them. So no two backends can differ in what a
transaction means. Nothing here does I/O.
"""

from __future__ import annotations

import random
import secrets
from collections.abc import Iterator, Sequence
from operator import attrgetter
from typing import Protocol

from miren.base.errors import Compacted, InvalidInput, NotFound, Unavailable
from miren.base.records import record
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
    StoreEvent,
    TransactionResult,
)
from miren.entities.store.checks import check_number, check_transaction

__all__ = [
    "FIRST_REVISION",
    "MAX_CHANGES",
    "NewestState",
    "Outcome",
    "Transaction",
    "check_compaction",
    "check_revision",
    "closed",
    "ended",
    "endings",
    "evaluate",
    "new_lease",
    "rest_of",
    "single_key",
]

# An empty store is already at revision 1, because 0 in a request means "the newest".
FIRST_REVISION = 1

# Stores number the changes inside a revision with 16 bits.
MAX_CHANGES = 65_535


class NewestState(Protocol):
    """The keys as they are now, before the transaction that is being evaluated."""

    def read(self, key: str) -> KeyValue | None:
        """Return what `key` holds."""
        ...

    def scan(self, range: KeyRange) -> Sequence[KeyValue]:
        """Return the keys of `range`, in order."""
        ...

    def has_lease(self, lease: Lease) -> bool:
        """Return whether `lease` was granted and has not ended."""
        ...


@record
class Transaction:
    """A transaction whose shape is valid."""

    compares: tuple[Compare, ...]
    then: tuple[Operation, ...]
    otherwise: tuple[Operation, ...]

    @classmethod
    def checked(
        cls,
        compares: Sequence[Compare],
        then: Sequence[Operation],
        otherwise: Sequence[Operation],
    ) -> Transaction:
        """Build one; raise InvalidInput with every problem that any part has."""
        check_transaction(compares, then, otherwise)
        return cls(tuple(compares), tuple(then), tuple(otherwise))


@record
class Outcome:
    """What a transaction answers, and the changes it makes in key order (at most one a key)."""

    result: TransactionResult
    events: tuple[StoreEvent, ...]


def evaluate(transaction: Transaction, state: NewestState, newest: int) -> Outcome:
    """Return what `transaction` does to a store that is at revision `newest`.

    Raises InvalidInput when it would change more keys than one revision can hold, NotFound
    when it attaches a key to a lease that has ended.
    """
    # A list, which is quicker than a generator for the few comparisons there are.
    held = [_holds(compare, state) for compare in transaction.compares]
    succeeded = all(held)
    operations = transaction.then if succeeded else transaction.otherwise
    branch = _Branch(state, newest + 1)
    if len(operations) == 1 and isinstance(operations[0], Put):
        event = branch.put(operations[0])
        return Outcome(TransactionResult(succeeded, newest + 1, ((),)), (event,))
    reads = tuple([branch.run(operation) for operation in operations])
    if len(branch.events) > MAX_CHANGES:
        raise InvalidInput(
            f"the transaction changes {len(branch.events)} keys; one may change {MAX_CHANGES}",
            hint="split it into several transactions",
        )
    events = tuple(sorted(branch.events.values(), key=attrgetter("key")))
    return Outcome(TransactionResult(succeeded, newest + bool(events), reads), events)


class _Branch:
    """The branch that runs: later operations see what earlier ones changed."""

    __slots__ = ("_revision", "_state", "events")

    def __init__(self, state: NewestState, revision: int) -> None:
        self._state = state
        self._revision = revision
        self.events: dict[str, StoreEvent] = {}

    def run(self, operation: Operation) -> tuple[KeyValue, ...]:
        match operation:
            case Put():
                self.events[operation.key] = self.put(operation)
                return ()
            case Delete(range):
                found = self._scan(range)
                for gone in found:
                    self.events[gone.key] = StoreEvent(gone.key, None, gone)
                return found
            case Get(range):
                return self._scan(range)

    def put(self, put: Put) -> StoreEvent:
        """Return the event that a put makes."""
        key, lease, state, revision = put.key, put.lease, self._state, self._revision
        if lease != NO_LEASE and not state.has_lease(lease):
            raise ended(lease)
        old = state.read(key)
        if old is None:
            return StoreEvent(key, KeyValue(key, put.value, revision, revision, 1, lease), None)
        created, version = old.create_revision, old.version + 1
        return StoreEvent(key, KeyValue(key, put.value, created, revision, version, lease), old)

    def _scan(self, range: KeyRange) -> tuple[KeyValue, ...]:
        key = single_key(range)
        if key is not None:
            event = self.events.get(key)
            only = event.current if event else self._state.read(key)
            return (only,) if only else ()
        found = {item.key: item for item in self._state.scan(range)}
        for event in self.events.values():
            if event.key not in range:
                continue
            if event.current is None:
                found.pop(event.key, None)
            else:
                found[event.key] = event.current
        return tuple(found[key] for key in sorted(found))


def _holds(compare: Compare, state: NewestState) -> bool:
    target, key = compare.target, single_key(compare.range)
    if key is not None:
        item = state.read(key)
        actual = getattr(item, target) if item else 0
        return bool(actual == compare.value) is not compare.negated
    # A missing key has 0 for every target, and a range without keys stands for one.
    values = [getattr(item, target) for item in state.scan(compare.range)] or [0]
    return all((value == compare.value) is not compare.negated for value in values)


def check_revision(revision: int, *, newest: int, compacted: int) -> None:
    """Raise unless the store can still show its state at `revision`, or what came after it.

    The state at the compacted revision itself is kept: it is what later changes start from.
    """
    if revision < 0:
        raise InvalidInput(f"revision {revision} is negative")
    if revision > newest:
        raise InvalidInput(
            f"revision {revision} is not made yet; the newest is {newest}",
            hint="a revision of the future means another store: list again",
        )
    if revision < compacted:
        raise Compacted(
            f"revision {revision} is no longer kept; the oldest is {compacted}", oldest=compacted
        )


def check_compaction(revision: int, *, newest: int) -> None:
    """Raise InvalidInput unless history can be forgotten up to `revision`."""
    check_number(revision)
    if revision > newest:
        raise InvalidInput(
            f"revision {revision} is not made yet", hint=f"the newest revision is {newest}"
        )


def new_lease(rng: random.Random | None = None) -> Lease:
    """Return a name for a lease. Pass `rng` only where runs must repeat."""
    bits = 52  # as many as a JSON number carries everywhere
    return Lease(1 + (secrets.randbits(bits) if rng is None else rng.getrandbits(bits)))


def endings(keys: Sequence[str]) -> Iterator[Transaction]:
    """Yield the transactions that delete what was attached to a lease: one, or as many as fit."""
    for first in range(0, len(keys), MAX_CHANGES):
        part = keys[first : first + MAX_CHANGES]
        yield Transaction((), tuple(Delete(KeyRange.key(key)) for key in part), ())


def ended(lease: Lease) -> NotFound:
    """Return the error of every call about a lease that is not there."""
    return NotFound(
        f"lease {lease} has expired or was revoked", hint="grant a new one and write again"
    )


def rest_of(range: KeyRange, after: str | None) -> KeyRange:
    """Return the part of `range` past the key `after`."""
    if after is None or after < range.start:
        return range
    return KeyRange(after + "\0", range.end)


def single_key(range: KeyRange) -> str | None:
    """Return the only key that `range` can hold, or None when it is wider."""
    return range.start if range.end == range.start + "\0" else None


def closed() -> Unavailable:
    """Return the error of every call on a store that is not open."""
    return Unavailable("the store is closed", hint="use it inside `async with`")
