"""A new attribute in schema.yml works in apply and get with no other edit."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import miren
from tests.servers import disk, running_server


def test_a_line_in_the_schema_is_all_it_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "miren"
    shutil.copytree(Path(miren.__path__[0]), package, ignore=shutil.ignore_patterns("__pycache__"))
    schema = package / "entities" / "schema" / "storage.yml"
    line = "    filesystem: {type: enum"
    new = "    color: {type: enum, choices: [red, green], doc: How it looks.}\n"
    assert line in schema.read_text()
    schema.write_text(schema.read_text().replace(line, new + line, 1))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    schemas = sorted(schema.parent.glob("*.yml"))
    words = ["-m", "miren.schemagen", "generate", *map(str, schemas), "--out"]
    out = str(package / "entities" / "gen")
    subprocess.run([sys.executable, *words, out], check=True, timeout=30, cwd=tmp_path)

    with running_server() as server:
        document = disk("painted")
        document["spec"]["color"] = "red"
        applied = server.run("apply", "-f", "-", stdin=json.dumps(document))
        assert (applied.code, applied.out) == (0, "disk/painted created\n"), applied.err
        shown = json.loads(server.run("get", "disk/painted", "-o", "json").out)
        assert shown["spec"]["color"] == "red"

        document["spec"]["color"] = "rde"
        refused = server.run("apply", "-f", "-", stdin=json.dumps(document))
        assert refused.code == 2
        assert "did you mean 'red'?" in refused.err
