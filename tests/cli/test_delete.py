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


def test_entities_are_selected_to_be_deleted(server: Server) -> None:
    server.make_project("chosen")
    for name, tier in (("r1", "x"), ("r2", "y"), ("r3", "x")):
        metadata = {"name": name, "project": "chosen", "labels": {"tier": tier}}
        server.ok("Create", entity={"kind": "Role", "metadata": metadata})
    dry = server.cli("delete", "roles", "-p", "chosen", "--all", "--dry-run=server")
    assert dry.lines == [f"role/{name} deleted (dry run)" for name in ("r1", "r2", "r3")]
    done = server.cli("delete", "roles", "-p", "chosen", "-l", "tier in (x)")
    assert done.out == "role/r1 deleted\nrole/r3 deleted\n"
    assert server.cli("delete", "roles", "-p", "chosen", "--all").out == "role/r2 deleted\n"
    nothing = server.cli("delete", "roles", "-p", "chosen", "--all")
    assert (nothing.code, nothing.out, nothing.err) == (0, "", "nothing to delete\n")
    for words in (["roles", "r1", "--all"], ["roles", "--all", "-l", "a=b"], ["--all"]):
        assert server.cli("delete", *words).code == 2


def test_only_what_was_meant_is_deleted(server: Server) -> None:
    made = server.ok("Create", entity={**ROLE, "metadata": {"name": "meant"}})["entity"]
    uid, version = made["metadata"]["uid"], made["metadata"]["resourceVersion"]
    assert server.cli("delete", "role/meant", "--uid", "another").code == 4
    assert server.cli("delete", "role/meant", "--revision", "1").code == 4
    assert server.cli("delete", "roles", "--all", "--uid", uid).code == 2
    done = server.cli("delete", "role/meant", "--uid", uid, "--revision", version)
    assert done.out == "role/meant deleted\n"


def test_an_owner_can_wait_for_what_it_owns(server: Server) -> None:
    owner = server.ok("Create", entity={"kind": "Service", "metadata": {"name": "o"}})["entity"]
    for name in ("e1", "e2"):
        endpoints = {"kind": "Endpoints", "metadata": {"name": name}, "spec": {"service": "o"}}
        made = server.ok("Create", entity=endpoints)["entity"]
        assert made["metadata"]["ownerReferences"][0]["uid"] == owner["metadata"]["uid"]
    done = server.cli("delete", "service/o", "--cascade=foreground", "--wait=false")
    assert done.out == "service/o is being deleted\n"
    assert server.cli("delete", "service/o", "--cascade=sideways").code == 2


def test_what_an_app_owns_can_stay_when_it_goes(server: Server) -> None:
    spec = {"image": "hello", "services": [{"name": "web", "command": ["sleep", "1000"]}]}
    server.ok("Apply", document={"kind": "App", "metadata": {"name": "gone"}, "spec": spec})
    server.ok("Wait", kind="app", name="gone", for_="condition=Ready")
    done = server.cli("delete", "app/gone", "--cascade=orphan")
    assert (done.code, done.out) == (0, "app/gone deleted\n"), done.err
    (version,) = server.ok("List", kind="appversion", selector="miren.dev/app=gone")["items"]
    assert "ownerReferences" not in version["metadata"]
    assert "deletionTimestamp" not in version["metadata"]
    named = f"appversion/{version['metadata']['name']}"
    assert server.cli("delete", named, "--cascade=orphan").code == 0
    stays = server.ok("Get", kind="sandbox", name=f"{version['metadata']['name']}-web-0")["entity"]
    assert "ownerReferences" not in stays["metadata"]
    assert "deletionTimestamp" not in stays["metadata"]
    assert server.cli("delete", "sandbox", stays["metadata"]["name"]).code == 0


def test_names_and_files_exclude_each_other(server: Server, tmp_path: Path) -> None:
    assert server.cli("delete", "role/x", "-f", tmp_path).code == 2
    assert server.cli("delete").code == 2
    assert server.cli("delete", "role").code == 2
