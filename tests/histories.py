"""What clients saw of a store, recorded while they all worked on it, and then held against it.

Two judges. `linearizability` takes each key as a register and knows nothing of revisions.
`check_calls` trusts nothing but revisions: they put every call in one order over all keys, so what
each answer must have been follows from the store's own history, in time linear in its length.
`check_history` and `check_watch` see to that history itself.

Every value is written by one call only, so that seeing it tells whose write it was. A call that
was refused surely did nothing; one whose outcome is unknown did all of it once, or nothing.
"""

from __future__ import annotations

import asyncio
import math
import random
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial

from miren.base.errors import OutcomeUnknown, Unavailable
from miren.entities.store.api import (
    Compare,
    Delete,
    Get,
    KeyRange,
    KeyValue,
    Put,
    Revision,
    Store,
    StoreEvent,
    TransactionResult,
)
from tests.linearizability import Action, Operation, is_linearizable

__all__ = [
    "MARK",
    "RANGE",
    "ROOT",
    "Call",
    "Client",
    "Recorder",
    "Watcher",
    "check_all",
    "check_calls",
    "check_history",
    "check_registers",
    "check_watch",
    "due",
    "read_history",
    "watching",
    "work",
    "working",
]

#: All that a workload touches.
ROOT = "/work/"
RANGE = KeyRange.prefix(ROOT)

#: What is written to know that all before it was delivered.
MARK = f"{ROOT}~mark"

State = dict[str, KeyValue]


@dataclass(slots=True)
class Call:
    """One call of one client. Times count what was recorded, so no two are the same.

    `writes` is what it wrote, or would have: None for a key that it deleted. `expected` is the
    value that it wanted to find in each key first. `saw` is what it was told that keys held, at
    `revision` where it was told one.
    """

    what: str
    invoked: int
    client: str = ""
    writes: Mapping[str, bytes | None] = field(default_factory=dict)
    expected: Mapping[str, bytes | None] = field(default_factory=dict)
    returned: float = math.inf
    refused: bool = False
    missed: bool = False
    revision: int = 0
    saw: Mapping[str, KeyValue | None] = field(default_factory=dict)

    @property
    def is_answered(self) -> bool:
        return self.returned < math.inf and not self.refused

    @property
    def wrote(self) -> bool:
        """Return whether it surely made a revision."""
        return self.is_answered and bool(self.writes) and not self.missed and self.changed

    @property
    def changed(self) -> bool:
        """A delete of nothing changes nothing."""
        return any(
            value is not None or self.saw.get(key) is not None
            for key, value in self.writes.items()
        )


