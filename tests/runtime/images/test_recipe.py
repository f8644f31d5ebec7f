from __future__ import annotations

import subprocess
import tarfile
from pathlib import Path

import pytest

from miren.base.errors import InvalidInput
from miren.runtime.images import (
    build_recipe,
    open_layout,
    read_config,
    read_manifest,
    read_recipe,
    unpack_image,
)
from miren.runtime.images.bases import is_static

HELLO = Path("examples/01-hello/image")


def write(folder: Path, text: str) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "image.yaml").write_text(text)
    return folder


def layers(archive: Path) -> list[set[str]]:
    found = []
    with open_layout(archive) as layout:
        for layer in read_manifest(layout).layers:
            path = f"blobs/sha256/{layer.digest.removeprefix('sha256:')}"
            with layout.open(path) as stream, tarfile.open(fileobj=stream) as tar:
                found.append(set(tar.getnames()))
    return found


def test_the_hello_example_builds_the_same_image_twice(tmp_path: Path) -> None:
    recipe, digest = build_recipe(HELLO, tmp_path / "a.tar")
    assert recipe.name == "hello"
    assert build_recipe(HELLO, tmp_path / "b.tar")[1] == digest
    assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "b.tar").read_bytes()

    base, own = layers(tmp_path / "a.tar")
    assert {"bin/busybox", "bin/sh", "bin/httpd", "etc/passwd", "tmp"} <= base
    assert own == {"www", "www/cgi-bin", "www/cgi-bin/index.cgi"}
    with open_layout(tmp_path / "a.tar") as layout:
        config = read_config(layout, read_manifest(layout))
    assert config.env["PORT"] == "8080"
    assert config.ports == (8080,)


def test_from_scratch_there_is_only_what_the_folder_holds(tmp_path: Path) -> None:
    folder = write(tmp_path / "recipe", "name: tiny\ncommand: [/tool]\nworking_dir: /srv\n")
    (folder / "rootfs" / "srv").mkdir(parents=True)
    (folder / "rootfs" / "tool").write_text("#!/bin/sh\n")
    (folder / "rootfs" / "link").symlink_to("tool")
    recipe, _ = build_recipe(folder, tmp_path / "tiny.tar")
    assert recipe.working_dir == "/srv"
    assert layers(tmp_path / "tiny.tar") == [{"srv", "tool", "link"}]


def test_the_python_base_holds_a_python_with_its_libraries(tmp_path: Path) -> None:
    folder = write(tmp_path / "recipe", "name: py\nbase: python\ncommand: [python3]\n")
    build_recipe(folder, tmp_path / "py.tar")
    _, python = layers(tmp_path / "py.tar")
    assert "usr/bin/python3" in python
    assert any(name.endswith("/asyncio/__init__.py") for name in python)
    assert any("libc.so" in name for name in python)
    assert not any("__pycache__" in name for name in python)


def test_every_problem_of_a_recipe_is_said_at_once(tmp_path: Path) -> None:
    folder = write(
        tmp_path / "recipe",
        "name: 'spaced out'\nbase: busibox\ncomand: [x]\nports: ['80']\nworking_dir: srv\n",
    )
    with pytest.raises(InvalidInput) as refusal:
        read_recipe(folder)
    problems = {problem.dotted(): problem for problem in refusal.value.problems}
    assert set(problems) == {"name", "base", "comand", "ports[0]", "workingDir"}
    assert problems["base"].hint == "did you mean 'busybox'?"
    assert problems["comand"].hint == "did you mean 'command'?"
    lines = [problem.position.line for problem in problems.values() if problem.position]
    assert sorted(lines) == [1, 2, 3, 4, 5]


def test_a_missing_recipe_says_what_one_is(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput) as refusal:
        read_recipe(tmp_path)
    assert refusal.value.hint is not None
    assert "rootfs/" in refusal.value.hint


def test_yaml_that_does_not_parse_is_shown_where(tmp_path: Path) -> None:
    folder = write(tmp_path / "recipe", "name: x\ncommand: [a\nbase: scratch\n")
    with pytest.raises(InvalidInput) as refusal:
        read_recipe(folder)
    [problem] = refusal.value.problems
    assert problem.position is not None
    assert problem.position.line == 3
    for text in ("just text\n", "", "name: a\n---\nname: b\n"):
        with pytest.raises(InvalidInput):
            read_recipe(write(tmp_path / "recipe", text))


def test_a_dynamic_program_is_told_from_a_static_one(tmp_path: Path) -> None:
    assert is_static(Path("/bin/busybox"))
    assert not is_static(Path("/bin/ls"))
    script = tmp_path / "script"
    script.write_text("#!/bin/sh\n")
    assert not is_static(script)


@pytest.mark.host
def test_the_python_image_needs_nothing_of_the_host(tmp_path: Path) -> None:
    folder = write(tmp_path / "recipe", "name: py\nbase: python\ncommand: [python3]\n")
    build_recipe(folder, tmp_path / "py.tar")
    root = tmp_path / "root"
    root.mkdir()
    with open_layout(tmp_path / "py.tar") as layout:
        unpack_image(layout, read_manifest(layout), root)
    code = "import asyncio, ctypes, json, sqlite3, ssl, zlib; print(json.dumps([1]))"
    command = ["chroot", str(root), "/usr/bin/python3", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert (done.stdout, done.stderr) == ("[1]\n", "")
