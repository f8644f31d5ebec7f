"""Generate typed entities from schema.yml, or check that they are fresh."""

from __future__ import annotations

import argparse
from pathlib import Path

from miren.schemagen.main import check, generate

__all__ = ["configure", "run"]


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("action", choices=("generate", "check"))
    parser.add_argument("paths", nargs="+", type=Path, help="schema files, or folders of them")
    parser.add_argument("--out", type=Path, required=True, help="the folder of the package")


def run(options: argparse.Namespace) -> int:
    """Generate or check."""
    if options.action == "generate":
        for path in generate(options.paths, options.out):
            print(path)
        return 0
    stale = check(options.paths, options.out)
    for path in stale:
        print(f"{path} is stale: run `miren schema generate`")
    return 1 if stale else 0
