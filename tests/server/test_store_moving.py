"""A server whose store moves while it runs."""

from __future__ import annotations

import json
import re
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from miren.server.stores.managed import pids_of
from tests.etcd import Member
from tests.servers import EXAMPLE, Server, disk, run_miren, running_server, sandbox, wait_until


def status(server: Server) -> dict[str, Any]:
    done = server.cli("store", "status", "-o", "json")
    assert not done.err, done
    found: dict[str, Any] = json.loads(done.out)
    return found


def names(server: Server) -> set[str]:
    done = server.cli("get", "disks", "-o", "name")
    assert done.code == 0, done
    return {line.removeprefix("disk/") for line in done.lines}


def etcd_of(server: Server) -> int | None:
    return next(pids_of(server.base / "state" / "etcd"), None)


def move(server: Server, to: str) -> None:
    done = server.cli("store", "move", "--to", to)
    assert (done.code, done.err) == (0, ""), (done, server.log)
    assert done.lines[0].startswith(f"the store is {to} now, ")


class Writer:
    """Creates disks one after the other, and knows which were acknowledged."""

    def __init__(self, server: Server, prefix: str) -> None:
        self._server = server
        self._prefix = prefix
        self._over = threading.Event()
        self.made: set[str] = set()

    def run(self) -> None:
        number = 0
        while not self._over.is_set():
            name = f"{self._prefix}-{number}"
            try:
                answer = self._server.call("Create", entity=disk(name))
            except OSError:
                continue  # the server is between two stores
            if answer.status == 200:
                self.made.add(name)
            number += 1

    @contextmanager
    def writing(self) -> Iterator[None]:
        thread = threading.Thread(target=self.run)
        thread.start()
        try:
            wait_until(lambda: len(self.made) >= 10)
            yield
            before = len(self.made)
            wait_until(lambda: len(self.made) >= before + 5, told="writing after the move")
        finally:
            self._over.set()
            thread.join()


@pytest.fixture
def server() -> Iterator[Server]:
    with running_server() as server:
        yield server


def test_a_store_moves_there_and_back_under_writes_and_loses_none(server: Server) -> None:
    built = server.cli("image", "build", EXAMPLE / "image")
    assert built.code == 0, built
    server.ok("Create", entity=sandbox("lives"))
    waited = server.cli("wait", "sandbox/lives", "--for", "condition=Ready", "--timeout", "30s")
    assert waited.code == 0, waited
    before = server.cli("get", "sandbox/lives", "-o", "json").out
    first, second = Writer(server, "one"), Writer(server, "two")
    with first.writing():
        move(server, "etcd")
    assert status(server)["backend"] == "etcd"
    assert status(server)["managed"]
    assert first.made <= names(server)
    server.assert_sound()
    with second.writing():
        move(server, "sqlite")
    assert status(server)["backend"] == "sqlite"
    assert first.made | second.made <= names(server)
    server.assert_sound()
    assert etcd_of(server) is None
    # It is the very sandbox from before, which never stopped.
    now, then = (
        json.loads(server.cli("get", "sandbox/lives", "-o", "json").out),
        json.loads(before),
    )
    assert now["metadata"]["uid"] == then["metadata"]["uid"]
    assert now["status"]["attempt"] == then["status"]["attempt"]
    assert {path.name for path in (server.base / "state" / "etcd").glob("data-*")}


def test_the_new_store_is_that_of_the_folder_from_then_on(server: Server) -> None:
    server.ok("Create", entity=disk("one"))
    move(server, "etcd")
    server.stop()
    server.start()
    assert names(server) == {"one"}
    server.stop()
    folders = ["--state-dir", f"{server.base}/state", "--run-dir", f"{server.base}/run"]
    done = run_miren("server", *folders, "--runtime", "process", "--store", "sqlite")
    assert done.code == 6
    assert "is an etcd of the server's own, and the configuration wants SQLite" in done.err
    done = run_miren("server", "purge", *folders, "--runtime", "process")
    assert "stopped the store's etcd; its data stays" in done.lines
    assert etcd_of(server) is None
    server.start()
    assert names(server) == {"one"}


