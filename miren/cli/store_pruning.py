"""Removes the stores that a server keeps though others replaced them, once somebody said yes."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from miren.base.errors import Refused
from miren.cli.connection import calls_to
from miren.cli.printable import printable
from miren.cli.progress import size

__all__ = ["add_pruning", "prune", "told_of_replaced"]

_STATUS, _PRUNE = "miren.store.v1.Store/Status", "miren.store.v1.Store/Prune"
_SECONDS = 3600.0


def add_pruning(parser: argparse.ArgumentParser) -> None:
    """Add what `prune` reads."""
    parser.add_argument("--keep", type=_count, default=0, metavar="N", help="leave the N newest")
    parser.add_argument("-y", "--yes", action="store_true", help="do not ask")


def prune(options: argparse.Namespace) -> tuple[Mapping[str, Any], list[str]]:
    """Remove them, but the newest that are to stay; return the answer and what to tell of it.

    Raises Refused unless somebody agrees, on the terminal or beforehand.
    """
    calls = calls_to(options)
    kept = calls.call(_STATUS, {})["replaced"]
    going = kept[: max(len(kept) - options.keep, 0)]  # the oldest come first
    if going and not options.yes:
        _confirm(list(map(told_of_replaced, going)))
    request = {"paths": [each["path"] for each in going]}
    answer = calls.call(_PRUNE, request, timeout=_SECONDS)
    removed = answer["removed"]
    if not removed:
        return answer, ["no store is kept that could go"]
    freed = size(sum(each["size"] for each in removed))
    return answer, [*(f"removed {told_of_replaced(each)}" for each in removed), f"{freed} freed"]


def told_of_replaced(store: Mapping[str, Any]) -> str:
    """Return one of them in words."""
    return f"{store['path']}, {size(store['size'])}, last written {store['written']}"


def _confirm(what: Sequence[str]) -> None:
    for line in what:
        print(printable(line), file=sys.stderr)
    if not sys.stdin.isatty():
        raise Refused("nobody can be asked whether to remove these", hint="say it with --yes")
    print("Remove them? They cannot be brought back. [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise Refused("nothing was removed")


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of stores")
    return int(text)
