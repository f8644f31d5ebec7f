"""Generating is repeatable, writes what a formatter would, and knows what is stale."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from miren.schemagen.emit import Code, Group, quote
from miren.schemagen.main import check, generate, main
from tests.schemagen.test_generated_code import EVERYTHING

ROOT = Path(__file__).parents[2]
SCHEMAS = ROOT / "miren/entities/schema"
PACKAGE = ROOT / "miren/entities/gen"


@pytest.fixture
def schema(tmp_path: Path) -> Path:
    path = tmp_path / "everything.yml"
    path.write_text(EVERYTHING, encoding="utf-8")
    return path


def test_the_committed_package_is_what_its_schemas_say() -> None:
    assert check([SCHEMAS], PACKAGE) == []


def test_deleting_and_generating_gives_the_same_bytes(schema: Path, tmp_path: Path) -> None:
    first = generate([schema], tmp_path / "one")
    second = generate([schema], tmp_path / "two")
    assert [path.name for path in first] == [path.name for path in second]
    for one, two in zip(first, second, strict=True):
        assert one.read_bytes() == two.read_bytes()


@pytest.mark.parametrize("name", ["everything", "ours"])
def test_the_formatter_has_nothing_to_change(schema: Path, tmp_path: Path, name: str) -> None:
    source = schema if name == "everything" else SCHEMAS
    generate([source], tmp_path / "out")
    done = subprocess.run(
        [
            Path(sys.executable).parent / "ruff",
            "format",
            "--diff",
            "--no-cache",
            "--config",
            ROOT / "pyproject.toml",
            tmp_path / "out",
        ],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_package_is_stale_until_it_is_generated_again(schema: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    generate([schema], out)
    assert check([schema], out) == []
    assert generate([schema], out) == []

    schema.write_text(EVERYTHING + "  another: {a: {type: int}}\n", encoding="utf-8")
    assert [path.name for path in check([schema], out)] == ["__init__.py", "everything.py"]
    (out / "__init__.py").unlink()
    generate([schema], out)
    assert check([schema], out) == []


def test_what_no_schema_accounts_for_is_removed_but_other_files_are_not(
    schema: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    generate([schema], out)
    (out / "mine.py").write_text("# by hand\n", encoding="utf-8")
    renamed = schema.rename(tmp_path / "renamed.yml")
    generate([renamed], out)
    assert sorted(path.name for path in out.iterdir()) == ["__init__.py", "mine.py", "renamed.py"]


def test_nothing_is_written_while_a_schema_is_wrong(
    schema: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    schema.write_text("domain: x.dev\nversion: v1\nkinds: {a: {b: {type: strng}}}\n")
    assert main(["generate", str(schema), "--out", str(tmp_path / "out")]) == 2
    assert not (tmp_path / "out").exists()
    shown = capsys.readouterr().err
    assert f"{schema}:3:23: error: unknown type 'strng'" in shown
    assert "did you mean 'string'?" in shown


def test_check_fails_for_a_stale_package_and_names_the_files(
    schema: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main(["check", str(schema), "--out", str(out)]) == 1
    assert "everything.py is stale" in capsys.readouterr().err
    assert main(["generate", str(schema), "--out", str(out)]) == 0
    assert main(["check", str(schema), "--out", str(out)]) == 0


def test_a_missing_file_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(tmp_path / "no.yml"), "--out", str(tmp_path)]) == 2
    assert "no.yml" in capsys.readouterr().err


@pytest.mark.parametrize(
    "text", ["plain", 'a "b"', "it's", "a\\b", "\n", "both ' and \"", "ü", "\\d\"'", ""]
)
def test_quoting_gives_a_literal_of_the_text(text: str) -> None:
    assert eval(quote(text)) == text


def test_a_group_is_one_line_while_it_fits() -> None:
    code = Code()
    code.bracketed(Group("call(", ("a", Group("b=(", ("1",), ")")), ")"))
    code.bracketed(Group("call(", ("a" * 60, "b" * 60), ")"))
    assert code.text() == f"call(a, b=(1,))\ncall(\n    {'a' * 60},\n    {'b' * 60},\n)\n"


def test_a_long_text_is_cut_at_spaces_and_loses_nothing() -> None:
    text = "word " * 50 + "end"
    code = Code()
    code.bracketed(Group("call(", (f"doc={quote(text)}",), ")"))
    assert max(map(len, code.text().splitlines())) <= 99
    assert eval(code.text(), {"call": lambda doc: doc}) == text


def test_a_file_that_is_not_utf_8_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "latin.yml").write_bytes("domain: ü".encode("latin-1"))
    assert main(["check", str(tmp_path), "--out", str(tmp_path / "out")]) == 2
    assert "latin.yml is not UTF-8" in capsys.readouterr().err
