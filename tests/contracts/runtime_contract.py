"""What every runtime must do: the sentences of `miren.runtime.api`, as tests.

To put a runtime under the contract, subclass `RuntimeContract` in a `test_*.py` and give the
fixture `open_runtime`: a function that returns a Runtime not yet entered, on the same state at
each call, so that a test can leave one and open the next. Set `runtime_class` where it is not
"runsc". The image is built here, from this host's static busybox; its commands come from
`Commands`, which a runtime that runs no real processes replaces by its own (`commands`).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import pytest

from miren.base.errors import ImageNotFound, NotFound, RuntimeFailure
from miren.base.ids import new_uid
from miren.runtime.api import ContainerId, ContainerPhase, ContainerSpec, ContainerState, Runtime
from miren.runtime.images.builder import Entry, File, Symlink, build_image
from miren.runtime.images.layout import ImageConfig

__all__ = ["Commands", "OpenRuntime", "RuntimeContract", "build_contract_image", "http_get"]

IMAGE = "miren/contract:1"
PAGE = "the contract's page\n"
APPLETS = ("cat", "echo", "httpd", "pwd", "sh", "sleep")
DEADLINE = 30.0

OpenRuntime = Callable[[], Runtime]


class Spec(Protocol):
    """Make a spec with a fresh id, for the contract's image, logging to a fresh file."""

    def __call__(self, *command: str) -> ContainerSpec: ...


class Commands:
    """Argument vectors for the behaviours that the contract needs, in busybox's words."""

    def missing(self) -> tuple[str, ...]:
        return ("no-such-command",)

    def exit_with(self, code: int) -> tuple[str, ...]:
        return ("sh", "-c", f"exit {code}")

    def print_text(self, text: str) -> tuple[str, ...]:
        return ("echo", text)

    def print_variable(self, name: str) -> tuple[str, ...]:
        return ("sh", "-c", f'echo "${name}"')

    def print_working_dir(self) -> tuple[str, ...]:
        return ("pwd",)

    def exit_on_term(self, code: int) -> tuple[str, ...]:
        # `wait` is what a signal interrupts; a foreground sleep would delay the trap.
        return ("sh", "-c", f"trap 'exit {code}' TERM; echo ready; sleep 1000 & wait")

    def ignore_term(self) -> tuple[str, ...]:
        return ("sh", "-c", "trap '' TERM; echo ready; while :; do sleep 1; done")

    def serve(self, port: int) -> tuple[str, ...]:
        # Relative, since a runtime without isolation has no root folder of its own.
        return ("httpd", "-f", "-p", str(port), "-h", "www")


def build_contract_image(target: Path, commands: Commands) -> str:
    """Write the contract's image archive to `target`; return its digest."""
    layer: dict[str, Entry] = {
        "bin/busybox": File(Path("/bin/busybox"), 0o755),
        **{f"bin/{applet}": Symlink("busybox") for applet in APPLETS},
        "etc/motd": File(b"hello\n"),
        "www/index.html": File(PAGE.encode()),
    }
    own = commands.print_text("the image says so")
    config = ImageConfig(command=own, env={"COLOUR": "green", "PATH": "/bin"})
    return build_image(target, [layer], config=config, name=IMAGE)


async def http_get(host: str, port: int, path: str = "/") -> str:
    """Return the body of one HTTP/1.0 answer, whatever its status."""
    reader, writer = await asyncio.open_connection(host, port)
    try:
        writer.write(f"GET {path} HTTP/1.0\r\nHost: {host}\r\n\r\n".encode())
        answer = await reader.read()
    finally:
        writer.close()
        await writer.wait_closed()
    return answer.decode().partition("\r\n\r\n")[2]


async def eventually(holds: Callable[[], Awaitable[bool]]) -> None:
    """Return once `holds` does; fail the test when it does not within the deadline."""
    async with asyncio.timeout(DEADLINE):
        while not await holds():  # noqa: ASYNC110 - what it waits for is another process's
            await asyncio.sleep(0.02)


async def ended(runtime: Runtime, id: ContainerId) -> ContainerState:
    """Return the container's state once it has exited."""
    found: list[ContainerState] = []

    async def has_exited() -> bool:
        state = await runtime.inspect(id)
        assert state is not None, f"{id} is gone"
        found[:] = [state]
        return state.phase is ContainerPhase.EXITED

    await eventually(has_exited)
    return found[0]


async def delete_all(runtime: Runtime) -> None:
    for state in await runtime.list():
        await runtime.delete(state.id)


