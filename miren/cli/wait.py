"""Wait for a condition, a phase or a deletion.

miren wait sandbox/hello --for condition=Ready --timeout 60s
miren wait sandbox/hello --for delete

What does not exist yet is waited for, too.
"""

from __future__ import annotations

import argparse
import time

from miren.cli.connection import ENTITIES, add_names, add_options, calls_to, names_of, seconds
from miren.cli.failures import Failures

__all__ = ["configure", "run"]


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_names(parser)
    parser.add_argument(
        "--for",
        dest="condition",
        required=True,
        metavar="WHAT",
        help="condition=TYPE, condition=TYPE=False, phase=PHASE or delete",
    )
    parser.add_argument(
        "--timeout", type=seconds, default=60.0, metavar="TIME", help="how long (default: 60s)"
    )
    add_options(parser)


def run(options: argparse.Namespace) -> int:
    """Wait for all of the entities; the time is for all of them together."""
    calls, failures = calls_to(options), Failures()
    until = time.monotonic() + options.timeout
    for kind, name in names_of(options.what):
        left = round(max(0.1, until - time.monotonic()), 2)
        request = {
            "kind": kind,
            "name": name,
            "project": options.project,
            "for": options.condition,
            "timeoutSeconds": left,
        }
        with failures.noted():
            answer = calls.call(f"{ENTITIES}/Wait", request, timeout=left + 5)
            print(f"{answer['kind']}/{name} {_told(options.condition)}", flush=True)
    return failures.code


def _told(condition: str) -> str:
    return "deleted" if condition == "delete" else f"met {condition}"
