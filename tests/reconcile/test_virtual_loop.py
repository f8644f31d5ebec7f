from __future__ import annotations

import asyncio

import pytest

from miren.reconcile.testing import VirtualLoop, run_virtual


def orders(seed: int | None) -> list[str]:
    """Return in which order five tasks take turns, twice each."""
    told: list[str] = []

    async def step(name: str) -> None:
        for turn in range(2):
            await asyncio.sleep(0)
            told.append(f"{name}{turn}")

    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            for name in "abcde":
                group.create_task(step(name))

    run_virtual(main(), seed=seed)
    return told


def test_a_seed_says_in_which_order_tasks_take_turns() -> None:
    assert orders(None) == ["a0", "b0", "c0", "d0", "e0", "a1", "b1", "c1", "d1", "e1"]
    assert orders(1) == orders(1)
    assert len({tuple(orders(seed)) for seed in range(20)}) > 15


def test_callbacks_keep_their_order_and_no_task_passes_one() -> None:
    async def main() -> None:
        told: list[str] = []

        async def step(name: str) -> None:
            asyncio.get_running_loop().call_soon(told.append, f"{name} called")
            await asyncio.sleep(0)
            told.append(f"{name} went on")

        async with asyncio.TaskGroup() as group:
            for name in "abc":
                group.create_task(step(name))
        for name in "abc":
            assert told.index(f"{name} called") < told.index(f"{name} went on")

        called: list[int] = []
        for number in range(10):
            asyncio.get_running_loop().call_soon(called.append, number)
        await asyncio.sleep(1)
        assert called == list(range(10))

    for seed in range(20):
        run_virtual(main(), seed=seed)


def test_tasks_are_cancelled_in_the_same_order_in_every_run() -> None:
    async def main() -> list[int]:
        told: list[int] = []

        async def wait(number: int) -> None:
            try:
                await asyncio.sleep(3600)
            finally:
                told.append(number)

        async def broken() -> None:
            await asyncio.sleep(1)
            raise ValueError

        async def group() -> None:
            async with asyncio.TaskGroup() as group:
                for number in range(50):
                    group.create_task(wait(number))
                group.create_task(broken())

        with pytest.raises(ExceptionGroup):
            await group()
        return told

    # What lies between them in memory is another thing each time.
    kept = [object() for _ in range(1000)]
    first = run_virtual(main(), seed=3)
    del kept[::3]
    assert run_virtual(main(), seed=3) == first


def test_waiting_for_nothing_and_running_in_circles_are_errors(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def waits() -> None:
        await asyncio.Event().wait()

    async def circles() -> None:
        while True:  # noqa: ASYNC110
            await asyncio.sleep(0)

    with pytest.raises(RuntimeError, match="deadlock"):
        run_virtual(waits())
    monkeypatch.setattr("miren.reconcile.testing.loop._CIRCLES", 1000)
    with pytest.raises(RuntimeError, match="running in circles"):
        run_virtual(circles(), seed=1)


def test_what_would_run_in_a_thread_runs_at_once() -> None:
    async def main() -> list[int]:
        told = [await asyncio.to_thread(abs, -number) for number in range(3)]
        with pytest.raises(ZeroDivisionError):
            await asyncio.to_thread(lambda: 1 // 0)
        assert isinstance(asyncio.get_running_loop(), VirtualLoop)
        return told

    assert run_virtual(main(), seed=1) == [0, 1, 2]
