"""What a shell does to a command: closed streams, pipes, other encodings, Ctrl-C."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.servers import MIREN, Done, Server, disk

DISK = "kind: Disk\nmetadata: {name: streams}\nspec: {size: 1Gi}\n"

Shell = Callable[..., Done]


@pytest.fixture
def shell(server: Server, tmp_path: Path) -> Shell:
    """Runs a line of bash in a folder of its own, where `miren` talks to the server."""

    def run(line: str, stdin: bytes = b"", **environment: str) -> Done:
        path = f"{Path(MIREN).parent}:{os.environ['PATH']}"
        done = subprocess.run(
            ["bash", "-c", line],
            input=stdin,
            capture_output=True,
            timeout=60,
            check=False,
            cwd=tmp_path,
            env={**os.environ, "PATH": path, "MIREN_SERVER": server.address, **environment},
        )
        assert b"Traceback" not in done.stderr, done.stderr
        return Done(done.returncode, done.stdout.decode(), done.stderr.decode())

    return run


def test_closed_streams_are_empty(shell: Shell) -> None:
    done = shell("miren apply -f - <&-")
    assert (done.code, done.out) == (2, "")
    assert "the files hold no documents" in done.err
    assert shell("miren version >&-") == Done(0, "", "")
    assert shell("miren get disk nobody 2>&-") == Done(3, "", "")


def test_what_comes_in_is_utf_8_in_every_locale(shell: Shell) -> None:
    for words in ("apply -f -", "patch disk x --patch-file -"):
        done = shell(f"miren {words}", stdin=b"kind: \xff\xfe", LC_ALL="C")
        assert (done.code, done.out) == (2, "")
        assert "<stdin> is not UTF-8" in done.err
    marked = shell("miren apply -f -", stdin=b"\xef\xbb\xbf" + DISK.encode())
    assert (marked.code, marked.err) == (0, "")


def test_what_an_encoding_cannot_show_is_escaped(server: Server, shell: Shell) -> None:
    server.ok("Apply", document=disk("arrow", annotations={"way": "a → b"}))
    done = shell("miren describe disk arrow", PYTHONIOENCODING="ascii")
    assert r"Annotations:  way=a \u2192 b" in done.lines


def test_a_pipe_is_as_good_as_a_file(shell: Shell) -> None:
    done = shell("miren apply -f <(cat)", stdin=DISK.encode())
    assert done.code == 0, done.err
    assert done.out.startswith("disk/streams ")


@pytest.mark.parametrize(
    ("ending", "told"),
    [
        ("exit 0", "disk/held edited\n"),
        ("exit 3", "ended with 3\n  help: what you wrote is in "),
        ("kill -KILL $$", "was ended by SIGKILL\n  help: what you wrote is in "),
    ],
)
def test_an_interrupted_editor_loses_nothing(
    server: Server, shell: Shell, tmp_path: Path, ending: str, told: str
) -> None:
    server.ok("Apply", document=disk("held"), force=True)
    editor = tmp_path / "editor"
    # Ctrl-C goes to all who have the terminal: to `miren` as to its editor.
    editor.write_text(f'sed -i "s/size: .*/size: 2Gi/" "$1"\nkill -INT $PPID\n{ending}\n')
    done = shell("miren edit disk held", MIREN_EDITOR=f"sh {editor}", TMPDIR=str(tmp_path))
    assert told in done.out + done.err
    kept = list(tmp_path.glob("miren-disk-held-*"))
    assert len(kept) == (0 if done.code == 0 else 1)
    assert all("size: 2Gi" in file.read_text() for file in kept)


def test_an_interrupted_watch_ends_quietly(server: Server) -> None:
    server.ok("Apply", document=disk("seen"))
    watch = server.popen("get", "disk", "seen", "-w")
    assert watch.stdout is not None
    assert watch.stdout.readline().startswith("NAME")
    watch.send_signal(2)
    _, err = watch.communicate(timeout=20)
    assert (watch.returncode, err) == (130, "")
