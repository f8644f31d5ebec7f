"""A watch goes on over a restart of the server, where it stopped."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from miren.base.errors import Unavailable
from tests.e2e.server import Server, sandbox
from tests.servers import wait_until

pytestmark = pytest.mark.host


class Watcher(threading.Thread):
    """The program of a user: watches, and after a break goes on from the last revision."""

    def __init__(self, server: Server) -> None:
        super().__init__(daemon=True)
        self.server = server
        self.seen: list[tuple[int, str, str]] = []
        self.revision: str | None = None
        self.connections = 0
        self.is_stopping = False

    def run(self) -> None:
        while not self.is_stopping:
            request: dict[str, Any] = {"kind": "sandbox"}
            if self.revision is not None:
                request["after"] = self.revision
            try:
                stream = self.server.calls.stream("miren.entities.v1.Entities/Watch", request)
                self.connections += 1
                for message in stream:
                    self._take(message)
            except Unavailable:
                continue

    def _take(self, message: dict[str, Any]) -> None:
        self.revision = message["revision"]
        if message["type"] != "BOOKMARK":
            name = message["entity"]["metadata"]["name"]
            self.seen.append((int(message["revision"]), message["type"], name))


def test_a_watch_sees_no_gap_and_no_repeat_over_a_restart(server: Server) -> None:
    watcher = Watcher(server)
    watcher.start()
    wait_until(lambda: watcher.revision, told="the watch is up")

    names = [f"w-{number}" for number in range(6)]
    for place, name in enumerate(names):
        if place == 2:
            server.kill()
            server.start()
        if place == 4:
            server.terminate()
            server.start()
        server.apply(sandbox(name, restartPolicy="never"))
    for name in names:
        server.must("delete", "sandbox", name)
    gone = [("DELETED", name) for name in names]
    wait_until(
        lambda: [(kind, name) for _, kind, name in watcher.seen if kind == "DELETED"] == gone,
        told="all deletions are seen",
    )
    watcher.is_stopping = True

    revisions = [revision for revision, _, _ in watcher.seen]
    assert revisions == sorted(set(revisions)), "a revision came twice or out of order"
    everything = _history(server)
    assert watcher.seen == [entry for entry in everything if entry[0] >= revisions[0]]
    assert watcher.connections >= 3


def _history(server: Server) -> list[tuple[int, str, str]]:
    """Return the same changes as one fresh watch from the beginning tells them."""
    now = int(
        server.calls.call("miren.entities.v1.Entities/List", {"kind": "sandbox"})["revision"]
    )
    found = []
    stream = server.calls.stream(
        "miren.entities.v1.Entities/Watch", {"kind": "sandbox", "after": "0"}
    )
    for message in stream:
        if message["type"] != "BOOKMARK":
            name = message["entity"]["metadata"]["name"]
            found.append((int(message["revision"]), message["type"], name))
        if int(message["revision"]) >= now:
            break
    return found