@pytest.mark.parametrize("at", ["pending", "copied"])
def test_a_server_that_is_killed_while_it_moves_still_has_its_store(
    at: str, server: Server
) -> None:
    writer = Writer(server, "w")
    for number in range(30):
        server.ok("Create", entity=disk(f"d{number}"))
    moving = server.popen("store", "move", "--to", "etcd")
    note = server.base / "state" / "store.json"
    wait_until(lambda: note.exists() and "pending" in note.read_text())
    if at == "copied":
        wait_until(lambda: etcd_of(server) is not None)
    server.kill()
    _, told = moving.communicate(timeout=30)
    assert "`miren store status` says which store it has" in told
    assert "`miren store move` can be repeated" in told
    server.start()
    assert {f"d{number}" for number in range(30)} <= names(server)
    if status(server)["backend"] == "sqlite":
        assert etcd_of(server) is None
        assert not list((server.base / "state" / "etcd").glob("data-*"))
        assert "pending" not in note.read_text()
        # As was told.
        move(server, "etcd")
        assert {f"d{number}" for number in range(30)} <= names(server)
    with writer.writing():
        pass
    server.assert_sound()


def test_who_leaves_ends_the_move(server: Server) -> None:
    server.ok("Create", entity=disk("one"))
    moving = server.popen("store", "move", "--to", "etcd")
    wait_until(lambda: (server.base / "state" / "store.json").exists())
    moving.send_signal(signal.SIGINT)
    moving.communicate(timeout=30)
    wait_until(lambda: not status(server)["moving"])
    assert names(server) == {"one"}
    server.ok("Create", entity=disk("two"))


def test_a_move_that_cannot_begin_changes_nothing(server: Server) -> None:
    done = server.cli("store", "move", "--to", "sqlite")
    assert (done.code, done.err) == (6, "error: the store is SQLite already\n")
    done = server.cli("store", "move", "--to", "memory")
    assert done.code == 2


def test_a_cluster_of_others_is_used_and_its_data_is_left_to_them(
    shared_etcd: Member, tmp_path: Path
) -> None:
    config = tmp_path / "server.toml"
    config.write_text(
        f'[store]\netcd_endpoints = ["{shared_etcd.endpoint}"]\netcd_prefix = "/{tmp_path.name}"\n'
    )
    options = ("--config", str(config))
    with running_server(*options) as server:
        server.ok("Create", entity=disk("one"))
        told = status(server)
        assert (told["backend"], told["managed"]) == ("etcd", False)
        assert etcd_of(server) is None
        assert f"/{tmp_path.name}/k/e/miren.dev/Disk/default/one" in shared_etcd.control(
            "get", f"/{tmp_path.name}", "--prefix", "--keys-only"
        )
        assert server.cli("store", "export", tmp_path / "all").code == 0
        server.stop()
        done = server.local("store", "restore", tmp_path / "all", *options)
        assert done.code == 2  # it is no snapshot
        refused = server.local("store", "import", tmp_path / "all", *options)
        assert refused.code == 6
        assert "the store holds" in refused.err
        done = run_miren(
            *("server", "--state-dir", f"{server.base}/state", "--run-dir", f"{server.base}/run"),
            *("--runtime", "process"),
        )
        assert done.code == 2
        assert "nothing says where" in done.err
        server.start(*options)
        move(server, "sqlite")
        assert names(server) == {"one"}
        server.stop()
        server.start("--store", "sqlite", *options)
        assert names(server) == {"one"}
        # What was left behind is in the way, and there are two ways out.
        refused = server.cli("store", "move", "--to", "etcd")
        assert refused.code == 6
        assert f"the cluster's prefix /{tmp_path.name} is taken" in refused.err
        assert "with another --etcd-prefix; " in refused.err
        (command,) = re.findall(r"`etcdctl (.*)`", refused.err)
        assert names(server) == {"one"}
        server.stop()
        server.start("--store", "sqlite", *options, "--etcd-prefix", f"/{tmp_path.name}-other")
        move(server, "etcd")
        assert names(server) == {"one"}
        move(server, "sqlite")
        server.stop()
        shared_etcd.control(*command.split())
        server.start("--store", "sqlite", *options)
        move(server, "etcd")
        assert names(server) == {"one"}
