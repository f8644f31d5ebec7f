"""`miren diff`: what applying would change, and nothing changed by asking."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from miren.base.yaml_text import dump_all
from tests.servers import Captured, Done, Server, disk, sandbox


def write(path: Path, *documents: dict[str, Any]) -> Path:
    path.write_text(dump_all(documents))
    return path


@pytest.fixture
def diff(server: Server) -> Callable[..., Done]:
    return partial(server.cli, "diff", "-f")


def test_what_would_change_is_shown_and_ends_with_1(
    server: Server, diff: Callable[..., Done], tmp_path: Path
) -> None:
    server.ok("Apply", document=disk("grown", labels={"a": "b"}))
    server.ok("Wait", kind="disk", name="grown", for_="phase=ready")
    file = write(tmp_path / "x.yaml", disk("grown", "2Gi", labels={"a": "b"}))
    done = diff(file)
    assert (done.code, done.err) == (1, "")
    assert done.lines[:2] == ["--- disk/grown (stored)", "+++ disk/grown (applied)"]
    assert [line for line in done.lines[2:] if line[0] in "-+"] == ["-  size: 1Gi", "+  size: 2Gi"]
    assert not any(word in done.out for word in ("status", "uid", "resourceVersion", "\x1b"))
    assert server.ok("Get", kind="disk", name="grown")["entity"]["spec"] == {"size": "1Gi"}


def test_no_difference_ends_with_0(
    server: Server, diff: Callable[..., Done], tmp_path: Path
) -> None:
    server.ok("Apply", document=disk("same"))
    done = diff(write(tmp_path / "x.yaml", disk("same")))
    assert (done.code, done.out, done.err) == (0, "", "")


def test_what_is_new_is_all_added(
    server: Server, diff: Callable[..., Done], tmp_path: Path
) -> None:
    done = diff(write(tmp_path / "x.yaml", disk("brand-new")))
    assert done.code == 1
    added = "\n".join(line[1:] for line in done.lines[3:])
    assert yaml.safe_load(added)["metadata"] == {"name": "brand-new", "project": "default"}
    assert server.call("Get", kind="disk", name="brand-new").status == 404


def test_what_refers_to_other_new_ones_is_shown_too(
    server: Server, diff: Callable[..., Done], tmp_path: Path
) -> None:
    project = {"kind": "Project", "metadata": {"name": "stack"}}
    user = sandbox("user", project="stack")
    user["spec"]["volumes"] = [{"disk": "data", "path": "/data"}]
    file = write(tmp_path / "x.yaml", user, disk("data", project="stack"), project)
    done = diff(file)
    assert (done.code, done.err) == (1, "")
    assert [line for line in done.lines if line.startswith("+++")] == [
        "+++ sandbox/user in stack (applied)",
        "+++ disk/data in stack (applied)",
        "+++ project/stack (applied)",
    ]
    dry = server.cli("apply", "-f", file, "--dry-run=server")
    assert dry.code == 0
    assert dry.lines[0] == "project/stack created (dry run)"
    assert "sandbox/user not checked (dry run): " in dry.out
    assert server.cli("apply", "-f", file).code == 0
    alone = diff(write(tmp_path / "alone.yaml", disk("lost", project="nowhere")))
    assert alone.code == 6
    assert "'nowhere' does not exist" in alone.err


def test_a_secret_differs_without_being_shown(
    server: Server, diff: Callable[..., Done], tmp_path: Path
) -> None:
    secret = {"kind": "Secret", "metadata": {"name": "db"}, "spec": {"data": {"url": "hunter2"}}}
    file = write(tmp_path / "x.yaml", secret)
    server.ok("Apply", document=secret)
    assert diff(file).code == 0
    secret["spec"] = {"data": {"url": "hunter3"}}
    done = diff(write(file, secret))
    assert done.code == 1
    assert done.lines == [
        "--- secret/db (stored)",
        "+++ secret/db (applied)",
        "@@ values of secrets differ @@",
    ]


def test_problems_are_told_as_apply_tells_them(
    server: Server, diff: Callable[..., Done], tmp_path: Path
) -> None:
    server.ok("Apply", document=disk("theirs"), manager="ann")
    conflict = diff(write(tmp_path / "x.yaml", disk("theirs", "2Gi")))
    assert conflict.code == 4
    assert "/spec/size is managed by 'ann'" in conflict.err
    forced = diff(tmp_path / "x.yaml", "--force-conflicts")
    assert forced.code == 1
    bad = diff(write(tmp_path / "y.yaml", disk("theirs", "-1")))
    assert bad.code == 2
    assert "y.yaml:6:9: error" in bad.err
    assert diff(tmp_path / "none.yaml").code == 3


def test_colours_are_for_terminals(
    server: Server, diff: Callable[..., Done], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write(tmp_path / "x.yaml", disk("coloured"))
    monkeypatch.setattr(Captured, "isatty", lambda _stream: True)
    assert "\x1b[32m+  size: 1Gi\x1b[0m" in diff(file).lines
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in diff(file).out
