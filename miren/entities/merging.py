"""Server-side apply as pure functions: who owns which fields, and what a document changes.

A field is a leaf of the document (a scalar or a whole list), named by its JSON pointer
(RFC 6901). A manager owns the leaves it last applied. Applying sets what the document says,
removes what this manager once said and says no more, and leaves everybody else's alone.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from miren.base.errors import Conflict

__all__ = ["Managers", "Merge", "changed_leaves", "leaves", "merge", "merge_patch", "take_over"]

Document = dict[str, Any]
Managers = Mapping[str, frozenset[str]]


@dataclass(frozen=True, slots=True)
class Merge:
    """The document after an apply, and who owns what in it."""

    document: Document
    managers: Managers


def merge(
    stored: Document, managers: Managers, wanted: Document, *, manager: str, force: bool
) -> Merge:
    """Return `stored` with `manager`'s `wanted` merged in.

    Raises Conflict naming the other manager and the field when a field that another manager
    owns would change, unless `force`, which takes the field over.
    """
    mine = dict(leaves(wanted))
    others = {name: owned for name, owned in managers.items() if name != manager}
    contested = _contested(stored, others, mine)
    if contested and not force:
        raise Conflict(
            "\n".join(f"{field} is managed by {name!r}" for field, name in contested),
            hint="leave these fields out, or take them over with --force",
        )
    lost = {field for field, _name in contested}
    others = {name: owned - lost for name, owned in others.items()}
    kept = frozenset[str]().union(*others.values())
    document = copy.deepcopy(stored)
    for pointer in managers.get(manager, frozenset()) - mine.keys() - kept:
        _remove(document, pointer)
    for pointer, value in mine.items():
        _set(document, pointer, value)
    return Merge(document, {**others, manager: frozenset(mine)})


def take_over(managers: Managers, changed: Iterable[str], *, manager: str) -> Managers:
    """Return the managers after `manager` changed these fields without asking (update, patch)."""
    moved = frozenset(changed)
    if not moved:
        return managers
    rest = {name: owned - moved for name, owned in managers.items()}
    return {**rest, manager: rest.get(manager, frozenset()) | moved}


def changed_leaves(old: Document, new: Document) -> frozenset[str]:
    """Return the fields that differ."""
    before, after = dict(leaves(old)), dict(leaves(new))
    return frozenset(
        pointer
        for pointer in before.keys() | after.keys()
        if before.get(pointer) != after.get(pointer)
    )


def merge_patch(document: object, patch: object) -> Any:
    """Return `document` changed by a JSON merge patch (RFC 7396): null removes."""
    if not isinstance(patch, Mapping):
        return patch
    result = dict(document) if isinstance(document, Mapping) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merge_patch(result.get(key), value)
    return result


def leaves(document: object, pointer: str = "") -> Iterator[tuple[str, object]]:
    """Yield (JSON pointer, value) of every field; an empty map is a field of its own."""
    if isinstance(document, Mapping) and document:
        for key, value in document.items():
            yield from leaves(value, f"{pointer}/{key.replace('~', '~0').replace('/', '~1')}")
    elif pointer:
        yield pointer, document


def _contested(
    stored: Document, others: Managers, mine: Mapping[str, object]
) -> list[tuple[str, str]]:
    current = dict(leaves(stored))
    return [
        (pointer, name)
        for pointer, value in mine.items()
        for name, owned in others.items()
        if pointer in owned and current.get(pointer) != value
    ]


def _steps(pointer: str) -> list[str]:
    return [step.replace("~1", "/").replace("~0", "~") for step in pointer.split("/")[1:]]


def _set(document: Document, pointer: str, value: object) -> None:
    *parents, last = _steps(pointer)
    for step in parents:
        inner = document.get(step)
        if not isinstance(inner, dict):
            inner = document[step] = {}
        document = inner
    if value == {} and isinstance(document.get(last), dict):
        return  # "some map" is satisfied by any map: it must not wipe what others put in
    document[last] = value


def _remove(document: Document, pointer: str) -> None:
    *parents, last = _steps(pointer)
    trail = [document]
    for step in parents:
        inner = trail[-1].get(step)
        if not isinstance(inner, dict):
            return
        trail.append(inner)
    trail[-1].pop(last, None)
    # A component of which nothing is left goes too, but never spec or metadata themselves.
    for depth in range(len(parents), 1, -1):
        if not trail[depth]:
            trail[depth - 1].pop(parents[depth - 1], None)
