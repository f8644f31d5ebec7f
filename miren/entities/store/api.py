"""The contract every store keeps: etcd's data model, cut down to what Miren uses.

A store holds keys in order. Every transaction that writes makes one new revision, whatever the
number of keys. Reads are linearizable. A watch from revision R sees every later revision whole,
in order, exactly once. Keys put with a lease are deleted when the lease ends, which it does
unless somebody keeps it alive.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from enum import StrEnum
from pathlib import Path
from typing import Any, NewType, Protocol, Self

from miren.base.errors import InvalidInput
from miren.base.records import record

__all__ = [
    "END_OF_KEYS",
    "NO_LEASE",
    "Bookmark",
    "Compare",
    "Delete",
    "Get",
    "KeyRange",
    "KeyValue",
    "Lease",
    "LeaseStatus",
    "Operation",
    "Page",
    "Put",
    "Revision",
    "Store",
    "StoreEvent",
    "StoreStatus",
    "Target",
    "TransactionResult",
]


#: Names a lease; a store never gives the same one twice.
Lease = NewType("Lease", int)

#: What a key has that stays until it is deleted.
NO_LEASE = Lease(0)

#: Comes after every key: none begins with this character, the last there is.
END_OF_KEYS = "\U0010ffff"


@record
class KeyRange:
    """Every key with `start <= key < end`, in code point order (which is UTF-8's byte order)."""

    start: str
    end: str

    @classmethod
    def prefix(cls, prefix: str) -> KeyRange:
        """Return the range of all keys that begin with `prefix`: of all there can be for "".

        Raises InvalidInput for what no key can begin with.
        """
        given: Any = prefix
        if not isinstance(given, str):
            raise InvalidInput(f"a prefix is text, not {type(given).__name__}", hint="give a str")
        if prefix.startswith(END_OF_KEYS):
            raise InvalidInput(
                f"no key begins with {prefix!r}", hint="the keys end before U+10FFFF"
            )
        # Where the last character has none after it, the one before it is counted up.
        stem = prefix.rstrip(END_OF_KEYS)
        end = stem[:-1] + chr(ord(stem[-1]) + 1) if stem else END_OF_KEYS
        return cls(prefix, end)

    @classmethod
    def key(cls, key: str) -> KeyRange:
        """Return the range that holds only `key`."""
        return cls(key, key + "\0")

    def __contains__(self, key: str) -> bool:
        return self.start <= key < self.end


@record
class KeyValue:
    """A key's value and history: `version` counts its writes since it was created, from 1.

    `lease` is the one that its last write attached it to.
    """

    key: str
    value: bytes
    create_revision: int
    mod_revision: int
    version: int
    lease: Lease = NO_LEASE


class Target(StrEnum):
    """What a comparison looks at. A missing key has 0 for each."""

    CREATE = "create_revision"
    MOD = "mod_revision"
    VERSION = "version"


@record
class Compare:
    """`target == value` (or `!=` with `negated`) for every key of `range`.

    A range without keys compares as one missing key: that is how "nothing is there" is said.
    """

    range: KeyRange
    target: Target
    value: int
    negated: bool = False

    @classmethod
    def absent(cls, key: str) -> Compare:
        """Hold while `key` does not exist."""
        return cls(KeyRange.key(key), Target.CREATE, 0)

    @classmethod
    def exists(cls, key: str) -> Compare:
        """Hold while `key` exists."""
        return cls(KeyRange.key(key), Target.CREATE, 0, negated=True)

    @classmethod
    def unchanged(cls, key: str, revision: int) -> Compare:
        """Hold while `key` was last written at `revision`."""
        return cls(KeyRange.key(key), Target.MOD, revision)

    @classmethod
    def same(cls, key: str, create_revision: int) -> Compare:
        """Hold while `key` is the one created at `create_revision`, whatever its value."""
        return cls(KeyRange.key(key), Target.CREATE, create_revision)

    @classmethod
    def empty(cls, range: KeyRange) -> Compare:
        """Hold while no key of `range` exists."""
        return cls(range, Target.CREATE, 0)


@record
class Put:
    """Write one key, and attach it to `lease` in place of the one it had before."""

    key: str
    value: bytes
    lease: Lease = NO_LEASE


@record
class Delete:
    """Delete every key of a range; nothing there is no error."""

    range: KeyRange


@record
class Get:
    """Read every key of a range, as the transaction sees it."""

    range: KeyRange


Operation = Put | Delete | Get


@record
class TransactionResult:
    """What a transaction did. `revision` is the store's after it.

    `reads[i]` answers the i-th operation of the branch that ran: what a Get read, what a
    Delete deleted, and nothing for a Put.
    """

    succeeded: bool
    revision: int
    reads: tuple[tuple[KeyValue, ...], ...]


@record
class Page:
    """Part of a range at one revision; `more` says that keys follow the last one here."""

    items: tuple[KeyValue, ...]
    revision: int
    more: bool = False


@record
class StoreEvent:
    """One key's change. `current` is None when it was deleted, `previous` when it was new."""

    key: str
    current: KeyValue | None
    previous: KeyValue | None


@record
class Revision:
    """Everything one revision changed inside a watched range, in key order."""

    revision: int
    events: tuple[StoreEvent, ...]


@record
class Bookmark:
    """Every change up to and including `revision` has been delivered."""

    revision: int


@record
class LeaseStatus:
    """How long a lease lasts in all and from now on, in seconds, and what is attached to it."""

    ttl: float
    remaining: float
    keys: tuple[str, ...]


@record
class StoreStatus:
    """`uuid` tells one store's history from another's; `compacted` is the newest revision lost.

    `size` is what it takes up, in bytes, history included; `alarms` say, for people, what keeps it
    from working as it should.
    """

    uuid: str
    revision: int
    compacted: int
    backend: str = ""
    size: int = 0
    alarms: tuple[str, ...] = ()


class Store(Protocol):
    """An ordered, versioned key-value store.

    Open one with `async with`. Every method raises `Unavailable` when the store surely did
    nothing, and `OutcomeUnknown` when a write may or may not have happened. Cancelling a call
    cancels the waiting, never half of a write.
    """

    async def __aenter__(self) -> Self: ...
    async def __aexit__(self, *_exc: object) -> None: ...

    async def get(self, key: str, *, revision: int = 0) -> KeyValue | None:
        """Return a key's newest value, or the one it had at `revision`.

        Raises Compacted for a revision no longer kept, InvalidInput for one not yet made.
        """
        ...

    async def list(
        self,
        range: KeyRange,
        *,
        revision: int = 0,
        limit: int = 0,
        after: str | None = None,
        keys_only: bool = False,
    ) -> Page:
        """Return the keys of `range` in order, at most `limit` (0 for all), those past `after`.

        Pass the first page's `revision` for the next ones, and all pages are one snapshot.
        Raises as `get` does.
        """
        ...

    async def transact(
        self,
        compares: Sequence[Compare],
        then: Sequence[Operation],
        otherwise: Sequence[Operation] = (),
    ) -> TransactionResult:
        """Run `then` if every comparison holds, else `otherwise`, as one step.

        A branch may write a key once; InvalidInput otherwise. A branch that changes no key
        (only reads, or deletes of nothing) makes no revision. Raises NotFound, having written
        nothing, when the branch that runs puts a key with a lease that has ended.
        """
        ...

    def watch(
        self, range: KeyRange, *, after: int
    ) -> AbstractAsyncContextManager[AsyncIterator[Revision | Bookmark]]:
        """Deliver every revision later than `after` that touches `range`.

        The iterator never ends by itself; it raises Compacted when history it still has to
        deliver is gone, on the first read or later. A reader that falls behind holds up
        nobody. Bookmarks come at least once after the backlog is delivered, and whenever
        50 revisions passed that touch nothing in `range`.
        """
        ...

    async def grant(self, ttl: float) -> Lease:
        """Return a new lease that lasts `ttl` seconds unless it is kept alive.

        The store may grant longer; `lease` tells. After a restart of the store, every lease
        lasts its whole time again. Raises InvalidInput for a time that is no time.
        """
        ...

    async def keep_alive(self, lease: Lease) -> float:
        """Let `lease` last its whole time from now on, and return that in seconds.

        Makes no revision. Raises NotFound when the lease has expired or was revoked.
        """
        ...

    async def revoke(self, lease: Lease) -> None:
        """End `lease`: all keys attached to it are deleted, in one revision.

        Expiry does the same. Keys beyond 65,535 take revisions of their own. Raises NotFound
        when the lease has ended already.
        """
        ...

    async def lease(self, lease: Lease) -> LeaseStatus:
        """Return how long `lease` lasts and what it holds; raise NotFound when it has ended."""
        ...

    async def compact(self, revision: int) -> None:
        """Forget history up to `revision`; the newest value of each key stays."""
        ...

    async def status(self) -> StoreStatus:
        """Return the store's identity, revisions and condition."""
        ...

    async def snapshot(self, path: Path) -> None:
        """Write all of the store, as of one revision, to a new file in the backend's own form.

        Others go on reading and writing. The file is complete or not there. Raises Refused where
        `path` exists, RuntimeFailure where it cannot be written, Unimplemented for a store that
        has no such form.
        """
        ...

    async def defragment(self) -> None:
        """Give back the space that compaction left unused. Writes wait meanwhile."""
        ...
