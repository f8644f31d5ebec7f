"""`miren store`, on a server whose store is SQLite."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from miren.entities.store.api import KeyRange
from miren.entities.store.backup import REVISION_GAP
from miren.server.config import load
from miren.server.stores.choosing import choice_of
from miren.server.stores.opening import serving_store
from tests.servers import Done, Server, disk, run_miren, running_server, wait_until


@pytest.fixture(scope="module")
def running() -> Iterator[Server]:
    with running_server() as server:
        yield server


@pytest.fixture
def server(running: Server) -> Server:
    """Return the one server of all tests here, running, without disks."""
    if running.process.poll() is not None:
        running.start()
    for name in disks(running):
        ok(running.cli("delete", name))
    return running


@pytest.fixture
def backups(tmp_path: Path) -> Path:
    return tmp_path


def ok(done: Done) -> Done:
    assert (done.code, done.err) == (0, ""), done
    return done


def folders(server: Server) -> list[str]:
    return ["--state-dir", f"{server.base}/state", "--run-dir", f"{server.base}/run"]


def kill_after(process: subprocess.Popen[str], folder: Path, *, steps: int) -> None:
    """Kill a process once it has changed that often what is in a folder, or ended."""
    seen = [set(folder.iterdir())]

    def is_time() -> bool:
        now = set(folder.iterdir())
        if now != seen[-1]:
            seen.append(now)
        return len(seen) > steps or process.poll() is not None

    wait_until(is_time)
    process.kill()
    process.communicate(timeout=20)


def status(server: Server) -> dict[str, object]:
    found: dict[str, object] = json.loads(ok(server.cli("store", "status", "-o", "json")).out)
    return found


def disks(server: Server) -> list[str]:
    return ok(server.cli("get", "disks", "-o", "name")).lines


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_its_status_says_which_store_it_is_and_how_it_is(server: Server) -> None:
    lines = ok(server.cli("store", "status")).lines
    assert lines[0] == "backend: sqlite"
    assert re.fullmatch(r"uuid: [a-z2-7]{20}", lines[1])
    assert re.fullmatch(r"at revision \d+, with history from revision \d+ on", lines[2])
    assert re.fullmatch(r"size: [\d.]+ [KM]iB", lines[3])
    assert lines[4:] == ["alarm: none"]
    found = server.call("Status", service="miren.server.v1.Server").json["store"]
    told = status(server)
    assert {name: told[name] for name in ("uuid", "backend")} == {
        name: found[name] for name in ("uuid", "backend")
    }


def test_a_snapshot_is_restored_as_another_store(server: Server, backups: Path) -> None:
    server.ok("Create", entity=disk("kept"))
    before = status(server)
    done = ok(server.cli("store", "snapshot", backups / "snap"))
    assert done.out.startswith(f"{backups}/snap: sqlite at revision ")
    assert mode(backups / "snap") == mode(backups / "snap.manifest.json") == 0o600
    server.ok("Create", entity=disk("lost"))
    later = int(str(status(server)["revision"]))

    refused = server.local("store", "restore", backups / "snap")
    assert refused.code == 6
    assert f"process {server.process.pid} works with {server.base}/state" in refused.err
    server.stop()
    done = ok(server.local("store", "restore", backups / "snap"))
    assert done.lines[1].startswith(f"the store before is kept at {server.base}/state/store")
    server.start()

    after = status(server)
    assert after["uuid"] != before["uuid"]
    assert disks(server) == ["disk/kept"]
    server.ok("Create", entity=disk("new"))
    # Nobody can go on at a revision of the old history, not even of the part that is the same.
    assert int(str(after["compacted"])) > REVISION_GAP
    for revision in (2, int(str(before["revision"])), later):
        answer = server.call("Watch", kind="disks", after=str(revision))
        last = answer.body.splitlines()[-1]
        assert b"out_of_range" in last, (revision, answer)
    server.assert_sound()


def test_a_watch_that_the_restart_ended_lists_again_and_goes_on(
    server: Server, backups: Path
) -> None:
    server.ok("Create", entity=disk("kept"))
    ok(server.cli("store", "snapshot", backups / "snap"))
    server.ok("Create", entity=disk("lost"))
    server.stop()
    ok(server.local("store", "restore", backups / "snap"))
    server.start()
    with server.stream("Watch", kind="disks", timeout_ms=20_000) as messages:
        assert [m["entity"]["metadata"]["name"] for m in messages.until("ADDED")] == ["kept"]
        server.ok("Create", entity=disk("new"))
        assert messages.until("ADDED")[-1]["entity"]["metadata"]["name"] == "new"


def test_half_a_snapshot_is_refused_and_nothing_is_touched(server: Server, backups: Path) -> None:
    server.ok("Create", entity=disk("kept"))
    ok(server.cli("store", "snapshot", backups / "snap"))
    server.stop()
    os.truncate(backups / "snap", 5000)
    before = {path: path.read_bytes() for path in (server.base / "state").glob("store*")}
    done = server.local("store", "restore", backups / "snap")
    assert done.code == 2
    assert "is cut short" in done.err
    assert {path: path.read_bytes() for path in (server.base / "state").glob("store*")} == before
    server.start()
    assert disks(server) == ["disk/kept"]


def test_an_export_makes_the_store_anew(server: Server, backups: Path) -> None:
    server.ok("Create", entity=disk("kept", labels={"tier": "db"}))
    before = status(server)
    file = backups / "all.jsonl"
    done = ok(server.cli("store", "export", file))
    keys = len(file.read_text().split("\n")) - 3
    assert done.out == f"{file}: {keys} keys\n"
    assert mode(file) == 0o600
    server.ok("Create", entity=disk("lost"))
    again = server.cli("store", "export", file)
    assert (again.code, again.err.splitlines()[0]) == (6, f"error: {file} exists")

    server.stop()
    refused = server.local("store", "import", file)
    assert refused.code == 6
    assert "--force" in refused.err
    done = ok(server.local("store", "import", "-", "--force", stdin=file.read_text()))
    assert done.lines[0] == f"imported {keys} keys"
    server.start()
    assert disks(server) == ["disk/kept"]
    assert ok(server.cli("get", "disks", "-l", "tier=db", "-o", "name")).lines == ["disk/kept"]
    assert status(server)["uuid"] != before["uuid"]
    server.assert_sound()


def test_an_export_goes_to_standard_output_and_nothing_else_does(server: Server) -> None:
    done = server.cli("store", "export", "-", "-o", "json")
    assert done.code == 0
    lines = [json.loads(line) for line in done.lines]
    assert lines[0]["format"] == "miren-store-export/1"
    assert lines[-1] == {name: json.loads(done.err)[name] for name in ("keys", "sha256")}


def test_half_an_export_is_refused_and_nothing_is_touched(server: Server, backups: Path) -> None:
    server.ok("Create", entity=disk("kept"))
    file = backups / "all.jsonl"
    ok(server.cli("store", "export", file))
    server.stop()
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join(lines[:-2]))
    done = server.local("store", "import", file, "--force")
    assert done.code == 2
    assert "is a part of an export" in done.err
    server.start()
    assert disks(server) == ["disk/kept"]


def test_history_can_be_forgotten_and_its_space_given_back(server: Server) -> None:
    for number in range(30):
        server.ok("Apply", document=disk("one", size=f"{number + 1}Gi"))
    early = int(str(status(server)["revision"])) - 20
    done = ok(server.cli("store", "compact", "--revision", str(early)))
    assert done.out == f"history begins at revision {early}\n"
    newest = int(str(status(server)["revision"]))
    assert ok(server.cli("store", "compact")).out == f"history begins at revision {newest}\n"
    assert re.fullmatch(r"\S+ [KM]iB before, \S+ KiB now\n", ok(server.cli("store", "defrag")).out)
    found = server.cli("get", "disk/one", "-o", "json")
    assert json.loads(found.out)["spec"]["size"] == "30Gi"
    future = server.cli("store", "compact", "--revision", str(newest + 1000))
    assert future.code == 2
    assert future.err == (
        f"error: revision {newest + 1000} is not made yet\n"
        f"  help: the newest revision is {newest}\n"
    )
    for none in ("-3", "0", "x"):
        assert server.cli("store", "compact", "--revision", none).code == 2


def test_a_snapshot_replaces_no_file(server: Server, backups: Path) -> None:
    for taken in ("snap", "snap.manifest.json"):
        (backups / taken).write_text("mine")
        done = server.cli("store", "snapshot", backups / "snap")
        assert done.code == 6, done
        assert (backups / taken).read_text() == "mine"
        assert [path.name for path in backups.iterdir()] == [taken]
        (backups / taken).unlink()
    done = server.cli("store", "snapshot", backups / "none" / "snap")
    assert (done.code, done.err) == (2, f"error: {backups}/none is no folder\n")
    done = server.cli("store", "snapshot", "/")
    assert (done.code, done.err.partition("\n")[0]) == (2, "error: / is no name of a snapshot")


def test_an_export_that_cannot_be_written_says_where(server: Server, backups: Path) -> None:
    done = server.cli("store", "export", backups / "none" / "all")
    expected = f"error: cannot write {backups}/none/all: No such file or directory\n"
    assert (done.code, done.err) == (1, expected)


def test_a_name_is_where_the_command_runs(server: Server, backups: Path) -> None:
    before = Path.cwd()
    os.chdir(backups)
    try:
        ok(server.cli("store", "snapshot", "snap"))
    finally:
        os.chdir(before)
    assert (backups / "snap").exists()


def test_a_state_folder_keeps_the_store_that_it_has(server: Server) -> None:
    server.stop()
    done = run_miren("server", *folders(server), "--runtime", "process", "--store", "etcd")
    assert done.code == 6
    assert "is SQLite, and the configuration wants an etcd of the server's own" in done.err


def test_stores_that_were_replaced_are_listed_and_removed_when_somebody_says_so(
    server: Server, backups: Path
) -> None:
    def kept() -> list[str]:
        told = status(server)["replaced"]
        assert isinstance(told, list)
        lines = [line for line in ok(server.cli("store", "status")).lines if "kept: " in line]
        assert len(lines) == len(told)
        for line, one in zip(lines, told, strict=True):
            assert line.startswith(f"kept: {one['path']}, ")
            assert re.search(r", \d\S* KiB, last written 20\d\d-\S*$", line)
        return [one["path"] for one in told]

    server.ok("Create", entity=disk("kept"))
    ok(server.cli("store", "prune", "--yes"))
    assert not kept()
    assert ok(server.cli("store", "prune")).lines == ["no store is kept that could go"]
    ok(server.cli("store", "snapshot", backups / "snap"))
    places = []
    for _ in range(3):
        server.stop()
        done = ok(server.local("store", "restore", backups / "snap", "-o", "json"))
        places.append(json.loads(done.out)["kept"])
        server.start()
    theirs = server.base / "state" / "store-of-mine.db"
    theirs.write_text("mine")
    assert kept() == places

    refused = server.cli("store", "prune", "--keep", "1")
    assert refused.code == 6
    assert f"{places[1]}, " in refused.err
    assert places[2] not in refused.err
    assert "help: say it with --yes" in refused.err
    assert kept() == places
    done = ok(server.cli("store", "prune", "--keep", "1", "--yes"))
    assert [line.partition(", ")[0] for line in done.lines[:-1]] == [
        f"removed {place}" for place in places[:2]
    ]
    assert re.fullmatch(r"\S+ KiB freed", done.lines[-1])
    assert kept() == places[2:]
    ok(server.cli("store", "prune", "-y"))
    left = {path.name for path in (server.base / "state").glob("store*")}
    in_use = json.loads((server.base / "state/store.json").read_text())["place"]
    endings = ("", "-wal", "-shm", ".lock")
    assert left == {"store.json", theirs.name, *(in_use + ending for ending in endings)}
    theirs.unlink()
    assert disks(server) == ["disk/kept"]
    for path in (str(server.base / "state" / in_use), str(theirs), "/etc/passwd"):
        answer = server.call("Prune", service="miren.store.v1.Store", paths=[path])
        assert answer.status == 404, answer
    assert server.call("Prune", service="miren.store.v1.Store", paths="all").status == 400


def test_two_servers_do_not_share_a_state_folder(server: Server) -> None:
    done = run_miren(
        *("server", "--state-dir", server.base / "state", "--run-dir", server.base / "other"),
        *("--runtime", "process"),
    )
    assert done.code == 6
    assert f"process {server.process.pid} works with {server.base}/state" in done.err


@pytest.mark.damages
def test_a_store_that_was_written_over_is_restored_from_a_snapshot(
    server: Server, backups: Path
) -> None:
    server.ok("Create", entity=disk("kept"))
    ok(server.cli("store", "snapshot", backups / "snap"))
    server.stop()
    note = server.base / "state/store.json"
    file = server.base / "state" / json.loads(note.read_text())["place"]
    file.write_bytes(b"junk" * 5000)
    done = run_miren("server", *folders(server), "--runtime", "process")
    assert done.code == 6
    assert f"error: the store {file} is damaged: " in done.err
    assert "help: `miren store restore FILE` " in done.err
    done = ok(server.local("store", "restore", backups / "snap"))
    assert done.lines[1].startswith(f"the store before is kept at {file}")
    assert file.read_bytes() == b"junk" * 5000
    server.start()
    assert disks(server) == ["disk/kept"]


def test_a_restore_that_is_killed_leaves_a_whole_store(server: Server, backups: Path) -> None:
    server.ok("Create", entity=disk("kept"))
    ok(server.cli("store", "snapshot", backups / "snap"))
    server.ok("Create", entity=disk("lost"))
    server.stop()
    state = server.base / "state"
    config = load(environment={}, flags={"server.state_dir": str(state)})

    async def held() -> set[str]:
        choice = choice_of(config)
        async with serving_store(config, choice) as store:
            page = await store.list(KeyRange.prefix("/e/miren.dev/Disk/"), keys_only=True)
            return {item.key.rpartition("/")[2] for item in page.items}

    outcomes = set()
    for steps in range(1, 8):
        restoring = server.popen("store", "restore", str(backups / "snap"), *folders(server))
        kill_after(restoring, state, steps=steps)
        outcomes.add(frozenset(asyncio.run(held())))
        assert "pending" not in (state / "store.json").read_text()
    assert outcomes <= {frozenset({"kept", "lost"}), frozenset({"kept"})}
    ok(server.local("store", "restore", backups / "snap"))
    assert asyncio.run(held()) == {"kept"}


def test_a_store_that_is_missing_is_not_taken_for_an_empty_one(
    server: Server, backups: Path
) -> None:
    ok(server.cli("store", "snapshot", backups / "snap"))
    server.stop()
    ok(server.local("store", "restore", backups / "snap"))
    noted = json.loads((server.base / "state/store.json").read_text())
    file = server.base / "state" / noted["place"]
    file.rename(backups / "moved.db")
    done = run_miren("server", *folders(server), "--runtime", "process")
    assert done.code == 6
    assert "is not there" in done.err
    (backups / "moved.db").rename(file)
