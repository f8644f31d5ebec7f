"""Elections: of all who stand under one name, the one that has stood longest leads.

    async with client.elect("shop", holder="n1") as leadership:
        await work(client.fenced(leadership.key, leadership.revision), leadership.lost)

A candidate is a key of its own, put with a lease of its own, below the election's name. Revisions
put them in order. Each waits for the one just before it to go, so one departure wakes one waiter.
Who gets to the front puts its key once more, with the time: that makes the revision after which no
predecessor can have written anything, whose fence has been closed by then.

Nobody takes over a key: a holder that comes back is a new candidate, and waits until its old lease
has ended. For what it left in work may still be going on, and its name proves nothing.

All candidates of an election are also a group whose members know each other, for which it does not
matter who leads; that is how keys are spread over engines.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime

import orjson

from miren.base.errors import Compacted, InvalidInput, MirenError, NotFound
from miren.base.interrupting import beside, until
from miren.entities import keys
from miren.entities.store.api import (
    Bookmark,
    Compare,
    Get,
    KeyRange,
    KeyValue,
    Lease,
    Put,
    Revision,
    Store,
)
from miren.entities.store.keeping import KeptLease, kept_lease

__all__ = [
    "MARGIN",
    "Candidate",
    "Leadership",
    "begin",
    "elected",
    "find_leader",
    "stand",
    "watch_candidates",
]

log = logging.getLogger(__name__)

#: Which part of a lease is left for stopping when nothing was heard of the store.
MARGIN = 1 / 5


@dataclass(frozen=True, slots=True)
class Candidate:
    """Who stands in an election: the first of them leads, since `since` (None: not yet).

    `revision` is the one that created `key`, so the least is the first.
    """

    holder: str
    key: str
    revision: int
    since: datetime | None = None

    @classmethod
    def decode(cls, stored: KeyValue) -> Candidate:
        """Return what `encode` stored."""
        plain = orjson.loads(stored.value)
        since = plain["since"]
        begun = None if since is None else datetime.fromisoformat(since)
        return cls(plain["holder"], stored.key, stored.create_revision, begun)

    @staticmethod
    def encode(holder: str, since: datetime | None = None) -> bytes:
        """Return the stored form; the rest is in the key and its history."""
        plain = {"holder": holder, "since": None if since is None else since.isoformat()}
        return orjson.dumps(plain, option=orjson.OPT_SORT_KEYS)


@dataclass(frozen=True, slots=True, eq=False)
class Leadership:
    """The right to lead, until `lost` is set; who finds out otherwise sets it.

    `key` and its create revision `revision` are what writes are fenced by. Whatever an earlier
    leader wrote was written before the revision `since`.
    """

    name: str
    holder: str
    key: str
    revision: int
    since: int
    lost: asyncio.Event


@asynccontextmanager
async def elected(
    store: Store, name: str, *, holder: str, ttl: float, now: Callable[[], datetime]
) -> AsyncIterator[Leadership]:
    """Wait until `holder` leads the election; see `Client.elect`."""
    if not name or not holder:
        raise InvalidInput("an election needs a name, and a holder who stands")
    what = f"the candidacy of {holder} for {name}"
    while True:
        async with kept_lease(store, ttl, name=what, margin=ttl * MARGIN) as lease:
            standing = _Standing(store, name, holder, lease)
            async with until(lease.lost):
                await standing.wait_for_turn()
            since = await standing.begin(now())
            if since is not None:
                async with standing.noticing():
                    yield standing.leadership(since)
                return


class _Standing:
    """One candidacy, as long as its lease."""

    def __init__(self, store: Store, name: str, holder: str, lease: KeptLease) -> None:
        self._store = store
        self._name = name
        self._holder = holder
        self._lease = lease
        self._key = _key(name, lease.lease)
        self._revision = 0

    async def wait_for_turn(self) -> None:
        """Stand, and return once no other candidate is before this one."""
        try:
            standing = await stand(self._store, self._name, self._holder, self._lease.lease)
        except NotFound:
            self._lease.lose("the store has ended it")
            return
        self._revision = standing[1]
        everybody = keys.candidates_range(self._name)
        while True:
            found = (await self._store.list(everybody)).items
            before = [each for each in found if each.create_revision < self._revision]
            if not before:
                return
            await _until_gone(self._store, max(before, key=_order).key)

    async def begin(self, now: datetime) -> int | None:
        """Say that this candidate leads, and return the revision of it; None if it does not."""
        if self._lease.lost.is_set():
            return None
        leader = Candidate(self._holder, self._key, self._revision, now)
        return await begin(self._store, leader, self._lease.lease)

    def leadership(self, since: int) -> Leadership:
        """Return what is yielded to the leader."""
        return Leadership(
            self._name, self._holder, self._key, self._revision, since, self._lease.lost
        )

    def noticing(self) -> AbstractAsyncContextManager[None]:
        """Lose the lease as soon as the key has gone, while the body runs."""
        return beside(self._notice(), name=f"watching {self._key}")

    async def _notice(self) -> None:
        while not self._lease.lost.is_set():
            try:
                await _until_gone(self._store, self._key)
            except MirenError:
                # Whether the store can be reached is for the heartbeats to say.
                await asyncio.sleep(self._lease.ttl / 3)
            else:
                self._lease.lose("its key has gone")


async def stand(store: Store, name: str, holder: str, lease: Lease) -> tuple[str, int]:
    """Make `holder` a candidate until `lease` ends; return its key and the revision made.

    Raises NotFound when the lease has ended. Standing again by a lease is standing once.
    """
    key = _key(name, lease)
    result = await store.transact(
        [Compare.absent(key)],
        [Put(key, Candidate.encode(holder), lease)],
        [Get(KeyRange.key(key))],
    )
    return key, result.revision if result.succeeded else result.reads[0][0].create_revision


async def begin(store: Store, leader: Candidate, lease: Lease) -> int | None:
    """Say that a candidate leads, since when it says; return the revision of that.

    None if it is no candidate any more. That it is the first of them is for the caller to know.
    """
    value = Candidate.encode(leader.holder, leader.since)
    try:
        result = await store.transact(
            [Compare.same(leader.key, leader.revision)], [Put(leader.key, value, lease)]
        )
    except NotFound:
        return None
    return result.revision if result.succeeded else None


async def find_leader(store: Store, name: str) -> Candidate | None:
    """Return who leads an election, None where nobody does."""
    first = next(iter(_candidates((await store.list(keys.candidates_range(name))).items)), None)
    return None if first is None or first.since is None else first


@asynccontextmanager
async def watch_candidates(
    store: Store, name: str
) -> AsyncIterator[AsyncIterator[tuple[Candidate, ...]]]:
    """Deliver who stands in an election, now and after every change; see `Client.candidates`."""
    yield _changes(store, keys.candidates_range(name))


async def _changes(store: Store, everybody: KeyRange) -> AsyncIterator[tuple[Candidate, ...]]:
    while True:
        page = await store.list(everybody)
        found = {item.key: item for item in page.items}
        yield _candidates(found.values())
        try:
            async with store.watch(everybody, after=page.revision) as changes:
                async for change in changes:
                    if isinstance(change, Bookmark):
                        continue
                    _take(change, found)
                    yield _candidates(found.values())
        except Compacted:
            continue  # what it was in between nobody knows: look at what it is now


def _take(change: Revision, found: dict[str, KeyValue]) -> None:
    for event in change.events:
        if event.current is None:
            found.pop(event.key, None)
        else:
            found[event.key] = event.current


def _candidates(found: Iterable[KeyValue]) -> tuple[Candidate, ...]:
    return tuple(map(Candidate.decode, sorted(found, key=_order)))


def _key(name: str, lease: Lease) -> str:
    return keys.candidate_key(name, f"{lease:x}")


def _order(candidate: KeyValue) -> int:
    return candidate.create_revision


async def _until_gone(store: Store, key: str) -> None:
    """Return once `key` does not exist."""
    scope = KeyRange.key(key)
    while True:
        page = await store.list(scope)
        if not page.items:
            return
        try:
            async with store.watch(scope, after=page.revision) as changes:
                async for change in changes:
                    if isinstance(change, Revision) and change.events[-1].current is None:
                        return
        except Compacted:
            continue  # what it was in between nobody knows: look at what it is now
