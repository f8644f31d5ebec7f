"""What concurrent clients see of each store can be explained, by any judge there is."""

from __future__ import annotations

import asyncio

import pytest

from miren.entities.store.api import KeyRange, Store
from tests.effort import tries
from tests.judges import check_all
from tests.recording import RANGE, ROOT, Watcher, watching
from tests.workload import work


@pytest.mark.parametrize("seed", range(tries(3, soak=100)))
async def test_no_client_sees_what_no_order_explains(each_store: Store, seed: int) -> None:
    birth = (await each_store.status()).revision
    watchers = [
        Watcher(each_store, after=birth),
        Watcher(each_store, after=birth, range=KeyRange.key(f"{ROOT}01")),
        Watcher(each_store, after=birth, range=KeyRange(ROOT, f"{ROOT}02")),
    ]
    async with asyncio.timeout(50), watching(*watchers):
        recorder = await work([each_store], seed=seed)
        await check_all(recorder, each_store, after=birth, watchers=watchers)
    assert recorder.count() == len(recorder.calls)


async def test_watches_that_begin_in_the_middle_of_the_work_miss_nothing(
    each_store: Store,
) -> None:
    birth = (await each_store.status()).revision
    watchers: list[Watcher] = []
    async with asyncio.timeout(50), asyncio.TaskGroup() as group:

        async def begin() -> None:
            for _ in range(6):
                page = await each_store.list(RANGE)
                watchers.append(Watcher(each_store, after=page.revision))
                following.append(group.create_task(watchers[-1].follow()))

        following: list[asyncio.Task[None]] = []
        starting = group.create_task(begin())
        recorder = await work([each_store], seed=1, steps=20)
        await starting
        await check_all(recorder, each_store, after=birth, watchers=watchers)
        for task in following:
            task.cancel()


async def test_every_old_revision_is_listed_as_the_history_says(each_store: Store) -> None:
    birth = (await each_store.status()).revision
    recorder = await work([each_store], seed=2, steps=15)
    history = await check_all(recorder, each_store, after=birth)
    held = {}
    for revision in history:
        for event in revision.events:
            held[event.key] = event.current
        page = await each_store.list(RANGE, revision=revision.revision)
        expected = [item for _, item in sorted(held.items()) if item is not None]
        assert list(page.items) == expected
