"""How entities are printed: tables, YAML, JSON, names."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from typing import Any

from miren.cli.printable import printable

__all__ = ["Table", "add_output", "name_of", "print_documents", "table_lines", "writable"]

Document = Mapping[str, Any]


def add_output(parser: argparse.ArgumentParser) -> None:
    """Add -o, how a command that changes entities says so: in words, or by what they are then."""
    parser.add_argument(
        "-o",
        "--output",
        choices=("text", "json", "yaml", "name"),
        default="text",
        metavar="FORM",
        help="text (default), json, yaml or name",
    )


class Table:
    """A table printed in pieces: headings only when they change, columns that stay where they are.

    Columns grow when a later piece needs it; what is printed already stays as it is.
    """

    def __init__(self) -> None:
        self._columns: Sequence[str] = ()
        self._widths: list[int] = []

    def print(self, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Print rows, under their headings where these are new."""
        lines = list(rows)
        if columns != self._columns:
            if self._columns:
                print()
            self._columns, self._widths = columns, [0] * len(columns)
            lines.insert(0, columns)
        lines = [list(map(printable, line)) for line in lines]
        for place in range(len(columns)):
            widest = max((len(line[place]) for line in lines), default=0)
            self._widths[place] = max(self._widths[place], widest)
        for line in lines:
            print(_padded(line, self._widths), flush=True)


def table_lines(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a table whose columns are as wide as their widest cell."""
    every = [list(map(printable, line)) for line in (columns, *rows)]
    widths = [max(len(line[place]) for line in every) for place in range(len(columns))]
    return [_padded(line, widths) for line in every]


def _padded(cells: Sequence[str], widths: Sequence[int]) -> str:
    padded = (cell.ljust(width) for cell, width in zip(cells, widths, strict=True))
    return "   ".join(padded).rstrip()


def print_documents(documents: Sequence[Document], form: str, *, single: bool) -> None:
    """Print documents as `json`, `yaml` or `name`.

    Several are one List in JSON, and documents of their own in YAML.
    """
    if form == "name":
        for document in documents:
            print(name_of(document))
        return
    if form == "json":
        shown = documents[0] if single and documents else {"kind": "List", "items": documents}
        print(json.dumps(shown, indent=2, ensure_ascii=False))
        return
    from miren.base.yaml_text import dump_all

    print(dump_all(list(documents)), end="", flush=True)


def name_of(document: Document) -> str:
    """Return `kind/name`."""
    return f"{document['kind'].lower()}/{document['metadata']['name']}"


#: Metadata that only the server writes.
_WRITTEN = ("uid", "resourceVersion", "generation", "creationTimestamp", "deletionTimestamp")


def writable(document: Document) -> dict[str, Any]:
    """Return the part of a document that people write: no status, no server-written metadata."""
    metadata = {
        name: value for name, value in document["metadata"].items() if name not in _WRITTEN
    }
    return {
        "apiVersion": document["apiVersion"],
        "kind": document["kind"],
        "metadata": metadata,
        "spec": document.get("spec", {}),
    }
