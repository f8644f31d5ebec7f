"""The example package, installed with pip beside Miren: its kind works like one of ours."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from miren.schemagen.main import check, generate
from tests.docs.blocks import ROOT, blocks
from tests.servers import Server, running_server, wait_until

EXAMPLE = Path(__file__).parents[2] / "examples" / "04-plugin-package"
FILE = EXAMPLE / "widgets.yaml"
OLDER = "widget.v1alpha1.widgets.example.dev"


def test_the_examples_generated_code_is_fresh() -> None:
    package = EXAMPLE / "example_widgets"
    assert check([package / "schema"], package / "gen") == []


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the example, without a network, and return where it went."""
    base = tmp_path_factory.mktemp("packages")
    source, target = base / "source", base / "target"
    # A build writes beside its sources.
    shutil.copytree(EXAMPLE, source, ignore=shutil.ignore_patterns("__pycache__", "build"))
    options = ["--no-deps", "--no-index", "--no-build-isolation", "--no-compile", "--quiet"]
    command = [sys.executable, "-m", "pip", "install", *options, "--target", str(target)]
    done = subprocess.run(
        [*command, str(source)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return target


@pytest.fixture(scope="module")
def server(installed: Path) -> Iterator[Server]:
    """A server beside which the example is installed, and a package whose schema is broken."""
    info = installed / "broken-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[miren.schemas]\nbroken = no_such_module:KINDS\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(installed))
        with running_server() as server:
            yield server


def shown(server: Server, kind: str, name: str) -> dict[str, Any]:
    done = server.run("get", kind, name, "-o", "json")
    assert done.code == 0, done.err
    found: dict[str, Any] = json.loads(done.out)
    return found


def test_files_of_both_versions_are_applied_and_made(server: Server) -> None:
    applied = server.run("apply", "-f", FILE)
    assert applied.out == "widget/box created\nwidget/crate created\n"
    waited = server.run("wait", "widget/box", "widget/crate", "--for", "condition=Ready")
    assert waited.code == 0, waited.err
    again = server.run("apply", "-f", FILE)
    assert again.out == "widget/box unchanged\nwidget/crate unchanged\n"

    box, crate = shown(server, "widget", "box"), shown(server, "wd", "crate")
    assert box["status"]["used"] == 1
    assert crate["apiVersion"] == "widgets.example.dev/v1beta1"
    assert crate["spec"]["size"] == "2Gi"
    assert crate["spec"]["look"] == {"color": "grey", "surface": "glossy"}


def test_each_can_be_had_and_written_back_in_the_other_version(server: Server) -> None:
    server.run("apply", "-f", FILE)
    server.run("wait", "widget/box", "--for", "condition=Ready")
    older = shown(server, OLDER, "box")
    assert older["apiVersion"] == "widgets.example.dev/v1alpha1"
    assert older["spec"]["sizeGb"] == 2
    assert older["spec"]["finish"] == "shiny"
    assert shown(server, OLDER, "crate")["spec"]["nick"] == "the old one"

    entity = {**older, "spec": {**older["spec"], "nick": "mine"}}
    written = server.call("Update", entity=entity)
    assert written.status == 200, written.body
    assert written.json["entity"]["spec"]["nick"] == "mine"
    assert shown(server, "widget", "box")["spec"]["size"] == "1536Mi"


def test_its_versions_are_listed_and_explained(server: Server) -> None:
    rows = [line.split() for line in server.run("api-resources").lines]
    mine = [row[2] for row in rows if row[0] == "widgets"]
    assert sorted(mine) == ["widgets.example.dev/v1alpha1", "widgets.example.dev/v1beta1"]
    table = server.run("get", "widgets").lines
    assert "COLOR" in table[0]
    assert "COLOR" not in server.run("get", OLDER).lines[0]
    explained = server.run("explain", "widget.spec.look")
    assert "How it shines." in explained.out, explained.err
    assert "in GiB" in server.run("explain", f"{OLDER}.spec.sizeGb").out


def test_a_file_is_checked_against_the_version_it_says(server: Server) -> None:
    document = {
        "apiVersion": "widgets.example.dev/v1alpha1",
        "kind": "Widget",
        "metadata": {"name": "x"},
        "spec": {"size": "1Gi"},
    }
    refused = server.run("apply", "-f", "-", stdin=json.dumps(document))
    assert refused.code == 2
    assert "did you mean 'sizeGb'" in refused.err


def test_a_watch_in_the_older_version_shows_what_the_newer_one_wrote(server: Server) -> None:
    server.run("apply", "-f", FILE)
    with server.stream("Watch", kind=OLDER, name="crate", timeout_ms=20_000) as messages:
        first = messages.until("BOOKMARK")
        assert first[0]["entity"]["spec"]["sizeGb"] == 2
        patched = server.call(
            "Patch", kind="widget", name="crate", patch={"spec": {"size": "9Gi"}}
        )
        assert patched.status == 200, patched.body
        sizes = (m["entity"]["spec"]["sizeGb"] for m in messages if m["type"] == "MODIFIED")
        assert 9 in sizes


def test_a_broken_package_is_reported_and_stops_nothing(server: Server) -> None:
    status = server.call("Status", service="miren.server.v1.Server").json
    states = {one["name"]: one for one in status["controllers"]}
    assert states["broken"]["running"] is False
    assert "ModuleNotFoundError" in states["broken"]["lastError"]
    assert states["widgetmaker"]["running"] is True
    warned = server.run("apply", "-f", FILE, "--dry-run=client")
    assert warned.code == 0
    assert "warning: the kinds of plugin 'broken' are not known" in warned.err


def test_the_pages_commands_work_as_shown(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    server.run("delete", "widget/box", "widget/crate")
    for block in blocks("text"):
        if block.page != EXAMPLE / "README.md" or not block.text.startswith("$ "):
            continue
        for part in block.text.split("$ miren ")[1:]:
            command, _, told = part.partition("\n")
            done = server.run(*command.split())
            assert done.code == 0, done.err
            if told.strip():
                assert [words(line) for line in done.lines] == list(map(words, told.splitlines()))


def words(line: str) -> list[str]:
    """Return a line's words but for an age at its end, which is another one every time."""
    return re.sub(r"\d+s$", "", line.strip()).split()


@pytest.fixture
def earlier(tmp_path: Path) -> Path:
    """The example as it was when it had one version only, and no controller yet."""
    package = tmp_path / "example_widgets"
    generate([EXAMPLE / "example_widgets/schema/v1alpha1.yml"], package / "gen")
    (package / "__init__.py").touch()
    info = tmp_path / "example_widgets-0.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: example-widgets\nVersion: 0.1\n")
    (info / "entry_points.txt").write_text("[miren.schemas]\nwidgets = example_widgets.gen\n")
    return tmp_path


def test_a_newer_package_takes_over_what_the_older_one_stored(
    earlier: Path, installed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, document = FILE.read_text().split("---\n")
    monkeypatch.setenv("PYTHONPATH", str(earlier))
    with running_server() as server:
        applied = server.run("apply", "-f", "-", stdin=document)
        assert applied.out == "widget/crate created\n", applied.err
        before = shown(server, "widget", "crate")
        assert before["apiVersion"] == "widgets.example.dev/v1alpha1"

        monkeypatch.setenv("PYTHONPATH", str(installed))
        with restarted(server):
            after = shown(server, "widget", "crate")
            assert after["spec"]["size"] == "2Gi"
            assert after["metadata"]["uid"] == before["metadata"]["uid"]
            assert shown(server, OLDER, "crate")["spec"] == before["spec"]
            wait_until(
                lambda: "entities are up to date with their kind" in server.log, told="the upgrade"
            )
            shiny = server.run("get", "widgets", "--field-selector", "spec.look.surface=glossy")
            assert "crate" in shiny.out, shiny.err
            # Whoever applied it still owns its fields: leaving one out gives it up.
            shorter = document.replace("nick: the old one", "")
            assert server.run("apply", "-f", "-", stdin=shorter).out == "widget/crate configured\n"
            assert "nick" not in shown(server, OLDER, "crate")["spec"]


@contextmanager
def restarted(server: Server) -> Iterator[None]:
    """Run the server anew over its state, for as long as the body runs."""
    arguments = server.process.args
    server.stop()
    with (server.base / "server.log").open("ab") as log:
        server.process = subprocess.Popen(
            arguments, stdout=log, stderr=log, stdin=subprocess.DEVNULL
        )
    try:
        wait_until(lambda: is_up(server), told="the server")
        yield
        server.assert_sound()
    finally:
        server.stop()


def is_up(server: Server) -> bool:
    try:
        return server.http("GET", "/healthz").status == 200
    except (FileNotFoundError, ConnectionRefusedError):
        return False
