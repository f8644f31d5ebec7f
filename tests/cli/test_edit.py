"""`miren edit`: an editor that is a script, and nothing that was written is lost."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.servers import Done, Server, disk

#: Takes the next step of a plan: runs a command first, replaces texts in the file, or fails.
EDITOR = """
import json, pathlib, stat, subprocess, sys
plan, file = map(pathlib.Path, sys.argv[1:])
step, *rest = json.loads(plan.read_text())
plan.write_text(json.dumps(rest))
text, mode = file.read_text(), stat.S_IMODE(file.stat().st_mode)
with plan.with_name("seen").open("a") as seen:
    seen.write(json.dumps({"file": str(file), "mode": mode, "text": text}) + "\\n")
if "run" in step:
    subprocess.run(step["run"], check=True, stdout=subprocess.DEVNULL)
for old, new in step.get("replace", ()):
    assert old in text, (old, text)
    text = text.replace(old, new)
file.write_text(step.get("write", text))
sys.exit(step.get("exit", 0))
"""


class Editing:
    """Runs `miren edit` with a plan of what the editor does each time it is opened."""

    def __init__(self, folder: Path, run: Callable[..., Done]) -> None:
        self._plan, self._seen, self._run = folder / "plan", folder / "seen", run

    def __call__(self, *words: str, steps: list[dict[str, Any]]) -> Done:
        self._seen.write_text("")
        self._plan.write_text(json.dumps(steps))
        done = self._run("edit", *words)
        assert json.loads(self._plan.read_text()) == [], done
        return done

    @property
    def opened(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._seen.read_text().splitlines()]

    @property
    def texts(self) -> list[str]:
        return [each["text"] for each in self.opened]

    @property
    def file(self) -> Path:
        return Path(self.opened[-1]["file"])


@pytest.fixture
def edit(
    server: Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Editing:
    script = tmp_path / "an editor.py"
    script.write_text(EDITOR)
    monkeypatch.setenv("EDITOR", f"{sys.executable} '{script}' '{tmp_path}/plan'")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    for name in ("MIREN_EDITOR", "VISUAL"):
        monkeypatch.delenv(name, raising=False)
    return Editing(tmp_path, lambda *words: server.cli(*words))


def replace(old: str, new: str) -> dict[str, Any]:
    return {"replace": [[old, new]]}


GROW = replace("size: 1Gi", "size: 2Gi")
CLOSE: dict[str, Any] = {}


def test_what_is_saved_is_stored(server: Server, edit: Editing) -> None:
    server.ok("Apply", document=disk("e1", labels={"a": "b"}))
    done = edit("disk", "e1", steps=[{"replace": [["size: 1Gi", "size: 2Gi"], ["a: b", "c: d"]]}])
    assert (done.code, done.out, done.err) == (0, "disk/e1 edited\n", "")
    answer = server.ok("Get", kind="disk", name="e1", managers=True)
    assert answer["entity"]["spec"] == {"size": "2Gi"}
    assert answer["entity"]["metadata"]["labels"] == {"c": "d"}
    assert answer["managers"] == {"edit": ["/metadata/labels/c", "/spec/size"]}
    assert edit.opened[0]["mode"] == 0o600
    assert not edit.file.exists()
    assert not any(word in edit.texts[0] for word in ("status", "uid", "resourceVersion"))


@pytest.mark.parametrize("step", [CLOSE, {"write": ""}, {"write": "# nothing\n\n"}])
def test_nothing_to_store_is_left_alone(
    server: Server, edit: Editing, step: dict[str, Any]
) -> None:
    server.ok("Apply", document=disk("e2"))
    done = edit("disk/e2", steps=[step])
    assert (done.code, done.out) == (0, "disk/e2 not edited: nothing was changed\n")
    assert not edit.file.exists()


def test_what_is_wrong_comes_back_with_the_reasons(server: Server, edit: Editing) -> None:
    server.ok("Apply", document=disk("e3"))
    steps = [
        replace("size: 1Gi", "sizee: 1Gi\n  filesystem: fat"),
        replace("sizee: 1Gi\n  filesystem: fat", "size: [1Gi"),
        replace("[1Gi", "-1"),
        replace("size: -1", "size: 3Gi"),
    ]
    done = edit("disk/e3", steps=steps)
    assert (done.code, done.out) == (0, "disk/e3 edited\n"), edit.texts
    _, second, third, fourth = edit.texts
    assert "unknown attribute 'sizee'" in second
    assert "did you mean 'size'?" in second
    assert "  sizee: 1Gi\n  filesystem: fat\n" in second
    for line in second.splitlines():
        if "sizee'" in line:
            number = int(line.removeprefix("# line ").partition(":")[0])
            assert second.splitlines()[number - 1] == "  sizee: 1Gi"
    assert "broken YAML" in third
    assert "at spec.size" in fourth
    assert server.ok("Get", kind="disk", name="e3")["entity"]["spec"] == {"size": "3Gi"}


def test_closing_it_with_its_errors_keeps_what_was_written(server: Server, edit: Editing) -> None:
    server.ok("Apply", document=disk("e4"))
    done = edit("disk/e4", steps=[replace("size: 1Gi", "size: none"), CLOSE])
    assert (done.code, done.out) == (1, "")
    assert f"what you wrote is in {edit.file}" in done.err
    assert "'none' is not a quantity" in done.err
    assert "size: none" in edit.file.read_text()
    assert edit.file.stat().st_mode & 0o777 == 0o600
    assert server.ok("Get", kind="disk", name="e4")["entity"]["spec"] == {"size": "1Gi"}


def test_what_an_entity_is_cannot_be_edited(server: Server, edit: Editing) -> None:
    server.ok("Apply", document=disk("e5"))
    rename = {"replace": [["name: e5", "name: e6"], ["project: default", "project: x"]]}
    edit("disk/e5", steps=[rename, CLOSE])
    assert "cannot change from default (at metadata.project)" in edit.texts[1]
    assert "cannot change from e5 (at metadata.name)" in edit.texts[1]
    assert server.call("Get", kind="disk", name="e6").status == 404


def test_a_missing_reference_comes_back_too(server: Server, edit: Editing) -> None:
    server.ok("Create", entity={"kind": "App", "metadata": {"name": "shop"}})
    spec = {"host": "e.test", "app": "shop"}
    server.ok("Create", entity={"kind": "Route", "metadata": {"name": "e"}, "spec": spec})
    done = edit(
        "route/e", steps=[replace("app: shop", "app: nowhere"), replace("nowhere", "shop")]
    )
    assert done.out == "route/e not edited: nothing was changed\n"
    assert "no app 'nowhere'" in edit.texts[1]
    assert "#   help: create it first" in edit.texts[1]


def test_a_status_that_moves_is_no_conflict(server: Server, edit: Editing) -> None:
    role = {"kind": "Service", "metadata": {"name": "s"}, "spec": {"addresses": ["a"]}}
    made = server.ok("Create", entity=role)["entity"]
    server.ok("UpdateStatus", entity={**made, "status": {"address": "x"}})
    asked = json.dumps({"entity": {**_now(server, "s"), "status": {"address": "y"}}})
    url = "http://server/miren.entities.v1.Entities/UpdateStatus"
    meanwhile = _post(server, url, asked)
    done = edit("service/s", steps=[{"run": meanwhile, **replace("- a", "- b")}])
    assert done.out == "service/s edited\n"
    assert _now(server, "s")["spec"]["addresses"] == ["b"]
    assert _now(server, "s")["status"] == {"address": "y"}


def meanwhile(server: Server, *words: str) -> dict[str, Any]:
    return {"run": [sys.executable, "-m", "miren.cli.main", *words, "--server", server.address]}


def test_what_others_changed_in_other_parts_is_kept(server: Server, edit: Editing) -> None:
    server.ok("Apply", document=disk("e11", labels={"by": "me"}))
    step = {**meanwhile(server, "label", "disk/e11", "more=1"), **GROW}
    assert edit("disk/e11", steps=[step]).out == "disk/e11 edited\n"
    entity = server.ok("Get", kind="disk", name="e11")["entity"]
    assert entity["spec"] == {"size": "2Gi"}
    assert entity["metadata"]["labels"] == {"by": "me", "more": "1"}


def test_what_others_changed_in_the_same_part_is_shown_before_it_is_written_over(
    server: Server, edit: Editing
) -> None:
    server.ok("Apply", document=disk("e7", labels={"by": "me"}))
    grown = '{"spec": {"size": "9Gi"}, "metadata": {"annotations": {"by": "them"}}}'
    steps = [
        {**meanwhile(server, "patch", "disk/e7", "-p", grown), **GROW},
        replace("size: 2Gi", "size: 10Gi"),
    ]
    done = edit("disk/e7", steps=steps)
    assert done.out == "disk/e7 edited\n"
    assert "# It was changed by somebody else meanwhile:" in edit.texts[1]
    assert "# +  size: 9Gi" in edit.texts[1]
    assert "\n  size: 2Gi" in edit.texts[1]
    entity = server.ok("Get", kind="disk", name="e7")["entity"]
    assert entity["spec"] == {"size": "10Gi"}
    assert entity["metadata"]["annotations"] == {"by": "them"}


def test_an_entity_that_is_gone_leaves_what_was_written(server: Server, edit: Editing) -> None:
    server.ok("Create", entity={"kind": "Service", "metadata": {"name": "gone"}})
    delete = meanwhile(server, "delete", "service/gone")
    step = {**delete, **replace("addresses: []", "addresses: [a]")}
    done = edit("service/gone", steps=[step])
    assert done.code == 3
    assert f"what you wrote is in {edit.file}" in done.err
    assert "addresses: [a]" in edit.file.read_text()


def test_an_editor_that_fails_is_told(
    server: Server, edit: Editing, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.ok("Apply", document=disk("e8"))
    done = edit("disk/e8", steps=[{**GROW, "exit": 3}])
    assert done.code == 1
    assert "ended with 3" in done.err
    monkeypatch.setenv("VISUAL", "/no/such/editor --wait")
    done = edit("disk/e8", steps=[])
    assert done.code == 1
    assert "cannot run the editor '/no/such/editor --wait'" in done.err
    assert server.ok("Get", kind="disk", name="e8")["entity"]["spec"] == {"size": "1Gi"}


def test_several_are_edited_one_after_the_other(server: Server, edit: Editing) -> None:
    for name in ("e9", "e10"):
        server.ok("Apply", document=disk(name))
    done = edit("disk", "e9", "nobody", "e10", steps=[GROW, CLOSE])
    assert done.code == 3
    assert done.lines == ["disk/e9 edited", "disk/e10 not edited: nothing was changed"]


def _now(server: Server, name: str) -> dict[str, Any]:
    found: dict[str, Any] = server.ok("Get", kind="service", name=name)["entity"]
    return found


def _post(server: Server, url: str, body: str) -> list[str]:
    """Return a command that calls the server, as a controller might meanwhile."""
    call = "import sys, json; from miren.rpc.calls import Calls; " + (
        "Calls(sys.argv[1]).call(sys.argv[2].partition('server/')[2], json.loads(sys.argv[3]))"
    )
    return [sys.executable, "-c", call, server.address, url, body]
