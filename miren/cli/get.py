"""Show entities.

miren get sandboxes                       all of the project, as a table
miren get sandbox/hello -o yaml           one, whole
miren get apps,routes                     several kinds
miren get sb -A -w                        of all projects, and then every change
miren get sb -l 'tier in (front,back)'    those with such labels
miren get routes --refers-to app/web      those that refer to it
miren get app/web --revision 42           as it was then
miren get secret/x -o yaml --reveal       with its secrets in the clear; the server's log notes it
miren get events                          as `miren events`
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from typing import Any

from miren.base.errors import Compacted, InvalidInput, NotFound
from miren.cli.connection import ENTITIES, add_names, add_options, calls_to, kinds_of, names_of
from miren.cli.failures import Failures
from miren.cli.listing import CHUNK, add_selection, list_all, selection_of
from miren.cli.output import Table, name_of, print_documents
from miren.rpc.calls import Calls

__all__ = ["configure", "run"]


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_names(parser, more=f"{parser.prog} KIND [options]")
    parser.add_argument(
        "-o",
        "--output",
        choices=("table", "wide", "json", "yaml", "name"),
        default="table",
        metavar="FORM",
        help="table (default), wide (whole cells, and owners), json, yaml or name",
    )
    add_selection(parser)
    parser.add_argument(
        "--refers-to", metavar="KIND/NAME", help="only what refers to this (KIND/PROJECT/NAME)"
    )
    parser.add_argument(
        "--tag", default="", metavar="TAG", help="with --refers-to: by references with this tag"
    )
    parser.add_argument(
        "--revision", type=_revision, metavar="N", help="as it was at this resourceVersion"
    )
    parser.add_argument("--show-labels", action="store_true", help="show labels in the table")
    parser.add_argument(
        "--show-managed-fields",
        action="store_true",
        help="show who manages which fields (with -o yaml or json)",
    )
    parser.add_argument(
        "--chunk-size",
        type=_count,
        default=CHUNK,
        metavar="N",
        help=f"read long lists in chunks of so many; 0: at once (default: {CHUNK})",
    )
    parser.add_argument(
        "--reveal",
        action="store_true",
        help="show secrets of named entities in the clear (with -o yaml or json)",
    )
    parser.add_argument("-w", "--watch", action="store_true", help="then show every change")
    add_options(parser)


def run(options: argparse.Namespace) -> int:
    """Show what was asked for."""
    is_named = len(options.what) > 1 or "/" in "".join(options.what)
    _check(options, is_named=is_named)
    calls = calls_to(options)
    if options.what == ["events"] and not _is_kind(calls, "events"):
        from miren.cli import events

        if _is_narrowed(options):
            raise InvalidInput("events are not selected by labels, fields or references")
        return events.show(calls, options)
    if options.watch:
        return _watch(calls, options, is_named=is_named)
    if is_named:
        return _get(calls, options)
    return _list(calls, options)


def _is_kind(calls: Calls, word: str) -> bool:
    kinds = calls.call(f"{ENTITIES}/Kinds", {})["kinds"]
    return any(word in (kind["name"].lower(), kind["plural"], *kind["short"]) for kind in kinds)


def _check(options: argparse.Namespace, *, is_named: bool) -> None:
    """Refuse options that mean nothing together."""
    if is_named and (options.all_projects or _is_narrowed(options)):
        raise InvalidInput("a name and a selection exclude each other: give one of them")
    if options.revision and (options.watch or not is_named):
        raise InvalidInput("--revision shows entities that are named, and no changes")
    is_whole = options.output in ("yaml", "json") and not options.watch
    if options.reveal and not (is_named and is_whole and not options.revision):
        raise InvalidInput(
            "--reveal shows named entities as they are now, with -o yaml or -o json"
        )
    if options.tag and not options.refers_to:
        raise InvalidInput("--tag goes with --refers-to KIND/NAME")
    if options.show_managed_fields and not is_whole:
        raise InvalidInput(
            "--show-managed-fields goes with -o yaml or -o json, and without --watch"
        )


def _list(calls: Calls, options: argparse.Namespace) -> int:
    kinds = kinds_of(_kind(options))
    documents: list[dict[str, Any]] = []
    shown = 0
    for kind in kinds:
        request = _request(options, kind)
        answer = list_all(calls, request, chunk=options.chunk_size)
        if not request["table"]:
            documents += _documents(answer)
        elif answer["rows"]:
            print("\n" * (shown > 0), end="")
            Table().print(answer["columns"], answer["rows"])
            shown += 1
        else:
            is_everywhere = options.all_projects or answer["scope"] == "cluster"
            where = "" if is_everywhere else f" in project {options.project or 'default'!r}"
            matching = "matching " if _is_narrowed(options) else ""
            print(f"no {matching}{answer['plural']}{where}", file=sys.stderr)
    if options.output not in ("table", "wide"):
        print_documents(documents, options.output, single=False)
    return 0


def _is_narrowed(options: argparse.Namespace) -> bool:
    """Whether only some of a project's entities were asked for."""
    return bool(options.selector or options.field_selector or options.refers_to)


