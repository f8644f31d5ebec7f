"""`miren delete`: by name and by file, waiting or not."""

from __future__ import annotations

import json
from pathlib import Path

from tests.servers import Server, disk, sandbox

ROLE = {"kind": "Role", "metadata": {"name": "reader"}}


def test_it_returns_when_they_are_gone(server: Server) -> None:
    for name in ("d1", "d2"):
        server.ok("Apply", document=disk(name))
        server.ok("Wait", kind="disk", name=name, for_="phase=ready")
    done = server.cli("delete", "dk", "d1", "d2")
    assert (done.code, done.out) == (0, "disk/d1 deleted\ndisk/d2 deleted\n")
    assert server.cli("get", "disk", "d1", "d2").code == 3


def test_a_running_sandbox_is_stopped_first(server: Server) -> None:
    server.ok("Apply", document=sandbox("running"))
    server.ok("Wait", kind="sb", name="running", for_="phase=running")
    done = server.cli("delete", "sb/running")
    assert (done.code, done.out) == (0, "sandbox/running deleted\n")


def test_it_need_not_wait(server: Server) -> None:
    server.ok("Apply", document=sandbox("unwaited"))
    server.ok("Wait", kind="sb", name="unwaited", for_="phase=running")
    done = server.cli("delete", "sb/unwaited", "--wait=false")
    assert (done.code, done.out) == (0, "sandbox/unwaited is being deleted\n")
    assert server.cli("wait", "sb/unwaited", "--for", "delete").code == 0


def test_what_somebody_holds_takes_too_long_and_says_who(server: Server) -> None:
    held = {**ROLE, "metadata": {"name": "held", "finalizers": ["example.dev/hold"]}}
    server.ok("Create", entity=held)
    done = server.cli("delete", "role/held", "--timeout", "200ms")
    assert done.code == 5
    assert "role/held" in done.err
    assert "example.dev/hold" in done.err
    again = server.cli("delete", "role/held", "--wait=false")
    assert again.out == "role/held is being deleted\n"
    assert "Deleting:     since " in server.cli("describe", "role/held").out


def test_a_missing_one_does_not_keep_the_others(server: Server) -> None:
    server.ok("Create", entity=ROLE)
    done = server.cli("delete", "role", "nobody", "reader")
    assert done.code == 3
    assert done.out == "role/reader deleted\n"
    assert "role 'nobody' not found" in done.err
    quiet = server.cli("delete", "role", "nobody", "--ignore-not-found")
    assert (quiet.code, quiet.out, quiet.err) == (0, "", "")


def test_files_are_undone_backwards(server: Server, tmp_path: Path) -> None:
    user = sandbox("by-file")
    user["spec"]["volumes"] = [{"disk": "by-file", "path": f"{tmp_path}/data"}]
    file = tmp_path / "x.json"
    file.write_text("\n---\n".join(map(json.dumps, (disk("by-file"), user))))
    assert server.cli("apply", "-f", file).code == 0
    done = server.cli("delete", "-f", file)
    assert done.code == 0, done.err
    assert sorted(done.lines) == ["disk/by-file deleted", "sandbox/by-file deleted"]
    again = server.cli("delete", "-f", file)
    assert again.code == 3
    assert again.err.count("not found") == 2
    assert server.cli("delete", "-f", file, "--ignore-not-found").code == 0


def test_names_and_files_exclude_each_other(server: Server, tmp_path: Path) -> None:
    assert server.cli("delete", "role/x", "-f", tmp_path).code == 2
    assert server.cli("delete").code == 2
    assert server.cli("delete", "role").code == 2
