"""What must be true of an entity before it is stored. Pure: old and new in, problems out."""

from __future__ import annotations

from functools import cache
from typing import Any

from miren.base.errors import InvalidInput, Problem, Refused
from miren.entities.attributes import Attribute, attributes, found_at
from miren.entities.bounds import is_key, out_of_bounds
from miren.entities.deleting import FOREGROUND, ORPHAN, UNSET
from miren.entities.entity import Entity
from miren.entities.kinds import Kind, Scope

__all__ = ["admit"]

_MOST_FINALIZERS = 16
#: These come with the deletion itself.
_OURS = (FOREGROUND, ORPHAN, UNSET)


def admit(new: Entity[Any, Any], old: Entity[Any, Any] | None, news: bytes) -> None:
    """Raise InvalidInput with everything wrong with storing `new` over `old`.

    `news` is the stored form of what of `new` differs from `old`.
    """
    problems = list(out_of_bounds(new, old, news))
    if old is None or new.metadata is not old.metadata:
        problems += (*_scope(new), *_finalizers(new, old))
    if old is not None:
        problems += _immutable(new, old)
    if problems:
        raise InvalidInput(problems, entity=str(new))
    if old is not None and old.is_deleting and _gained(new, old):
        raise Refused(f"{old} is being deleted: no finalizer can be added", entity=str(old))


def _scope(new: Entity[Any, Any]) -> list[Problem]:
    at = ("metadata", "project")
    if new.kind.scope is Scope.CLUSTER and new.project:
        return [Problem(f"{new.kind.name} belongs to the cluster and has no project", at)]
    if new.kind.scope is Scope.PROJECT and not new.project:
        return [Problem(f"{new.kind.name} needs a project", at)]
    return []


def _finalizers(new: Entity[Any, Any], old: Entity[Any, Any] | None) -> list[Problem]:
    at = ("metadata", "finalizers")
    found = new.metadata.finalizers
    problems = [
        Problem(f"finalizer {name!r} must be '<domain>/<name>'", at)
        for name in _gained(new, old)
        if "/" not in name or not is_key(name)
    ]
    if len(found) > _MOST_FINALIZERS:
        problems.append(Problem(f"more than {_MOST_FINALIZERS} finalizers", at))
    return problems


def _gained(new: Entity[Any, Any], old: Entity[Any, Any] | None) -> list[str]:
    before = old.metadata.finalizers if old else ()
    return [name for name in new.metadata.finalizers if name not in (*before, *_OURS)]


@cache
def _fixed(kind: Kind) -> tuple[Attribute, ...]:
    """Return the attributes that cannot change once set; a status has none."""
    return tuple(known for known in attributes(kind) if known.options.immutable)


def _immutable(new: Entity[Any, Any], old: Entity[Any, Any]) -> list[Problem]:
    fixed = _fixed(new.kind)
    if not fixed or new.spec is old.spec:
        return []
    before, after = old.to_document(reveal=True), new.to_document(reveal=True)
    shown = old.to_document()
    problems = []
    for attribute in fixed:
        was = list(found_at(before, attribute.path))
        if was and was != list(found_at(after, attribute.path)):
            told = ", ".join(map(str, found_at(shown, attribute.path)))
            problems.append(
                Problem(
                    f"cannot change from {told}: it is immutable",
                    attribute.path,
                    hint="delete the entity and create it anew",
                )
            )
    return problems
