"""What only real processes can show: who survives whom, and that nothing is left."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
import textwrap
from collections.abc import AsyncIterator, Awaitable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from miren.base.errors import RuntimeFailure
from miren.base.ids import new_instance_id
from miren.runtime.api import ContainerId, ContainerPhase, ContainerSpec, Mount
from miren.runtime.images import build_recipe
from miren.runtime.process import ProcessRuntime, keeper
from tests.contracts.runtime_contract import (
    IMAGE,
    Commands,
    build_contract_image,
    delete_all,
    ended,
    eventually,
    http_get,
)
from tests.runtime.process.test_contract import free_port

ID = ContainerId("web", 1)


@pytest.fixture
def instance() -> str:
    return new_instance_id()


@pytest.fixture
async def runtime(tmp_path: Path, instance: str) -> AsyncIterator[ProcessRuntime]:
    async with ProcessRuntime(tmp_path / "state", instance=instance) as runtime:
        build_contract_image(tmp_path / "image.tar", Commands())
        await runtime.import_image(tmp_path / "image.tar", IMAGE)
        yield runtime
        await delete_all(runtime)

    async def nothing_is_left() -> bool:
        return keepers(instance) == [] and commands_below(tmp_path) == []

    await eventually(nothing_is_left)


def make_spec(folder: Path, *command: str) -> ContainerSpec:
    return ContainerSpec(
        id=ID,
        image=IMAGE,
        log=folder / "main.log",
        command=command,
        runtime_class="process",
    )


def keepers(instance: str) -> list[int]:
    """Return the pids of all keepers of the instance, zombies too."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
            status = (folder / "stat").read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        is_our_zombie = status[0] == "Z" and int(status[1]) == os.getpid()
        if instance.encode() in words or is_our_zombie:
            found.append(int(folder.name))
    return found


def commands_below(folder: Path) -> list[str]:
    """Return the /proc folders of all processes that work somewhere below the folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(FileNotFoundError, ProcessLookupError, PermissionError):
            if (process / "cwd").readlink().is_relative_to(folder):
                found.append(process.name)
    return found


def is_running(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


async def run_until(runtime: ProcessRuntime, spec: ContainerSpec, text: str) -> int:
    await runtime.create(spec)
    state = await runtime.start(spec.id)

    async def is_printed() -> bool:
        return spec.log.exists() and text in spec.log.read_text()

    await eventually(is_printed)
    assert state.pid is not None
    return state.pid


async def test_what_a_command_left_in_the_background_ends_with_it(
    runtime: ProcessRuntime, tmp_path: Path
) -> None:
    spec = make_spec(tmp_path, "sh", "-c", "sleep 1000 & echo $! ready; exit 4")
    await runtime.create(spec)
    await runtime.start(ID)
    assert (await ended(runtime, ID)).exit_code == 4
    child = int(spec.log.read_text().split()[0])

    async def is_gone() -> bool:
        return not is_running(child)

    await eventually(is_gone)


async def test_delete_finds_what_left_the_commands_session(
    runtime: ProcessRuntime, tmp_path: Path
) -> None:
    script = "setsid sh -c 'echo ready; exec sleep 1000' & wait"
    spec = make_spec(tmp_path, "busybox", "sh", "-c", script)
    await run_until(runtime, spec, "ready")
    await runtime.stop(ID, grace=5)
    assert len(commands_below(tmp_path)) == 1
    await runtime.delete(ID)

    async def is_gone() -> bool:
        return commands_below(tmp_path) == []

    await eventually(is_gone)


async def test_a_killed_keeper_loses_the_exit_code_and_not_the_command(
    runtime: ProcessRuntime, tmp_path: Path, instance: str
) -> None:
    pid = await run_until(runtime, make_spec(tmp_path, *Commands().exit_on_term(3)), "ready")
    async with runtime.events() as hints, asyncio.timeout(10):
        [keeper_pid] = keepers(instance)
        os.kill(keeper_pid, signal.SIGKILL)
        assert (await anext(hints)).id == ID
        state = await runtime.inspect(ID)
        assert state is not None
        assert (state.phase, state.pid) == (ContainerPhase.RUNNING, pid)

        os.kill(pid, signal.SIGTERM)
        assert (await anext(hints)).id == ID
    state = await ended(runtime, ID)
    assert state.exit_code is None
    assert "not known" in state.reason
    assert not is_running(pid)


@pytest.mark.parametrize("other", [{"start": 1}, {"boot": "an earlier one"}])
async def test_a_process_that_got_the_same_pid_later_is_left_alone(
    runtime: ProcessRuntime, tmp_path: Path, other: dict[str, object]
) -> None:
    await runtime.create(make_spec(tmp_path, *Commands().exit_with(0)))
    await runtime.start(ID)
    await ended(runtime, ID)
    folder = tmp_path / "state" / "containers" / str(ID)
    stranger = await asyncio.create_subprocess_exec("sleep", "1000", start_new_session=True)
    try:
        # The stranger's own identity, but for what tells it from the one before it.
        identity = keeper.identify(stranger.pid)
        record = {**identity, **other, "started_at": 1.0}
        (folder / "process.json").write_text(json.dumps(record))
        (folder / "exit.json").unlink()
        state = await runtime.stop(ID, grace=5)
        assert state is not None
        assert (state.phase, state.exit_code) == (ContainerPhase.EXITED, None)
        await runtime.delete(ID)
        assert is_running(stranger.pid)
    finally:
        stranger.kill()
        await stranger.wait()


SERVER = """
import asyncio, sys
from pathlib import Path
from miren.runtime.api import ContainerId, ContainerSpec
from miren.runtime.process import ProcessRuntime, keeper

