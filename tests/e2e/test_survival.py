"""Whatever dies, sandboxes serve on, and what comes next takes them over."""

from __future__ import annotations

import os
import shutil
import signal

import pytest

from miren.runtime.containerd.daemon import ContainerdDaemon
from tests.e2e.server import Server, fetch, sandbox
from tests.servers import wait_until

pytestmark = pytest.mark.host


@pytest.fixture
def hello(server: Server) -> str:
    """A running sandbox's address."""
    server.apply(sandbox("hello"))
    server.must("wait", "sandbox/hello", "--for", "condition=Ready")
    address: str = server.get("sandbox/hello")["status"]["address"]
    return address


def _guest(server: Server) -> int:
    """The process that is the sandbox: runsc's, which holds the guest's kernel."""
    found = [pid for pid, name in server.processes("hello").items() if "sandbox" in name]
    assert len(found) == 1, server.processes("hello")
    return found[0]


def test_a_killed_server_leaves_sandboxes_serving_and_the_next_one_adopts_them(
    server: Server, hello: str
) -> None:
    before = server.processes("hello")

    server.kill()
    assert "Linux version 4.4.0" in fetch(hello)
    server.start()

    assert server.processes("hello") == before
    assert server.get("sandbox/hello")["status"]["restarts"] == 0
    assert "Linux version 4.4.0" in server.answer("hello")


def test_a_server_told_to_stop_does_so_quickly_and_leaves_sandboxes_serving(
    server: Server, hello: str
) -> None:
    before = server.processes("hello")

    assert server.terminate() < 5
    assert "Hello" in fetch(hello)
    server.start()

    assert server.processes("hello") == before


def test_sandboxes_are_adopted_after_the_run_folder_was_emptied(
    server: Server, hello: str
) -> None:
    before = server.processes("hello")
    server.kill()
    for path in server.run_dir.iterdir():
        if path.name != "containerd":
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    server.start()

    assert server.processes("hello") == before
    assert "Hello" in server.answer("hello")


def test_a_killed_sandbox_is_started_again_with_a_delay_and_says_why(
    server: Server, hello: str
) -> None:
    os.kill(_guest(server), signal.SIGKILL)

    def restarted() -> bool:
        status = server.get("sandbox/hello")["status"]
        return bool(status["phase"] == "running" and status.get("restarts") == 1)

    why = wait_until(
        lambda: server.get("sandbox/hello")["status"].get("reason"), told="a reason is given"
    )
    assert "exited with code 137; restart 1 in 1 s" in why
    (ready,) = server.get("sandbox/hello")["status"]["conditions"]
    assert (ready["status"], ready["reason"]) == ("False", "Exited")
    assert why in ready["message"]

    wait_until(restarted, told="it runs again")
    status = server.get("sandbox/hello")["status"]
    assert status["exitCode"] == "137"
    assert status["attempt"] == 2
    assert "Hello" in server.answer("hello")


def test_a_killed_containerd_comes_back_and_everything_goes_on(server: Server, hello: str) -> None:
    before = server.processes("hello")
    pid = ContainerdDaemon(server.state, server.run_dir).pid()
    assert pid is not None

    os.kill(pid, signal.SIGKILL)
    assert "Hello" in fetch(hello)
    server.apply(sandbox("second"))
    server.must("wait", "sandbox/second", "--for", "condition=Ready")

    assert "Hello" in server.answer("second")
    assert server.processes("hello") == before
    server.must("wait", "sandbox/hello", "--for", "condition=Ready", "--timeout", "90")
    assert "reason" not in server.get("sandbox/hello")["status"]
    server.must("delete", "sandbox", "hello", "second")
    assert server.leftovers(of_containers=True) == []


def test_a_sandbox_that_ended_while_nobody_looked_is_started_again(
    server: Server, hello: str
) -> None:
    guest = _guest(server)
    server.kill()
    os.kill(guest, signal.SIGKILL)

    server.start()

    def restarted() -> bool:
        status = server.get("sandbox/hello")["status"]
        return bool(status["phase"] == "running" and status.get("restarts") == 1)

    wait_until(restarted, told="it runs again")
    assert server.get("sandbox/hello")["status"]["exitCode"] in ("137", "unknown")