class Recorder:
    """All calls in the order in which they began."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.now = 0
        self.is_over = False
        self._answered = asyncio.Event()

    @asynccontextmanager
    async def call(
        self,
        what: str,
        *,
        client: str = "",
        writes: Mapping[str, bytes | None] | None = None,
        expected: Mapping[str, bytes | None] | None = None,
    ) -> AsyncIterator[Call]:
        """Record a call around what is done inside; its answer is set on what this gives.

        The errors that a store may raise under faults are taken, and noted as outcomes.
        """
        call = Call(what, self._tick(), client, writes or {}, expected or {})
        self.calls.append(call)
        try:
            yield call
        except Unavailable:
            call.refused = True
        except OutcomeUnknown:
            return
        finally:
            self._answered.set()
        call.returned = self._tick()

    async def until_writes(self, more: int, within: float = 20.0) -> None:
        """Wait until so many more writes are acknowledged that began after this."""
        start = len(self.calls)
        await self._until(
            lambda: sum(call.wrote for call in self.calls[start:]) >= more, within=within
        )

    async def until_each_wrote(self, clients: int, within: float = 20.0) -> None:
        """Wait until so many clients had a write acknowledged that began after this."""
        start = len(self.calls)
        await self._until(
            lambda: len({call.client for call in self.calls[start:] if call.wrote}) >= clients,
            within=within,
        )

    async def _until(self, holds: Callable[[], bool], *, within: float) -> None:
        async with asyncio.timeout(within):
            while not holds():
                self._answered.clear()
                await self._answered.wait()

    def count(self, *, unknown: bool = False) -> int:
        """Return how many calls were answered, or of how many writes the outcome is not known."""
        if unknown:
            return sum(call.returned == math.inf for call in self.calls)
        return sum(call.is_answered for call in self.calls)

    def _tick(self) -> int:
        self.now += 1
        return self.now


class Client:
    """Makes random calls on a few keys, and remembers what it last saw of each."""

    def __init__(
        self, store: Store, recorder: Recorder, *, name: str, keys: Sequence[str]
    ) -> None:
        self._store = store
        self._call = partial(recorder.call, client=name)
        self._name = name
        self._keys = list(keys)
        self._writes = 0
        self._known: dict[str, KeyValue | None] = {}

    async def step(self, rng: random.Random) -> None:
        """Make one call."""
        key, other = rng.sample(self._keys, 2)
        match rng.choice(["get", "get", "put", "swap", "swap", "swap", "delete", "pair", "list"]):
            case "get":
                await self._get(key)
            case "put":
                await self._put({key: self._value()})
            case "swap":
                await self._swap(key)
            case "delete":
                await self._delete(key)
            case "pair":
                value = self._value()
                await self._put({key: value, other: value + b"'"})
            case "list":
                await self._list()

    async def _get(self, key: str) -> None:
        async with self._call("get") as call:
            call.saw = {key: await self._store.get(key)}
            self._known |= call.saw

    async def _list(self) -> None:
        async with self._call("list") as call:
            page = await self._store.list(RANGE)
            call.revision = page.revision
            there = {item.key: item for item in page.items}
            call.saw = {key: there.get(key) for key in self._keys}
            self._known |= call.saw

    async def _put(self, values: Mapping[str, bytes]) -> None:
        async with self._call("put", writes=values) as call:
            puts = [Put(key, value) for key, value in values.items()]
            call.revision = (await self._store.transact([], puts)).revision

    async def _delete(self, key: str) -> None:
        async with self._call("delete", writes={key: None}) as call:
            result = await self._store.transact([], [Delete(KeyRange.key(key))])
            call.saw, call.revision = {key: _only(result)}, result.revision

    async def _swap(self, key: str) -> None:
        known = self._known.get(key)
        is_fresh = Compare.unchanged(key, known.mod_revision if known else 0)
        new = self._value()
        expected = {key: known.value if known else None}
        async with self._call("swap", writes={key: new}, expected=expected) as call:
            result = await self._store.transact(
                [is_fresh], [Put(key, new)], [Get(KeyRange.key(key))]
            )
            call.revision, call.missed = result.revision, not result.succeeded
            if call.missed:
                call.saw = {key: _only(result)}
                self._known |= call.saw

    def _value(self) -> bytes:
        self._writes += 1
        return f"{self._name}.{self._writes}".encode()


def _only(result: TransactionResult) -> KeyValue | None:
    return result.reads[0][0] if result.reads[0] else None


async def work(
    stores: Sequence[Store],
    *,
    seed: int,
    clients: int = 6,
    steps: int = 40,
    keys: int = 3,
    recorder: Recorder | None = None,
    pace: float = 0.0,
) -> Recorder:
    """Let clients, spread over `stores` of the same data, make calls at once; return them all.

    `pace` is how long a client thinks between two calls, in seconds. Clients end early once the
    recorder that was given is told that it `is_over`.
    """
    recorder = recorder or Recorder()
    names = [f"{ROOT}{n:02}" for n in range(keys)]

    async def live(number: int) -> None:
        store = stores[number % len(stores)]
        client = Client(store, recorder, name=f"c{number}", keys=names)
        rng = random.Random(seed * 1000 + number)
        for _ in range(steps):
            if recorder.is_over:
                break
            await client.step(rng)
            await asyncio.sleep(pace * rng.random() * 2)

    async with asyncio.TaskGroup() as group:
        for number in range(clients):
            group.create_task(live(number))
    return recorder


class Watcher:
    """Keeps what a watch delivered, as long as it is followed."""

    def __init__(self, store: Store, *, after: int, range: KeyRange = RANGE) -> None:
        self.after = after
        self.range = range
        self.revisions: list[Revision] = []
        self.position = after
        self._store = store
        self._moved = asyncio.Event()

    async def follow(self) -> None:
        """Take everything that comes, until cancelled."""
        async with self._store.watch(self.range, after=self.after) as items:
            async for item in items:
                if isinstance(item, Revision):
                    self.revisions.append(item)
                self.position = max(self.position, item.revision)
                self._moved.set()

    async def until(self, revision: int, within: float = 20.0) -> None:
        """Wait until it was told of everything up to `revision`."""
        async with asyncio.timeout(within):
            while self.position < revision:
                self._moved.clear()
                await self._moved.wait()


@asynccontextmanager
async def watching(*watchers: Watcher) -> AsyncIterator[None]:
    """Let the watchers follow meanwhile; what one raises is raised here."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(each.follow()) for each in watchers]
        yield
        for task in tasks:
            task.cancel()


