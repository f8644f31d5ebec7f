"""What happens when processes die that should not."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from dataclasses import replace

import pytest

from miren.base.errors import MirenError, Unavailable
from miren.base.processes import wait_ended
from miren.runtime.api import ContainerPhase
from miren.runtime.containerd.processes import processes_with
from tests.runtime.containerd.conftest import Instance
from tests.runtime.containerd.sandboxes import (
    DEADLINE,
    PAGE,
    SERVE,
    SLEEP,
    Sandboxes,
    eventually,
    fetch,
)

pytestmark = pytest.mark.host


async def kill(pid: int | None) -> None:
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    async with asyncio.timeout(DEADLINE):
        await wait_ended(pid)


async def answers(sandboxes: Sandboxes) -> bool:
    try:
        await sandboxes.runtime.list()
    except MirenError:
        return False
    return True


@pytest.mark.parametrize("runtime_class", ["runsc", "runc"])
async def test_a_sandbox_killed_from_outside_has_exited_with_137(
    sandboxes: Sandboxes, runtime_class: str
) -> None:
    boxes = replace(sandboxes, runtime_class=runtime_class)
    state = await boxes.run(*SERVE)
    await kill(state.pid)
    ended = await boxes.ended(state.id)
    assert (ended.exit_code, ended.reason) == (137, "")


@pytest.mark.parametrize("runtime_class", ["runsc", "runc"])
async def test_a_sandbox_that_wants_too_much_memory_is_killed_and_says_why(
    sandboxes: Sandboxes, runtime_class: str
) -> None:
    boxes = replace(sandboxes, runtime_class=runtime_class)
    hog = ("dd", "if=/dev/zero", "of=/dev/null", "bs=200M", "count=5")
    state = await boxes.run(*hog, memory=64 << 20)
    ended = await boxes.ended(state.id)
    assert (ended.exit_code, ended.reason) == (137, "out of memory")


async def test_sandboxes_outlive_a_killed_containerd_which_is_started_again(
    sandboxes: Sandboxes, instance: Instance
) -> None:
    async with instance.daemon() as daemon:
        state = await sandboxes.run(*SERVE)
        assert await fetch(state) == PAGE
        before = daemon.pid()
        async with sandboxes.runtime.events() as hints:
            await kill(before)
            assert await fetch(state) == PAGE
            await eventually(lambda: answers(sandboxes))
            assert daemon.pid() not in (None, before)
            assert await sandboxes.runtime.inspect(state.id) == state
            # Nothing happened to it, but something might have: so it is hinted at.
            async with asyncio.timeout(DEADLINE):
                assert (await anext(hints)).id == state.id
            stopped = await sandboxes.runtime.stop(state.id, grace=DEADLINE)
        assert stopped is not None
        assert stopped.phase is ContainerPhase.EXITED
        assert await fetch(await sandboxes.run(*SERVE)) == PAGE


async def test_while_containerd_is_away_the_runtime_is_unavailable(
    sandboxes: Sandboxes, instance: Instance
) -> None:
    daemon = instance.daemon()
    await daemon.stop()
    try:
        with pytest.raises(Unavailable):
            await sandboxes.runtime.list()
    finally:
        await daemon.start()
    await eventually(lambda: answers(sandboxes))


async def test_an_exit_while_containerd_is_away_is_an_exit(
    sandboxes: Sandboxes, instance: Instance
) -> None:
    state = await sandboxes.run(*SLEEP)
    daemon = instance.daemon()
    await daemon.stop()
    try:
        await kill(state.pid)
    finally:
        await daemon.start()
    await eventually(lambda: answers(sandboxes))
    ended = await sandboxes.ended(state.id)
    # Which of the two depends on containerd's version: newer ones forget the code.
    assert ended.exit_code in (137, None)


async def test_after_a_reboot_what_ran_has_exited_and_what_was_created_can_be_started(
    sandboxes: Sandboxes, instance: Instance
) -> None:
    ran, waiting = await sandboxes.run(*SLEEP), sandboxes.spec(*SERVE)
    await sandboxes.runtime.create(waiting)
    daemon = instance.daemon()
    await daemon.stop()
    for process in processes_with(daemon.places.run):
        await kill(process.pid)
    # What a reboot takes away: processes, namespaces, mounts, the run folder.
    for id in (ran.id, waiting.id):
        await instance.network().detach(id)
    await instance.unmount()
    await asyncio.to_thread(shutil.rmtree, instance.run_dir)
    await daemon.start()

    async with instance.runtime() as runtime:
        later = replace(sandboxes, runtime=runtime)
        state = await runtime.inspect(ran.id)
        assert state is not None
        assert (state.phase, state.exit_code) == (ContainerPhase.EXITED, None)
        assert await runtime.start(ran.id) == state
        assert await fetch(await runtime.start(waiting.id)) == PAGE
        # Addresses of before are still taken.
        assert (await later.run(*SLEEP)).address not in (ran.address, state.address)


async def test_a_stuck_shim_does_not_keep_its_sandbox_from_being_deleted(
    sandboxes: Sandboxes, instance: Instance
) -> None:
    state = await sandboxes.run(*SLEEP)
    shims = [
        process.pid
        for process in processes_with(instance.daemon().places.run)
        if str(state.id) in process.arguments and "-namespace" in process.arguments
    ]
    assert len(shims) == 1
    os.kill(shims[0], signal.SIGSTOP)
    await sandboxes.runtime.delete(state.id)
    assert await sandboxes.runtime.inspect(state.id) is None
    assert await instance.leftovers() == []


async def test_a_half_made_container_can_be_finished_or_deleted(
    sandboxes: Sandboxes, instance: Instance
) -> None:
    first, second = sandboxes.spec(*SERVE), sandboxes.spec(*SERVE)
    places = instance.daemon().places
    for spec in (first, second):
        await sandboxes.runtime.create(spec)
        await instance.network().detach(spec.id)
        await asyncio.to_thread(shutil.rmtree, places.container(spec.id))
    await sandboxes.runtime.create(first)
    assert await fetch(await sandboxes.runtime.start(first.id)) == PAGE
    await sandboxes.runtime.delete(second.id)
    assert [state.id for state in await sandboxes.runtime.list()] == [first.id]


async def test_cancelling_at_any_moment_leaves_nothing_that_delete_does_not_remove(
    sandboxes: Sandboxes, instance: Instance
) -> None:
    for delay in (0.0, 0.002, 0.005, 0.01, 0.02, 0.04, 0.08, 0.15, 0.25):
        spec = sandboxes.spec(*SLEEP)

        async def create_and_start() -> None:
            await sandboxes.runtime.create(spec)  # noqa: B023 - awaited in this turn
            await sandboxes.runtime.start(spec.id)  # noqa: B023

        try:
            async with asyncio.timeout(delay):
                await create_and_start()
        except TimeoutError:
            pass
        await sandboxes.runtime.delete(spec.id)
        assert await instance.leftovers() == []


async def test_twenty_sandboxes_start_at_once_and_leave_nothing(
    sandboxes: Sandboxes, instance: Instance
) -> None:
    states = await asyncio.gather(*(sandboxes.run(*SERVE) for _ in range(20)))
    assert len({state.address for state in states}) == 20
    assert await asyncio.gather(*(fetch(state) for state in states)) == [PAGE] * 20
    await asyncio.gather(*(sandboxes.runtime.delete(state.id) for state in states))
    assert await sandboxes.runtime.list() == []
    assert await instance.leftovers() == []
