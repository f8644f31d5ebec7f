"""A store whose every write holds only while a key is the one it was.

A leader holds a key that was created when it stood for election. Whoever is no leader any more may
not know it yet: it may have slept, or its clock may be wrong. So each of its transactions carries
the comparison, and the store itself refuses what comes too late. The other branch reads the key,
which tells this refusal from every other one in the same round trip.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from miren.base.errors import Fenced, InvalidInput
from miren.entities.store.api import (
    Compare,
    Get,
    KeyRange,
    Operation,
    Store,
    TransactionResult,
)
from miren.entities.store.forwarding import ForwardingStore

__all__ = ["FencedStore"]


class FencedStore(ForwardingStore):
    """The store `inner`, but fenced.

    A transaction that writes or compares raises Fenced, having written nothing, unless `key` is
    the one created at `revision`. Reads, watches and leases go on. What is done otherwise may only
    read: it happens without the fence too.
    """

    def __init__(self, inner: Store, key: str, revision: int) -> None:
        super().__init__(inner)
        self._key = key
        self._revision = revision

    async def transact(
        self,
        compares: Sequence[Compare],
        then: Sequence[Operation],
        otherwise: Sequence[Operation] = (),
    ) -> TransactionResult:
        """Run a transaction; see `Store.transact`."""
        if not compares and all(isinstance(step, Get) for step in then):
            return await self.inner.transact(compares, then, otherwise)
        if not all(isinstance(step, Get) for step in otherwise):
            raise InvalidInput("what a fenced transaction does otherwise may only read")
        fence = Compare.same(self._key, self._revision)
        look = Get(KeyRange.key(self._key))
        result = await self.inner.transact([*compares, fence], then, [*otherwise, look])
        if result.succeeded:
            return result
        *reads, found = result.reads
        if not found or found[0].create_revision != self._revision:
            raise Fenced(
                f"nothing was written: {self._key} is no longer held",
                hint="stop, and stand for election again",
            )
        return replace(result, reads=tuple(reads))