async def read_history(store: Store, *, after: int) -> list[Revision]:
    """Return everything that happened in `RANGE` since `after`, up to now.

    A last write in it marks where now is, so that no bookmark needs to be trusted.
    """
    mark = await store.transact([], [Put(MARK, b"")])
    found: list[Revision] = []
    async with asyncio.timeout(30), store.watch(RANGE, after=after) as items:
        async for item in items:
            if isinstance(item, Revision):
                found.append(item)
            if item.revision >= mark.revision:
                break
    return found


def check_history(history: Sequence[Revision], end: Mapping[str, KeyValue]) -> None:
    """Check that the events follow from one another, from nothing to the state `end`."""
    state: State = {}
    last = 0
    for revision in history:
        assert revision.revision > last, f"revision {revision.revision} comes after {last}"
        last = revision.revision
        names = [event.key for event in revision.events]
        assert names == sorted(set(names)), f"revision {last}: {names}"
        for event in revision.events:
            _check_event(event, state.get(event.key), last)
            _apply(event, state)
    assert state == dict(end)


def _check_event(event: StoreEvent, before: KeyValue | None, revision: int) -> None:
    assert event.previous == before, f"revision {revision}: {event} does not follow {before}"
    now = event.current
    if now is None:
        assert before is not None, f"revision {revision} deletes {event.key}, which is not there"
        return
    born, version = (before.create_revision, before.version) if before else (revision, 0)
    told = (now.mod_revision, now.create_revision, now.version)
    assert told == (revision, born, version + 1), f"revision {revision}: {event}"


def _apply(event: StoreEvent, state: State) -> None:
    if event.current is None:
        del state[event.key]
    else:
        state[event.key] = event.current


def check_watch(watcher: Watcher, history: Sequence[Revision]) -> None:
    """Check that a watch delivered the history: all of its range, whole, in order, once."""
    assert watcher.revisions == due(watcher, history)


def due(watcher: Watcher, history: Sequence[Revision]) -> list[Revision]:
    """Return what of the history a watch has to deliver."""
    mine = (
        Revision(
            each.revision, tuple(event for event in each.events if event.key in watcher.range)
        )
        for each in history
        if each.revision > watcher.after
    )
    return [each for each in mine if each.events]


class _States:
    """What each key held at any revision."""

    def __init__(self, history: Sequence[Revision]) -> None:
        self._at: dict[str, list[int]] = defaultdict(list)
        self._items: dict[str, list[KeyValue | None]] = defaultdict(list)
        self.changes = {each.revision: each.events for each in history}
        for revision in history:
            for event in revision.events:
                self._at[event.key].append(revision.revision)
                self._items[event.key].append(event.current)

    def held(self, key: str, revision: int) -> KeyValue | None:
        found = bisect_right(self._at[key], revision)
        return self._items[key][found - 1] if found else None

    def first_after(self, key: str, item: KeyValue | None, revision: int) -> int | None:
        """Return the first revision from `revision` on at which `key` held `item`."""
        if self.held(key, revision) == item:
            return revision
        first = bisect_right(self._at[key], revision)
        for at, held in zip(self._at[key][first:], self._items[key][first:], strict=True):
            if held == item:
                return at
        return None


def check_calls(calls: Sequence[Call], history: Sequence[Revision]) -> None:
    """Check that the history explains every answer, in an order that respects time.

    A call answered before another began comes before it, over all keys together. A read that
    names no revision takes the earliest one that explains it, which leaves the most to the others.
    """
    _check_writes(calls, history)
    states = _States(history)
    floors: dict[int, int] = {}
    reached = 0  # answers showed that the store was here
    for moment, call in _moments(calls):
        if moment == call.invoked:
            floors[call.invoked] = reached
        elif call.is_answered:
            reached = max(reached, _place(call, floors[call.invoked], states))


def _moments(calls: Sequence[Call]) -> list[tuple[float, Call]]:
    begun: list[tuple[float, Call]] = [(call.invoked, call) for call in calls]
    ended = [(call.returned, call) for call in calls if call.returned < math.inf]
    return sorted([*begun, *ended], key=lambda each: each[0])


