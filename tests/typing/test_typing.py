"""What mypy --strict says to people's programs."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from mypy import api

ROOT = Path(__file__).parents[2]
EXPECTED = re.compile(r"# (error|reveals): ([^<]+)$")
SAID = re.compile(r"^snippets\.py:(\d+): (error|note): (.*?)(?:  \[([\w-]+)\])?$")
# A generic class that is only named, and a list made for a parameter that takes any controller.
HARMLESS = re.compile(r'^Expression type contains "Any" \(has type "(type|list)\[')
REVEALED = re.compile(r'^Revealed type is "(.*)"$')


def expected(source: str) -> dict[int, str]:
    found = {}
    for number, line in enumerate(source.splitlines(), start=1):
        marked = EXPECTED.search(line)
        if marked:
            found[number] = marked[2]
    return found


def said(output: str) -> dict[int, set[str]]:
    """Return error codes and revealed types by line; other notes explain an error."""
    found: dict[int, set[str]] = {}
    for line in output.splitlines():
        parsed = SAID.match(line)
        if parsed is None:
            continue
        number, severity, text, code = int(parsed[1]), parsed[2], parsed[3], parsed[4]
        revealed = REVEALED.match(text)
        if revealed:
            found.setdefault(number, set()).add(revealed[1].replace("builtins.", ""))
        elif severity == "error" and not HARMLESS.match(text):
            found.setdefault(number, set()).add(code)
    return found


def test_mypy_says_to_the_snippets_what_they_expect(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    snippets = tmp_path / "snippets.py"
    shutil.copy(Path(__file__).with_name("snippets.txt"), snippets)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MYPYPATH", str(ROOT))
    options = ["--strict", "--explicit-package-bases", "--no-error-summary"]
    cache = f"--cache-dir={ROOT / '.mypy_cache' / 'snippets'}"
    output, errors, _ = api.run([*options, cache, "--config-file=", "snippets.py"])
    assert errors == ""
    wanted = {number: {text} for number, text in expected(snippets.read_text()).items()}
    assert said(output) == wanted, output
