"""`miren debug fsck`, and output that a terminal cannot be led astray by."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from miren.base.errors import InvalidInput, NotFound, Problem
from miren.cli.failures import told
from miren.cli.output import table_lines
from miren.cli.printable import printable
from tests.servers import Server, disk, running_server


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with running_server() as server:
        yield server


def test_a_sound_store_has_nothing_to_repair(server: Server) -> None:
    server.ok("Apply", document=disk("data"))
    done = server.cli("debug", "fsck")
    assert (done.code, done.err) == (0, "")
    assert done.out.endswith(": nothing to repair\n")
    found = json.loads(server.cli("debug", "fsck", "-o", "json").out)
    assert found["problems"] == found["warnings"] == []
    assert found["entities"] == 3  # with the node and the project


def test_damage_is_told_and_repaired(server: Server) -> None:
    server.ok("Apply", document=disk("data"))
    # Whatever a controller still wrote would put it right.
    server.ok("Wait", kind="disk", name="data", for_="condition=Ready")
    assert server.cli("debug", "fsck").code == 0
    damage(server.base / "state" / "store.db")
    done = server.cli("debug", "fsck")
    assert done.code == 1
    assert "error: no sidecar of disk/data: /x/miren.dev/Disk/default/data" in done.lines
    assert done.out.endswith("1 problem; --repair puts them right\n")
    done = server.cli("debug", "fsck", "--repair")
    assert done.code == 0
    assert "wrote of disk/data: /x/miren.dev/Disk/default/data" in done.lines
    assert done.out.endswith(": 1 problem repaired\n")
    assert server.cli("debug", "fsck").out.endswith(": nothing to repair\n")


def damage(path: Path) -> None:
    """Lose a sidecar, as a broken disk or a person with an editor would."""
    key = b"/x/miren.dev/Disk/default/data"
    with closing(sqlite3.connect(path)) as file, file:
        for table in ("cur", "kv"):
            gone = file.execute(f"DELETE FROM {table} WHERE key = ?", [key])
            assert gone.rowcount


HOSTILE = "a\x1b[2Jb\r\nc\u202ed\x9be\x00"
SHOWN = r"a\x1b[2Jb\x0d\x0ac\u202ed\x9be\x00"


def test_what_a_terminal_would_act_on_is_escaped() -> None:
    assert printable(HOSTILE) == SHOWN
    assert printable("plain text, ünïcödé 日本 ✓") == "plain text, ünïcödé 日本 ✓"
    assert printable("one\ntwo\x07", keep="\n") == "one\ntwo\\x07"


def test_tables_escape_their_cells_and_stay_aligned() -> None:
    lines = table_lines(["A", "B"], [[HOSTILE, "x"], ["y", "z"]])
    assert lines[1] == f"{SHOWN}   x"
    assert lines[2].index("z") == lines[1].index("x", len(SHOWN))


def test_errors_escape_what_they_quote() -> None:
    assert (
        told(NotFound(f"no {HOSTILE}")) == f"error: no {SHOWN.replace(chr(92) + 'x0a', chr(10))}"
    )
    problem = Problem(f"no {HOSTILE}", ("spec", HOSTILE))
    assert "\x1b" not in told(InvalidInput([problem]))


def test_free_text_of_an_entity_reaches_no_terminal_raw(server: Server) -> None:
    hostile = disk("data")
    hostile["metadata"]["annotations"] = {"note": "\x1b]0;owned\x07"}
    server.ok("Apply", document=hostile)
    for words in ("get disk", "describe disk data", "get disk data -o yaml"):
        out = server.cli(*words.split()).out
        assert "\x1b" not in out
        assert "\x07" not in out
