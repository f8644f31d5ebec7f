"""Change entities in an editor ($MIREN_EDITOR, $VISUAL or $EDITOR; else vi).

miren edit disk data
miren edit app/web route/web

What cannot be stored comes back into the editor with the reasons as comments at the top, and
nothing of what was written is lost; closing it unchanged then gives up. Only the parts that were
edited are written (spec, labels, annotations, finalizers, owners). When somebody else changed one
of these meanwhile, their changes are shown, and saving again writes over them.
"""

from __future__ import annotations

import argparse
from typing import Any

from miren.base.errors import Conflict, InvalidInput, MirenError, Position, Problem, Refused
from miren.base.yaml_text import dump
from miren.cli.connection import ENTITIES, add_names, add_options, calls_to, names_of
from miren.cli.diff import difference
from miren.cli.editing import Draft, draft, place_problems
from miren.cli.failures import Failures
from miren.cli.kinds import known_kinds
from miren.cli.output import name_of, writable
from miren.entities.documents import Document, read_documents
from miren.rpc.calls import Calls

__all__ = ["configure", "run"]

_ATTEMPTS = 10  # at an entity whose status changes all the time
_MAPS = ("labels", "annotations")
_WRITABLE = (*_MAPS, "finalizers", "ownerReferences")

Entity = dict[str, Any]


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_names(parser)
    add_options(parser)


def run(options: argparse.Namespace) -> int:
    """Edit one entity after the other."""
    calls, failures = calls_to(options), Failures()
    for kind, name in names_of(options.what):
        with failures.noted():
            who = {"kind": kind, "name": name, "project": options.project}
            opened = calls.call(f"{ENTITIES}/Get", who)["entity"]
            who["project"] = opened["metadata"].get("project", "")
            with draft(dump(writable(opened)), f"{opened['kind'].lower()}-{name}") as work:
                done = _edit(calls, who, opened, work)
            print(f"{name_of(opened)} {'edited' if done else 'not edited: nothing was changed'}")
    return failures.code


def _edit(calls: Calls, who: dict[str, str], opened: Entity, work: Draft) -> bool:
    """Let a person edit until it is stored (return True) or they leave it (return False)."""
    comments: list[str] = []
    newest = opened
    while True:
        came_back = work.edit(comments)
        if not work.is_changed:
            return False
        if not came_back:
            told = [f"{name_of(opened)} was not edited, it was closed with its errors:", *comments]
            raise MirenError("\n  ".join(told))
        try:
            document = _read(work.text, opened)
            newest, theirs = _store(calls, who, (opened, newest), document)
        except InvalidInput as error:
            comments = place_problems(error)
        except (Refused, Conflict) as error:
            comments = [*error.message.splitlines(), *_help(error)]
        else:
            if not theirs:
                return True
            comments = ["It was changed by somebody else meanwhile:", *theirs]
            comments += ["Take over what you want to keep: saving a change writes over these."]


def _help(error: MirenError) -> list[str]:
    return [f"  help: {error.hint}"] if error.hint else []


def _read(text: str, opened: Entity) -> Document:
    """Return the one entity of a text; raise InvalidInput unless it is the one that was opened."""
    documents = read_documents([("edited", text)], known_kinds())
    if len(documents) != 1:
        raise InvalidInput("leave one entity here, and no other")
    document = documents[0]
    head = opened["metadata"]
    same = (
        (("kind",), document.kind.name, opened["kind"]),
        (("metadata", "name"), document.name, head["name"]),
        (("metadata", "project"), document.project or head.get("project"), head.get("project")),
    )
    problems = [
        Problem(f"cannot change from {before}", path, _place(document, path))
        for path, now, before in same
        if now != before
    ]
    if problems:
        raise InvalidInput(problems)
    return document


def _place(document: Document, path: tuple[str, ...]) -> Position:
    return document.source.position(path)


def _store(
    calls: Calls, who: dict[str, str], known: tuple[Entity, Entity], document: Document
) -> tuple[Entity, list[str]]:
    """Write what the document changes in what was opened over what was last seen (`known`).

    Returns the newest entity, and the lines that tell what others changed in the same parts of it
    where that kept the document from being stored.
    """
    opened, seen = known
    wanted, before = _parts(document.document), _parts(opened)
    mine = {part: value for part, value in wanted.items() if value != before[part]}
    for _ in range(_ATTEMPTS):
        head = {**seen["metadata"], **{part: mine[part] for part in mine if part != "spec"}}
        entity = {**seen, "metadata": head, "spec": mine.get("spec", seen["spec"])}
        try:
            asked = {"entity": entity, "manager": "edit"}
            return calls.call(f"{ENTITIES}/Update", asked)["entity"], []
        except InvalidInput as error:
            raise document.locate(error) from None
        except Conflict:
            newest = calls.call(f"{ENTITIES}/Get", who)["entity"]
            if newest["metadata"]["resourceVersion"] == seen["metadata"]["resourceVersion"]:
                raise  # it has not moved: it is in conflict with something else
            ours, theirs = _parts(seen), _parts(newest)
            if any(theirs[part] != ours[part] for part in mine):
                titles = ("as you opened it", "as it is now")
                return newest, list(difference(seen, newest, titles=titles))
            seen = newest
    raise MirenError(f"{name_of(opened)} changes too often to be edited")


def _parts(entity: Entity) -> dict[str, Any]:
    """Return what people write of an entity, part by part."""
    head = entity["metadata"]
    empty: dict[str, Any] = {part: {} if part in _MAPS else [] for part in _WRITABLE}
    return {"spec": entity["spec"], **{part: head.get(part, empty[part]) for part in _WRITABLE}}
