"""Show entities.

miren get sandboxes                 all of the project, as a table
miren get sandbox/hello -o yaml     one, whole
miren get sb -A -w                  of all projects, and then every change
"""

from __future__ import annotations

import argparse
import json
from typing import Any

from miren.base.errors import InvalidInput
from miren.cli.connection import ENTITIES, add_options, calls_to, labels_of, names_of
from miren.cli.output import name_of, print_documents, print_table, table_lines
from miren.rpc.calls import Calls

__all__ = ["configure", "run"]


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("what", nargs="+", metavar="KIND [NAME...] | KIND/NAME...")
    parser.add_argument(
        "-o", "--output", choices=("table", "json", "yaml", "name"), default="table"
    )
    parser.add_argument("-l", "--selector", default="", metavar="KEY=VALUE,...")
    parser.add_argument("--field-selector", default="", metavar="PATH=VALUE,...")
    parser.add_argument("-A", "--all-projects", action="store_true")
    parser.add_argument("-w", "--watch", action="store_true", help="then show every change")
    add_options(parser)


def run(options: argparse.Namespace) -> int:
    """Show what was asked for."""
    calls = calls_to(options)
    is_named = "/" in options.what[0] or len(options.what) > 1
    if options.watch:
        return _watch(calls, options, is_named)
    if is_named:
        return _get(calls, options)
    request = _request(options, options.what[0], table=options.output == "table")
    answer = calls.call(f"{ENTITIES}/List", request)
    if options.output != "table":
        print_documents(answer["items"], options.output, single=False)
    elif answer["rows"]:
        print_table(answer["columns"], answer["rows"])
    else:
        where = "" if options.all_projects else f" in project {options.project or 'default'!r}"
        print(f"no {options.what[0]}{where}")
    return 0


def _get(calls: Calls, options: argparse.Namespace) -> int:
    is_table = options.output == "table"
    answers = [
        calls.call(
            f"{ENTITIES}/Get",
            {**_request(options, kind, table=is_table), "name": name},
        )
        for kind, name in names_of(options.what)
    ]
    if not is_table:
        documents = [answer["entity"] for answer in answers]
        print_documents(documents, options.output, single=len(documents) == 1)
        return 0
    shown: list[str] | None = None
    for answer in answers:
        if shown is not None and answer["columns"] != shown:
            print()
        print(
            "\n".join(table_lines(answer["columns"], answer["rows"])[shown == answer["columns"] :])
        )
        shown = answer["columns"]
    return 0


def _watch(calls: Calls, options: argparse.Namespace, is_named: bool) -> int:
    if is_named and len(names_of(options.what)) > 1:
        raise InvalidInput("watch one kind, or one entity")
    kind, name = names_of(options.what)[0] if is_named else (options.what[0], None)
    is_table = options.output == "table"
    # Rows need names even without a table: the entity itself is asked for, and rendered here.
    request = _request(options, kind, table=is_table)
    headed = False
    for message in calls.stream(f"{ENTITIES}/Watch", request):
        if message["type"] == "BOOKMARK":
            continue
        if is_table:
            (row,) = message["rows"]
            if name is not None and name not in row:
                continue
            lines = table_lines(message["columns"], message["rows"])
            print("\n".join(lines[1:] if headed else lines), flush=True)
            headed = True
        elif name in (None, message["entity"]["metadata"]["name"]):
            _print_event(message, options.output)
    return 0


def _print_event(message: dict[str, Any], form: str) -> None:
    if form == "name":
        print(f"{message['type'].lower()} {name_of(message['entity'])}", flush=True)
    elif form == "json":
        print(json.dumps(message), flush=True)
    else:
        print(f"--- # {message['type']} at {message['revision']}")
        print_documents([message["entity"]], form, single=True)


def _request(options: argparse.Namespace, kind: str, *, table: bool) -> dict[str, Any]:
    return {
        "kind": kind,
        "project": options.project,
        "allProjects": options.all_projects,
        "labels": labels_of(options.selector),
        "fields": labels_of(options.field_selector),
        "table": table,
    }
