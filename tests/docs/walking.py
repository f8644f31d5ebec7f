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
import re
import shlex
import sys
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from miren.cli.main import main
from tests.docs.blocks import ROOT, Block, blocks

__all__ = ["WALKED", "Walk", "steps", "still", "walk"]

#: The pages that are walked: whoever follows one begins in an empty folder, with a server.
WALKED = sorted([*ROOT.glob("docs/howto/*.md"), *ROOT.glob("docs/concepts/*.md")])

_FILE = re.compile(r"# ([\w./-]+\.(?:yaml|yml|py))\n")

_MOVING = (
    (re.compile(r"\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[.\d]*Z"), "TIME"),
    (re.compile(r"(?<=uid: )[a-z0-9]{20}\b"), "UID"),
    (re.compile(r"(?<=resourceVersion: )'\d+'"), "N"),
    (re.compile(r"(?<=revision )\d+"), "N"),
    (re.compile(r"(?m)\b\d+(s|m|h)$"), "AGE"),
    (re.compile(r"\b(?=[a-f]*\d)[a-f\d]{8}\b"), "KEY"),
    (re.compile(r"\d+ (entities|entity|keys|key)\b"), "SOME"),
)


def steps(block: Block) -> Iterator[tuple[str, str]]:
    """Yield each command of a console block, and what stands below it."""
    for part in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]:
        command, _, told = part.partition("\n")
        yield command, told


@dataclass
class Walk:
    """What came of a page: the entities it created, in order, and what its Python defined."""

    created: list[str] = field(default_factory=list)
    names: dict[str, Any] = field(default_factory=dict)


def walk(page: Path, *, server: str) -> Walk:
    """Do all that a page says in this folder, with this server; return what came of it.

    Fails with the block where something is not as the page says.
    """
    before, path = set(sys.modules), list(sys.path)
    sys.path.insert(0, str(Path.cwd()))
    walked, code = Walk(names={"__name__": page.stem}), 0
    try:
        for block in blocks():
            if block.page != page:
                continue
            if named := _FILE.match(block.text):
                _write(Path(named[1]), block.text)
            elif block.language == "python":
                _execute(block, walked.names)
            elif block.language == "console":
                for command, told in steps(block):
                    code, out = _run(command, code, server)
                    assert still(out) == still(told), f"{block}: {command}"
                    walked.created += re.findall(r"^(\S+/\S+) created$", out, re.MULTILINE)
    finally:
        sys.path[:] = path
        for name in set(sys.modules) - before:
            file = getattr(sys.modules[name], "__file__", None) or ""
            if Path(file).is_relative_to(Path.cwd()):
                del sys.modules[name]
    return walked


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


def _run(command: str, code: int, server: str) -> tuple[int, str]:
    """Run one command; `code` is how the one before it ended, which `echo $?` asks for."""
    program, *words = shlex.split(command)
    if (program, words) == ("echo", ["$?"]):
        return 0, str(code)
    assert program == "miren", command
    if words[0] != "schema" and words[0] != "explain":
        words += ["--server", server]
    out = io.StringIO()
    with redirect_stdout(out), redirect_stderr(out):
        code = main(words)
    return code, out.getvalue()
