"""Judges of what clients saw of a store: what was recorded, held against what happened.

Two judges of calls. `check_registers` takes each key as a register and knows nothing of
revisions. `check_calls` trusts nothing but revisions: they put every call in one order over all
keys, so what each answer must have been follows from the store's own history, in time linear in
its length. `check_history` and `check_watch` see to that history itself.
"""

from __future__ import annotations

import asyncio
import math
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

from miren.entities.store.api import KeyValue, Revision, Store, StoreEvent
from tests.linearizability import Action, Operation, is_linearizable
from tests.recording import MARK, RANGE, Call, Recorder, Watcher, read_history, watching
from tests.workload import work

__all__ = [
    "check_all",
    "check_calls",
    "check_history",
    "check_registers",
    "check_watch",
    "due",
    "working",
]

State = dict[str, KeyValue]


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
