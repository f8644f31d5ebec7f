"""What tests can make the fake do beyond the contract."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from miren.base.errors import Unavailable
from miren.runtime.api import ContainerId, ContainerPhase, ContainerSpec, ContainerState
from miren.runtime.fake import FakeRuntime

SPEC = ContainerSpec(id=ContainerId("web", 1), image="web", log=Path("/nowhere/main.log"))


def make_runtime() -> FakeRuntime:
    runtime = FakeRuntime()
    runtime.add_image("web")
    return runtime


async def test_a_container_runs_until_the_test_says_that_it_exits() -> None:
    runtime = make_runtime()
    await runtime.create(SPEC)
    assert (await runtime.start(SPEC.id)).phase is ContainerPhase.RUNNING
    async with runtime.events() as hints:
        runtime.exit(SPEC.id, 3, reason="out of memory")
        assert (await anext(hints)).id == SPEC.id
    state = await runtime.inspect(SPEC.id)
    assert state is not None
    assert (state.exit_code, state.reason) == (3, "out of memory")
    runtime.exit(SPEC.id, 4)  # it has exited; nothing changes
    assert await runtime.inspect(SPEC.id) == state


async def test_the_next_starts_crash_and_then_no_more() -> None:
    runtime = make_runtime()
    runtime.crash_on_start(1, 2)
    codes = []
    for attempt in (1, 2, 3):
        spec = replace(SPEC, id=ContainerId("web", attempt))
        await runtime.create(spec)
        async with runtime.events() as hints:
            started = await runtime.start(spec.id)
            assert started.phase is ContainerPhase.RUNNING
            await anext(hints)
            if attempt < 3:
                await anext(hints)
        state = await runtime.inspect(spec.id)
        assert state is not None
        codes.append(state.exit_code)
    assert codes == [1, 2, None]


async def test_a_verb_fails_once_and_does_nothing() -> None:
    runtime = make_runtime()
    runtime.fail_next("create", Unavailable("the daemon restarts"))
    with pytest.raises(Unavailable):
        await runtime.create(SPEC)
    assert await runtime.list() == []
    await runtime.create(SPEC)


async def test_exit_codes_can_get_lost() -> None:
    runtime = make_runtime()
    runtime.lose_exit_codes()
    await runtime.create(SPEC)
    await runtime.start(SPEC.id)
    state = await runtime.stop(SPEC.id, grace=1)
    assert state is not None
    assert (state.phase, state.exit_code) == (ContainerPhase.EXITED, None)


async def test_the_same_calls_give_the_same_states() -> None:
    async def play() -> list[ContainerState]:
        runtime = make_runtime()
        states = []
        for attempt in range(1, 4):
            spec = replace(SPEC, id=ContainerId("web", attempt))
            await runtime.create(spec)
            states.append(await runtime.start(spec.id))
        assert len({state.address for state in states}) == 3
        return states

    assert await play() == await play()


async def test_nothing_is_written_unless_a_command_prints(tmp_path: Path) -> None:
    runtime = make_runtime()
    await runtime.create(replace(SPEC, log=tmp_path / "logs" / "main.log"))
    await runtime.start(SPEC.id)
    assert not (tmp_path / "logs").exists()
