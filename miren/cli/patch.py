"""Change a part of an entity.

miren patch disk data -p '{"spec": {"size": "2Gi"}}'
miren patch disk data -p 'spec: {size: 2Gi}'
miren patch disk data --type=json -p '[{"op": "remove", "path": "/metadata/labels/old"}]'

A merge patch (RFC 7396) sets what it names, null removes, lists are replaced. A JSON Patch
(RFC 6902) is a list of operations; a `test` that fails changes nothing.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from miren.base.errors import InvalidInput
from miren.cli.connection import (
    ENTITIES,
    add_dry_run,
    add_manager,
    add_names,
    add_options,
    calls_to,
    names_of,
)
from miren.cli.failures import Failures
from miren.cli.output import add_output, name_of, print_documents

__all__ = ["configure", "run"]


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_names(parser)
    parser.add_argument("-p", "--patch", metavar="PATCH", help="the patch, as JSON or YAML")
    parser.add_argument(
        "--patch-file", metavar="FILE", help="a file with the patch, or - for the standard input"
    )
    parser.add_argument(
        "--type",
        choices=("merge", "json"),
        default="merge",
        help="merge: a merge patch (default); json: a list of operations",
    )
    add_dry_run(parser, tells="would change")
    add_manager(parser, default="patch", owns="what is changed")
    add_output(parser)
    add_options(parser, short=False)


def run(options: argparse.Namespace) -> int:
    """Patch each of the entities."""
    patch = _patch(options)
    names = names_of(options.what)
    calls, failures, documents = calls_to(options), Failures(), list[dict[str, Any]]()
    is_dry = options.dry_run == "server"
    for kind, name in names:
        with failures.noted():
            request = {
                "kind": kind,
                "name": name,
                "project": options.project,
                "patch": patch,
                "manager": options.manager,
                "dryRun": is_dry,
            }
            answer = calls.call(f"{ENTITIES}/Patch", request)
            documents.append(answer["entity"])
            if options.output == "text":
                done = "patched" if answer["action"] != "unchanged" else "patched (no change)"
                print(f"{name_of(answer['entity'])} {done}{' (dry run)' if is_dry else ''}")
    if documents and options.output != "text":
        print_documents(documents, options.output, single=len(names) == 1)
    return failures.code


def _patch(options: argparse.Namespace) -> Any:
    """Return the patch that the options hold, of the type that they say."""
    if (options.patch is None) == (options.patch_file is None):
        raise InvalidInput("give the patch with -p or with --patch-file, in one of them")
    text, file = options.patch, "<patch>"
    if text is None:
        file = options.patch_file
        try:
            text = sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8-sig")
        except UnicodeDecodeError as error:
            where = "<stdin>" if file == "-" else file
            raise InvalidInput(f"{where} is not UTF-8: {error.reason}") from error
    patch = _parsed(text, file)
    wanted = (dict, "a mapping") if options.type == "merge" else (list, "a list of operations")
    if not isinstance(patch, wanted[0]):
        other = "json" if options.type == "merge" else "merge"
        hint = f"say --type={other}" if isinstance(patch, dict | list) else None
        raise InvalidInput(f"a patch of the type {options.type} is {wanted[1]}", hint=hint)
    return patch


def _parsed(text: str, file: str) -> Any:
    """Return the data of a text, read as YAML unless it is JSON: reading YAML takes longer."""
    try:
        return json.loads(text)
    except ValueError:
        pass
    from miren.base.yaml import parse

    parsed = parse(text, file)
    if parsed.problems:
        raise InvalidInput(parsed.problems)
    if len(parsed.documents) != 1:
        raise InvalidInput("a patch is one document")
    return parsed.documents[0].value
