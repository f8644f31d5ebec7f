"""What a copy of a store holds, and how it is written: the ground of exports, imports and moves.

Whatever lives by a lease stays behind: it ends with its store, and its holder sets it again. All
else is copied byte for byte. Revisions are a store's own and differ in the copy. Nothing stored
names one, and what guards by a revision reads it from the store it writes to.

A store that is being filled has a mark that says from where, so that what was interrupted is known
for a part, and is emptied by whoever begins anew from there.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from miren.base.errors import Refused
from miren.entities.store.api import (
    NO_LEASE,
    Delete,
    KeyRange,
    KeyValue,
    Operation,
    Put,
    Store,
)

__all__ = [
    "EVERYTHING",
    "Digest",
    "NotEmpty",
    "Writing",
    "begin_filling",
    "digest",
    "end_filling",
    "is_half_filled",
    "lasting",
    "unheard",
]

#: Every key there can be.
EVERYTHING = KeyRange.prefix("")

_PAGE = 500
# As many operations as etcd accepts by default, and less than its largest request.
_OPERATIONS = 100
_BYTES = 512 * 1024


# There while a store is being filled.
_MARK = "/m/importing"


class NotEmpty(Refused):
    """The store to fill holds something."""


@dataclass(frozen=True, slots=True)
class Digest:
    """What tells whether two stores hold the same: how many keys, and a hash over all of it."""

    keys: int
    sha256: str


def unheard(_told: object) -> None:
    """Do nothing with what is told of progress."""


async def lasting(store: Store, revision: int) -> AsyncIterator[KeyValue]:
    """Yield all keys without a lease as they were at `revision`, in order, page by page.

    Raises Compacted when the store forgets that revision meanwhile.
    """
    after: str | None = None
    while True:
        page = await store.list(EVERYTHING, revision=revision, limit=_PAGE, after=after)
        for item in page.items:
            if item.lease == NO_LEASE:
                yield item
        if not page.more:
            return
        after = page.items[-1].key


async def digest(store: Store, revision: int) -> Digest:
    """Return the digest of all keys without a lease as they were at `revision`.

    The mark of one that is being filled is none of them.
    """
    hashed, keys = hashlib.sha256(), 0
    async for item in lasting(store, revision):
        if item.key == _MARK:
            continue
        key = item.key.encode()
        hashed.update(b"%d %d " % (len(key), len(item.value)) + key + item.value)
        keys += 1
    return Digest(keys, hashed.hexdigest())


async def begin_filling(store: Store, *, source: str = "") -> None:
    """Mark an empty store as one that is filled from `source`, or empty one that is marked so.

    Raises NotEmpty when it holds anything else, also what comes from another source.
    """
    mark = await store.get(_MARK)
    while others := await _others(store):
        if mark is None or mark.value != source.encode():
            raise NotEmpty(f"the store holds {others[0]} and more", hint="take an empty one")
        await store.transact([], [Delete(KeyRange.key(key)) for key in others])
    await store.transact([], [Put(_MARK, source.encode())])


async def end_filling(store: Store) -> None:
    """Take the mark of a store away: it is whole."""
    await store.transact([], [Delete(KeyRange.key(_MARK))])


async def is_half_filled(store: Store) -> bool:
    """Return whether filling this store has begun and not ended."""
    return await store.get(_MARK) is not None


async def _others(store: Store) -> list[str]:
    """Return some of a store's keys but the mark, none only if there are none."""
    page = await store.list(EVERYTHING, limit=_OPERATIONS, keys_only=True)
    return [item.key for item in page.items if item.key != _MARK]


@dataclass(slots=True)
class Writing:
    """Writes keys to a store that nobody else writes to, in transactions of a bounded size.

    Nothing is certain to be there before `flush`.
    """

    store: Store
    keys: int = 0
    _waiting: dict[str, Operation] = field(default_factory=dict)
    _bytes: int = 0

    async def put(self, key: str, value: bytes) -> None:
        """Let `key` hold `value`."""
        await self._add(key, Put(key, value), len(value))

    async def delete(self, key: str) -> None:
        """Let `key` be gone."""
        await self._add(key, Delete(KeyRange.key(key)), 0)

    async def flush(self) -> None:
        """Write what waits."""
        if self._waiting:
            await self.store.transact([], list(self._waiting.values()))
        self._waiting, self._bytes = {}, 0

    async def _add(self, key: str, operation: Operation, size: int) -> None:
        size += len(key)
        if len(self._waiting) >= _OPERATIONS or self._bytes + size > _BYTES:
            await self.flush()
        self._waiting[key] = operation
        self._bytes += size
        self.keys += 1
