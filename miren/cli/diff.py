"""Show what applying files would change; the server is asked, and nothing is stored.

miren diff -f sandbox.yaml

Ends with 0 when nothing would change, with 1 when something would. Without status and what else
only the server writes. Values of secrets are not shown, only that they differ.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Mapping
from difflib import unified_diff
from typing import Any

from miren.base.errors import Conflict, InvalidInput, MissingRef, Refused
from miren.base.yaml_text import dump
from miren.cli.apply import add_files, add_management, in_order, load, placed, request_of
from miren.cli.connection import ENTITIES, add_options, calls_to
from miren.cli.output import name_of, writable
from miren.entities.documents import Document

__all__ = ["configure", "difference", "run"]

_COLOURS = {"---": "1", "+++": "1", "@@": "36", "-": "31", "+": "32"}


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_files(parser)
    add_management(parser)
    add_options(parser)


def run(options: argparse.Namespace) -> int:
    """Show every difference; return 1 where there is one."""
    documents = load(options.filename)
    if not documents:
        raise InvalidInput("nothing to compare: the files hold no documents")
    calls = calls_to(options)

    def ask(document: Document) -> dict[str, Any]:
        try:
            return calls.call(f"{ENTITIES}/Apply", request_of(document, options, dry_run=True))
        except MissingRef:
            raise  # it may be made further down
        except (InvalidInput, Conflict, Refused) as error:
            raise placed(document, error) from None

    answers: list[dict[str, Any]] = []

    def noted(document: Document) -> dict[str, Any]:
        answers.append(ask(document))
        return answers[-1]

    def otherwise(document: Document, error: MissingRef) -> dict[str, Any]:
        # What it refers to may be among what would be created.
        if all(answer["action"] != "created" for answer in answers):
            raise placed(document, error) from None
        return {"before": None, "entity": document.document, "action": "created"}

    is_coloured = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    differs = False
    for answer in in_order(documents, noted, otherwise=otherwise):
        for line in _lines(answer):
            differs = True
            print(_coloured(line) if is_coloured else line)
    return 1 if differs else 0


def difference(
    before: Mapping[str, Any] | None, after: Mapping[str, Any], *, titles: tuple[str, str]
) -> Iterator[str]:
    """Yield the lines of a unified diff of what people write in two documents."""
    old, new = (dump(writable(each)).splitlines() if each else [] for each in (before, after))
    yield from unified_diff(old, new, titles[0], titles[1], lineterm="")


def _lines(answer: Mapping[str, Any]) -> Iterator[str]:
    before, after = answer["before"], answer["entity"]
    head, name = after["metadata"], name_of(after)
    where = f" in {head['project']}" if head.get("project", "default") != "default" else ""
    titles = (f"{name}{where} (stored)", f"{name}{where} (applied)")
    lines = list(difference(before, after, titles=titles))
    if not lines and answer["action"] != "unchanged":
        lines = [f"--- {titles[0]}", f"+++ {titles[1]}", "@@ values of secrets differ @@"]
    yield from lines


def _coloured(line: str) -> str:
    code = next((code for start, code in _COLOURS.items() if line.startswith(start)), None)
    return line if code is None else f"\x1b[{code}m{line}\x1b[0m"
