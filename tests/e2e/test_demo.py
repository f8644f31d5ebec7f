"""`make demo` as a stranger runs it: twice, beside other people's things, leaving nothing."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Self

import pytest

from miren.runtime.api import ContainerId
from miren.runtime.containerd.processes import processes_with
from miren.runtime.containerd.purge import leftovers
from miren.runtime.network import Names
from tests.e2e.server import Server, sandbox
from tests.folders import abandoned, claim

pytestmark = pytest.mark.host

SORT = "mvdemo"
DEMO = Path(__file__).parents[2] / "scripts" / "demo.py"

#: The hierarchy with the pids controller, in version 1 of control groups or in version 2.
CGROUPS = next(
    path for path in (Path("/sys/fs/cgroup/pids"), Path("/sys/fs/cgroup")) if path.exists()
)
CGROUP = str(CGROUPS / "miren-foreig")

#: Things that look like ours and are not: (how to make it, how to see it, how to remove it).
FOREIGN = {
    "netns": (
        ["ip", "netns", "add", "miren-foreignforeignforeig-1"],
        ["ip", "netns", "exec", "miren-foreignforeignforeig-1", "true"],
        ["ip", "netns", "del", "miren-foreignforeignforeig-1"],
    ),
    "veth": (
        ["ip", "link", "add", "mvforeignfor01", "type", "veth", "peer", "name", "mvforeignpeer1"],
        ["ip", "link", "show", "mvforeignfor01"],
        ["ip", "link", "del", "mvforeignfor01"],
    ),
    "bridge": (
        ["ip", "link", "add", "mv-foreig", "type", "bridge"],
        ["ip", "link", "show", "mv-foreig"],
        ["ip", "link", "del", "mv-foreig"],
    ),
    "nft table": (
        ["nft", "add", "table", "inet", "miren-foreig"],
        ["nft", "list", "table", "inet", "miren-foreig"],
        ["nft", "delete", "table", "inet", "miren-foreig"],
    ),
    "cgroup": (
        ["mkdir", "-p", CGROUP],
        ["test", "-d", CGROUP],
        ["rmdir", CGROUP],
    ),
    "mount": (
        ["mount", "-t", "tmpfs", "miren-foreign", "/mnt"],
        ["mountpoint", "/mnt"],
        ["umount", "/mnt"],
    ),
}


def _run(words: list[str]) -> int:
    return subprocess.run(words, capture_output=True, timeout=20, check=False).returncode


@pytest.fixture
def foreign() -> Iterator[subprocess.Popen[bytes]]:
    """Other people's things, also when a dead run of this test left some."""
    for _make, _see, remove in FOREIGN.values():
        _run(remove)
    for make, _see, _remove in FOREIGN.values():
        assert _run(make) == 0, make
    with subprocess.Popen(["sleep", "86399"]) as sleeper:
        yield sleeper
        sleeper.kill()
    for _make, _see, remove in FOREIGN.values():
        _run(remove)


@pytest.fixture
def folder() -> Iterator[Path]:
    for dead in abandoned(SORT):
        _demo(dead / "demo", "--down")
        shutil.rmtree(dead)
    base = claim(SORT)
    yield base / "demo"
    shutil.rmtree(base)


def _demo(folder: Path, *words: str, path: str | None = None) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "MIREN_DEMO_DIR": str(folder)}
    if path is not None:
        env["PATH"] = path
    return subprocess.run(
        [sys.executable, DEMO, *words],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
        env=env,
    )


class Witness(threading.Thread):
    """Notes, while a demo runs, the names of what it makes on this host."""

    def __init__(self, folder: Path) -> None:
        super().__init__(daemon=True)
        self.folder = folder
        self.instance = ""
        self.containers: set[ContainerId] = set()
        self._over = threading.Event()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._over.set()
        self.join()

    def run(self) -> None:
        while not self._over.wait(0.02):
            try:
                self.instance = (self.folder / "state" / "instance").read_text().strip()
            except FileNotFoundError:
                continue
            for process in processes_with(self.folder / "run" / "containerd"):
                words = process.arguments
                if "-id" in words:
                    with suppress(ValueError):  # the probe of a runtime class has another name
                        self.containers.add(ContainerId.parse(words[words.index("-id") + 1]))

    def left(self) -> list[str]:
        """Return all that is left of what was seen, by name."""
        state, run = self.folder / "state", self.folder / "run"
        found = list(asyncio.run(leftovers(self.instance, state, run)))
        for id in self.containers:
            names = Names.of(id)
            found += [f"netns {names.netns}"] if Path("/run/netns", names.netns).exists() else []
            found += [f"veth {names.veth}"] if Path("/sys/class/net", names.veth).exists() else []
        mounts = Path("/proc/self/mounts").read_text()
        return [*found, *(["a mount"] if str(self.folder) in mounts else [])]


@pytest.mark.timeout(150)
def test_the_demo_proves_gvisor_twice_and_leaves_nothing_but_what_others_have(
    folder: Path, foreign: subprocess.Popen[bytes]
) -> None:
    for _ in range(2):
        with Witness(folder) as witness:
            done = _demo(folder)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "Linux version 4.4.0" in done.stdout
        assert "hello   running" in done.stdout
        assert done.stdout.count(" s\n") >= 8  # each step with its time
        assert witness.instance
        assert witness.containers
        assert witness.left() == []
        assert not folder.exists()
    for what, (_make, see, _remove) in FOREIGN.items():
        assert _run(see) == 0, f"the foreign {what} is gone"
    assert foreign.poll() is None, "the foreign process is gone"


@pytest.mark.timeout(150)
def test_the_demo_leaves_another_servers_things_alone(folder: Path, server: Server) -> None:
    server.apply(sandbox("neighbour"))
    server.must("wait", "sandbox/neighbour", "--for", "condition=Ready")
    before = server.leftovers()  # processes, mounts, veth, netns, cgroups, snapshots, by name
    assert any(name.startswith("snapshot ") for name in before), before

    done = _demo(folder)

    assert done.returncode == 0, done.stdout + done.stderr
    assert server.leftovers() == before
    assert "Hello" in server.answer("neighbour")


@pytest.mark.timeout(150)
def test_up_leaves_it_running_and_down_takes_it_away(folder: Path) -> None:
    try:
        up = _demo(folder, "--keep")
        assert up.returncode == 0, up.stdout + up.stderr
        assert "make down" in up.stdout
        assert (folder / "run" / "miren.sock").exists()
        with Witness(folder) as witness:
            again = _demo(folder, "--keep")
        assert again.returncode == 0, again.stdout + again.stderr
    finally:
        down = _demo(folder, "--down")
    assert down.returncode == 0, down.stdout + down.stderr
    assert witness.left() == []


@pytest.mark.timeout(150)
def test_without_containerd_the_demo_says_so_and_runs_plain_processes(
    folder: Path, tmp_path: Path
) -> None:
    for name in ("busybox", "sh", "env", "ldd", "cat"):
        found = shutil.which(name)
        assert found is not None, name
        (tmp_path / name).symlink_to(found)

    done = _demo(folder, path=str(tmp_path))

    assert done.returncode == 0, done.stdout + done.stderr
    assert "containerd, runsc, nft not found" in done.stdout
    assert "isolates nothing" in done.stdout
    assert "Linux version 4.4.0" not in done.stdout
