from __future__ import annotations

import asyncio
import random

from miren.base.backoff import Backoff
from miren.reconcile.queue import WorkQueue
from tests.reconcile.virtual import now, virtually

EXACT = Backoff(first=1.0, factor=2.0, cap=60.0, jitter=0.0)


def make_queue() -> WorkQueue[str]:
    return WorkQueue(EXACT, random.Random(0))


async def take(queue: WorkQueue[str]) -> str:
    """Take a key that must be ready now."""
    async with asyncio.timeout(0.5):
        return await queue.get()


async def ready(queue: WorkQueue[str]) -> list[str]:
    """Take and give back all that is ready now."""
    found = []
    while len(queue):
        key = await take(queue)
        queue.done(key)
        found.append(key)
    return found


@virtually
async def test_keys_come_in_the_order_they_were_added() -> None:
    queue = make_queue()
    for key in "cab":
        queue.add(key)
    assert await ready(queue) == ["c", "a", "b"]


@virtually
async def test_a_waiting_key_is_not_added_twice() -> None:
    queue = make_queue()
    for key in "aba":
        queue.add(key)
    assert len(queue) == 2
    assert await ready(queue) == ["a", "b"]


@virtually
async def test_a_key_in_work_is_parked_until_it_is_done() -> None:
    queue = make_queue()
    queue.add("a")
    assert await take(queue) == "a"
    queue.add("a")
    queue.add("a")
    queue.add("b")
    assert await take(queue) == "b"
    assert len(queue) == 0
    queue.done("a")
    assert await take(queue) == "a"
    queue.done("a")
    assert len(queue) == 0


@virtually
async def test_a_waiting_worker_is_woken() -> None:
    queue = make_queue()
    taken: list[str] = []

    async def work() -> None:
        taken.append(await queue.get())

    async with asyncio.TaskGroup() as group:
        for _ in range(2):
            group.create_task(work())
        await asyncio.sleep(1)
        queue.add("a")
        queue.add("b")
    assert sorted(taken) == ["a", "b"]


@virtually
async def test_a_worker_cancelled_as_it_is_woken_lets_another_work() -> None:
    queue = make_queue()
    first = asyncio.ensure_future(queue.get())
    second = asyncio.ensure_future(queue.get())
    await asyncio.sleep(1)
    queue.add("a")
    first.cancel()
    async with asyncio.timeout(1):
        assert await second == "a"
    assert first.cancelled()


@virtually
async def test_of_several_delays_the_earliest_counts() -> None:
    queue = make_queue()
    queue.add_after("a", 10)
    queue.add_after("a", 5)
    queue.add_after("a", 7)
    assert await queue.get() == "a"
    assert now() == 5
    queue.done("a")
    await asyncio.sleep(20)
    assert len(queue) == 0


@virtually
async def test_an_event_replaces_the_delay() -> None:
    queue = make_queue()
    queue.add_after("a", 10)
    queue.add("a")
    assert await ready(queue) == ["a"]
    await asyncio.sleep(20)
    assert len(queue) == 0


@virtually
async def test_a_delay_that_ends_while_the_key_is_in_work_parks_it_once() -> None:
    queue = make_queue()
    queue.add("a")
    assert await take(queue) == "a"
    queue.add_after("a", 5)
    await asyncio.sleep(10)
    queue.done("a")
    assert await ready(queue) == ["a"]
    assert queue.is_idle


@virtually
async def test_no_delay_is_now() -> None:
    queue = make_queue()
    queue.add_after("a", 0)
    assert not queue.is_idle
    assert await take(queue) == "a"


@virtually
async def test_failures_double_the_delay_up_to_the_cap_and_success_forgets() -> None:
    queue = make_queue()
    queue.add("a")
    delays = []
    for _ in range(8):
        assert await queue.get() == "a"
        delays.append(queue.failed("a"))
        queue.done("a")
    assert delays == [1, 2, 4, 8, 16, 32, 60, 60]
    assert await queue.get() == "a"
    queue.succeeded("a")
    assert queue.failures("a") == 0
    assert queue.failed("a") == 1


@virtually
async def test_events_run_a_failing_key_and_do_not_inflate_its_delay() -> None:
    queue = make_queue()
    queue.add("a")
    assert await take(queue) == "a"
    assert queue.failed("a") == 1
    queue.done("a")
    for _ in range(20):
        queue.add("a")
        assert await take(queue) == "a"
        queue.failed("a")
        queue.done("a")
    assert queue.failures("a") == 1
    assert await queue.get() == "a"
    assert now() == 1
    assert queue.failed("a") == 2


@virtually
async def test_low_priority_waits_for_the_others() -> None:
    queue = make_queue()
    queue.add("low", low=True)
    queue.add("a")
    queue.add("b")
    queue.add("b", low=True)
    assert await ready(queue) == ["a", "b", "low"]


@virtually
async def test_an_event_raises_a_low_key() -> None:
    queue = make_queue()
    queue.add("x", low=True)
    queue.add("y", low=True)
    queue.add("z")
    queue.add("y")
    assert await ready(queue) == ["z", "y", "x"]


@virtually
async def test_low_keys_that_waited_take_turns_with_the_others() -> None:
    queue = make_queue()
    for key in ("l1", "l2", "l3"):
        queue.add(key, low=True)
    await asyncio.sleep(2)
    for key in ("a", "b", "c", "d"):
        queue.add(key)
    assert await ready(queue) == ["l1", "a", "l2", "b", "l3", "c", "d"]


@virtually
async def test_a_low_key_is_not_starved_by_steady_work() -> None:
    queue = make_queue()
    queue.add("low", low=True)
    queue.add("a")
    queue.add("b")
    while (key := await take(queue)) != "low":
        await asyncio.sleep(0.1)
        queue.done(key)
        queue.add(key)
    assert 1 <= now() <= 1.2


@virtually
async def test_a_key_parked_by_low_priority_stays_low() -> None:
    queue = make_queue()
    queue.add("x")
    assert await take(queue) == "x"
    queue.add("x", low=True)
    queue.add("y")
    queue.done("x")
    assert await ready(queue) == ["y", "x"]
    queue.add("x")
    assert await take(queue) == "x"
    queue.add("x", low=True)
    queue.add("x")
    queue.add("x", low=True)
    queue.done("x")
    queue.add("y")
    assert await ready(queue) == ["x", "y"]


@virtually
async def test_memory_is_bounded_by_the_keys_and_not_by_events() -> None:
    queue = make_queue()
    for _ in range(1000):
        queue.add("a")
        key = await take(queue)
        queue.add_after(key, 3600)
        queue.done(key)
        await asyncio.sleep(0.1)
    assert len(queue._heap) <= 2 * 1 + 65


@virtually
async def test_draining_hands_out_nothing_more_and_waits_for_what_is_in_work() -> None:
    queue = make_queue()
    queue.add("a")
    queue.add("b")
    assert await take(queue) == "a"
    draining = asyncio.ensure_future(queue.drain(10))
    waiting = asyncio.ensure_future(queue.get())
    await asyncio.sleep(3)
    assert not draining.done()
    queue.done("a")
    await draining
    assert now() == 3
    await asyncio.sleep(1)
    assert not waiting.done()
    waiting.cancel()


@virtually
async def test_draining_gives_up_after_the_grace() -> None:
    queue = make_queue()
    queue.add("a")
    await take(queue)
    await queue.drain(10)
    assert now() == 10
