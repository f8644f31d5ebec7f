"""Show entities.

miren get sandboxes                 all of the project, as a table
miren get sandbox/hello -o yaml     one, whole
miren get sb -A -w                  of all projects, and then every change
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from typing import Any

from miren.base.errors import InvalidInput
from miren.cli.connection import (
    ENTITIES,
    add_names,
    add_options,
    calls_to,
    names_of,
    selector_of,
)
from miren.cli.failures import Failures
from miren.cli.output import Table, name_of, print_documents
from miren.rpc.calls import Calls

__all__ = ["configure", "run"]


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_names(parser, more=f"{parser.prog} KIND [options]")
    parser.add_argument(
        "-o",
        "--output",
        choices=("table", "json", "yaml", "name"),
        default="table",
        metavar="FORM",
        help="table (default), json, yaml or name",
    )
    parser.add_argument(
        "-l", "--selector", default="", metavar="KEY=VALUE,...", help="only with these labels"
    )
    parser.add_argument(
        "--field-selector",
        default="",
        metavar="PATH=VALUE,...",
        help="only with these values, such as spec.node=n1 (indexed attributes)",
    )
    parser.add_argument("-A", "--all-projects", action="store_true", help="of every project")
    parser.add_argument("-w", "--watch", action="store_true", help="then show every change")
    add_options(parser)


def run(options: argparse.Namespace) -> int:
    """Show what was asked for."""
    calls = calls_to(options)
    is_named = len(options.what) > 1 or "/" in "".join(options.what)
    if is_named and (options.all_projects or options.selector or options.field_selector):
        raise InvalidInput("a name and a selection exclude each other: give one of them")
    if options.watch:
        return _watch(calls, options, is_named=is_named)
    if is_named:
        return _get(calls, options)
    return _list(calls, options)


def _list(calls: Calls, options: argparse.Namespace) -> int:
    request = _request(options, _kind(options))
    answer = calls.call(f"{ENTITIES}/List", request)
    if options.output != "table":
        print_documents(answer["items"], options.output, single=False)
    elif answer["rows"]:
        Table().print(answer["columns"], answer["rows"])
    else:
        is_everywhere = options.all_projects or answer["scope"] == "cluster"
        where = "" if is_everywhere else f" in project {options.project or 'default'!r}"
        print(f"no {answer['plural']}{where}", file=sys.stderr)
    return 0


def _get(calls: Calls, options: argparse.Namespace) -> int:
    table, failures = Table(), Failures()
    documents: list[dict[str, Any]] = []
    names = names_of(options.what)
    for kind, name in names:
        with failures.noted():
            answer = calls.call(f"{ENTITIES}/Get", {**_request(options, kind), "name": name})
            if options.output == "table":
                table.print(answer["columns"], answer["rows"])
            else:
                documents.append(answer["entity"])
    if documents:
        print_documents(documents, options.output, single=len(names) == 1)
    return failures.code


def _watch(calls: Calls, options: argparse.Namespace, *, is_named: bool) -> int:
    if is_named and len(names_of(options.what)) > 1:
        raise InvalidInput("watch one kind, or one entity")
    kind, name = names_of(options.what)[0] if is_named else (_kind(options), "")
    request = {**_request(options, kind), "name": name}
    messages = calls.stream(f"{ENTITIES}/Watch", request)
    if options.output == "table":
        _watch_table(messages)
    else:
        for message in messages:
            if message["type"] != "BOOKMARK":
                _print_event(message, options.output)
    return 0


def _watch_table(messages: Iterator[dict[str, Any]]) -> None:
    """Print what is there as one table, as without --watch, and then a line a change."""
    table, columns, rows = Table(), [], []
    for message in messages:
        if message["type"] == "BOOKMARK":
            break
        columns = message["columns"]
        rows += message["rows"]
    if rows:
        table.print(columns, rows)
    for message in messages:
        if message["type"] != "BOOKMARK":
            table.print(message["columns"], message["rows"])


def _print_event(message: dict[str, Any], form: str) -> None:
    if form == "name":
        print(f"{message['type'].lower()} {name_of(message['entity'])}", flush=True)
    elif form == "json":
        print(json.dumps(message, ensure_ascii=False), flush=True)
    else:
        print(f"--- # {message['type']} at {message['revision']}")
        print_documents([message["entity"]], form, single=True)


def _kind(options: argparse.Namespace) -> str:
    if not options.what:
        raise InvalidInput("name a kind", hint="`miren api-resources` lists them")
    kind: str = options.what[0]
    return kind


def _request(options: argparse.Namespace, kind: str) -> dict[str, Any]:
    return {
        "kind": kind,
        "project": options.project,
        "allProjects": options.all_projects,
        "labels": selector_of(options.selector),
        "fields": selector_of(options.field_selector),
        "table": options.output == "table",
    }
