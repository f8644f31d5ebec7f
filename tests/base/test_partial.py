from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from miren.base.partial import partial_file

_DYING = """
import os, signal, sys
from pathlib import Path
from miren.base.partial import partial_file
with partial_file(Path(sys.argv[1])) as part:
    part.write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_file_has_its_name_only_once_it_is_whole(tmp_path: Path) -> None:
    target = tmp_path / "all"
    with partial_file(target) as part:
        assert part.parent == tmp_path
        part.write_text("half")
        assert not target.exists()
    assert target.read_text() == "half"
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert names(tmp_path) == {"all"}


def make(target: Path, text: str, *, meanwhile: Callable[[], object] = lambda: None) -> None:
    with partial_file(target) as part:
        part.write_text(text)
        meanwhile()


def test_what_goes_wrong_leaves_nothing(tmp_path: Path) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make(tmp_path / "all", "half", meanwhile=interrupt)
    assert not names(tmp_path)


def test_nothing_that_is_there_is_replaced(tmp_path: Path) -> None:
    theirs = {name: tmp_path / name for name in ("all", "all.part", "all.partial", ".all.part")}
    for name, path in theirs.items():
        path.write_text(name)
    with pytest.raises(FileExistsError):
        make(theirs["all"], "ours")
    theirs["all"].unlink()
    with pytest.raises(FileExistsError):
        make(theirs["all"], "ours", meanwhile=lambda: theirs["all"].write_text("all"))
    assert {name: path.read_text() for name, path in theirs.items()} == {n: n for n in theirs}
    assert names(tmp_path) == set(theirs)


def test_a_link_to_nowhere_is_something_that_is_there(tmp_path: Path) -> None:
    (tmp_path / "all").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(FileExistsError):
        make(tmp_path / "all", "ours")
    assert names(tmp_path) == {"all"}


def test_what_a_killed_process_left_is_removed_and_what_is_being_made_is_not(
    tmp_path: Path,
) -> None:
    target = tmp_path / "all"
    with partial_file(target) as mine:
        killed = subprocess.run(
            [sys.executable, "-c", _DYING, str(target)], timeout=30, check=False
        )
        assert killed.returncode == -signal.SIGKILL
        (left,) = [path for path in tmp_path.iterdir() if path.stat().st_size]
        make(tmp_path / "other", "not of the same name")
        assert left.exists()
        with partial_file(target):
            assert names(tmp_path) >= {mine.name}
            assert not left.exists()
            mine.write_text("slower")
        # It was faster: as far as this test goes, it gives way again.
        target.unlink()
    assert target.read_text() == "slower"
    assert names(tmp_path) == {"all", "other"}


def test_a_file_system_without_links_will_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def link(*_arguments: object, **_options: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", link)
    with partial_file(tmp_path / "all") as part:
        part.write_text("whole")
    assert (tmp_path / "all").read_text() == "whole"
    assert names(tmp_path) == {"all"}
