"""`miren apply`: from files to entities, in one go or not at all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from miren.base.errors import Duplicate
from miren.cli.apply import placed
from miren.cli.kinds import known_kinds
from miren.entities.documents import read_documents
from tests.servers import Server, call_main, disk, sandbox


def write(path: Path, *documents: dict[str, Any]) -> Path:
    path.write_text(yaml.safe_dump_all(documents))
    return path


def test_applying_twice_changes_nothing_and_an_edit_configures(
    server: Server, tmp_path: Path
) -> None:
    file = write(tmp_path / "disk.yaml", disk("twice"))
    first = server.cli("apply", "-f", file)
    assert (first.code, first.out, first.err) == (0, "disk/twice created\n", "")
    assert server.cli("apply", "-f", file).out == "disk/twice unchanged\n"
    write(file, disk("twice", "2Gi", labels={"a": "b"}))
    assert server.cli("apply", "-f", file).out == "disk/twice configured\n"
    write(file, disk("twice", "2Gi"))
    assert server.cli("apply", "-f", file).out == "disk/twice configured\n"
    assert "labels" not in server.ok("Get", kind="disk", name="twice")["entity"]["metadata"]


def test_an_apply_is_not_misled_by_what_controllers_write_meanwhile(
    server: Server, tmp_path: Path
) -> None:
    file = write(tmp_path / "many.yaml", *(disk(f"busy-{number}") for number in range(20)))
    assert server.cli("apply", "-f", file).code == 0
    again = server.cli("apply", "-f", file)
    assert again.lines == [f"disk/busy-{number} unchanged" for number in range(20)]


def test_files_folders_and_the_standard_input_can_be_mixed(server: Server, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    write(folder / "b.yml", disk("in-b"))
    write(folder / "a.yaml", disk("in-a1"), disk("in-a2"))
    (folder / "c.json").write_text(json.dumps(disk("in-c")))
    (folder / "notes.txt").write_text("not: [an entity")
    single = write(tmp_path / "single.yaml", disk("in-file"))
    typed = yaml.safe_dump(disk("in-stdin"))
    done = server.cli("apply", "-f", folder, "-f", single, "-f", "-", stdin=typed)
    assert done.code == 0, done.err
    names = ["in-a1", "in-a2", "in-b", "in-c", "in-file", "in-stdin"]
    assert done.lines == [f"disk/{name} created" for name in names]


def test_what_is_referred_to_may_come_later_in_the_file(server: Server, tmp_path: Path) -> None:
    user = sandbox("user")
    user["spec"]["volumes"] = [{"disk": "used", "path": "/data"}]
    done = server.cli("apply", "-f", write(tmp_path / "x.yaml", user, disk("used")))
    assert done.code == 0, done.err
    assert done.lines == ["disk/used created", "sandbox/user created"]


def test_a_reference_to_nothing_is_refused(server: Server, tmp_path: Path) -> None:
    user = sandbox("lost")
    user["spec"]["volumes"] = [{"disk": "nowhere", "path": "/data"}]
    done = server.cli("apply", "-f", write(tmp_path / "x.yaml", user))
    assert (done.code, done.out) == (6, "")
    assert "no disk 'nowhere'" in done.err
    assert "create it first" in done.err
    assert server.cli("get", "sb/lost").code == 3


def test_a_dry_run_of_the_client_needs_no_server(tmp_path: Path) -> None:
    file = write(tmp_path / "x.yaml", disk("dry"))
    nowhere = f"unix://{tmp_path}/none"
    done = call_main("apply", "-f", file, "--dry-run=client", MIREN_SERVER=nowhere)
    assert (done.code, done.out) == (0, "disk/dry is valid (dry run)\n")
    shown = call_main("apply", "-f", file, "--dry-run=client", "-o", "json", MIREN_SERVER=nowhere)
    assert json.loads(shown.out)["spec"] == {"size": "1Gi"}


def test_a_dry_run_of_the_server_stores_nothing(server: Server, tmp_path: Path) -> None:
    file = write(tmp_path / "x.yaml", disk("dry"))
    done = server.cli("apply", "-f", file, "--dry-run=server")
    assert (done.code, done.out) == (0, "disk/dry created (dry run)\n")
    assert server.cli("get", "disk/dry").code == 3


def test_what_was_applied_can_be_shown(server: Server, tmp_path: Path) -> None:
    file = write(tmp_path / "x.yaml", disk("shown-a"), disk("shown-b"))
    assert server.cli("apply", "-f", file, "-o", "name").lines == ["disk/shown-a", "disk/shown-b"]
    items = json.loads(server.cli("apply", "-f", file, "-o", "json").out)["items"]
    assert [item["metadata"]["name"] for item in items] == ["shown-a", "shown-b"]
    documents = list(yaml.safe_load_all(server.cli("apply", "-f", file, "-o", "yaml").out))
    assert [document["kind"] for document in documents] == ["Disk", "Disk"]


def test_fields_of_another_manager_are_a_conflict(server: Server, tmp_path: Path) -> None:
    file = write(tmp_path / "x.yaml", disk("owned"))
    server.cli("apply", "-f", file)
    write(file, disk("owned", "5Gi"))
    done = server.cli("apply", "-f", file, "--manager", "other")
    assert done.code == 4
    assert "size" in done.err
    assert "--force" in done.err
    for words in (["--manager", "other", "--force"], ["--field-manager=b", "--force-conflicts"]):
        assert server.cli("apply", "-f", file, *words).code == 0


def test_what_a_server_said_is_placed_in_an_error_of_its_own() -> None:
    (document,) = read_documents([("x.yaml", "\n" + json.dumps(disk("named")))], known_kinds())
    said = Duplicate("it is taken", hint="take another", entity="disk/other")
    shown = placed(document, said)
    assert (type(shown), shown.hint, shown.entity) == (Duplicate, said.hint, said.entity)
    assert (shown.message, said.message) == ("disk/named (x.yaml:2): it is taken", "it is taken")


def test_what_the_server_refuses_is_shown_where_it_stands(server: Server, tmp_path: Path) -> None:
    first = disk("immutable")
    first["spec"]["filesystem"] = "ext4"
    file = write(tmp_path / "x.yaml", first)
    assert server.cli("apply", "-f", file).code == 0
    first["spec"]["filesystem"] = "xfs"
    write(file, disk("before"), first)
    done = server.cli("apply", "-f", file)
    assert done.code == 2
    assert done.out == "disk/before created\n"
    assert "x.yaml:13:15: error: cannot change from ext4: it is immutable" in done.err
    assert "   13 |   filesystem: xfs\n      |               ^" in done.err
    assert "nothing was changed" not in done.err


@pytest.mark.parametrize("project", ["team", "other"])
def test_entities_go_to_the_project_that_is_named(
    server: Server, tmp_path: Path, project: str
) -> None:
    server.make_project(project)
    file = write(tmp_path / "x.yaml", disk("placed"))
    assert server.cli("apply", "-f", file, "-p", project).out == "disk/placed created\n"
    document = server.ok("Get", kind="disk", name="placed", project=project)["entity"]
    assert document["metadata"]["project"] == project


def test_nothing_to_apply_is_said(server: Server, tmp_path: Path) -> None:
    empty = tmp_path / "empty.yaml"
    empty.write_text("# nothing yet\n---\n")
    done = server.cli("apply", "-f", empty)
    assert done.code == 2
    assert "no documents" in done.err
    folder = tmp_path / "folder"
    folder.mkdir()
    for missing in (tmp_path / "none.yaml", folder):
        done = server.cli("apply", "-f", missing)
        assert done.code == 3
        assert str(missing) in done.err
