"""What goes wrong in a simulation, and the connections to the store in which it does.

Each engine has a `Connection` of its own to the one store of a simulation. On it calls take their
time, are refused, or end without an answer; watches are late and break off; somebody else writes
just before a write. What befalls whole engines and the store is in `chaos`.

How often is not for choice: each fault is common enough to show within a few dozen seeds, and rare
enough to let work be done in between.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from enum import StrEnum
from typing import Self

from miren.base.errors import MirenError, OutcomeUnknown, Unavailable
from miren.entities import keys
from miren.entities.store.api import (
    Bookmark,
    Compare,
    Delete,
    KeyRange,
    KeyValue,
    Lease,
    LeaseStatus,
    Operation,
    Page,
    Put,
    Revision,
    Store,
    StoreStatus,
    TransactionResult,
)
from miren.entities.store.forwarding import ForwardingStore

__all__ = ["ALL", "NONE", "Connection", "Fault", "Line", "Note"]

_DELAYED = 0.3  # of the calls
_DELAY = 0.02  # seconds at most
_LONG_DELAYED = 0.01
_LONG_DELAY = 1.0
_LATE = 0.1  # of what watches deliver
_LATENESS = 0.3
_REFUSED = 0.03
_UNANSWERED = 0.03  # of the writes
_OVERTAKEN = 0.05  # of the writes of entities


class Fault(StrEnum):
    """What can go wrong."""

    CONFLICT = "conflict"  # somebody else writes an annotation just before a write
    UNAVAILABLE = "unavailable"  # calls are refused; an engine is cut off for some seconds
    UNKNOWN = "unknown"  # a write is done, and its answer is lost
    DELAY = "delay"  # calls take time, and watches are late
    WATCH_DROP = "watch-drop"  # all watches of an engine break off
    COMPACTION = "compaction"  # the store forgets its history
    CRASH = "crash"  # an engine ends from one moment to the next, and is started again
    LEADER_LOSS = "leader-loss"  # the store ends the leases of an engine, which is not told
    CLOCK = "clock"  # the date that an engine knows jumps


ALL = frozenset(Fault)
NONE: frozenset[Fault] = frozenset()

#: Puts a line into the trace: what, key, revision.
Note = Callable[[str, str, int], None]


class Line(ForwardingStore):
    """A connection to a store that is open already; what it writes of entities is noted."""

    def __init__(self, inner: Store, note: Note) -> None:
        super().__init__(inner)
        self._note = note

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exc: object) -> None:
        pass

    async def transact(
        self,
        compares: Sequence[Compare],
        then: Sequence[Operation],
        otherwise: Sequence[Operation] = (),
    ) -> TransactionResult:
        """See `Store.transact`."""
        result = await self.inner.transact(compares, then, otherwise)
        for operation in then if result.succeeded else ():
            if isinstance(operation, Put) and keys.is_entity_key(operation.key):
                self._note("wrote", _short(operation.key), result.revision)
            elif isinstance(operation, Delete) and keys.is_entity_key(operation.range.start):
                self._note("removed", _short(operation.range.start), result.revision)
        return result


class Connection(Line):
    """An engine's connection. `faults` says what goes wrong on it now.

    `overtake` writes to the entity of a key as somebody else would. After `die` everything is
    refused; what was on its way then has happened, or not.
    """

    def __init__(
        self,
        inner: Store,
        note: Note,
        *,
        faults: Callable[[], frozenset[Fault]],
        rng: random.Random,
        overtake: Callable[[str], Awaitable[None]],
    ) -> None:
        super().__init__(inner, note)
        self._faults = faults
        self._rng = rng
        self._overtake = overtake
        self._is_dead = False
        self._cut_until = 0.0
        self._watches: dict[_Watch, None] = {}
        self._leases: dict[Lease, None] = {}

    # -- what befalls it -------------------------------------------------------------------

    def die(self) -> None:
        """Reach nobody from now on."""
        self._is_dead = True
        self.drop_watches()

    def cut(self, seconds: float) -> None:
        """Reach nobody for so many seconds."""
        self._cut_until = asyncio.get_running_loop().time() + seconds
        self.drop_watches()

    def mend(self) -> None:
        """End what `cut` began."""
        self._cut_until = 0.0

    def drop_watches(self) -> None:
        """Break every watch off."""
        for watch in list(self._watches):
            watch.drop()

    async def end_leases(self) -> None:
        """Let the store end every lease that was granted here, without a word."""
        for lease in list(self._leases):
            try:
                await self.inner.revoke(lease)
            except MirenError:
                continue  # it has ended already
            finally:
                self._leases.pop(lease, None)

    # -- calls -----------------------------------------------------------------------------

    async def get(self, key: str, *, revision: int = 0) -> KeyValue | None:
        """See `Store.get`."""
        await self._before("get")
        return await self.inner.get(key, revision=revision)

    async def list(
        self,
        range: KeyRange,
        *,
        revision: int = 0,
        limit: int = 0,
        after: str | None = None,
        keys_only: bool = False,
    ) -> Page:
        """See `Store.list`."""
        await self._before("list")
        page = await self.inner.list(
            range, revision=revision, limit=limit, after=after, keys_only=keys_only
        )
        await self._delay()
        return page

    async def transact(
        self,
        compares: Sequence[Compare],
        then: Sequence[Operation],
        otherwise: Sequence[Operation] = (),
    ) -> TransactionResult:
        """See `Store.transact`."""
        writes = any(isinstance(each, Put | Delete) for each in (*then, *otherwise))
        await self._before("write" if writes else "read")
        if writes and self._happens(Fault.CONFLICT, _OVERTAKEN):
            for each in then:
                if isinstance(each, Put) and keys.is_entity_key(each.key):
                    await self._overtake(each.key)
        result = await super().transact(compares, then, otherwise)
        await self._delay()
        if writes and (self._is_away() or self._happens(Fault.UNKNOWN, _UNANSWERED)):
            self._note("gets no answer", "", 0)
            raise OutcomeUnknown("the connection broke before the answer came")
        return result

    async def grant(self, ttl: float) -> Lease:
        """See `Store.grant`."""
        await self._before("grant")
        lease = await self.inner.grant(ttl)
        self._leases[lease] = None
        return lease

    async def keep_alive(self, lease: Lease) -> float:
        """See `Store.keep_alive`."""
        await self._before("keep alive")
        return await self.inner.keep_alive(lease)

    async def revoke(self, lease: Lease) -> None:
        """See `Store.revoke`."""
        await self._before("revoke")
        await self.inner.revoke(lease)
        self._leases.pop(lease, None)

    async def lease(self, lease: Lease) -> LeaseStatus:
        """See `Store.lease`."""
        await self._before("lease")
        return await self.inner.lease(lease)

    async def status(self) -> StoreStatus:
        """See `Store.status`."""
        await self._before("status")
        return await self.inner.status()

    @asynccontextmanager
    async def watch(
        self, range: KeyRange, *, after: int
    ) -> AsyncIterator[AsyncIterator[Revision | Bookmark]]:
        """See `Store.watch`."""
        await self._before("watch")
        async with self.inner.watch(range, after=after) as changes:
            watch = _Watch(changes, self._late)
            self._watches[watch] = None
            try:
                yield watch
            finally:
                del self._watches[watch]

    # -- chance ----------------------------------------------------------------------------

    def _happens(self, fault: Fault, chance: float) -> bool:
        return fault in self._faults() and self._rng.random() < chance

    def _is_away(self) -> bool:
        return self._is_dead or asyncio.get_running_loop().time() < self._cut_until

    async def _before(self, call: str) -> None:
        await self._delay()
        if self._is_away():
            raise Unavailable(f"{call}: the connection is broken")
        if self._happens(Fault.UNAVAILABLE, _REFUSED):
            self._note(f"is refused a {call}", "", 0)
            raise Unavailable(f"{call}: refused")

    async def _delay(self) -> None:
        if self._happens(Fault.DELAY, _DELAYED) and not self._is_dead:
            longest = _LONG_DELAY if self._rng.random() < _LONG_DELAYED else _DELAY
            await asyncio.sleep(self._rng.random() * longest)

    async def _late(self) -> None:
        if self._happens(Fault.DELAY, _LATE):
            await asyncio.sleep(self._rng.random() * _LATENESS)


class _Watch:
    """What a watch delivers, some of it late, until it is dropped."""

    def __init__(
        self,
        changes: AsyncIterator[Revision | Bookmark],
        late: Callable[[], Awaitable[None]],
    ) -> None:
        self._changes = changes
        self._late = late
        self._is_dropped = False
        self._waiting: asyncio.Timeout | None = None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Revision | Bookmark:
        if self._is_dropped:
            raise Unavailable("the watch was dropped")
        waiting = asyncio.timeout(None)
        try:
            async with waiting:
                self._waiting = waiting
                change = await anext(self._changes)
                await self._late()
                return change
        except TimeoutError:
            if not waiting.expired():
                raise
            raise Unavailable("the watch was dropped") from None
        finally:
            self._waiting = None

    def drop(self) -> None:
        """Let whoever reads it, now or next, find it broken."""
        self._is_dropped = True
        if self._waiting is not None and not self._waiting.expired():
            self._waiting.reschedule(asyncio.get_running_loop().time())


def _short(key: str) -> str:
    """Return kind, project and name of an entity's key, for people."""
    return "/".join(key.split("/")[3:])