async def serve(folder, instance, image, *command):
    runtime = ProcessRuntime(Path(folder) / "state", instance=instance)
    async with runtime:
        await runtime.create(ContainerSpec(
            id=ContainerId("web", 1), image=image, log=Path(folder) / "main.log", command=command,
        ))
        state = await runtime.start(ContainerId("web", 1))
        print(state.pid, flush=True)
        await asyncio.Event().wait()

asyncio.run(serve(*sys.argv[1:]))
"""


async def test_a_container_outlives_a_killed_server_and_its_exit_code_is_still_learned(
    runtime: ProcessRuntime, tmp_path: Path, instance: str
) -> None:
    command = ("sh", "-c", "trap 'echo bye; exit 6' TERM; echo ready; sleep 1000 & wait")
    arguments = [sys.executable, "-c", textwrap.dedent(SERVER), str(tmp_path), instance, IMAGE]
    server = await asyncio.create_subprocess_exec(
        *arguments, *command, stdout=asyncio.subprocess.PIPE
    )
    assert server.stdout is not None
    async with asyncio.timeout(20):
        pid = int(await server.stdout.readline())
        server.kill()
        await server.wait()

    async with ProcessRuntime(tmp_path / "state", instance=instance) as later:
        state = await later.inspect(ID)
        assert state is not None
        assert (state.phase, state.pid) == (ContainerPhase.RUNNING, pid)

        async def is_ready() -> bool:
            return "ready" in (tmp_path / "main.log").read_text()

        await eventually(is_ready)
        async with later.events() as hints, asyncio.timeout(20):
            os.kill(pid, signal.SIGTERM)
            assert (await anext(hints)).id == ID
        assert (await ended(later, ID)).exit_code == 6
        assert (tmp_path / "main.log").read_text() == "ready\nbye\n"


async def test_a_delete_cut_short_is_finished_by_the_next_server(
    runtime: ProcessRuntime, tmp_path: Path, instance: str
) -> None:
    pid = await run_until(runtime, make_spec(tmp_path, *Commands().ignore_term()), "ready")
    containers = tmp_path / "state" / "containers"
    (containers / str(ID)).rename(containers / f".gone-{ID}")
    async with ProcessRuntime(tmp_path / "state", instance=instance) as later:
        assert await later.list() == []
        assert not is_running(pid)
        assert list(containers.iterdir()) == []


async def test_a_delete_during_the_start_leaves_no_process(
    runtime: ProcessRuntime, tmp_path: Path, instance: str
) -> None:
    # However far the keeper has come when its folder goes, it ends, and the command with it.
    for delay in range(12):
        spec = make_spec(tmp_path, *Commands().ignore_term())
        await runtime.create(spec)
        starting = asyncio.create_task(runtime.start(ID))
        await asyncio.wait([starting], timeout=0.004 * delay)
        starting.cancel()
        await asyncio.wait([starting])
        await runtime.delete(ID)
        assert await runtime.list() == []

        async def is_clean() -> bool:
            return keepers(instance) == [] and commands_below(tmp_path) == []

        await eventually(is_clean)


async def test_a_keeper_that_finds_its_container_deleted_ends_the_command(
    runtime: ProcessRuntime, tmp_path: Path, instance: str
) -> None:
    spec = make_spec(tmp_path, *Commands().ignore_term())
    os.mkfifo(spec.log)  # opening it holds the keeper up, just before it starts the command
    await runtime.create(spec)
    folder = tmp_path / "state" / "containers" / str(ID)
    async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
        starting = tasks.create_task(fails(runtime.start(ID)))

        async def is_held_up() -> bool:
            return (folder / "keeper.json").exists()

        await eventually(is_held_up)
        tasks.create_task(runtime.delete(ID))

        async def is_deleted() -> bool:
            return not folder.exists()

        await eventually(is_deleted)
        log = os.open(spec.log, os.O_RDONLY | os.O_NONBLOCK)
    os.close(log)
    assert "no answer" in starting.result()
    assert keepers(instance) == []
    assert commands_below(tmp_path) == []


async def fails(awaitable: Awaitable[object]) -> str:
    with pytest.raises(RuntimeFailure) as failure:
        await awaitable
    return str(failure.value)


async def test_an_instance_sees_only_its_own(runtime: ProcessRuntime, tmp_path: Path) -> None:
    await runtime.create(make_spec(tmp_path, "sleep", "1000"))
    async with ProcessRuntime(tmp_path / "state", instance="others") as other:
        assert await other.list() == []
        assert await other.inspect(ID) is None
        assert await other.stop(ID, grace=1) is None
        await other.delete(ID)
    assert await runtime.inspect(ID) is not None


async def test_a_mount_is_refused_with_what_to_do(runtime: ProcessRuntime, tmp_path: Path) -> None:
    spec = replace(make_spec(tmp_path, "sleep", "1"), mounts=(Mount(tmp_path, "/data"),))
    with pytest.raises(RuntimeFailure, match="cannot mount /data") as refusal:
        await runtime.create(spec)
    assert refusal.value.hint is not None
    assert await runtime.list() == []


async def test_other_classes_are_said_to_isolate_nothing_here(runtime: ProcessRuntime) -> None:
    sentence = await runtime.check("runsc")
    assert sentence is not None
    assert "isolation" in sentence


async def test_the_environment_may_hold_any_text_and_is_nobody_elses_to_read(
    runtime: ProcessRuntime, tmp_path: Path
) -> None:
    text = "grün $(x) 'y'\nz"
    spec = replace(make_spec(tmp_path, *Commands().print_variable("TEXT")), env={"TEXT": text})
    await runtime.create(spec)
    folder = tmp_path / "state" / "containers" / str(ID)
    assert (folder / "plan.json").stat().st_mode & 0o077 == 0
    assert folder.stat().st_mode & 0o077 == 0
    await runtime.start(ID)
    await ended(runtime, ID)
    assert spec.log.read_text() == f"{text}\n"


async def test_the_images_programs_come_before_the_hosts(
    runtime: ProcessRuntime, tmp_path: Path
) -> None:
    digest = (await runtime.ensure_image(IMAGE)).digest
    spec = make_spec(tmp_path, *Commands().print_variable("PATH"))
    await runtime.create(spec)
    await runtime.start(ID)
    await ended(runtime, ID)
    first, *rest = spec.log.read_text().strip().split(":")
    assert first == str(tmp_path / "state" / "rootfs" / digest.replace(":", "-") / "bin")
    assert rest == os.environ["PATH"].split(":")


async def test_the_hello_example_answers_through_its_script(
    runtime: ProcessRuntime, tmp_path: Path
) -> None:
    recipe, _ = build_recipe(Path("examples/01-hello/image"), tmp_path / "hello.tar")
    await runtime.import_image(tmp_path / "hello.tar", recipe.name)
    port = free_port()
    spec = replace(make_spec(tmp_path), image=recipe.name, command=None, env={"PORT": str(port)})
    await runtime.create(spec)
    await runtime.start(ID)
    page: list[str] = []

    async def answers() -> bool:
        try:
            page[:] = (await http_get("127.0.0.1", port)).splitlines()
        except OSError:
            return False
        return True

    await eventually(answers)
    assert page[0] == "Hello from a Miren sandbox!"
    assert page[1].startswith("Linux version")
    assert page[2] == socket.gethostname()
