"""Server-side apply as pure functions: who owns which fields, and what a document changes.

A field is a leaf of the document (a scalar or a whole list), named by its JSON pointer
(RFC 6901). A manager owns the leaves it last applied. Applying sets what the document says,
removes what this manager once said and says no more, and leaves everybody else's alone.

An empty map is a field too: it says that a component is there, and any map satisfies it, so it
never stands in the way of what others put inside.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from miren.base.errors import Conflict
from miren.base.pointers import escaped, steps_of

__all__ = [
    "Managers",
    "Merge",
    "changed_leaves",
    "fields",
    "is_same",
    "leaves",
    "merge",
    "merge_patch",
    "take_over",
]

Document = dict[str, Any]
Managers = Mapping[str, frozenset[str]]
Leaves = Mapping[str, object]

_SCALARS = frozenset({str, int, bool, float})
_MAPPING = (dict, Mapping)


@dataclass(frozen=True, slots=True)
class Merge:
    """The document after an apply, and who owns what in it."""

    document: Document
    managers: Managers

    @property
    def held(self) -> frozenset[str]:
        """What somebody owns, and everything around it."""
        return _held(self.managers)


def merge(
    stored: Document,
    managers: Managers,
    wanted: Document,
    *,
    manager: str,
    force: bool,
    shown: Document | None = None,
) -> Merge:
    """Return `stored` with `manager`'s `wanted` merged in.

    `shown` is `stored` with defaults filled in, where that is more: a default that somebody
    applies in so many words is no change. Raises Conflict naming the other manager and the
    field when a field that another manager owns would change, unless `force`, which takes the
    field over.
    """
    mine = _leaves(wanted)
    others = {name: owned for name, owned in managers.items() if name != manager}
    contested = _contested(_leaves(stored if shown is None else shown), others, mine)
    if contested and not force:
        raise Conflict(
            "\n".join(f"{field} is managed by {name!r}" for field, name in contested),
            hint="leave these fields out, or take them over with --force",
        )
    lost = {field for field, _name in contested}
    after = _without_empty({**{n: owned - lost for n, owned in others.items()}, manager: mine})
    kept = frozenset[str]().union(*after.values())
    document = copy.deepcopy(stored)
    held = _held(after)
    for pointer in sorted(managers.get(manager, frozenset()) - kept):
        _remove(document, pointer, held)
    for pointer, value in mine.items():
        _set(document, pointer, value)
    return Merge(_in_order(document, wanted), after)


def take_over(managers: Managers, old: Document, new: Document, *, manager: str) -> Managers:
    """Return the managers after `manager` made `old` into `new` without asking (update, patch).

    What it changed is its own now; what it removed is nobody's.
    """
    before, after = _leaves(old), _leaves(new)
    changed = _differing(before, after)
    set_now = changed & after.keys()
    known = managers.get(manager, frozenset())
    others = (owned for name, owned in managers.items() if name != manager)
    if changed & known == set_now and all(map(changed.isdisjoint, others)):
        return managers  # all of it is this manager's already, and what is gone is nobody's
    rest = {name: owned - changed for name, owned in managers.items()}
    mine = rest.get(manager, frozenset()) | set_now
    return _without_empty({**rest, manager: mine})


def changed_leaves(old: Document, new: Document) -> frozenset[str]:
    """Return the fields that differ."""
    return _differing(_leaves(old), _leaves(new))


def _differing(before: Leaves, after: Leaves) -> frozenset[str]:
    gone = [at for at, value in before.items() if value is not None and at not in after]
    others = [at for at, value in after.items() if not is_same(before.get(at), value)]
    return frozenset((*others, *gone))


def is_same(one: object, other: object) -> bool:
    """Return whether two values are the same in JSON: Python takes `true` for 1, JSON does not."""
    if one is other:
        return True
    if one != other or isinstance(one, bool) is not isinstance(other, bool):
        return False
    if one is None or isinstance(one, str | int | float):
        return True
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return all(is_same(value, other[name]) for name, value in one.items())
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return all(map(is_same, one, other))
    return True


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
        return iter(_leaves(document, pointer).items())
    return iter([(pointer, document)] if pointer else ())


def fields(document: Mapping[str, object]) -> frozenset[str]:
    """Return the JSON pointers of every field of a document."""
    return frozenset(_leaves(document))


def _leaves(document: Mapping[str, object], pointer: str = "") -> dict[str, object]:
    found: dict[str, object] = {}
    _collect(document, pointer, found)
    return found


def _collect(document: Mapping[str, object], pointer: str, found: dict[str, object]) -> None:
    for key, value in document.items():
        step = escaped(key) if "~" in key or "/" in key else key
        # Most values are scalars: asking whether one is a mapping is slow for what is none.
        if value and type(value) not in _SCALARS and isinstance(value, _MAPPING):
            _collect(value, f"{pointer}/{step}", found)
        else:
            found[f"{pointer}/{step}"] = value


def _without_empty(managers: Mapping[str, Iterable[str]]) -> Managers:
    """Return only managers that own something: the others are not stored either."""
    return {name: frozenset(owned) for name, owned in managers.items() if owned}


def _contested(current: Leaves, others: Managers, mine: Leaves) -> list[tuple[str, str]]:
    """Return (field, manager) of what others own and setting `mine` would change or wipe."""
    return [
        (field, name)
        for name, owned in others.items()
        for field in sorted(set(_clashes(current, owned, mine)))
    ]


def _clashes(current: Leaves, owned: frozenset[str], mine: Leaves) -> Iterator[str]:
    for pointer in mine:
        if pointer in owned and _changes(current, mine, pointer):
            yield pointer
        # A scalar or list of theirs where mine needs a map.
        yield from (a for a in _above(pointer) if a in owned and not _is_map(current, a))
    # Fields of theirs inside what mine makes a scalar or a list.
    for pointer in owned & current.keys():
        if any(mine.get(above, {}) != {} for above in _above(pointer)):
            yield pointer


def _changes(current: Leaves, mine: Leaves, pointer: str) -> bool:
    if mine[pointer] == {} and _is_map(current, pointer):
        return False
    return pointer not in current or not is_same(current[pointer], mine[pointer])


def _is_map(current: Leaves, pointer: str) -> bool:
    """Return whether there is a map, or nothing: what is no leaf, or an empty map."""
    return current.get(pointer, {}) == {}


def _held(managers: Managers) -> frozenset[str]:
    owned = frozenset[str]().union(*managers.values())
    return owned.union(*map(_above, owned))


def _above(pointer: str) -> Iterator[str]:
    """Yield the pointers of what holds the field, outermost first."""
    at = pointer.find("/", 1)
    while at > 0:
        yield pointer[:at]
        at = pointer.find("/", at + 1)


def _set(document: Document, pointer: str, value: object) -> None:
    *parents, last = steps_of(pointer)
    for step in parents:
        inner = document.get(step)
        if not isinstance(inner, dict):
            inner = document[step] = {}
        document = inner
    if value == {} and isinstance(document.get(last), dict):
        return  # "some map" is satisfied by any map: it must not wipe what others put in
    document[last] = copy.deepcopy(value)


def _remove(document: Document, pointer: str, held: frozenset[str]) -> None:
    *parents, last = steps_of(pointer)
    trail = [document]
    for step in parents:
        inner = trail[-1].get(step)
        if not isinstance(inner, dict):
            return
        trail.append(inner)
    here = trail[-1].get(last)
    if isinstance(here, dict) and here:
        return  # others have put something into what was an empty map
    trail[-1].pop(last, None)
    # A component of which nothing is left goes too, unless somebody owns it or a default in it;
    # spec and metadata themselves stay.
    for depth, above in reversed(list(enumerate(_above(pointer), start=1))):
        if depth > 1 and not trail[depth] and above not in held:
            trail[depth - 1].pop(parents[depth - 1], None)


def _in_order(document: Any, wanted: object) -> Any:
    """Return the maps that `wanted` lists completely in its order: order shows in keyed lists."""
    if not isinstance(document, dict) or not isinstance(wanted, Mapping):
        return document
    order = wanted if wanted.keys() == document.keys() else document
    return {name: _in_order(document[name], wanted.get(name)) for name in order}
