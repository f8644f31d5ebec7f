from __future__ import annotations

import asyncio
import math
import random

from hypothesis import given, settings
from hypothesis import strategies as st

from miren.base.backoff import Backoff
from miren.reconcile.queue import PATIENCE, WorkQueue
from miren.reconcile.results import LOW, NORMAL
from miren.reconcile.testing import run_virtual
from tests.effort import tries
from tests.reconcile.virtual import now, virtually

EXACT = Backoff(first=1.0, factor=2.0, cap=60.0, jitter=0.0)


def make_queue() -> WorkQueue[str]:
    """Return a queue of keys like `a1`, whose first letter is their project."""
    return WorkQueue(EXACT, random.Random(0), project=lambda key: key[0])


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
    queue.add("low", priority=LOW)
    queue.add("a")
    queue.add("b")
    queue.add("b", priority=LOW)
    assert await ready(queue) == ["a", "b", "low"]


@virtually
async def test_an_event_raises_a_low_key() -> None:
    queue = make_queue()
    queue.add("x", priority=LOW)
    queue.add("y", priority=LOW)
    queue.add("z")
    queue.add("y")
    assert await ready(queue) == ["z", "y", "x"]


@virtually
async def test_low_keys_that_waited_take_turns_with_the_others() -> None:
    queue = make_queue()
    for key in ("l1", "l2", "l3"):
        queue.add(key, priority=LOW)
    await asyncio.sleep(2)
    for key in ("a", "b", "c", "d"):
        queue.add(key)
    assert await ready(queue) == ["a", "l1", "b", "l2", "c", "l3", "d"]


@virtually
async def test_a_low_key_is_not_starved_by_steady_work() -> None:
    queue = make_queue()
    queue.add("low", priority=LOW)
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
    queue.add("x", priority=LOW)
    queue.add("y")
    queue.done("x")
    assert await ready(queue) == ["y", "x"]
    queue.add("x")
    assert await take(queue) == "x"
    queue.add("x", priority=LOW)
    queue.add("x")
    queue.add("x", priority=LOW)
    queue.done("x")
    queue.add("y")
    assert await ready(queue) == ["x", "y"]


@virtually
async def test_the_highest_priority_comes_first() -> None:
    queue = make_queue()
    for key, priority in {"a": LOW, "b": 7, "c": NORMAL, "d": 7, "e": -3}.items():
        queue.add(key, priority=priority)
    assert queue.depths() == {7: 2, NORMAL: 1, -3: 1, LOW: 1}
    assert await ready(queue) == ["b", "d", "c", "e", "a"]


@virtually
async def test_a_priority_is_raised_and_never_lowered() -> None:
    queue = make_queue()
    queue.add("a")
    queue.add("b", priority=5)
    queue.add("b", priority=LOW)
    queue.add("c", priority=LOW)
    queue.add("c", priority=5)
    assert await ready(queue) == ["b", "c", "a"]


@virtually
async def test_a_retry_keeps_the_priority_that_its_key_had() -> None:
    queue = make_queue()
    queue.add("a", priority=LOW)
    assert await take(queue) == "a"
    queue.failed("a")
    queue.done("a")
    await asyncio.sleep(1)
    queue.add("b")
    assert queue.depths() == {LOW: 1, NORMAL: 1}
    assert await ready(queue) == ["b", "a"]


@virtually
async def test_a_delay_brings_its_own_priority_or_keeps_that_of_the_key() -> None:
    queue = make_queue()
    queue.add("a", priority=5)
    assert await take(queue) == "a"
    queue.add_after("a", 1)
    queue.done("a")
    queue.add_after("b", 1, priority=LOW)
    queue.add_after("c", 1)
    await asyncio.sleep(2)
    assert queue.depths() == {5: 1, NORMAL: 1, LOW: 1}


@virtually
async def test_of_several_delays_the_highest_priority_counts() -> None:
    queue = make_queue()
    queue.add_after("a", 1, priority=LOW)
    queue.add_after("a", 9, priority=5)
    assert await queue.get() == "a"
    assert now() == 1
    queue.add_after("a", 0)
    queue.done("a")
    assert queue.depths() == {5: 1}


