"""The page of the first controller, taken at its word: its package is installed, and served."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path

import pytest

from tests.docs.blocks import blocks
from tests.docs.walking import FIRST, Walk
from tests.servers import running_server


def install(folder: Path) -> None:
    """Do what `pip install .` does there with what the page says of the package."""
    (written,) = [tomllib.loads(each.text) for each in blocks("toml") if each.page == FIRST]
    project = written["project"]
    info = folder / f"{project['name']}-{project['version']}.dist-info"
    info.mkdir()
    about = f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    (info / "METADATA").write_text(about)
    lines = [
        line
        for group, points in project["entry-points"].items()
        for line in (f"[{group}]", *(f"{name} = {value}" for name, value in points.items()))
    ]
    (info / "entry_points.txt").write_text("\n".join([*lines, ""]))
    (module,) = written["tool"]["setuptools"]["py-modules"]
    (source,) = [each.text for each in blocks("python") if each.text.startswith(f"# {module}.py")]
    (folder / f"{module}.py").write_text(source)


def test_the_first_controller_does_what_its_page_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    install(tmp_path)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path)]))
    with running_server() as server:
        Walk(FIRST, server.address).run()
