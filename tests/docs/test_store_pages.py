"""The pages on stores: their configurations load, and their commands do what they say."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

import pytest

from miren.server.config import load
from tests.docs.blocks import ROOT, Block, blocks
from tests.servers import call_main, disk, running_server

RUN = ROOT / "docs" / "howto" / "run-a-store.md"
BACK_UP = ROOT / "docs" / "howto" / "back-up-a-store.md"


@pytest.mark.parametrize(
    "block", [block for block in blocks("toml") if block.page == RUN], ids=str
)
def test_configurations_load(block: Block, tmp_path: Path) -> None:
    file = tmp_path / "server.toml"
    file.write_text(block.text)
    assert load(file, environment={}).store.backend in ("sqlite", "etcd", None)


def commands(page: Path) -> list[list[str]]:
    """Return the words of the page's commands that are not run on any server, without comments."""
    return [
        shlex.split(line, comments=True)[1:]
        for block in blocks("sh")
        if block.page == page
        for line in block.text.splitlines()
    ]


def test_what_is_restored_imported_and_moved_is_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    restore, served, import_, _elsewhere, move = commands(BACK_UP)
    assert served == ["server"]
    with running_server() as server:
        server.ok("Create", entity=disk("kept"))
        assert server.cli("store", "snapshot", restore[-1]).code == 0
        assert server.cli("store", "export", import_[2]).code == 0
        server.ok("Create", entity=disk("lost"))
        server.stop()
        done = server.local(*restore)
        assert done.code == 0, done
        server.start()
        assert server.cli("get", "disks", "-o", "name").lines == ["disk/kept"]
        assert server.cli(*move).code == 0
        assert server.cli("get", "disks", "-o", "name").lines == ["disk/kept"]

    other = Path(os.fspath(server.base) + "o")
    words = [str(other / "state") if word == "/srv/other" else word for word in import_]
    done = call_main(*words, "--run-dir", str(other / "run"))
    try:
        assert done.code == 0, done
        assert done.out.startswith("imported ")
    finally:
        places = ["--state-dir", str(other / "state"), "--run-dir", str(other / "run")]
        assert call_main("server", "purge", "--data", *places).code == 0
        other.rmdir()
