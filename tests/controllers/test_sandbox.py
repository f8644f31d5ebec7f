"""The sandbox controller against a fake runtime, in virtual time."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path
from typing import Any

from miren.base.errors import RuntimeFailure, Unavailable
from miren.entities.gen import Disk, Sandbox
from miren.entities.gen.compute import SandboxPhase
from miren.reconcile.testing import run_virtual
from miren.runtime.api import ContainerId, ContainerPhase, ContainerSpec
from miren.runtime.fake import FakeRuntime
from tests.controllers.cluster import cluster, current, ready

LISTEN = ["listen", "80", "hi"]


def make(name: str = "a", **spec: Any) -> Sandbox:
    container = {"image": "hello", "command": LISTEN, "ports": [80]}
    return Sandbox.new(name, **{"containers": [container], "node": "n1", **spec})


def has_reason(reason: str, sandbox: Sandbox | None) -> bool:
    condition = sandbox.condition("Ready") if sandbox is not None else None
    return condition is not None and condition.reason == reason


def test_a_sandbox_runs_and_says_where(tmp_path: Path) -> None:
    async def main() -> None:
        async with cluster(tmp_path) as c:
            await c.client.create(make())
            sandbox = await c.phase("a", SandboxPhase.RUNNING)

            state = await c.runtime.inspect(current(sandbox))
            assert state is not None
            assert (state.phase, state.address) == (ContainerPhase.RUNNING, sandbox.status.address)
            assert ready(sandbox).message == "answers on port 80"
            assert sandbox.status.restarts == 0

    run_virtual(main())


def test_a_crash_is_followed_by_a_restart_after_its_delay(tmp_path: Path) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with cluster(tmp_path) as c:
            await c.client.create(make())
            sandbox = await c.phase("a", SandboxPhase.RUNNING)
            for restart, delay in ((1, 1), (2, 2), (3, 4)):
                c.runtime.exit(current(sandbox), 3)
                began = loop.time()
                pending = await c.phase("a", SandboxPhase.PENDING)
                assert (
                    f"exited with code 3; restart {restart} in {delay} s" in ready(pending).message
                )
                sandbox = await c.attempt("a", restart + 1)
                assert delay <= loop.time() - began < delay + 0.5
                assert sandbox.status.exit_code == "3"
            containers = await c.runtime.list()
            assert [container.id for container in containers] == [current(sandbox)]

    run_virtual(main())


def test_what_may_not_restart_stops_or_fails(tmp_path: Path) -> None:
    async def main() -> None:
        async with cluster(tmp_path) as c:
            for name, code, phase in (
                ("done", 0, SandboxPhase.STOPPED),
                ("broken", 4, SandboxPhase.FAILED),
                ("lost", None, SandboxPhase.FAILED),
            ):
                await c.client.create(make(name, restart_policy="never"))
                sandbox = await c.phase(name, SandboxPhase.RUNNING)
                c.runtime.exit(current(sandbox), code)
                ended = await c.phase(name, phase)
                assert ended.status.exit_code == ("unknown" if code is None else str(code))
            await asyncio.sleep(1000)
            assert not await c.runtime.list()

    run_virtual(main())


def test_deleting_leaves_no_container_of_any_attempt(tmp_path: Path) -> None:
    async def main() -> None:
        async with cluster(tmp_path) as c:
            await c.client.create(make())
            sandbox = await c.phase("a", SandboxPhase.RUNNING)
            # What a crash between two writes could have left: an attempt nobody counts.
            stray = ContainerSpec(ContainerId(sandbox.uid, 9), "hello", Path("/logs/x"))
            await c.runtime.create(stray)
            await c.client.delete(Sandbox, "a")
            await c.client.wait(Sandbox, "a", lambda sb: sb is None, timeout=60)
            assert not await c.runtime.list()

    run_virtual(main())


def test_a_deleted_sandboxs_log_is_not_shown_as_its_successors(tmp_path: Path) -> None:
    async def main() -> None:
        async with cluster(tmp_path) as c:
            await c.client.create(make())
            await c.phase("a", SandboxPhase.RUNNING)
            log = tmp_path / "logs" / "default" / "a" / "main.log"
            log.parent.mkdir(parents=True)
            log.write_text("said by the first")
            await c.client.delete(Sandbox, "a")
            await c.client.wait(Sandbox, "a", lambda sb: sb is None, timeout=60)
            assert not log.exists()

    run_virtual(main())


def test_an_engine_that_starts_adopts_what_runs_and_removes_what_nobody_owns(
    tmp_path: Path,
) -> None:
    async def main() -> None:
        fake = FakeRuntime()
        fake.add_image("hello")
        orphan = ContainerSpec(ContainerId("nobody", 1), "hello", Path("/logs/x"))
        await fake.create(orphan)
        await fake.start(orphan.id)
        async with cluster(tmp_path, fake) as c:
            await c.client.create(make())
            sandbox = await c.phase("a", SandboxPhase.RUNNING)
            ids = [container.id for container in await fake.list()]
            assert ids == [current(sandbox)]

    run_virtual(main())


def test_a_changed_spec_replaces_the_container_and_a_changed_grace_does_not(
    tmp_path: Path,
) -> None:
    async def main() -> None:
        async with cluster(tmp_path) as c:
            await c.client.create(make())
            await c.phase("a", SandboxPhase.RUNNING)
            await c.client.patch(Sandbox, "a", {"spec": {"gracePeriod": "3s"}})
            await asyncio.sleep(100)
            sandbox = await c.client.get(Sandbox, "a")
            assert (sandbox.status.attempt, sandbox.observed_generation) == (1, 2)

            await c.client.patch(Sandbox, "a", {"spec": {"hostname": "other"}})
            sandbox = await c.attempt("a", 2)
            assert sandbox.status.restarts == 0
            assert len(await c.runtime.list()) == 1

    run_virtual(main())


def test_a_failed_sandbox_lives_again_with_a_new_spec(tmp_path: Path) -> None:
    async def main() -> None:
        async with cluster(tmp_path) as c:
            await c.client.create(make(restart_policy="never"))
            sandbox = await c.phase("a", SandboxPhase.RUNNING)
            c.runtime.exit(current(sandbox), 1)
            await c.phase("a", SandboxPhase.FAILED)
            await c.client.patch(Sandbox, "a", {"spec": {"hostname": "other"}})
            await c.attempt("a", 2)

    run_virtual(main())


def test_one_that_never_answers_is_given_up_and_tried_again(tmp_path: Path) -> None:
    async def main() -> None:
        async with cluster(tmp_path) as c:
            silent = [{"image": "hello", "command": ["run"], "ports": [80]}]
            await c.client.create(make(containers=silent, start_timeout="5s"))
            sandbox = await c.phase("a", SandboxPhase.PENDING)
            assert "port 80 did not answer within 5s; restart 1" in ready(sandbox).message

    run_virtual(main())


def test_a_command_that_cannot_be_started_says_what_the_runtime_said(tmp_path: Path) -> None:
    async def main() -> None:
        async with cluster(tmp_path) as c:
            await c.client.create(make(containers=[{"image": "hello", "command": ["missing"]}]))
            sandbox = await c.phase("a", SandboxPhase.PENDING)
            assert "could not be started: " in ready(sandbox).message
            assert "; restart 1 in 1 s" in ready(sandbox).message
            assert sandbox.status.reason == ready(sandbox).message

    run_virtual(main())


def test_what_cannot_run_says_why_and_what_to_do(tmp_path: Path) -> None:
    async def main() -> None:
        async with cluster(tmp_path, FakeRuntime(classes=["runc"])) as c:
            two = [{"name": "x", "image": "hello"}, {"name": "y", "image": "hello"}]
            secret = [{"image": "hello", "env": {"A": {"secret": "s/k"}}}]
            for name, spec, reason, words in (
                ("class", {}, "RuntimeClassUnavailable", "no runtime class 'runsc'"),
                ("two", {"containers": two}, "Unsupported", "several containers"),
                ("secret", {"containers": secret}, "Unsupported", "secrets cannot be read here"),
                ("image", {"containers": [{"image": "nope"}]}, "ImageNotFound", "nope"),
            ):
                chosen = {} if name == "class" else {"runtime_class": "runc"}
                await c.client.create(make(name, **{**chosen, **spec}))
                found = await c.client.wait(Sandbox, name, partial(has_reason, reason), timeout=10)
                assert found is not None
                assert words in ready(found).message
                assert found.status.reason == ready(found).message

    run_virtual(main())


def test_a_runtime_that_fails_is_tried_again(tmp_path: Path) -> None:
    async def main() -> None:
        async with cluster(tmp_path) as c:
            for _ in range(3):
                c.runtime.fail_next("create", RuntimeFailure("no space left"))
            await c.client.create(make())
            sandbox = await c.phase("a", SandboxPhase.RUNNING)
            assert sandbox.status.attempt == 1

    run_virtual(main())


def test_a_running_sandbox_is_ready_again_once_the_runtime_is_back(tmp_path: Path) -> None:
    async def main() -> None:
        async with cluster(tmp_path) as c:
            await c.client.create(make())
            before = await c.phase("a", SandboxPhase.RUNNING)
            c.runtime.fail_next("inspect", Unavailable("containerd is away"))
            await c.client.patch(Sandbox, "a", {"metadata": {"labels": {"look": "again"}}})
            away = await c.client.wait(Sandbox, "a", partial(has_reason, "Unavailable"), timeout=9)
            assert away is not None
            assert away.status.reason == "containerd is away"

            await c.client.wait(Sandbox, "a", partial(has_reason, "Running"), timeout=200)
            after = await c.client.get(Sandbox, "a")
            assert ready(after).message == ready(before).message
            assert after.status == before.status

    run_virtual(main())


def test_how_a_sandbox_ended_stays_said_while_clearing_up_fails(tmp_path: Path) -> None:
    async def main() -> None:
        async with cluster(tmp_path) as c:
            await c.client.create(make(restart_policy="never"))
            sandbox = await c.phase("a", SandboxPhase.RUNNING)
            for _ in range(3):
                c.runtime.fail_next("delete", RuntimeFailure("busy"))
            c.runtime.exit(current(sandbox), 4)
            await asyncio.sleep(3)
            assert await c.runtime.list()
            await asyncio.sleep(60)
            assert not await c.runtime.list()
            ended = await c.client.get(Sandbox, "a")
            assert ended.status.reason == ready(ended).message == "exited with code 4"

    run_virtual(main())


def test_a_sandbox_waits_for_its_disk_and_the_disk_for_its_sandbox(tmp_path: Path) -> None:
    async def main() -> None:
        async with cluster(tmp_path) as c:
            await c.client.create(Disk.new("data"))
            await c.client.create(make(volumes=[{"disk": "data", "path": "/data"}]))
            await c.phase("a", SandboxPhase.RUNNING)
            disk = await c.client.get(Disk, "data")
            assert disk.status.path is not None
            assert Path(disk.status.path).is_dir()

            await c.client.delete(Disk, "data")
            held = await c.client.wait(
                Disk, "data", lambda d: d is not None and d.status.reason is not None, timeout=9
            )
            assert held is not None
            assert held.status.reason == "mounted by sandbox/a"
            await c.client.delete(Sandbox, "a")
            await c.client.wait(Disk, "data", lambda d: d is None, timeout=30)
            assert not Path(disk.status.path).exists()

    run_virtual(main())


def test_another_nodes_sandboxes_are_not_touched(tmp_path: Path) -> None:
    async def main() -> None:
        async with cluster(tmp_path) as c:
            await c.client.create(make(node="n2"))
            await asyncio.sleep(500)
            sandbox = await c.client.get(Sandbox, "a")
            assert sandbox.status.phase is None
            assert not await c.runtime.list()

    run_virtual(main())
