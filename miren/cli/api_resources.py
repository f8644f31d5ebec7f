"""Show which kinds of entities the server knows.

miren api-resources
"""

from __future__ import annotations

import argparse

from miren.cli.connection import ENTITIES, add_options, calls_to
from miren.cli.output import table_lines

__all__ = ["configure", "run"]


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_options(parser, project=False)


def run(options: argparse.Namespace) -> int:
    """Print a line a kind."""
    kinds = calls_to(options).call(f"{ENTITIES}/Kinds", {})["kinds"]
    rows = [
        [kind["plural"], ",".join(kind["short"]), kind["apiVersion"], kind["scope"], kind["doc"]]
        for kind in sorted(kinds, key=lambda kind: (kind["apiVersion"], kind["plural"]))
    ]
    print("\n".join(table_lines(("NAME", "SHORT", "APIVERSION", "SCOPE", "MEANING"), rows)))
    return 0
