"""A page of the docs taken at its word: its files are written, its commands run, its code too.

A YAML, schema or Python block whose first line is `# <file name>` is written as that file, in an
empty folder. Console blocks are run there, `miren` in this process, and each command must print
what stands below it. Python blocks without a file name share their names; a `main` that one of
them defines is run. What differs from run to run (uids, revisions, times, keys) is not compared.
"""

from __future__ import annotations

import asyncio
import inspect
import io
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path
from typing import Any

import pytest

from miren.cli.main import main
from tests.docs.blocks import ROOT, Block, blocks

__all__ = ["FIRST", "WALKED", "Walk", "steps", "still"]

#: The pages that are walked: whoever follows one begins in an empty folder, with a server.
WALKED = sorted([*ROOT.glob("docs/howto/*.md"), *ROOT.glob("docs/concepts/*.md")])

#: Walked too, with a server that has its package installed.
FIRST = ROOT / "docs" / "first-controller.md"

_FILE = re.compile(r"# ([\w./-]+\.(?:yaml|yml|py))\n")

_SETTING = re.compile(r"[A-Z_]+=")

_MOVING = (
    (re.compile(r"\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[.\d]*Z"), "TIME"),
    (re.compile(r"(?<=uid: )[a-z0-9]{20}\b"), "UID"),
    (re.compile(r"(?<=resourceVersion: )'\d+'"), "N"),
    (re.compile(r"(?<=revision )\d+"), "N"),
    (re.compile(r"\bin \d+\.\d\ds\b"), "in SECONDS"),
    (re.compile(r"(?m)\b\d+(s|m|h)$"), "AGE"),
    (re.compile(r"\b(?=[a-f]*\d)[a-f\d]{8}\b"), "KEY"),
    (re.compile(r"\d+ (entities|entity|keys|key)\b"), "SOME"),
    (re.compile(r"[\d.]+ (B|[KMGT]iB)\b"), "SIZE"),
)


def steps(block: Block) -> Iterator[tuple[str, str]]:
    """Yield each command of a console block, and what stands below it."""
    for part in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]:
        command, _, told = part.partition("\n")
        yield command, told


@dataclass
class Walk:
    """One page and a server; what came of it: the entities created, in order, and Python names."""

    page: Path
    server: str
    created: list[str] = field(default_factory=list)
    names: dict[str, Any] = field(default_factory=dict)

    def run(self) -> None:
        """Do all that the page says in this folder; fail at the block that says otherwise."""
        before, path = set(sys.modules), list(sys.path)
        sys.path.insert(0, str(Path.cwd()))
        self.names["__name__"] = self.page.stem
        try:
            self._run_blocks()
        finally:
            sys.path[:] = path
            for name in set(sys.modules) - before:
                file = getattr(sys.modules[name], "__file__", None) or ""
                if Path(file).is_relative_to(Path.cwd()):
                    del sys.modules[name]

    def _run_blocks(self) -> None:
        code = 0
        for block in blocks():
            if block.page != self.page:
                continue
            if named := _FILE.match(block.text):
                _write(Path(named[1]), block.text)
            elif block.language == "python":
                _execute(block, self.names)
            elif block.language == "console":
                for command, told in steps(block):
                    code, out = _run(command, code, self.server)
                    self.created += re.findall(r"^(\S+/\S+) created$", out, re.MULTILINE)
                    assert still(out) == still(told), f"{block}: {command}\n{out}"


def still(text: str) -> str:
    """Return an output without what is another one in every run."""
    for pattern, word in _MOVING:
        text = pattern.sub(word, text)
    return text.rstrip("\n")


def _write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def _execute(block: Block, names: dict[str, Any]) -> None:
    code = "\n" * block.line + block.text
    names.pop("main", None)
    exec(compile(code, str(block.page), "exec", dont_inherit=True), names)
    if "main" in names:
        assert inspect.iscoroutinefunction(names["main"])
        asyncio.run(asyncio.wait_for(names["main"](), 30))


def _run_program(words: list[str]) -> tuple[int, str]:
    done = subprocess.run(
        words,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "PYTHONWARNINGS": "ignore"},  # of versions that a page knows nothing of
    )
    return done.returncode, done.stdout


def _run(command: str, code: int, server: str) -> tuple[int, str]:
    """Run one command; `code` is how the one before it ended, which `echo $?` asks for."""
    words = shlex.split(command)
    setting = dict(word.split("=", 1) for word in takewhile(_SETTING.match, words))
    program, *words = words[len(setting) :]
    if (program, words) == ("echo", ["$?"]):
        return 0, str(code)
    if program in ("python", "pytest"):
        module = ["-m", "pytest"] if program == "pytest" else []
        return _run_program([sys.executable, *module, *words])
    assert program == "miren", command
    if words[0] not in ("schema", "explain", "plugin", "plugins"):
        words += ["--server", server]
    out = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(out):
        for name, value in setting.items():
            patch.setenv(name, value)
        code = main(words)
    return code, out.getvalue()
