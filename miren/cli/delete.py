"""Delete entities, by name or as files name them.

miren delete sandbox hello
miren delete -f sandbox.yaml

Waits until they are gone, unless --wait=false. One that fails does not stop the others.
"""

from __future__ import annotations

import argparse
import time
from contextlib import suppress
from typing import Any

from miren.base.errors import InvalidInput, NotFound
from miren.cli.connection import (
    ENTITIES,
    add_names,
    add_options,
    calls_to,
    names_of,
    seconds,
)
from miren.cli.failures import Failures
from miren.cli.output import name_of
from miren.rpc.calls import Calls

__all__ = ["configure", "run"]


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_names(parser, more=f"{parser.prog} -f FILE|FOLDER|- [options]")
    parser.add_argument(
        "-f", "--filename", action="append", default=[], metavar="PATH", help="a file, a folder, -"
    )
    parser.add_argument(
        "--wait",
        choices=("true", "false"),
        nargs="?",
        const="true",
        default="true",
        help="whether to return only when they are gone (default: true)",
    )
    parser.add_argument(
        "--timeout", type=seconds, default=60.0, metavar="TIME", help="how long (default: 60s)"
    )
    parser.add_argument(
        "--ignore-not-found", action="store_true", help="what is not there is as good as deleted"
    )
    add_options(parser)


def run(options: argparse.Namespace) -> int:
    """Begin every deletion, then wait for them all."""
    if options.what and options.filename:
        raise InvalidInput("name entities, or give files with -f, not both")
    calls, failures = calls_to(options), Failures()
    ignored = (NotFound,) if options.ignore_not_found else ()
    begun: list[dict[str, Any]] = []
    for target in _targets(options):
        with failures.noted(), suppress(*ignored):
            answer = calls.call(f"{ENTITIES}/Delete", target)
            told = name_of(answer["entity"])
            if answer["gone"]:
                print(f"{told} deleted")
            elif options.wait == "true":
                uid = answer["entity"]["metadata"]["uid"]
                begun.append({**target, "uid": uid, "told": told})
            else:
                print(f"{told} is being deleted")
    _wait(calls, begun, failures, options.timeout)
    return failures.code


def _wait(calls: Calls, begun: list[dict[str, Any]], failures: Failures, timeout: float) -> None:
    """Wait until all are gone; the time is for all of them together."""
    until = time.monotonic() + timeout
    for target in begun:
        told = target.pop("told")
        with failures.noted():
            left = round(max(0.1, until - time.monotonic()), 2)
            request = {**target, "for": "delete", "timeoutSeconds": left}
            calls.call(f"{ENTITIES}/Wait", request, timeout=left + 5)
            print(f"{told} deleted", flush=True)


def _targets(options: argparse.Namespace) -> list[dict[str, Any]]:
    if not options.filename:
        return [
            {"kind": kind, "name": name, "project": options.project}
            for kind, name in names_of(options.what)
        ]
    from miren.cli.apply import load

    # The other way round than they were applied: who refers to others goes first.
    return [
        {
            "kind": str(document.kind),
            "name": document.name,
            "project": document.project or options.project,
        }
        for document in reversed(load(options.filename))
    ]
