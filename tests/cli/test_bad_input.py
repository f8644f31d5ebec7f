"""Whatever is wrong with files: all of it is shown where it stands, and nothing is stored."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.servers import Server

GOOD = """\
kind: Disk
metadata: {name: good}
spec: {size: 1Gi}
"""


@dataclass(frozen=True)
class Bad:
    """A text, and for each error its place, words and what was probably meant."""

    name: str
    text: str
    errors: tuple[tuple[int, int, str], ...]
    hints: tuple[str, ...] = ()


BOMB = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{now}: &{now} [{', '.join([f'*{before}'] * 10)}]\n"
    for before, now in zip("abcdefg", "bcdefgh", strict=True)
)

CASES = [
    Bad(
        "unknown kind",
        "kind: Sandbx\nmetadata: {name: bad}\nspec: {}\n",
        ((1, 7, "unknown kind 'Sandbx'"),),
        ("did you mean 'Sandbox'?",),
    ),
    Bad(
        "unknown version",
        "apiVersion: miren.dev/v9\nkind: Disk\nmetadata: {name: bad}\n",
        ((1, 13, "no kind 'Disk' in apiVersion 'miren.dev/v9'"),),
    ),
    Bad(
        "unknown attributes",
        "kind: Disk\nmetadata:\n  name: bad\n  lables: {}\nspec:\n  sise: 1Gi\nstats: {}\n",
        (
            (4, 3, "unknown attribute 'lables'"),
            (6, 3, "unknown attribute 'sise'"),
            (7, 1, "unknown attribute 'stats'"),
        ),
        ("did you mean 'labels'?", "did you mean 'size'?"),
    ),
    Bad(
        "deep inside",
        "kind: Sandbox\nmetadata: {name: bad}\nspec:\n  containers:\n"
        "    - image: hello\n      ports:\n        - prot: 80\n        - port: 99999\n",
        (
            (7, 11, "required attribute 'port' is missing"),
            (7, 11, "unknown attribute 'prot'"),
            (8, 17, "must be at most 65535"),
        ),
        ("did you mean 'port'?",),
    ),
    Bad(
        "wrong types",
        "kind: Sandbox\nmetadata: {name: bad}\nspec:\n  containers:\n"
        "    - image: 5\n      workingDir: [x]\n  hostname: true\n",
        (
            (5, 14, "must be a valid string"),
            (6, 19, "must be a valid string"),
            (7, 13, "must be a valid string"),
        ),
        ("put quotes around it",),
    ),
    Bad(
        "no mapping",
        "- kind: Disk\n",
        ((1, 1, "an entity is a mapping"),),
    ),
    Bad(
        "missing attributes",
        "kind: Sandbox\nmetadata: {labels: {}}\nspec:\n  hostname: x\n",
        (
            (2, 11, "required attribute 'name' is missing"),
            (4, 3, "required attribute 'containers' is missing"),
        ),
    ),
    Bad(
        "no kind",
        "metadata: {name: bad}\n",
        ((1, 1, "kind is missing"),),
    ),
    Bad(
        "bad choice",
        "kind: Disk\nmetadata: {name: bad}\nspec: {filesystem: ext5}\n",
        ((3, 20, "must be one of 'ext4', 'xfs' or 'btrfs'"),),
        ("did you mean 'ext4'?",),
    ),
    Bad(
        "bad amounts",
        "kind: Disk\nmetadata: {name: bad}\nspec: {size: lots}\n",
        ((3, 14, "is not a quantity"),),
    ),
    Bad(
        "bad name",
        "kind: Disk\nmetadata: {name: Bad_Name}\n",
        ((2, 18, "must match"),),
    ),
    Bad(
        "duplicate key",
        "kind: Disk\nmetadata: {name: bad}\nspec:\n  size: 1Gi\n  size: 2Gi\n",
        ((5, 3, "duplicate key 'size'"),),
    ),
    Bad(
        "given twice",
        "kind: Disk\nmetadata: {name: bad}\n---\nkind: Disk\nmetadata: {name: bad}\n",
        ((5, 18, "disk/bad is given twice"),),
    ),
    Bad(
        "a status",
        "kind: Disk\nmetadata: {name: bad}\nstatus: {phase: ready}\n",
        ((3, 1, "a status cannot be applied"),),
    ),
    Bad(
        "broken YAML",
        "kind: Disk\nmetadata: {name: bad\nspec: {size: 1Gi}\n",
        ((3, 5, "broken YAML"),),
        ("it begins in line 2",),
    ),
    Bad(
        "a tab",
        "kind: Disk\nmetadata:\n\tname: bad\n",
        ((3, 1, "broken YAML"),),
    ),
    Bad(
        "alias bomb",
        f"kind: Disk\nmetadata: {{name: bad}}\n---\n{BOMB}",
        ((4, 35, "values once its aliases are written out"),),
    ),
    Bad(
        "too deep",
        "a: " + "[" * 3000 + "]" * 3000 + "\n",
        ((1, 67, "nested more than 64 levels deep"),),
    ),
    Bad(
        "a tag",
        "kind: Disk\nmetadata: {name: bad}\nspec: {diskClass: !x y}\n",
        ((3, 19, "is not supported"),),
    ),
    Bad(
        "broken and wrong documents side by side",
        "kind: Disk\nmetadata: {name: bad}\nspec: {sizee: 1}\n---\nkind: [\n---\n"
        "kind: Dsk\nmetadata: {name: x}\n",
        ((3, 8, "unknown attribute 'sizee'"), (6, 1, "broken YAML"), (7, 7, "unknown kind")),
        ("did you mean 'size'?", "did you mean 'Disk'?"),
    ),
]


@pytest.fixture(scope="module")
def server(lone_server: Server) -> Server:
    return lone_server


def places(text: str) -> list[tuple[int, int, str]]:
    found = re.findall(r"^\S*:(\d+):(\d+): error: (.*)$", text, re.MULTILINE)
    return [(int(line), int(column), words) for line, column, words in found]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name.replace(" ", "-"))
def test_it_is_shown_where_it_stands_and_nothing_is_stored(
    server: Server, tmp_path: Path, case: Bad
) -> None:
    good, bad = tmp_path / "a-good.yaml", tmp_path / "b-bad.yaml"
    good.write_text(GOOD)
    bad.write_text(case.text)
    (tmp_path / "c-good.yaml").write_text(GOOD.replace("good", "good-too"))

    done = server.cli("apply", "-f", tmp_path)

    assert (done.code, done.out) == (2, "")
    found = places(done.err)
    assert [place[:2] for place in found] == [place[:2] for place in case.errors], done.err
    for (_, _, words), (_, _, expected) in zip(found, case.errors, strict=True):
        assert expected in words
    assert all(line.startswith(str(bad)) for line in done.err.splitlines() if ": error: " in line)
    for hint in case.hints:
        assert hint in done.err
    count = len(case.errors)
    assert f"{count} problem{'s' if count != 1 else ''}; nothing was changed" in done.err
    _carets_stand_under_their_columns(done.err, case.text)

    for kind in ("disk", "sandbox"):
        assert server.ok("List", kind=kind, allProjects=True)["items"] == []
    assert "call failed" not in server.log


def _carets_stand_under_their_columns(told: str, text: str) -> None:
    source = text.splitlines()
    blocks = re.findall(r":(\d+):(\d+): error: .*\n +\d+ \| (.*)\n +\| ( *)\^", told, re.MULTILINE)
    shown = [line for line in source if len(line) < 500]
    assert blocks or not shown
    for line, column, quoted, pad in blocks:
        assert quoted == source[int(line) - 1]
        assert len(pad) == int(column) - 1


def test_what_is_no_text_is_refused(server: Server, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_bytes(b"kind: Disk\nmetadata: {name: \xff}\n")
    done = server.cli("apply", "-f", tmp_path)
    assert (done.code, done.out) == (2, "")
    assert "a.yaml is not UTF-8" in done.err


def test_the_standard_input_has_a_name_too(server: Server) -> None:
    done = server.cli("apply", "-f", "-", stdin="kind: Dsk\nmetadata: {name: x}\n")
    assert done.code == 2
    assert done.err.startswith("<stdin>:1:7: error: unknown kind 'Dsk'")


@pytest.mark.parametrize("dry_run", ["client", "server"])
def test_a_dry_run_finds_the_same(server: Server, tmp_path: Path, dry_run: str) -> None:
    file = tmp_path / "x.yaml"
    file.write_text("kind: Disk\nmetadata: {name: bad}\nspec: {sizee: 1}\n")
    done = server.cli("apply", "-f", file, f"--dry-run={dry_run}")
    assert done.code == 2
    assert "x.yaml:3:8: error: unknown attribute 'sizee'" in done.err


def test_deleting_by_a_bad_file_deletes_nothing(server: Server, tmp_path: Path) -> None:
    server.ok("Create", entity={"kind": "Role", "metadata": {"name": "kept"}})
    file = tmp_path / "x.yaml"
    file.write_text("kind: Role\nmetadata: {name: kept}\n---\nkind: Rol\nmetadata: {name: x}\n")
    done = server.cli("delete", "-f", file)
    assert done.code == 2
    assert server.cli("get", "role/kept").code == 0


def test_the_server_is_alive_after_all_that(server: Server) -> None:
    assert server.cli("get", "disks").err == "no disks in project 'default'\n"
    assert "is not running" not in server.cli("version").out
