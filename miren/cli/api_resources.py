"""Show which kinds of entities the server knows.

miren api-resources
miren api-resources -o wide     with what each is for
miren api-resources -o name     the names alone, as other commands take them
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from miren.cli.connection import ENTITIES, add_options, calls_to
from miren.cli.output import table_lines

__all__ = ["configure", "run"]

_COLUMNS = ("NAME", "SHORT", "APIVERSION", "PROJECTED", "KIND")


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "-o",
        "--output",
        choices=("table", "wide", "name"),
        default="table",
        metavar="FORM",
        help="table (default), wide or name",
    )
    add_options(parser, project=False)


def run(options: argparse.Namespace) -> int:
    """Print a line a kind, by domain and name."""
    answer = calls_to(options).call(f"{ENTITIES}/Kinds", {})
    kinds = sorted(answer["kinds"], key=lambda kind: (kind["apiVersion"], kind["plural"]))
    if options.output == "name":
        for kind in kinds:
            print(f"{kind['plural']}.{kind['apiVersion'].partition('/')[0]}")
        return 0
    is_wide = options.output == "wide"
    columns = (*_COLUMNS, "MEANING") if is_wide else _COLUMNS
    rows = [[*_row(kind), *([kind["doc"]] if is_wide else [])] for kind in kinds]
    print("\n".join(table_lines(columns, rows)))
    return 0


def _row(kind: Mapping[str, Any]) -> list[str]:
    return [
        kind["plural"],
        ",".join(kind["short"]),
        kind["apiVersion"],
        "true" if kind["scope"] == "project" else "false",
        kind["name"],
    ]
