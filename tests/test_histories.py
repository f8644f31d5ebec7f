"""Whoever judges a store notices every fault that is planted in one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from dataclasses import replace

import pytest

from miren.base.errors import OutcomeUnknown, Unavailable
from miren.entities.store.api import (
    Bookmark,
    Compare,
    Operation,
    Put,
    Revision,
    Store,
    TransactionResult,
)
from miren.entities.store.memory import MemoryStore
from tests.judges import check_all, check_calls, check_history, check_registers, check_watch
from tests.planted import (
    FAULTS,
    Blind,
    Forgetting,
    StaleReads,
    WatchFault,
    drops,
    reorders,
    repeats,
    splits,
)
from tests.recording import Call, Watcher, read_history, watching
from tests.stores import Around
from tests.workload import work

Items = AsyncIterator[Revision | Bookmark]


@pytest.fixture
async def memory() -> AsyncIterator[Store]:
    async with MemoryStore() as store:
        yield store


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
@pytest.mark.parametrize("seed", range(3))
async def test_a_faulty_store_is_told_by_its_revisions(
    memory: Store, fault: Callable[[Store], Around], seed: int
) -> None:
    recorder = await work([fault(memory)], seed=seed)
    history = await read_history(memory, after=1)
    with pytest.raises(AssertionError, match=FAULTS[fault]):
        check_calls(recorder.calls, history)


@pytest.mark.parametrize("fault", [StaleReads, Blind, Forgetting])
@pytest.mark.parametrize("seed", range(3))
async def test_a_faulty_store_is_told_without_them(
    memory: Store, fault: Callable[[Store], Around], seed: int
) -> None:
    recorder = await work([fault(memory)], seed=seed)
    with pytest.raises(AssertionError, match="no order explains"):
        check_registers(recorder.calls)


@pytest.mark.parametrize("fault", [drops, repeats, reorders, splits])
async def test_a_watch_that_delivers_something_else_is_told(
    memory: Store, fault: Callable[[Items], AsyncGenerator[Revision | Bookmark, None]]
) -> None:
    faulty = WatchFault(memory, fault)
    watcher = Watcher(faulty, after=1)
    async with watching(watcher):
        recorder = await work([memory], seed=1)
        history = await check_all(recorder, memory, after=1)
        async with asyncio.timeout(5):
            await watcher.until(history[-1].revision)
        with pytest.raises(AssertionError):
            check_watch(watcher, history)
    told = await read_history(faulty, after=1)
    last = await memory.list(watcher.range, revision=told[-1].revision)
    with pytest.raises(AssertionError):
        check_history(told, {item.key: item for item in last.items})


async def test_an_event_that_does_not_follow_is_told(memory: Store) -> None:
    await work([memory], seed=1, clients=2, steps=20)
    history = await read_history(memory, after=1)
    end = {item.key: item for item in (await memory.list(Watcher(memory, after=1).range)).items}
    check_history(history, end)
    at = next(n for n, each in enumerate(history) if each.events[0].previous)
    for wrong in (
        replace(history[at].events[0], previous=None),
        replace(history[at].events[0], key="/w/?"),
    ):
        changed = [*history]
        changed[at] = replace(history[at], events=(wrong, *history[at].events[1:]))
        with pytest.raises(AssertionError):
            check_history(changed, end)
    with pytest.raises(AssertionError):
        check_history(history[:-1], end)


class Unclear(Around):
    """Raises OutcomeUnknown for writes, having done every second one, and refuses some of all."""

    calls = 0

    async def before(self, call: str) -> None:
        self.calls += 1
        if self.calls % 11 == 0:
            raise Unavailable("refused")

    async def transact(
        self,
        compares: Sequence[Compare],
        then: Sequence[Operation],
        otherwise: Sequence[Operation] = (),
    ) -> TransactionResult:
        self.calls += 1
        if self.calls % 16 == 0:
            raise OutcomeUnknown("not done")
        result = await super().transact(compares, then, otherwise)
        if self.calls % 8 == 0:
            raise OutcomeUnknown("done")
        return result


@pytest.mark.parametrize("seed", range(3))
async def test_what_is_unknown_may_have_happened_or_not(memory: Store, seed: int) -> None:
    recorder = await work([Unclear(memory)], seed=seed)
    assert recorder.count(unknown=True) > 5
    await check_all(recorder, memory, after=1)


async def test_a_refused_write_that_happened_is_told(memory: Store) -> None:
    recorder = await work([memory], seed=1)
    history = await check_all(recorder, memory, after=1)
    write = next(call for call in recorder.calls if call.what == "put")
    write.refused = True
    with pytest.raises(AssertionError, match="was refused"):
        check_calls(recorder.calls, history)


async def test_a_write_that_nobody_made_is_told(memory: Store) -> None:
    recorder = await work([memory], seed=1)
    recorder.calls.remove(next(call for call in recorder.calls if call.what == "put"))
    history = await read_history(memory, after=1)
    with pytest.raises(AssertionError, match="nobody wrote"):
        check_calls(recorder.calls, history)


async def test_an_order_that_time_forbids_is_told_over_keys_too(memory: Store) -> None:
    old, new = Put("/w/a", b"1"), Put("/w/b", b"2")
    first = (await memory.transact([], [old])).revision
    second = (await memory.transact([], [new])).revision
    history = await read_history(memory, after=1)
    writes = [
        Call("put", 1, writes={old.key: old.value}, returned=9, revision=first),
        Call("put", 2, writes={new.key: new.value}, returned=10, revision=second),
    ]
    saw_new = Call("get", 3, returned=4, saw={new.key: await memory.get(new.key)})
    not_old = Call("get", 5, returned=6, saw={old.key: None})
    # Each key alone has an order; both together have none, because /w/a was written first.
    check_registers([*writes, saw_new, not_old])
    with pytest.raises(AssertionError, match="stale"):
        check_calls([*writes, saw_new, not_old], history)
    saw_new.invoked, not_old.invoked, saw_new.returned, not_old.returned = 5, 3, 6, 4
    check_calls([*writes, not_old, saw_new], history)
