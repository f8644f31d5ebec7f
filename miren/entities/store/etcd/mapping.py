"""The store's keys, operations and answers as etcd's, and back.

A store has everything below `<prefix>/` in etcd, so that one cluster can hold several. Its keys
are at `<prefix>/k` followed by the key; what it keeps for itself is at `<prefix>/m/`, where no key
can be. etcd's comparisons of ranges mean what `rules.evaluate` means, the empty and the backward
range included, so each operation is one of etcd's. Nothing here does I/O.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter
from typing import Any

from miren.base.errors import Compacted, InvalidInput, StoreReset
from miren.entities.store.api import (
    Compare,
    Get,
    KeyRange,
    KeyValue,
    Lease,
    Operation,
    Put,
    Revision,
    StoreEvent,
    Target,
    TransactionResult,
)
from miren.entities.store.etcd.messages import message
from miren.entities.store.rules import Transaction, single_key

__all__ = ["NOTHING_READ", "KeySpace"]

#: The `reads` of a transaction that is one put.
NOTHING_READ: tuple[tuple[KeyValue, ...], ...] = ((),)

_COMPARE, _TXN = message("Compare"), message("TxnRequest")
_RANGE, _PUT = message("RangeRequest"), message("PutRequest")

_NOT_EQUAL = _COMPARE.CompareResult.Value("NOT_EQUAL")

_DELETE = message("Event").EventType.Value("DELETE")

_KEY = attrgetter("key")

#: A target in etcd's words; the field that holds the number is called like ours.
_TARGETS = {target: (_COMPARE.CompareTarget.Value(target.name), target.value) for target in Target}


class KeySpace:
    """What belongs to the store with this prefix. One store's prefix never lies below another's.

    `root` is the range of all it has in etcd; `identity` is the key of its UUID, `tick` one that
    is written only to be seen.
    """

    def __init__(self, prefix: str) -> None:
        base = prefix.removesuffix("/")
        try:
            base.encode()
        except UnicodeEncodeError as error:
            raise InvalidInput(f"the prefix {prefix!r} is no text that UTF-8 can say") from error
        self.root = (f"{base}/".encode(), f"{base}0".encode())  # 0 comes after /
        self.identity = f"{base}/m/store".encode()
        self.tick = f"{base}/m/tick".encode()
        self._keys = f"{base}/k"
        self._bytes = self._keys.encode()

    def key(self, key: str) -> bytes:
        """Return where etcd has `key`; it need not be one that can be stored."""
        return (self._keys + key).encode("utf-8", "surrogatepass")

    def bounds(self, range: KeyRange) -> tuple[bytes, bytes]:
        """Return `key` and `range_end` of a range as etcd takes them."""
        only = single_key(range)
        if only is not None:
            return self.key(only), b""
        return self.key(range.start), self.key(range.end)

    def name(self, key: bytes) -> str | None:
        """Return the key that etcd has at `key`, None for what is not one of the store's."""
        if not key.startswith(self._bytes):
            return None
        # Whatever somebody else wrote here must not end the watch of everything.
        return key[len(self._bytes) :].decode("utf-8", "surrogateescape")

    def read(
        self,
        range: KeyRange,
        *,
        revision: int = 0,
        limit: int = 0,
        keys_only: bool = False,
    ) -> Any:
        """Return the RangeRequest for `range`."""
        key, end = self.bounds(range)
        return _RANGE(key=key, range_end=end, revision=revision, limit=limit, keys_only=keys_only)

    def put(self, put: Put) -> Any:
        """Return the PutRequest for `put`."""
        return _PUT(key=self.key(put.key), value=put.value, lease=put.lease)

    def transaction(self, transaction: Transaction) -> Any:
        """Return the TxnRequest for `transaction`."""
        # Messages are filled in place, which takes a third of the time of nested constructors.
        request = _TXN()
        for compare in transaction.compares:
            self._fill_compare(request.compare.add(), compare)
        for operation in transaction.then:
            self._fill_operation(request.success.add(), operation)
        for operation in transaction.otherwise:
            self._fill_operation(request.failure.add(), operation)
        return request

    def result(self, transaction: Transaction, answer: Any) -> TransactionResult:
        """Return what etcd answered to `transaction`."""
        succeeded = answer.succeeded
        branch = transaction.then if succeeded else transaction.otherwise
        # Of most transactions that is one put, and protobuf makes objects of what is looked at.
        if len(branch) == 1 and isinstance(branch[0], Put):
            reads = NOTHING_READ
        else:
            reads = tuple(map(self._read_of, branch, answer.responses))
        return TransactionResult(succeeded, answer.header.revision, reads)

    def items(self, found: Sequence[Any]) -> tuple[KeyValue, ...]:
        """Return etcd's keys as the store's, in their order."""
        return tuple(map(self.item, found))

    def item(self, found: Any) -> KeyValue:
        """Return a key of etcd's, which has to be one of the store's, as the store's."""
        return KeyValue(
            found.key[len(self._bytes) :].decode("utf-8", "surrogateescape"),
            found.value,
            found.create_revision,
            found.mod_revision,
            found.version,
            Lease(found.lease),
        )

    def revisions(self, events: Sequence[Any], *, after: int) -> list[Revision]:
        """Return etcd's events as whole revisions later than `after`, in order.

        A revision may be without events, when only the store's own affairs changed. Raises
        Compacted when etcd left out a value that was there before an event, which it does without
        a word once a compaction has overtaken the watch; StoreReset when the store's UUID changed.
        """
        if len(events) == 1 and events[0].kv.mod_revision > after:
            # As they are made, most come alone.
            change = self._event(events[0])
            return [Revision(events[0].kv.mod_revision, (change,) if change else ())]
        found: dict[int, list[StoreEvent]] = {}
        for event in events:
            revision = event.kv.mod_revision
            if revision <= after:
                continue
            changes = found.setdefault(revision, [])
            change = self._event(event)
            if change is not None:
                changes.append(change)
        return [
            Revision(revision, tuple(sorted(changes, key=_KEY)))
            for revision, changes in sorted(found.items())
        ]

    def _event(self, event: Any) -> StoreEvent | None:
        changed = event.kv
        is_deleted = event.type == _DELETE
        previous = event.prev_kv if event.HasField("prev_kv") else None
        if previous is None and (is_deleted or changed.version > 1):
            raise Compacted(
                "a compaction overtook the watch: what was there before is gone",
                oldest=changed.mod_revision,
            )
        key = self.name(changed.key)
        if key is None:
            if changed.key == self.identity and previous is not None:
                raise StoreReset("the store was given a new identity", hint="list again")
            return None
        return StoreEvent(
            key,
            None if is_deleted else self.item(changed),
            None if previous is None else self.item(previous),
        )

    def _fill_compare(self, message: Any, compare: Compare) -> None:
        self._fill_bounds(message, compare.range)
        message.target, field = _TARGETS[compare.target]
        setattr(message, field, compare.value)
        if compare.negated:  # what is not set is EQUAL
            message.result = _NOT_EQUAL

    def _fill_operation(self, message: Any, operation: Operation) -> None:
        # By isinstance, because matching by class takes several times as long.
        if isinstance(operation, Put):
            put = message.request_put
            put.key, put.value = self.key(operation.key), operation.value
            if operation.lease:
                put.lease = operation.lease
        elif isinstance(operation, Get):
            self._fill_bounds(message.request_range, operation.range)
        else:
            delete = message.request_delete_range
            self._fill_bounds(delete, operation.range)
            delete.prev_kv = True

    def _fill_bounds(self, message: Any, range: KeyRange) -> None:
        message.key = self.key(range.start)
        if single_key(range) is None:
            message.range_end = self.key(range.end)

    def _read_of(self, operation: Operation, answer: Any) -> tuple[KeyValue, ...]:
        if isinstance(operation, Put):
            return ()
        if isinstance(operation, Get):
            return self.items(answer.response_range.kvs)
        return self.items(answer.response_delete_range.prev_kvs)