@virtually
async def test_a_delay_raises_what_is_ready_at_a_lower_priority() -> None:
    queue = make_queue()
    queue.add("b", priority=1)
    queue.add("a", priority=LOW)
    queue.add_after("a", 0.5, priority=5)
    await asyncio.sleep(0.6)
    assert await ready(queue) == ["a", "b"]


@virtually
async def test_projects_take_turns() -> None:
    queue = make_queue()
    for key in ("a1", "a2", "a3", "a4", "b1", "b2", "c1"):
        queue.add(key)
    assert await ready(queue) == ["a1", "b1", "c1", "a2", "b2", "a3", "a4"]


@virtually
async def test_one_key_of_a_project_waits_for_one_of_each_other_however_many_they_have() -> None:
    queue = make_queue()
    for number in range(1000):
        queue.add(f"a{number}")
        queue.add(f"b{number}")
    for _ in range(5):
        queue.done(await take(queue))
    queue.add("c")
    starts = [await take(queue) for _ in range(3)]
    assert starts[-1] == "c"


@settings(max_examples=tries(40, soak=1000), deadline=None)
@given(
    st.lists(st.sampled_from("abc"), min_size=1, max_size=12),
    st.lists(st.sampled_from([NORMAL, 5, -10]), min_size=1, max_size=3, unique=True),
    st.sampled_from([0.01, 0.3]),
)
def test_low_keys_are_served_within_the_ageing_bound(
    projects: list[str], others: list[int], turn: float
) -> None:
    """However much there is to do at higher priorities, for as long as it takes."""

    async def serve() -> None:
        queue = make_queue()
        low = [f"{project}{number}" for number, project in enumerate(projects)]
        for key in low:
            queue.add(key, priority=LOW)
        started: dict[str, float] = {}
        for number in range(math.ceil(PATIENCE / turn) + 3 * len(low) + 4):
            for priority in others:
                queue.add(f"z{number}.{priority}", priority=priority)
            key = await take(queue)
            started[key] = now()
            await asyncio.sleep(turn)
            queue.done(key)
        # Two turns for each key before it that has waited as long; of those at priorities
        # between, the first is one.
        for place, at in enumerate(sorted(started[key] for key in low)):
            assert at <= PATIENCE + 2 * (place + len(others)) * turn + 1e-9

    run_virtual(serve())


@virtually
async def test_what_is_counted_adds_up() -> None:
    queue = make_queue()
    for key in ("a", "b", "a"):
        queue.add(key)
    await asyncio.sleep(2)
    assert queue.oldest_wait() == 2
    assert await take(queue) == "a"
    queue.add("a")
    await asyncio.sleep(3)
    assert await take(queue) == "b"
    await asyncio.sleep(1)
    assert queue.unfinished() == (5, 4)
    queue.failed("a")
    queue.done("a")
    assert (queue.adds, queue.retries, queue.handed_out) == (3, 1, 2)
    assert (queue.waits.count, queue.waits.total) == (2, 7)
    assert (queue.works.count, queue.works.total) == (1, 4)
    buckets = dict(queue.waits.buckets())
    assert (buckets[1.0], buckets[5.0], buckets[math.inf]) == (0, 2, 2)
    assert queue.depths() == {NORMAL: 1}
    assert queue.delayed == 0, "it is ready before the retry is due"


@virtually
async def test_a_priority_that_nobody_uses_any_more_is_forgotten() -> None:
    queue = make_queue()
    for priority in range(1000):
        queue.add("a", priority=priority)
        queue.done(await take(queue))
    assert len(queue._levels) < 10


@virtually
async def test_nothing_is_remembered_of_keys_that_have_gone() -> None:
    queue = make_queue()
    for number in range(1000):
        key = f"{number}"
        queue.add(key, priority=LOW)
        queue.add(key)
        assert await take(queue) == key
        queue.add(key)
        queue.failed(key)
        queue.done(key)
        await take(queue)
        queue.succeeded(key)
        queue.done(key)
    held = (queue._waiting, queue._running, queue._parked, queue._due, queue._failures)
    assert not any(held)
    assert all(not level._lines for level in queue._levels.values())
    assert len(queue._heap) <= 65


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
