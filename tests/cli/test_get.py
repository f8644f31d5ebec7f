"""`miren get`: tables, documents, selections and watching."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from typing import Any

import yaml

from miren.base.errors import Compacted
from miren.cli.listing import list_all
from miren.rpc.calls import Calls
from tests.servers import MIREN, Server, disk, sandbox


def given(server: Server, project: str) -> None:
    server.make_project(project)
    for name, tier in (("a1", "front"), ("b2", "back"), ("c3", "front")):
        document = disk(name, labels={"tier": tier})
        server.ok("Apply", document=document, project=project)
        server.ok("Wait", kind="disk", name=name, project=project, for_="phase=ready")


def test_a_table_has_a_line_for_each(server: Server) -> None:
    given(server, "tables")
    done = server.cli("get", "disks", "-p", "tables")
    assert done.code == 0
    head, *rows = done.lines
    assert head.split() == ["NAME", "SIZE", "PHASE", "PATH", "REASON", "AGE"]
    assert [row.split()[:3] for row in rows] == [[n, "1Gi", "ready"] for n in ("a1", "b2", "c3")]
    starts = {line.index(word) for line, word in zip(done.lines[1:], ["ready"] * 3, strict=True)}
    assert starts == {head.index("PHASE")}


def test_every_word_for_a_kind_means_it(server: Server) -> None:
    given(server, "words")
    outs = {
        server.cli("get", word, "-o", "name", "-p", "words").out
        for word in ("disk", "disks", "dk", "Disk", "disk.miren.dev")
    }
    assert outs == {"disk/a1\ndisk/b2\ndisk/c3\n"}


def test_names_come_in_both_forms(server: Server) -> None:
    given(server, "names")
    rows = server.cli("get", "disk", "a1", "c3", "-p", "names")
    assert [line.split()[0] for line in rows.lines] == ["NAME", "a1", "c3"]
    assert server.cli("get", "disk/a1", "dk/c3", "-p", "names").out == rows.out


def test_kinds_that_differ_are_tables_of_their_own(server: Server) -> None:
    server.ok("Apply", document=disk("mixed"))
    node = server.ok("List", kind="node")["items"][0]["metadata"]["name"]
    done = server.cli("get", "disk/mixed", f"node/{node}")
    heads = [line for line in done.lines if line.startswith("NAME")]
    assert len(heads) == 2
    assert "" in done.lines


def test_documents_come_as_json_yaml_and_names(server: Server) -> None:
    given(server, "documents")
    one = json.loads(server.cli("get", "disk/a1", "-o", "json", "-p", "documents").out)
    assert one["metadata"]["name"] == "a1"
    assert yaml.safe_load(server.cli("get", "disk/a1", "-oyaml", "-p", "documents").out) == one
    every = json.loads(server.cli("get", "disks", "-o", "json", "-p", "documents").out)
    assert every["kind"] == "List"
    assert [item["metadata"]["name"] for item in every["items"]] == ["a1", "b2", "c3"]
    texts = server.cli("get", "disks", "-o", "yaml", "-p", "documents").out
    assert list(yaml.safe_load_all(texts)) == every["items"]
    named = server.cli("get", "disks", "-o", "name", "-p", "documents")
    assert named.lines == ["disk/a1", "disk/b2", "disk/c3"]


def test_labels_and_fields_select(server: Server) -> None:
    given(server, "selected")

    def names(*words: str) -> list[str]:
        done = server.cli("get", "disks", "-o", "name", "-p", "selected", *words)
        assert done.code == 0, done.err
        return done.lines

    assert names("-l", "tier=front") == ["disk/a1", "disk/c3"]
    assert names("-l", "tier==back") == ["disk/b2"]
    assert names("-l", "tier=none") == []
    assert names("--field-selector", "status.phase=ready", "-l", "tier=back") == ["disk/b2"]
    assert names("--field-selector", "status.phase=failed") == []
    assert names("-l", "tier in (front, none)") == ["disk/a1", "disk/c3"]
    assert names("-l", "tier,tier!=front") == ["disk/b2"]
    assert names("-l", "tier notin (front,back)") == names("-l", "!tier") == []
    for words in (["-l", "a b"], ["--field-selector", "spec.size=1Gi"], ["--field-selector", "a"]):
        assert server.cli("get", "disks", *words).code == 2


def test_all_projects_are_shown_with_their_names(server: Server) -> None:
    given(server, "everywhere")
    done = server.cli("get", "disks", "-A")
    assert done.lines[0].split()[:2] == ["PROJECT", "NAME"]
    assert [line.split()[1] for line in done.lines if line.startswith("everywhere ")] == [
        "a1",
        "b2",
        "c3",
    ]
    assert server.cli("get", "nodes", "-A").lines[0].startswith("NAME")


def test_nothing_found_is_said_beside_the_output(server: Server) -> None:
    done = server.cli("get", "sb", "-p", "deserted")
    assert (done.code, done.out) == (0, "")
    assert done.err == "no sandboxes in project 'deserted'\n"
    assert server.cli("get", "disksnapshots", "-A").err == "no disksnapshots\n"
    selected = server.cli("get", "roles", "-A", "-l", "no=such")
    assert (selected.code, selected.err) == (0, "no matching roles\n")
    empty = server.cli("get", "sb", "-p", "deserted", "-o", "json")
    assert (json.loads(empty.out), empty.err) == ({"kind": "List", "items": []}, "")
    assert server.cli("get", "sb", "-p", "deserted", "-o", "yaml").out == ""


def test_a_missing_one_is_told_and_the_others_are_shown(server: Server) -> None:
    given(server, "missing")
    done = server.cli("get", "disk", "a1", "bb2", "c3", "-p", "missing")
    assert done.code == 3
    assert [line.split()[0] for line in done.lines] == ["NAME", "a1", "c3"]
    assert "disk 'bb2' not found" in done.err
    assert "did you mean 'b2'?" in done.err


def test_a_watch_shows_a_table_and_then_every_change(server: Server) -> None:
    given(server, "watched")
    watch = server.popen("get", "disks", "-p", "watched", "-w")
    assert watch.stdout is not None
    try:
        lines = [watch.stdout.readline() for _ in range(4)]
        assert [line.split()[0] for line in lines] == ["NAME", "a1", "b2", "c3"]
        server.ok("Delete", kind="disk", name="b2", project="watched")
        seen: list[str] = []
        while "deleted" not in seen:
            line = watch.stdout.readline()
            assert line.startswith("b2 ")
            assert line.index("1Gi") == lines[0].index("SIZE")
            seen += line.split()
        assert "deleting" in seen
    finally:
        watch.terminate()
        watch.communicate(timeout=10)


def test_a_watch_of_one_tells_of_no_other(server: Server) -> None:
    server.make_project("one")
    server.ok("Apply", document=sandbox("running", project="one"))
    server.ok("Apply", document=sandbox("web", project="one"))
    watch = server.popen("get", "sb/web", "-p", "one", "-w", "-o", "name")
    assert watch.stdout is not None
    try:
        assert watch.stdout.readline() == "added sandbox/web\n"
        server.ok("Delete", kind="sb", name="running", project="one")
        server.ok("Delete", kind="sb", name="web", project="one")
        while (line := watch.stdout.readline()) != "deleted sandbox/web\n":
            assert line == "modified sandbox/web\n"
    finally:
        watch.terminate()
        watch.communicate(timeout=10)
    assert server.cli("get", "sb/web", "-p", "one", "-w").code == 3


def test_a_watch_in_json_has_an_event_a_line(server: Server) -> None:
    given(server, "json")
    watch = server.popen("get", "disks", "-p", "json", "-w", "-o", "json")
    assert watch.stdout is not None
    try:
        event = json.loads(watch.stdout.readline())
        assert (event["type"], event["entity"]["metadata"]["name"]) == ("ADDED", "a1")
    finally:
        watch.terminate()
        watch.communicate(timeout=10)


def test_a_reader_that_has_seen_enough_is_no_failure(server: Server) -> None:
    given(server, "pipe")
    for number in range(30):
        server.ok("Apply", document=disk(f"more-{number}"), project="pipe")
    command = f"{MIREN} get disks -p pipe -o yaml --server {server.address}; echo $? >&2"
    shell = subprocess.run(
        ["bash", "-c", f"({command}) | head -n 1"],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert len(shell.stdout.splitlines()) == 1
    assert shell.stderr == "0\n"


def test_kinds_are_listed(server: Server) -> None:
    done = server.cli("api-resources")
    assert done.code == 0
    assert any(line.split()[:2] == ["sandboxes", "sb"] for line in done.lines)


def test_what_was_is_shown(server: Server) -> None:
    made = server.ok("Create", entity=disk("was", labels={"at": "first"}))["entity"]
    then = made["metadata"]["resourceVersion"]
    server.ok("Patch", kind="disk", name="was", patch={"metadata": {"labels": {"at": "last"}}})
    done = server.cli("get", "disk/was", "--revision", then, "-o", "json")
    assert json.loads(done.out)["metadata"]["labels"] == {"at": "first"}
    assert server.cli("get", "disk/was", "--revision", then).lines[1].startswith("was ")
    early = server.cli("get", "disk/was", "--revision", str(int(then) - 1))
    assert early.code == 3
    assert f"disk/was did not exist at revision {int(then) - 1}" in early.err
    assert server.cli("get", "disk/was", "--revision", "99999999").code in (1, 2, 3)
    for words in (["disks", "--revision", then], ["disk/was", "--revision", "x"]):
        assert server.cli("get", *words).code == 2


def test_what_refers_to_one_is_selected(server: Server) -> None:
    server.make_project("pointing")
    server.ok("Create", entity=disk("data", project="pointing"))
    for name, volumes in (("with", [{"disk": "data", "path": "/x"}]), ("without", [])):
        document = sandbox(name, project="pointing")
        document["spec"]["volumes"] = volumes
        server.ok("Create", entity=document)
    words = ["get", "sb", "-p", "pointing", "-o", "name", "--refers-to"]
    assert server.cli(*words, "disk/data").lines == ["sandbox/with"]
    assert server.cli(*words, "disk/pointing/data").lines == ["sandbox/with"]
    assert server.cli(*words, "disk/other/data").lines == []
    assert server.cli(*words, "disk/data", "--tag", "none").lines == []
    for wrong in ("data", "disk/", "a/b/c/d"):
        assert server.cli(*words, wrong).code == 2
    assert server.cli("get", "sb", "--tag", "x").code == 2
    told = server.cli("describe", "disk/data", "-p", "pointing")
    place = told.lines.index("Referred by:")
    assert "  sandbox/with (spec.volumes.disk)" in told.lines[place:]


def test_wide_tables_labels_and_managers_come_when_asked_for(server: Server) -> None:
    server.ok("Apply", document=disk("shown", labels={"wide": "b"}), manager="ann")
    wide = server.cli("get", "disk/shown", "-o", "wide", "--show-labels")
    assert wide.lines[0].split()[-2:] == ["OWNER", "LABELS"]
    assert wide.lines[1].split()[-2:] == ["-", "wide=b"]
    managed = [{"manager": "ann", "fields": ["/metadata/labels/wide", "/spec/size"]}]
    for words in (["disk/shown"], ["disks", "-l", "wide=b"]):
        done = server.cli("get", *words, "-o", "yaml", "--show-managed-fields")
        assert yaml.safe_load(done.out)["metadata"]["managedFields"] == managed
        assert "managedFields" not in server.cli("get", *words, "-o", "yaml").out
        assert server.cli("get", *words, "--show-managed-fields").code == 2


def test_long_lists_are_read_in_chunks_and_shown_as_one(server: Server) -> None:
    server.make_project("long")
    for number in range(7):
        server.ok("Create", entity=disk(f"d{number}", project="long"))
    words = ["get", "disks", "-p", "long"]
    whole = server.cli(*words, "--chunk-size", "0", "-o", "name")
    for chunk in ("1", "3", "7", "500"):
        assert server.cli(*words, "--chunk-size", chunk, "-o", "name").out == whole.out
    table = server.cli(*words, "--chunk-size", "2")
    assert [line.split()[0] for line in table.lines] == ["NAME", *(f"d{n}" for n in range(7))]
    assert server.cli(*words, "--chunk-size", "some").code == 2


def test_several_kinds_are_tables_of_their_own(server: Server) -> None:
    server.make_project("several")
    server.ok("Create", entity=disk("d", project="several"))
    role = {"kind": "Role", "metadata": {"name": "r", "project": "several"}}
    server.ok("Create", entity=role)
    done = server.cli("get", "disks,sb,roles", "-p", "several")
    assert [line.split()[0] if line else "" for line in done.lines] == [
        "NAME",
        "d",
        "",
        "NAME",
        "r",
    ]
    assert done.err == "no sandboxes in project 'several'\n"
    named = server.cli("get", "roles,disks", "-p", "several", "-o", "name")
    assert named.lines == ["role/r", "disk/d"]


class Forgetful(Calls):
    """Answers lists of numbers in pages, and has forgotten the first page's revision."""

    def call(
        self, method: str, request: Mapping[str, Any], *, timeout: float | None = None
    ) -> dict[str, Any]:
        if request["token"] == "late":
            raise Compacted("revision 1 is no longer kept", oldest=2)
        limit = request["limit"]
        return {"items": list(range(limit or 5)), "token": "late" if limit else ""}


def test_a_list_whose_revision_is_gone_meanwhile_is_read_in_one() -> None:
    found = list_all(Forgetful("unix:///nowhere"), {"kind": "disk"}, chunk=2)
    assert found["items"] == [0, 1, 2, 3, 4]
