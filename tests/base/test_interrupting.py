from __future__ import annotations

import asyncio

import pytest

from miren.base.interrupting import until


async def test_a_body_is_left_as_soon_as_the_event_is_set() -> None:
    event, was_cancelled = asyncio.Event(), False
    asyncio.get_running_loop().call_soon(event.set)
    async with asyncio.timeout(10):
        async with until(event):
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                was_cancelled = True
                raise
    assert was_cancelled


async def test_an_event_that_is_set_already_ends_the_first_wait() -> None:
    event = asyncio.Event()
    event.set()
    async with asyncio.timeout(10), until(event):
        await asyncio.Event().wait()


async def test_a_body_that_ends_by_itself_is_left_alone() -> None:
    event, ended = asyncio.Event(), False
    async with until(event):
        await asyncio.sleep(0)
        ended = True
    event.set()
    await asyncio.sleep(0)
    assert ended


@pytest.mark.parametrize("error", [ValueError("x"), TimeoutError("its own")])
async def test_what_the_body_raises_comes_out_as_it_is(error: Exception) -> None:
    with pytest.raises(type(error)) as caught:
        async with until(asyncio.Event()):
            raise error
    assert caught.value is error


async def test_a_cancellation_from_outside_goes_through() -> None:
    async def wait() -> None:
        async with until(asyncio.Event()):
            await asyncio.Event().wait()

    task = asyncio.create_task(wait())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
