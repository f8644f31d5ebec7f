"""Delete entities, by name, by selection, or as files name them.

miren delete sandbox hello
miren delete sandboxes -l app=web
miren delete app/web --cascade=foreground
miren delete -f sandbox.yaml

What an entity owns is deleted after it (--cascade=background), before it (foreground), or stays
(orphan). Waits until they are gone, unless --wait=false. One that fails does not stop the others.
"""

from __future__ import annotations

import argparse
import sys
import time
from contextlib import suppress
from typing import Any

from miren.base.errors import InvalidInput, NotFound
from miren.cli.connection import (
    ENTITIES,
    add_dry_run,
    add_names,
    add_options,
    calls_to,
    seconds,
)
from miren.cli.failures import Failures
from miren.cli.listing import add_selection, targets_of
from miren.cli.output import name_of
from miren.rpc.calls import Calls

__all__ = ["configure", "run"]


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_names(
        parser,
        more=f"{parser.prog} KIND (--all | -l SELECTOR) [options]\n"
        f"       {parser.prog} -f FILE|FOLDER|- [options]",
    )
    parser.add_argument(
        "-f", "--filename", action="append", default=[], metavar="PATH", help="a file, a folder, -"
    )
    add_selection(parser, everything="all of the kind")
    parser.add_argument(
        "--cascade",
        choices=("background", "foreground", "orphan"),
        default="background",
        help="what happens to dependents (default: background)",
    )
    parser.add_argument("--uid", metavar="UID", help="only if it is still the one with this uid")
    parser.add_argument(
        "--revision", metavar="N", help="only if it still has this resourceVersion"
    )
    add_dry_run(parser, tells="would be deleted")
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
    calls, failures = calls_to(options), Failures()
    ignored = (NotFound,) if options.ignore_not_found else ()
    how = {
        "propagation": options.cascade,
        "uid": options.uid,
        "revision": options.revision,
        "dryRun": options.dry_run == "server",
    }
    begun: list[dict[str, Any]] = []
    for target in _targets(calls, options):
        with failures.noted(), suppress(*ignored):
            answer = calls.call(f"{ENTITIES}/Delete", {**target, **how})
            told = name_of(answer["entity"])
            if how["dryRun"]:
                print(f"{told} deleted (dry run)")
            elif answer["gone"]:
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


def _targets(calls: Calls, options: argparse.Namespace) -> list[dict[str, Any]]:
    is_selected = options.all or options.selector or options.field_selector
    if options.filename and (options.what or is_selected):
        raise InvalidInput("name entities, select them, or give files with -f: one of these")
    if not options.filename:
        found = targets_of(calls, options, options.what)
        if not found:
            print("nothing to delete", file=sys.stderr)
        if (options.uid or options.revision) and (is_selected or len(found) != 1):
            raise InvalidInput("--uid and --revision are about one entity: name it")
        return found
    if options.uid or options.revision:
        raise InvalidInput("--uid and --revision are about one entity: name it")
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
