"""A package that is installed beside the server brings a kind and its controller."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.servers import running_server

GREETER = Path(__file__).parents[2] / "examples" / "02-controller-class" / "greeter.py"


def install(folder: Path, **points: str) -> None:
    """Do what pip does: the module, and metadata that names its entry points."""
    (folder / "greeter.py").write_text(GREETER.read_text())
    info = folder / "greeter-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: greeter\nVersion: 1.0\n")
    lines = [f"{name} = {value}" for name, value in points.items()]
    (info / "entry_points.txt").write_text("\n".join(["[miren.controllers]", *lines, ""]))


def test_its_kind_works_in_every_verb_and_a_broken_one_is_only_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, greeter="greeter:Greeter", broken="greeter:Nobody")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with running_server() as server:
        document = {"kind": "Greeting", "metadata": {"name": "hi"}, "spec": {"text": "yo"}}
        applied = server.run("apply", "-f", "-", stdin=json.dumps(document))
        assert (applied.out, applied.err) == ("greeting/hi created\n", "")
        assert server.run("wait", "greeting/hi", "--for", "condition=Ready").code == 0
        shown = json.loads(server.run("get", "greeting", "hi", "-o", "json").out)
        assert shown["apiVersion"] == "example.dev/v1"
        assert shown["status"]["shout"] == "YO"

        wrong = {**document, "spec": {"txet": "yo"}}
        refused = server.run("apply", "-f", "-", stdin=json.dumps(wrong))
        assert refused.code == 2
        assert "did you mean 'text'?" in refused.err

        status = server.call("Status", service="miren.server.v1.Server").json
        states = {one["name"]: one for one in status["controllers"]}
        assert states["greeter"]["running"] is True
        assert states["broken"]["running"] is False
        assert "AttributeError" in states["broken"]["lastError"]

        ready = server.http("GET", "/readyz?verbose")
        assert ready.status == 200
        assert "[+] controller/greeter ok\n" in ready.body.decode()
        assert "[!] controller/broken: greeter:Nobody: AttributeError" in ready.body.decode()
