from __future__ import annotations

import asyncio

import pytest

from miren.reconcile.deadlines import Deadlines
from tests.builders import make_greeting
from tests.reconcile.greeters import Greeter
from tests.reconcile.virtual import now, running, virtually


@virtually
async def test_what_takes_too_long_is_cancelled_and_says_so() -> None:
    deadlines = Deadlines(5)
    was_cancelled = False

    async def slow() -> None:
        nonlocal was_cancelled
        try:
            await asyncio.sleep(100)
        except asyncio.CancelledError:
            was_cancelled = True
            raise

    with pytest.raises(TimeoutError):
        await deadlines.limit(slow())
    assert was_cancelled
    assert now() == 5
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


@virtually
async def test_what_is_in_time_returns_its_result_or_raises_its_error() -> None:
    deadlines = Deadlines(5)
    assert await deadlines.limit(asyncio.sleep(4, "done")) == "done"

    async def fail() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await deadlines.limit(fail())
    await asyncio.sleep(100)
    assert await deadlines.limit(asyncio.sleep(4, "again")) == "again"


@virtually
async def test_each_of_many_has_its_own_time_and_all_of_them_one_timer() -> None:
    deadlines = Deadlines(5)
    ended: dict[int, float] = {}

    async def work(number: int) -> None:
        await asyncio.sleep(number)
        with pytest.raises(TimeoutError):
            await deadlines.limit(asyncio.sleep(100))
        ended[number] = now()

    async with asyncio.TaskGroup() as group:
        for number in range(8):
            group.create_task(work(number))
        await asyncio.sleep(4.5)
        assert len(_timers_of_deadlines()) == 1
    assert ended == {number: number + 5 for number in range(8)}


def _timers_of_deadlines() -> list[asyncio.TimerHandle]:
    loop = asyncio.get_running_loop()
    timers: list[asyncio.TimerHandle] = loop._scheduled  # type: ignore[attr-defined]  # private
    return [handle for handle in timers if "Deadlines._fire" in repr(handle)]


@virtually
async def test_being_cancelled_from_outside_is_no_timeout() -> None:
    deadlines = Deadlines(5)
    task = asyncio.ensure_future(deadlines.limit(asyncio.sleep(100)))
    await asyncio.sleep(1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.sleep(10)


@virtually
async def test_cancelled_from_outside_while_it_times_out_it_is_cancelled() -> None:
    deadlines = Deadlines(5)

    async def slow_to_end() -> None:
        try:
            await asyncio.sleep(100)
        finally:
            await asyncio.sleep(1)

    task = asyncio.ensure_future(deadlines.limit(slow_to_end()))
    await asyncio.sleep(5.5)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@virtually
async def test_what_ends_well_after_its_time_has_ended_well() -> None:
    deadlines = Deadlines(5)

    async def stubborn() -> str:
        try:
            await asyncio.sleep(100)
        except asyncio.CancelledError:
            return "done all the same"
        return "never"

    assert await deadlines.limit(stubborn()) == "done all the same"
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


@virtually
async def test_closed_it_leaves_no_timer() -> None:
    deadlines = Deadlines(5)
    task = asyncio.ensure_future(deadlines.limit(asyncio.sleep(100, "done")))
    await asyncio.sleep(1)
    deadlines.close()
    assert all(handle.cancelled() for handle in _timers_of_deadlines())
    assert await task == "done"


@virtually
async def test_an_engine_that_stops_leaves_no_timer() -> None:
    async with running(Greeter()) as engine:
        await engine.client.create(make_greeting())
        await engine.run_until_idle()
        assert len(_timers_of_deadlines()) == 1
    assert all(handle.cancelled() for handle in _timers_of_deadlines())
