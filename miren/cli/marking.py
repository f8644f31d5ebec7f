"""Labels and annotations, set and taken off: what `miren label` and `miren annotate` share.

A value that is there is not overwritten unless that was asked for. So that this holds whatever
others write meanwhile, the change is a JSON Patch that tests the version it was made from; when
that has moved, it is made again.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from miren.base.errors import Conflict, InvalidInput
from miren.base.pointers import escaped
from miren.cli.connection import ENTITIES, add_dry_run, add_options, calls_to
from miren.cli.failures import Failures
from miren.cli.listing import add_selection, targets_of
from miren.cli.output import name_of
from miren.rpc.calls import Calls

__all__ = ["Marking", "Marks", "configure_marks", "mark", "run_marks"]

_ATTEMPTS = 10


@dataclass(frozen=True, slots=True)
class Marks:
    """Labels or annotations: where they stand, and how what was done to them is told."""

    part: str
    singular: str
    done: str
    removed: str


@dataclass(frozen=True, slots=True)
class Marking:
    """What is to be set and taken off, and whether values that are there may be changed."""

    marks: Marks
    set: Mapping[str, str]
    remove: frozenset[str] = frozenset()
    overwrite: bool = False
    dry_run: bool = False


def configure_marks(parser: argparse.ArgumentParser, marks: Marks) -> None:
    """Declare the options."""
    verb = parser.prog
    parser.usage = "\n       ".join(
        [
            f"{verb} KIND NAME... KEY=VALUE... KEY-... [options]",
            f"{verb} KIND/NAME... KEY=VALUE... KEY-... [options]",
            f"{verb} KIND (--all | -l SELECTOR) KEY=VALUE... KEY-... [options]",
        ]
    )
    parser.add_argument(
        "words",
        nargs="*",
        metavar="KIND NAME KEY=VALUE",
        help=f"KEY=VALUE sets the {marks.singular}, KEY- takes it off",
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="change values that are there already"
    )
    add_selection(parser, everything="all of the kind")
    add_dry_run(parser, tells="would be done")
    add_options(parser)


def run_marks(options: argparse.Namespace, marks: Marks) -> int:
    """Set and take off what the words say; one entity that fails does not stop the others."""
    marking, names = _said(options, marks)
    calls, failures = calls_to(options), Failures()
    targets = targets_of(calls, options, names)
    if not targets:
        print("nothing is selected", file=sys.stderr)
    for target in targets:
        with failures.noted():
            print(mark(calls, target, marking), flush=True)
    return failures.code


def _said(options: argparse.Namespace, marks: Marks) -> tuple[Marking, list[str]]:
    """Return the change that the words ask for, and the words that name entities."""
    names, wanted, gone = list[str](), dict[str, str](), set[str]()
    for word in options.words:
        key, equals, value = word.partition("=")
        if equals and key:
            if wanted.setdefault(key, value) != value:
                raise InvalidInput(f"{key!r} is given two values")
        elif word.endswith("-") and len(word) > 1:
            gone.add(word[:-1])
        else:
            names.append(word)
    if not wanted and not gone:
        hint = "KEY=VALUE sets one, KEY- takes it off"
        raise InvalidInput(f"which {marks.singular}? give at least one", hint=hint)
    both = sorted(gone & wanted.keys())
    if both:
        raise InvalidInput(f"{both[0]!r} cannot be set and taken off at once")
    is_dry = options.dry_run == "server"
    return Marking(marks, wanted, frozenset(gone), options.overwrite, is_dry), names


def mark(calls: Calls, target: Mapping[str, Any], marking: Marking) -> str:
    """Change one entity, and return what is to be said of it.

    Raises Conflict for a value that is there and may not be changed.
    """
    marks = marking.marks
    for attempt in range(_ATTEMPTS):
        entity = calls.call(f"{ENTITIES}/Get", target)["entity"]
        name, there = name_of(entity), entity["metadata"].get(marks.part, {})
        _check(name, there, marking)
        for key in sorted(marking.remove - there.keys()) if attempt == 0 else ():
            print(f"{marks.singular} {key!r} not found", file=sys.stderr)
        operations = _operations(entity, marking)
        if not operations:
            return f"{name} not {marks.done}"
        patch = [_unmoved(entity), *operations]
        asked = {"patch": patch, "manager": marks.singular, "dryRun": marking.dry_run}
        try:
            calls.call(f"{ENTITIES}/Patch", {**target, **asked})
        except Conflict:
            if attempt == _ATTEMPTS - 1:
                raise
            continue
        suffix = " (dry run)" if marking.dry_run else ""
        return f"{name} {marks.done if marking.set else marks.removed}{suffix}"
    raise AssertionError("the last attempt returns or raises")


def _check(name: str, there: Mapping[str, str], marking: Marking) -> None:
    taken = [key for key, value in marking.set.items() if there.get(key, value) != value]
    if taken and not marking.overwrite:
        told = ", ".join(f"{key}={there[key]}" for key in taken)
        raise Conflict(
            f"{name} already has the {marking.marks.singular} {told}",
            hint="change it with --overwrite",
        )


def _unmoved(entity: Mapping[str, Any]) -> dict[str, Any]:
    version = entity["metadata"]["resourceVersion"]
    return {"op": "test", "path": "/metadata/resourceVersion", "value": version}


def _operations(entity: Mapping[str, Any], marking: Marking) -> list[dict[str, Any]]:
    """Return the JSON Patch that makes the change; empty where all of it is so already."""
    there, path = entity["metadata"].get(marking.marks.part), f"/metadata/{marking.marks.part}"
    known = there or {}
    differing = {key: value for key, value in marking.set.items() if known.get(key) != value}
    if there is None:
        return [{"op": "add", "path": path, "value": differing}] if differing else []
    return [
        *(
            {"op": "remove", "path": f"{path}/{escaped(key)}"}
            for key in sorted(marking.remove & there.keys())
        ),
        *(
            {"op": "add", "path": f"{path}/{escaped(key)}", "value": value}
            for key, value in differing.items()
        ),
    ]
