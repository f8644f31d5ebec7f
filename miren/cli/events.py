"""Show what happened to entities lately, the latest last. Events are kept for an hour.

miren events                      of the project's entities
miren events app/web              of one, even after it has gone
miren events sandboxes            of a kind
miren events -A --types Warning   of all projects, and only what went wrong
miren events -w                   and then what is new
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from typing import Any

from miren.base.errors import InvalidInput
from miren.cli.connection import ENTITIES, add_options, calls_to
from miren.cli.output import Table
from miren.rpc.calls import Calls

__all__ = ["configure", "run", "show"]


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.usage = f"{parser.prog} [KIND | KIND NAME | KIND/NAME] [options]"
    parser.add_argument("what", nargs="*", metavar="KIND NAME", help="whose; all without")
    parser.add_argument(
        "-A", "--all-projects", action="store_true", help="of all projects, and of no project"
    )
    parser.add_argument(
        "--types",
        default="",
        metavar="TYPE[,TYPE]",
        help="only events of these types: Normal, Warning",
    )
    parser.add_argument(
        "-o",
        "--output",
        choices=("table", "wide", "json"),
        default="table",
        metavar="FORM",
        help="table (default), wide (and who told it) or json",
    )
    parser.add_argument("-w", "--watch", action="store_true", help="then show what is new")
    add_options(parser)


def run(options: argparse.Namespace) -> int:
    """Show the events that were asked for."""
    kind, name = _subject(options.what)
    if name and options.all_projects:
        raise InvalidInput("a name and --all-projects exclude each other: give one of them")
    types = [type for type in options.types.split(",") if type]
    return show(calls_to(options), options, kind=kind, name=name, types=types)


def show(
    calls: Calls,
    options: argparse.Namespace,
    *,
    kind: str = "",
    name: str = "",
    types: list[str] | None = None,
) -> int:
    """Show events of a kind, an entity or (neither) of a project, as `options` say."""
    if options.output not in ("table", "wide", "json"):
        raise InvalidInput("events are shown with -o table, -o wide or -o json")
    request = {
        "kind": kind,
        "name": name,
        "project": options.project,
        "allProjects": options.all_projects,
        "types": types or [],
        "table": options.output != "json",
        "wide": options.output == "wide",
    }
    if options.watch:
        _follow(calls, request)
        return 0
    answer = calls.call(f"{ENTITIES}/Events", request)
    if not request["table"]:
        shown = {"kind": "List", "items": answer["events"]}
        print(json.dumps(shown, indent=2, ensure_ascii=False))
    elif answer["rows"]:
        Table().print(answer["columns"], answer["rows"])
    else:
        print(f"no events {_where(options, kind, name)}", file=sys.stderr)
    return 0


def _follow(calls: Calls, request: Mapping[str, Any]) -> None:
    table = Table()
    for message in calls.stream(f"{ENTITIES}/FollowEvents", request):
        if not request["table"]:
            for event in message["events"]:
                print(json.dumps(event, ensure_ascii=False), flush=True)
        elif message["rows"]:
            table.print(message["columns"], message["rows"])


def _subject(words: list[str]) -> tuple[str, str]:
    """Return (kind, name) from `KIND NAME` or `KIND/NAME`; what is not said is empty."""
    parts = words[0].split("/") if len(words) == 1 else words
    if len(parts) > 2 or not all(parts):
        raise InvalidInput("name a kind, or one entity as KIND NAME or KIND/NAME")
    kind, name = (*parts, "", "")[:2]
    return kind, name


def _where(options: argparse.Namespace, kind: str, name: str) -> str:
    if name:
        return f"of {kind}/{name} within the last hour"
    of = f"of {kind} " if kind else ""
    everywhere = "anywhere" if options.all_projects else ""
    return of + (everywhere or f"in project {options.project or 'default'!r}")