def _documents(answer: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the entities of a list, with who manages their fields where that was asked for."""
    items: list[dict[str, Any]] = answer["items"]
    told = answer.get("managers", [None] * len(items))
    return [_managed(item, managers) for item, managers in zip(items, told, strict=True)]


def _get(calls: Calls, options: argparse.Namespace) -> int:
    table, failures = Table(), Failures()
    documents: list[dict[str, Any]] = []
    names = names_of(options.what)
    for kind, name in names:
        with failures.noted():
            request = {
                **_request(options, kind),
                "name": name,
                "revision": options.revision,
                "reveal": options.reveal,
            }
            answer = _at_revision(calls, request)
            if request["table"]:
                table.print(answer["columns"], answer["rows"])
            else:
                documents.append(_managed(answer["entity"], answer.get("managers")))
    if documents:
        print_documents(documents, options.output, single=len(names) == 1)
    return failures.code


def _at_revision(calls: Calls, request: dict[str, Any]) -> dict[str, Any]:
    try:
        return calls.call(f"{ENTITIES}/Get", request)
    except NotFound as error:
        if error.entity is None or not request["revision"]:
            raise
        told = f"{error.entity} did not exist at revision {request['revision']}"
        raise NotFound(told, entity=error.entity) from None
    except Compacted as error:
        raise NotFound(
            f"revision {request['revision']} is no longer kept",
            hint=f"the oldest that is kept is {error.oldest}",
        ) from None


def _managed(document: dict[str, Any], managers: dict[str, Any] | None) -> dict[str, Any]:
    """Return a document that tells who manages which fields, where that was asked for."""
    if managers is None:
        return document
    told = [{"manager": name, "fields": fields} for name, fields in managers.items()]
    return {**document, "metadata": {**document["metadata"], "managedFields": told}}


def _watch(calls: Calls, options: argparse.Namespace, *, is_named: bool) -> int:
    watched = names_of(options.what) if is_named else kinds_of(_kind(options))
    if len(watched) > 1:
        raise InvalidInput("watch one kind, or one entity")
    kind, name = names_of(options.what)[0] if is_named else (_kind(options), "")
    request = {**_request(options, kind), "name": name}
    messages = calls.stream(f"{ENTITIES}/Watch", request)
    if request["table"]:
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
        **selection_of(options),
        "refersTo": _target(options.refers_to) if options.refers_to else None,
        "tag": options.tag,
        "managers": options.show_managed_fields,
        "table": options.output in ("table", "wide"),
        "wide": options.output == "wide",
        "showLabels": options.show_labels,
    }


def _target(text: str) -> dict[str, str]:
    kind, *place, name = text.split("/") if text.count("/") in (1, 2) else [""] * 2
    if not kind or not name or not all(place):
        raise InvalidInput(f"--refers-to is KIND/NAME or KIND/PROJECT/NAME, not {text!r}")
    return {"kind": kind, "project": "".join(place), "name": name}


def _revision(text: str) -> str:
    if not (text.isascii() and text.isdecimal()) or len(text) > 18 or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no resourceVersion")
    return text


def _count(text: str) -> int:
    if not (text.isascii() and text.isdecimal()):
        raise argparse.ArgumentTypeError(f"{text!r} is not 0 or more")
    return int(text)
