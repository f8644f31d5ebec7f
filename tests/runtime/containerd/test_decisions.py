"""The adapter's pure parts: states, accounts, names of layers, the wrapper, cgroups, locks."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from datetime import UTC, datetime
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from miren.base.errors import InvalidInput
from miren.runtime.api import ContainerId, ContainerPhase, ContainerSpec
from miren.runtime.containerd import cgroups
from miren.runtime.containerd.accounts import (
    find_user,
    image_layers,
    needs_accounts,
    read_account_file,
)
from miren.runtime.containerd.client import Record, Task, TaskStatus
from miren.runtime.containerd.content import FileSystem
from miren.runtime.containerd.images import chain_ids
from miren.runtime.containerd.locks import KeyedLocks, to_the_end
from miren.runtime.containerd.places import Places
from miren.runtime.containerd.spec import User
from miren.runtime.containerd.state import STARTED, Notes, describe, record_labels
from miren.runtime.containerd.wrapper import wrapper_script

ID = ContainerId("abcdefghij0123456789", 3)
SPEC = ContainerSpec(
    id=ID, image="web", log=Path("/logs/main.log"), labels={"app": "web", "miren/log": "mine"}
)
PASSWD = "root:x:0:0::/root:/bin/sh\nweb:x:1000:1001::/:/bin/sh\n"
GROUP = "root:x:0:\nweb:x:1001:\nlogs:x:2000:web,root\n"
SCRIPTS = Path(__file__).parents[3] / "scripts"


def record(*, started: bool = False) -> Record:
    labels = dict(record_labels(SPEC, "abcdef", IPv4Address("10.0.0.2")))
    if started:
        labels[STARTED] = datetime(2026, 1, 2, tzinfo=UTC).isoformat()
    return Record(id=str(ID), labels=labels)


def task(status: TaskStatus, *, exit_code: int = 0) -> Task:
    return Task(str(ID), 42, status, exit_code)


def test_labels_give_back_what_they_were_made_of_and_owners_cannot_fake_ours() -> None:
    notes = Notes.of(record(started=True))
    assert notes.address == IPv4Address("10.0.0.2")
    assert notes.log == "/logs/main.log"
    assert notes.runtime_class == "runsc"
    assert notes.started_at == datetime(2026, 1, 2, tzinfo=UTC)
    assert notes.owner == SPEC.labels


@pytest.mark.parametrize(
    ("found", "started", "phase", "pid", "exit_code"),
    [
        (None, False, ContainerPhase.CREATED, None, None),
        (None, True, ContainerPhase.EXITED, None, None),
        (task(TaskStatus.CREATED), False, ContainerPhase.CREATED, None, None),
        (task(TaskStatus.CREATED), True, ContainerPhase.CREATED, None, None),
        (task(TaskStatus.RUNNING), True, ContainerPhase.RUNNING, 42, None),
        (task(TaskStatus.STOPPED, exit_code=7), True, ContainerPhase.EXITED, None, 7),
    ],
)
def test_record_and_task_together_are_the_state(
    found: Task | None,
    started: bool,
    phase: ContainerPhase,
    pid: int | None,
    exit_code: int | None,
) -> None:
    state = describe(record(started=started), found)
    assert (state.phase, state.pid, state.exit_code) == (phase, pid, exit_code)
    assert state.id == ID
    assert state.address == "10.0.0.2"


def test_only_an_exit_can_be_for_want_of_memory() -> None:
    running = describe(record(started=True), task(TaskStatus.RUNNING), out_of_memory=True)
    assert running.reason == ""
    killed = task(TaskStatus.STOPPED, exit_code=137)
    assert describe(record(started=True), killed, out_of_memory=True).reason == "out of memory"


@pytest.mark.parametrize(
    ("user", "expected"),
    [
        ("", User(0, 0)),
        ("1234", User(1234, 0)),
        ("1000", User(1000, 1001, (2000,))),
        ("1000:5", User(1000, 5)),
        ("web", User(1000, 1001, (2000,))),
        ("web:logs", User(1000, 2000)),
    ],
)
def test_an_images_user_is_found_by_number_or_name(user: str, expected: User) -> None:
    assert find_user(user, PASSWD, GROUP) == expected


@pytest.mark.parametrize("user", ["nobody", "web:nobody"])
def test_an_unknown_user_or_group_is_refused_by_name(user: str) -> None:
    with pytest.raises(InvalidInput, match="nobody"):
        find_user(user, PASSWD, GROUP)


def test_numbers_need_no_look_into_the_image() -> None:
    assert [needs_accounts(user) for user in ("", "0", "1:2", "web", "1:web")] == [
        False,
        False,
        False,
        True,
        True,
    ]


def test_an_account_file_is_read_from_the_topmost_layer_and_never_through_a_link(
    tmp_path: Path,
) -> None:
    upper, middle, lower = (tmp_path / name for name in ("upper", "middle", "lower"))
    for layer in (upper, middle, lower):
        (layer / "etc").mkdir(parents=True)
    (middle / "etc/passwd").write_text("middle")
    (lower / "etc/passwd").write_text("lower")
    options = (f"lowerdir={middle}:{lower}", f"upperdir={upper}", "workdir=/work")
    layers = image_layers([FileSystem("overlay", "overlay", options)])
    assert list(layers) == [upper, middle, lower]
    assert read_account_file(layers, "passwd") == "middle"
    (upper / "etc/passwd").symlink_to("/etc/passwd")
    assert read_account_file(layers, "passwd") == ""
    assert read_account_file(layers, "group") == ""


def test_layers_are_named_by_all_that_is_below_them() -> None:
    first, second = f"sha256:{'a' * 64}", f"sha256:{'b' * 64}"
    alone, both = chain_ids([first]), chain_ids([first, second])
    assert both[0] == alone[0] == first
    assert both[1] not in (first, second)
    assert chain_ids([second, first])[1] != both[1]
    assert chain_ids([]) == []


def test_the_wrapper_passes_arguments_on_unchanged(tmp_path: Path) -> None:
    wrapper = tmp_path / "wrapper"
    wrapper.write_text(wrapper_script(Path("/bin/echo"), hide_sysctls=True))
    arguments = ["--root", "/a folder", "delete", "--force", "it's"]
    said = subprocess.run(
        ["/bin/sh", str(wrapper), *arguments], capture_output=True, text=True, check=True
    ).stdout
    assert said == f"--platform=systrap --network=sandbox {' '.join(arguments)}\n"


def test_the_wrapper_hides_files_only_from_start_and_only_where_it_must() -> None:
    assert "unshare" not in wrapper_script(Path("/usr/bin/runsc"), hide_sysctls=False)
    hiding = wrapper_script(Path("/usr/bin/runsc"), hide_sysctls=True)
    assert '[ "$argument" = start ]' in hiding


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("memory.events", "low 0\noom 1\noom_kill 1\n", True),
        ("memory.events", "low 0\noom 1\noom_kill 0\n", False),
        ("memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n", True),
        ("memory.stat", "oom_kill 2\n", False),
    ],
)
def test_a_kill_for_want_of_memory_is_read_from_either_cgroup_version(
    tmp_path: Path, name: str, text: str, expected: bool
) -> None:
    (tmp_path / "cgroup.controllers").touch()
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/b" / name).write_text(text)
    assert cgroups.was_out_of_memory("/a/b", tmp_path) is expected


def test_cgroup_hierarchies_are_one_or_one_a_controller(tmp_path: Path) -> None:
    for controller in ("cpu", "memory"):
        (tmp_path / controller).mkdir()
        (tmp_path / controller / "cgroup.procs").touch()
    assert cgroups.hierarchies(tmp_path) == [tmp_path / "cpu", tmp_path / "memory"]
    assert not cgroups.can_limit_swap(tmp_path)
    (tmp_path / "cgroup.controllers").touch()
    assert cgroups.hierarchies(tmp_path) == [tmp_path]
    assert cgroups.can_limit_swap(tmp_path)


def test_files_of_an_oci_runtime_are_told_apart_from_those_of_similar_ids(tmp_path: Path) -> None:
    places = Places.at(tmp_path / "state", tmp_path / "run")
    folder = places.oci_state / "miren"
    folder.mkdir(parents=True)
    for name in ("u-1", "u-1_sandbox:u-1.state", "u-10", "u-10_sandbox:u-10.state"):
        (folder / name).touch()
    names = [path.name for path in places.oci_files(ContainerId("u", 1))]
    assert names == ["u-1", "u-1_sandbox:u-1.state"]


async def test_one_at_a_time_holds_a_key_and_nothing_is_kept_after() -> None:
    locks, inside, most = KeyedLocks(), 0, 0

    async def hold() -> None:
        nonlocal inside, most
        async with locks.hold("a"):
            inside += 1
            most = max(most, inside)
            await asyncio.sleep(0)
            inside -= 1

    async with asyncio.TaskGroup() as group:
        for _ in range(10):
            group.create_task(hold())
        async with locks.hold("b"):
            pass
    assert most == 1
    assert not locks


async def test_work_that_must_not_be_cut_short_ends_before_its_caller_is_cancelled() -> None:
    begun, may_end, done = asyncio.Event(), asyncio.Event(), []

    async def work() -> None:
        begun.set()
        await may_end.wait()
        done.append(True)

    task = asyncio.create_task(to_the_end(work()))
    await begun.wait()
    task.cancel()
    await asyncio.sleep(0)
    assert not task.done()
    may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert done == [True]


def test_the_committed_descriptors_are_those_of_the_proto() -> None:
    script = SCRIPTS / "generate_protos.py"
    checked = subprocess.run(
        [sys.executable, str(script), "--check"], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stderr
