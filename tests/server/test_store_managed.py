"""A server whose store is an etcd of its own."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from miren.base.processes import is_alive
from tests.server.test_store_moving import etcd_of, names, status
from tests.servers import Server, disk, running_server, wait_until


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with running_server("--store", "etcd") as server:
        yield server


def test_a_server_that_was_killed_adopts_it(server: Server) -> None:
    server.ok("Create", entity=disk("adopted"))
    pid = etcd_of(server)
    assert pid is not None
    uuid = status(server)["uuid"]
    server.kill()
    assert is_alive(pid)
    server.start()
    assert etcd_of(server) == pid
    assert status(server)["uuid"] == uuid
    assert "adopted" in names(server)


def test_the_server_goes_on_when_it_is_killed(server: Server) -> None:
    server.ok("Create", entity=disk("before"))
    with server.stream("Watch", kind="disks", timeout_ms=30_000) as messages:
        messages.until("BOOKMARK")
        pid = etcd_of(server)
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: server.call("Create", entity=disk("after")).status in (200, 409))
        found = messages.until("ADDED")[-1]
        assert found["entity"]["metadata"]["name"] == "after"
    assert etcd_of(server) not in (None, pid)
    assert {"before", "after"} <= names(server)
    server.assert_sound()


def test_a_snapshot_of_it_is_restored_as_another_store(server: Server, tmp_path: Path) -> None:
    server.ok("Create", entity=disk("kept"))
    uuid = status(server)["uuid"]
    done = server.cli("store", "snapshot", tmp_path / "snap")
    assert done.out.startswith(f"{tmp_path}/snap: etcd at revision "), done
    server.ok("Create", entity=disk("lost"))
    server.stop()
    whole = (tmp_path / "snap").read_bytes()
    (tmp_path / "snap").write_bytes(whole[:-1])
    assert server.local("store", "restore", tmp_path / "snap").code == 2
    (tmp_path / "snap").write_bytes(whole)
    done = server.local("store", "restore", tmp_path / "snap")
    assert (done.code, done.err) == (0, ""), done
    kept = server.base / "state" / "etcd" / "data"
    assert f"the store before is kept at {kept}; " in done.out
    server.start()
    assert "kept" in names(server)
    assert "lost" not in names(server)
    assert status(server)["uuid"] != uuid
    server.ok("Create", entity=disk("new"))
    server.assert_sound()


def test_a_snapshot_that_cannot_be_written_says_why(server: Server) -> None:
    done = server.cli("store", "snapshot", "/proc/snap")
    assert done.err.startswith("error: cannot write the snapshot /proc/snap: No such file"), done
    assert done.code == 1


def test_a_snapshot_of_a_store_elsewhere_in_a_cluster_is_not_taken_for_an_empty_one(
    server: Server, tmp_path: Path
) -> None:
    server.ok("Create", entity=disk("served"))
    assert server.cli("store", "snapshot", tmp_path / "snap").code == 0
    beside = tmp_path / "snap.manifest.json"
    told = json.loads(beside.read_text())
    beside.write_text(json.dumps(told | {"uuid": "of-another-prefix"}))
    server.stop()
    folders = set((server.base / "state" / "etcd").glob("data*"))
    done = server.local("store", "restore", tmp_path / "snap")
    assert done.code == 2, done
    assert "does not hold the store of-another-prefix below /miren" in done.err
    assert set((server.base / "state" / "etcd").glob("data*")) == folders
    server.start()
    assert "served" in names(server)


def test_space_is_given_back(server: Server) -> None:
    done = server.cli("store", "compact")
    assert done.code == 0, done
    done = server.cli("store", "defrag")
    assert done.code == 0, done
    assert not status(server)["alarms"]
