"""Wait for a condition, a phase or a deletion.

miren wait sandbox/hello --for condition=Ready --timeout 60
miren wait sandbox/hello --for delete
"""

from __future__ import annotations

import argparse

from miren.base.quantities import Duration
from miren.cli.connection import ENTITIES, add_options, calls_to, names_of

__all__ = ["configure", "run", "seconds"]


def seconds(text: str) -> float:
    """Return a timeout given as `90`, `90s` or `5m`, in seconds."""
    try:
        return float(text)
    except ValueError:
        pass
    try:
        return Duration.parse(text).total_seconds()
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("what", nargs="+", metavar="KIND NAME... | KIND/NAME...")
    parser.add_argument(
        "--for",
        dest="condition",
        required=True,
        metavar="WHAT",
        help="condition=TYPE, condition=TYPE=False, phase=PHASE or delete",
    )
    parser.add_argument("--timeout", type=seconds, default=60.0, help="such as 90s (default: 60s)")
    add_options(parser)


def run(options: argparse.Namespace) -> int:
    """Wait for each of the entities."""
    calls = calls_to(options)
    for kind, name in names_of(options.what):
        request = {
            "kind": kind,
            "name": name,
            "project": options.project,
            "for": options.condition,
            "timeoutSeconds": options.timeout,
        }
        calls.call(f"{ENTITIES}/Wait", request, timeout=options.timeout + 5)
        print(f"{kind}/{name} {_told(options.condition)}")
    return 0


def _told(condition: str) -> str:
    return "deleted" if condition == "delete" else f"met {condition}"