def _place(call: Call, floor: int, states: _States) -> int:
    """Return the revision that explains an answer; fail when none at `floor` or later does."""
    if not call.revision:
        for key, item in call.saw.items():
            found = states.first_after(key, item, floor)
            assert found is not None, f"stale, or never so: {call}; the store was at {floor}"
            floor = max(floor, found)
        return floor
    assert call.revision >= floor + call.wrote, f"back in time: {call}; the store was at {floor}"
    before = call.revision - call.wrote
    for key, item in call.saw.items():
        held = states.held(key, before)
        assert held == item, f"{call}: {key} held {held} at {before}"
    for key, value in call.expected.items():
        found_item = states.held(key, before)
        is_there = (found_item.value if found_item else None) == value
        assert is_there or call.missed, f"{call}: {key} held {found_item} at {before}"
    return call.revision


def _check_writes(calls: Sequence[Call], history: Sequence[Revision]) -> None:
    """Check that the history holds every write that was acknowledged, and nothing that was not."""
    missing = {id(call): call for call in calls if call.wrote}
    lost_deletes = Counter(
        key
        for call in calls
        if call.returned == math.inf
        for key, value in call.writes.items()
        if value is None
    )
    writers = {each: call for call in calls for each in call.writes.items()}
    deletes = {call.revision: call for call in calls if call.what == "delete" and call.wrote}
    done: set[int] = set()
    for revision in history:
        wrote = {
            event.key: event.current.value if event.current else None for event in revision.events
        }
        if MARK in wrote:
            continue
        key, value = next(iter(wrote.items()))
        call = deletes.get(revision.revision) if value is None else writers.get((key, value))
        if call is None:
            assert value is None, f"nobody wrote {revision}"
            assert lost_deletes[key], f"nobody deleted {revision}"
            lost_deletes[key] -= 1
            continue
        assert dict(call.writes) == wrote, f"{call} happened in part: {revision}"
        assert id(call) not in done, f"{call} happened twice, again at {revision.revision}"
        done.add(id(call))
        assert not call.refused, f"{call} was refused and is at {revision.revision}"
        assert not call.missed, f"{call} missed and is at {revision.revision}"
        assert call.revision in (revision.revision, 0), f"{call} is at {revision.revision}"
        missing.pop(id(call), None)
    assert not missing, f"acknowledged and lost: {list(missing.values())[:3]}"


def check_registers(calls: Sequence[Call]) -> None:
    """Check each key as a register; nothing is known of revisions here."""
    operations: dict[str, list[Operation]] = defaultdict(list)
    for call in calls:
        if not call.refused:
            for key in call.writes.keys() | call.saw.keys():
                operations[key].append(_on_register(call, key))
    for key, those in operations.items():
        assert is_linearizable(those), f"no order explains what was seen of {key}"


def _on_register(call: Call, key: str) -> Operation:
    saw = call.saw.get(key)
    action = _action(call, key)
    return Operation(
        action,
        call.invoked,
        call.returned,
        expected=call.expected.get(key),
        new=call.writes.get(key),
        saw=saw.value if saw else None,
    )


def _action(call: Call, key: str) -> Action:
    if key not in call.writes:
        return Action.GET
    if key in call.expected:
        return Action.MISS if call.missed else Action.SWAP
    return Action.DELETE if call.writes[key] is None else Action.PUT


async def check_all(
    recorder: Recorder, store: Store, *, after: int, watchers: Sequence[Watcher] = ()
) -> list[Revision]:
    """Hold everything recorded since `after` against the store and itself; return the history."""
    history = await read_history(store, after=after)
    last = history[-1].revision
    page = await store.list(RANGE, revision=last)
    check_history(history, {item.key: item for item in page.items})
    for watcher in watchers:
        mine = due(watcher, history)
        await watcher.until(mine[-1].revision if mine else 0)
        check_watch(watcher, history)
    check_calls(recorder.calls, history)
    check_registers(recorder.calls)
    return history


@asynccontextmanager
async def working(
    direct: Store,
    *stores: Store,
    pace: float = 0.01,
    within: float = 55.0,
) -> AsyncIterator[Recorder]:
    """Let clients work through `stores` while faults happen inside, and judge it all after that.

    Each of `stores` is followed from the beginning. `direct` is of the same data, and fit to be
    asked again at the end.
    """
    birth = (await direct.status()).revision
    watchers = [Watcher(store, after=birth) for store in (*stores, direct)]
    recorder = Recorder()
    async with asyncio.timeout(within), watching(*watchers):
        async with asyncio.TaskGroup() as group:
            clients = max(5, len(stores))
            kind = {"clients": clients, "steps": 1_000_000, "keys": 12}
            group.create_task(work(stores, seed=1, **kind, recorder=recorder, pace=pace))
            await recorder.until_writes(10)
            try:
                yield recorder
            finally:
                recorder.is_over = True
        await check_all(recorder, direct, after=birth, watchers=watchers)
