"""Entities that are selected rather than named: the options for it, and lists of any length.

A long list is read in chunks that all show one revision, so that no answer is too large, and is
whole for whoever asked.
"""

from __future__ import annotations

import argparse
from typing import Any

from miren.base.errors import Compacted, InvalidInput
from miren.cli.connection import ENTITIES, kinds_of, names_of
from miren.rpc.calls import Calls

__all__ = ["CHUNK", "add_selection", "list_all", "selection_of", "targets_of"]

#: Entities in one answer, as kubectl has it.
CHUNK = 500


def add_selection(parser: argparse.ArgumentParser, *, everything: str | None = None) -> None:
    """Add the options `selection_of` reads; `everything` says what --all does, where there is one.

    -A is there for commands without --all by themselves, and beside it otherwise.
    """
    parser.add_argument(
        "-l",
        "--selector",
        default="",
        metavar="SELECTOR",
        help="only with these labels, such as app=web,tier in (front,back),!old",
    )
    parser.add_argument(
        "--field-selector",
        default="",
        metavar="PATH=VALUE,...",
        help="only with these values, such as spec.node=n1 (indexed attributes)",
    )
    parser.add_argument("-A", "--all-projects", action="store_true", help="of every project")
    if everything is not None:
        parser.add_argument("--all", action="store_true", help=everything)


def selection_of(options: argparse.Namespace) -> dict[str, Any]:
    """Return what the options select, as requests say it."""
    return {
        "project": options.project,
        "allProjects": options.all_projects,
        "selector": options.selector,
        "fields": _fields(options.field_selector),
    }


def list_all(calls: Calls, request: dict[str, Any], *, chunk: int = CHUNK) -> dict[str, Any]:
    """Return the answer to a List with everything in it, read `chunk` by `chunk` (0: in one)."""
    whole: dict[str, Any] = {}
    token = ""
    while True:
        try:
            asked = {**request, "limit": chunk, "token": token}
            answer = calls.call(f"{ENTITIES}/List", asked)
        except Compacted:
            # Too slow: the revision it began at is gone. In one answer it cannot be.
            if not token:
                raise
            return list_all(calls, request, chunk=0)
        for part in ("items", "rows", "managers"):
            if part in answer:
                answer[part] = [*whole.get(part, ()), *answer[part]]
        whole, token = answer, answer["token"]
        if not token:
            return whole


def targets_of(
    calls: Calls, options: argparse.Namespace, words: list[str]
) -> list[dict[str, Any]]:
    """Return kind, name and project of what a command is about: named, selected, or all.

    Raises InvalidInput when it is said both ways, or in neither.
    """
    if not (options.all or options.selector or options.field_selector):
        if options.all_projects:
            raise InvalidInput(
                "-A needs --all or a selector", hint="entities are named one by one"
            )
        return [
            {"kind": kind, "name": name, "project": options.project}
            for kind, name in names_of(words)
        ]
    if len(words) != 1 or "/" in words[0]:
        raise InvalidInput(
            "give a kind and no names with --all or a selector",
            hint="`KIND -l app=web`, `KIND --all` or `KIND NAME...`",
        )
    if options.all and (options.selector or options.field_selector):
        raise InvalidInput("--all and a selector exclude each other: give one of them")
    return [
        {
            "kind": kind,
            "name": item["metadata"]["name"],
            "project": item["metadata"].get("project", ""),
        }
        for kind in kinds_of(words[0])
        for item in list_all(calls, {"kind": kind, **selection_of(options)})["items"]
    ]


def _fields(text: str) -> dict[str, str]:
    """Return what a selector `a=b,c=d` of fields asks for; `==` is the same as `=`."""
    wanted: dict[str, str] = {}
    for part in filter(None, text.split(",")):
        key, equals, value = part.partition("=")
        if not key or not equals or key.endswith("!"):
            raise InvalidInput(f"a field selector is path=value[,path=value], not {text!r}")
        wanted[key] = value.removeprefix("=")
    return wanted