class RuntimeContract:
    """The suite. Subclasses give `open_runtime` and, where they differ, the fixtures below."""

    runtime_class = "runsc"
    # Ports are the sandbox's own where there is a network for each; else the test's to choose.
    http_port = 8080

    @pytest.fixture
    def open_runtime(self) -> OpenRuntime:
        raise NotImplementedError("give the contract a runtime")

    @pytest.fixture
    def commands(self) -> Commands:
        return Commands()

    async def ask(self, runtime: Runtime, address: str, port: int) -> str:
        """Return the page at `address`, as a client on this host sees it."""
        return await http_get(address, port)

    @pytest.fixture
    def archive(self, tmp_path: Path, commands: Commands) -> Path:
        target = tmp_path / "contract.tar"
        build_contract_image(target, commands)
        return target

    @pytest.fixture
    async def runtime(self, open_runtime: OpenRuntime, archive: Path) -> AsyncIterator[Runtime]:
        async with open_runtime() as runtime:
            await runtime.import_image(archive, IMAGE)
            yield runtime
            await delete_all(runtime)

    @pytest.fixture
    def spec(self, tmp_path: Path) -> Spec:
        def make(*command: str) -> ContainerSpec:
            id = ContainerId(new_uid(), 1)
            return ContainerSpec(
                id=id,
                image=IMAGE,
                log=tmp_path / "logs" / str(id) / "main.log",
                command=command or None,
                runtime_class=self.runtime_class,
            )

        return make

    async def run(self, runtime: Runtime, spec: ContainerSpec) -> ContainerState:
        """Create and start the container."""
        await runtime.create(spec)
        return await runtime.start(spec.id)

    async def run_until_ready(self, runtime: Runtime, spec: ContainerSpec) -> ContainerState:
        """Create and start a command that prints "ready" once its traps are set."""
        state = await self.run(runtime, spec)

        async def is_ready() -> bool:
            return spec.log.exists() and "ready" in spec.log.read_text()

        await eventually(is_ready)
        return state

    async def output(self, runtime: Runtime, spec: ContainerSpec) -> str:
        """Run the command to its end and return what its log holds."""
        await self.run(runtime, spec)
        await ended(runtime, spec.id)
        return spec.log.read_text()

    # Images

    async def test_an_imported_image_is_found_by_its_name(
        self, runtime: Runtime, archive: Path
    ) -> None:
        image = await runtime.ensure_image(IMAGE)
        assert image.name == IMAGE
        assert image.digest.startswith("sha256:")
        assert await runtime.import_image(archive, IMAGE) == image

    async def test_an_unknown_image_is_said_to_be_not_here(
        self, runtime: Runtime, spec: Spec
    ) -> None:
        with pytest.raises(ImageNotFound, match="nobody/knows:this"):
            await runtime.ensure_image("nobody/knows:this")
        unknown = replace(spec(), image="nobody/knows:this")
        with pytest.raises(ImageNotFound):
            await runtime.create(unknown)
        assert await runtime.inspect(unknown.id) is None

    # Life

    async def test_the_runtimes_own_class_is_one_it_can_run(self, runtime: Runtime) -> None:
        assert await runtime.check(self.runtime_class) is None

    async def test_a_class_that_does_not_exist_is_refused_with_a_sentence(
        self, runtime: Runtime
    ) -> None:
        assert await runtime.check("no-such-class")

    async def test_a_created_container_waits_to_be_started(
        self, runtime: Runtime, spec: Spec, commands: Commands
    ) -> None:
        wanted = replace(spec(*commands.exit_on_term(0)), labels={"app": "web"})
        created = await runtime.create(wanted)
        assert created.phase is ContainerPhase.CREATED
        assert created.labels == {"app": "web"}
        assert await runtime.inspect(wanted.id) == created
        assert await runtime.list() == [created]

    async def test_a_started_container_runs_with_a_pid_and_an_address(
        self, runtime: Runtime, spec: Spec, commands: Commands
    ) -> None:
        wanted = spec(*commands.exit_on_term(0))
        state = await self.run(runtime, wanted)
        assert state.phase is ContainerPhase.RUNNING
        assert state.pid
        assert state.address
        assert state.exit_code is None
        assert state.started_at is not None
        assert state.started_at.tzinfo is not None
        assert await runtime.inspect(wanted.id) == state

    async def test_creating_and_starting_again_changes_nothing(
        self, runtime: Runtime, spec: Spec, commands: Commands
    ) -> None:
        wanted = spec(*commands.exit_on_term(0))
        assert await runtime.create(wanted) == await runtime.create(wanted)
        state, same = await asyncio.gather(runtime.start(wanted.id), runtime.start(wanted.id))
        assert state == same
        assert await runtime.start(wanted.id) == state
        assert await runtime.create(wanted) == state
        assert await runtime.list() == [state]

    async def test_starting_what_was_never_created_is_not_found(
        self, runtime: Runtime, spec: Spec
    ) -> None:
        with pytest.raises(NotFound):
            await runtime.start(spec().id)

    @pytest.mark.parametrize("code", [0, 7, 137])
    async def test_the_exit_code_is_the_commands_own(
        self, runtime: Runtime, spec: Spec, commands: Commands, code: int
    ) -> None:
        wanted = spec(*commands.exit_with(code))
        await self.run(runtime, wanted)
        state = await ended(runtime, wanted.id)
        assert state.exit_code == code
        assert state.pid is None
        assert [each.exit_code for each in await runtime.list()] == [code]

    async def test_a_command_that_does_not_exist_fails_with_its_name(
        self, runtime: Runtime, spec: Spec, commands: Commands
    ) -> None:
        wanted = spec(*commands.missing())
        with pytest.raises(RuntimeFailure, match="no-such-command"):
            await self.run(runtime, wanted)
        await runtime.delete(wanted.id)
        assert await runtime.inspect(wanted.id) is None

    async def test_two_containers_of_one_image_are_apart(
        self, runtime: Runtime, spec: Spec, commands: Commands
    ) -> None:
        first, second = spec(*commands.exit_on_term(0)), spec(*commands.exit_on_term(0))
        one, two = await asyncio.gather(
            self.run_until_ready(runtime, first), self.run_until_ready(runtime, second)
        )
        assert one.pid != two.pid
        await runtime.delete(first.id)
        assert await runtime.list() == [await runtime.inspect(second.id)]
        left = await runtime.inspect(second.id)
        assert left is not None
        assert left.phase is ContainerPhase.RUNNING

    # What the command sees

    async def test_output_is_appended_to_the_log(
        self, runtime: Runtime, spec: Spec, commands: Commands
    ) -> None:
        wanted = spec(*commands.print_text("second line"))
        wanted.log.parent.mkdir(parents=True)
        wanted.log.write_text("first line\n")
        assert await self.output(runtime, wanted) == "first line\nsecond line\n"

    async def test_the_images_own_command_runs_when_none_is_given(
        self, runtime: Runtime, spec: Spec
    ) -> None:
        assert await self.output(runtime, spec()) == "the image says so\n"

    async def test_the_environment_is_the_images_with_the_specs_on_top(
        self, runtime: Runtime, spec: Spec, commands: Commands
    ) -> None:
        from_image = spec(*commands.print_variable("COLOUR"))
        assert await self.output(runtime, from_image) == "green\n"
        overridden = replace(spec(*commands.print_variable("COLOUR")), env={"COLOUR": "red blue"})
        assert await self.output(runtime, overridden) == "red blue\n"

    async def test_the_working_dir_is_the_specs(
        self, runtime: Runtime, spec: Spec, commands: Commands
    ) -> None:
        wanted = replace(spec(*commands.print_working_dir()), working_dir="/etc")
        assert (await self.output(runtime, wanted)).endswith("/etc\n")

    async def test_http_is_answered_at_the_address(
        self, runtime: Runtime, spec: Spec, commands: Commands
    ) -> None:
        state = await self.run(runtime, spec(*commands.serve(self.http_port)))
        address = state.address
        assert address is not None

        async def answers() -> bool:
            try:
                return await self.ask(runtime, address, self.http_port) == PAGE
            except OSError:
                return False  # not listening yet

        await eventually(answers)

    # The end

    async def test_stop_lets_the_command_end_by_itself(
        self, runtime: Runtime, spec: Spec, commands: Commands
    ) -> None:
        wanted = spec(*commands.exit_on_term(3))
        await self.run_until_ready(runtime, wanted)
        state = await runtime.stop(wanted.id, grace=DEADLINE)
        assert state is not None
        assert (state.phase, state.exit_code) == (ContainerPhase.EXITED, 3)
        assert await runtime.stop(wanted.id, grace=DEADLINE) == state

    async def test_stop_kills_what_ignores_it_once_the_grace_is_over(
        self, runtime: Runtime, spec: Spec, commands: Commands
    ) -> None:
        wanted = spec(*commands.ignore_term())
        await self.run_until_ready(runtime, wanted)
        state = await runtime.stop(wanted.id, grace=0.2)
        assert state is not None
        assert (state.phase, state.exit_code) == (ContainerPhase.EXITED, 137)

    async def test_stopping_what_is_not_there_is_none_and_what_never_ran_does_not_run(
        self, runtime: Runtime, spec: Spec
    ) -> None:
        wanted = spec()
        assert await runtime.stop(wanted.id, grace=1) is None
        await runtime.create(wanted)
        state = await runtime.stop(wanted.id, grace=1)
        assert state is not None
        assert state.phase is not ContainerPhase.RUNNING

    async def test_delete_ends_a_running_container_and_leaves_its_log(
        self, runtime: Runtime, spec: Spec, commands: Commands
    ) -> None:
        wanted = spec(*commands.ignore_term())
        await self.run_until_ready(runtime, wanted)
        await runtime.delete(wanted.id)
        assert await runtime.inspect(wanted.id) is None
        assert await runtime.list() == []
        assert wanted.log.read_text() == "ready\n"

    async def test_delete_of_what_is_created_exited_or_gone_succeeds(
        self, runtime: Runtime, spec: Spec, commands: Commands
    ) -> None:
        created, exited = spec(), spec(*commands.exit_with(0))
        await runtime.create(created)
        await self.run(runtime, exited)
        await ended(runtime, exited.id)
        for id in (created.id, created.id, exited.id, exited.id):
            await runtime.delete(id)
        assert await runtime.list() == []

    async def test_a_deleted_id_can_be_used_again(
        self, runtime: Runtime, spec: Spec, commands: Commands
    ) -> None:
        wanted = spec(*commands.exit_with(7))
        for _ in range(2):
            await self.run(runtime, wanted)
            assert (await ended(runtime, wanted.id)).exit_code == 7
            await runtime.delete(wanted.id)

    # Events, and a runtime that comes back

    async def test_an_exit_is_hinted_at(
        self, runtime: Runtime, spec: Spec, commands: Commands
    ) -> None:
        wanted = spec(*commands.exit_with(0))
        async with runtime.events() as hints, asyncio.timeout(DEADLINE):
            await self.run(runtime, wanted)
            async for hint in hints:
                assert hint.id == wanted.id
                state = await runtime.inspect(wanted.id)
                if state is not None and state.phase is ContainerPhase.EXITED:
                    break

    async def test_a_running_container_outlives_the_runtime_and_is_adopted(
        self, open_runtime: OpenRuntime, archive: Path, spec: Spec, commands: Commands
    ) -> None:
        wanted = replace(spec(*commands.exit_on_term(3)), labels={"app": "web"})
        async with open_runtime() as first:
            await first.import_image(archive, IMAGE)
            before = await self.run_until_ready(first, wanted)

        async with open_runtime() as later:
            adopted = await later.inspect(wanted.id)
            assert adopted is not None
            assert (adopted.phase, adopted.pid) == (ContainerPhase.RUNNING, before.pid)
            assert (adopted.address, adopted.labels) == (before.address, before.labels)
            assert await later.list() == [adopted]
            async with later.events() as hints, asyncio.timeout(DEADLINE):
                stopped = await later.stop(wanted.id, grace=DEADLINE)
                assert (await anext(hints)).id == wanted.id
            assert stopped is not None
            assert stopped.exit_code == 3
            await delete_all(later)

    async def test_an_exit_while_no_runtime_was_open_is_found_by_the_next(
        self, open_runtime: OpenRuntime, archive: Path, spec: Spec, commands: Commands
    ) -> None:
        wanted = spec(*commands.exit_with(7))
        async with open_runtime() as first:
            await first.import_image(archive, IMAGE)
            await self.run(first, wanted)
        async with open_runtime() as later:
            assert (await ended(later, wanted.id)).exit_code == 7
            await delete_all(later)

    async def test_a_cancelled_create_leaves_nothing_that_delete_does_not_remove(
        self, runtime: Runtime, spec: Spec, commands: Commands
    ) -> None:
        wanted = spec(*commands.exit_on_term(0))
        task = asyncio.create_task(self.run(runtime, wanted))
        await asyncio.sleep(0)  # let it begin
        task.cancel()
        await asyncio.wait([task])
        await runtime.delete(wanted.id)
        assert await runtime.inspect(wanted.id) is None
        assert await runtime.list() == []
