"""How entities are printed: tables, YAML, JSON, names."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

__all__ = ["name_of", "print_documents", "print_table", "table_lines"]


def table_lines(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a table whose columns are as wide as their widest cell."""
    every = [columns, *rows]
    widths = [max(len(line[place]) for line in every) for place in range(len(columns))]
    return [
        "   ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in every
    ]


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table."""
    print("\n".join(table_lines(columns, rows)))


def print_documents(documents: Sequence[dict[str, Any]], form: str, *, single: bool) -> None:
    """Print documents as `json`, `yaml` or `name`; several as a List, as kubectl does."""
    if form == "name":
        for document in documents:
            print(name_of(document))
        return
    shown: Any = documents[0] if single and documents else _as_list(documents)
    if form == "json":
        print(json.dumps(shown, indent=2))
        return
    import yaml

    text = yaml.dump_all(
        [shown] if single else list(documents), sort_keys=False, allow_unicode=True
    )
    print(text, end="")


def name_of(document: dict[str, Any]) -> str:
    """Return `kind/name`."""
    return f"{document['kind'].lower()}/{document['metadata']['name']}"


def _as_list(documents: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return {"kind": "List", "items": list(documents)}
