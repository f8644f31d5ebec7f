"""Every exit code, and what a stranger is told who types something wrong."""

from __future__ import annotations

import socket
import tempfile
import threading
from pathlib import Path

import pytest

from miren.cli.main import VERBS
from tests.servers import Server, call_main, disk, run_miren


@pytest.fixture
def nowhere(tmp_path: Path) -> str:
    return f"unix://{tmp_path}/none"


def test_without_words_it_says_what_there_is(nowhere: str) -> None:
    done = run_miren()
    assert done.code == 2
    for verb in VERBS:
        assert f"\n  {verb} " in done.out
    for words in (["--help"], ["-h"], ["help"]):
        shown = run_miren(*words)
        assert (shown.code, shown.out, shown.err) == (0, done.out, "")


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help(verb: str) -> None:
    done = call_main(verb, "--help")
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith(f"usage: miren {verb}")
    assert call_main("help", verb).out == done.out


@pytest.mark.parametrize(
    ("words", "told", "meant"),
    [
        ("aply -f x", "no command 'aply'", "did you mean 'apply'?"),
        ("list sb", "no command 'list'", "did you mean 'get'?"),
        ("rm sb/x", "no command 'rm'", "did you mean 'delete'?"),
        ("xyzzy", "no command 'xyzzy'", "`miren --help` lists them"),
        ("get", "name a kind", "`miren api-resources` lists them"),
        ("get sb -n team", "no option '-n'", "did you mean '--project'?"),
        ("get sb --namespace=team", "no option '--namespace'", "did you mean '--project'?"),
        ("get sb --all-namespaces", "no option", "did you mean '--all-projects'?"),
        ("get sb --wacth", "no option '--wacth'", "did you mean '--watch'?"),
        ("get sb -o ymal", "'ymal'", "did you mean 'yaml'?"),
        ("get sb -o xyz", "wide, json, yaml or name, not 'xyz'", "`miren get --help` tells more"),
        ("get sb -o", "-o/--output needs a value: table, wide", "`miren get --help` tells more"),
        ("apply", "required: -f/--filename", "`miren apply -f FILE|FOLDER|- [options]`"),
        ("apply --dry-run -f x", "--dry-run needs a value: none, client or server", ""),
        ("delete sb/x --force", "no option '--force'", "`miren delete --help` tells more"),
        ("-p shop get sb", "the command comes first, not '-p'", "options come after it"),
        ("get ,", "name a kind", "`miren api-resources` lists them"),
        ("get sb,disks -w", "watch one kind, or one entity", ""),
        ("get sb -w -o yaml --show-managed-fields", "and without --watch", ""),
        ("server --data", "--data goes with purge", ""),
        ("get sb/x disk", "KIND NAME... or as KIND/NAME...", ""),
        ("get sb/x -A", "exclude each other", ""),
        ("get sb/x sb/y -w", "watch one kind, or one entity", ""),
        ("describe sb", "which sb? give a name", "`miren get sb` lists them"),
        ("server --runtim process", "no option '--runtim'", "did you mean '--runtime'?"),
        ("version --server https://x", "cannot reach 'https://x'", "unix:///path"),
        ("image", "build|import", "`miren image --help` tells more"),
        ("version now", "unexpected argument 'now'", "`miren version --help` tells more"),
    ],
)
def test_what_is_wrong_is_told_with_what_was_meant(words: str, told: str, meant: str) -> None:
    done = call_main(*words.split())
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("error: ")
    assert told in done.err
    assert meant in done.err


def test_an_unknown_kind_is_not_found(server: Server) -> None:
    done = server.cli("get", "sandbx")
    assert (done.code, done.out) == (3, "")
    assert done.err == "error: no kind 'sandbx'\n  help: did you mean 'sandbox'?\n"


def test_0_is_success_3_is_not_found_and_5_is_too_long(server: Server) -> None:
    assert server.cli("get", "disks").code == 0
    assert server.cli("get", "disk/none").code == 3
    assert server.cli("wait", "disk/none", "--for", "phase=ready", "--timeout", "50ms").code == 5


def test_4_is_a_conflict_and_6_a_refusal(server: Server, tmp_path: Path) -> None:
    server.ok("Apply", document=disk("mine", "1Gi"), manager="somebody")
    file = tmp_path / "x.yaml"
    file.write_text("kind: Disk\nmetadata: {name: mine}\nspec: {size: 2Gi}\n")
    refused = server.cli("apply", "-f", file)
    assert refused.code == 4
    assert refused.err.startswith(f"error: disk/mine ({file}:1): ")
    file.write_text("kind: DiskSnapshot\nmetadata: {name: s}\nspec: {disk: none}\n")
    refused = server.cli("apply", "-f", file)
    assert refused.code == 6
    assert refused.err.startswith(f"error: disksnapshot/s ({file}:1): ")


@pytest.mark.parametrize(
    "words", ["get sb", "describe sb/x", "delete sb/x", "logs x", "api-resources"]
)
def test_7_is_a_server_that_is_not_there(nowhere: str, words: str) -> None:
    done = run_miren(*words.split(), MIREN_SERVER=nowhere)
    assert (done.code, done.out) == (7, "")
    assert "no server at " in done.err
    assert "`miren server`" in done.err


def test_1_is_everything_else() -> None:
    with tempfile.TemporaryDirectory(prefix="mv") as folder, socket.socket(socket.AF_UNIX) as one:
        one.bind(f"{folder}/s")
        one.listen()
        thread = threading.Thread(target=lambda: one.accept()[0].close())
        thread.start()
        done = run_miren("get", "sb", MIREN_SERVER=f"unix://{folder}/s")
        thread.join(timeout=10)
    assert done.code == 1
    assert "what was asked may have happened" in done.err


def test_a_version_needs_no_server(nowhere: str) -> None:
    for words in (["version"], ["--version"]):
        done = run_miren(*words, MIREN_SERVER=nowhere)
        assert done.code == 0
        assert done.lines[0].startswith("client ")
        assert done.lines[1] == "server is not running"


def test_the_option_beats_the_environment(server: Server, nowhere: str) -> None:
    done = run_miren("get", "disks", "--server", server.address, MIREN_SERVER=nowhere)
    assert done.code == 0
