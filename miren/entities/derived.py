"""What is derived from an entity and stored in its transaction: index, unique and other keys.

All of it follows from the entity's document and kind alone, so that it can be computed again and
compared with what is there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from miren.entities import keys
from miren.entities.attributes import attributes, values_at
from miren.entities.kinds import Kind, Kinds, Scope
from miren.entities.references import Pointer, pointers, reference_attributes

__all__ = ["PROJECT", "Derived", "derive", "has_same_keys", "is_project"]

#: Domain and name of the kind of projects.
PROJECT = ("miren.dev", "Project")

_NONE: Mapping[str, Pointer] = {}
_EMPTY: Mapping[str, Any] = {}


@dataclass(frozen=True, slots=True)
class Derived:
    """The keys of one entity, and what unique and reference keys among them stand for."""

    keys: frozenset[str]
    unique: Mapping[str, str]
    pointers: Mapping[str, Pointer]


def derive(kind: Kind, document: Mapping[str, Any], kinds: Kinds) -> Derived:
    """Return everything that is written beside an entity with this stored document."""
    metadata = document["metadata"]
    project, name = metadata.get("project", ""), metadata["name"]
    found: list[str] = []
    unique: dict[str, str] = {}
    for source in _sources(kind):
        for value in values_at(document, source.path):
            if source.indexed:
                found.append(keys.index_key(kind, source.dotted, value, project, name))
            if source.unique is not None:
                where = project if source.unique == "project" else ""
                key = keys.unique_key(kind, source.dotted, where, value)
                unique[key] = f"{source.dotted} {value!r} is taken by another {kind.singular}"
    refers = _NONE
    if reference_attributes(kind):
        refers = {
            _reference_key(pointer, kind, project, name): pointer
            for pointer in pointers(kind, document, project, kinds)
        }
    owners = metadata.get("ownerReferences", ())
    found += (keys.dependent_key(owner["uid"], kind, project, name) for owner in owners)
    if is_project(kind) and "deletionTimestamp" not in metadata:
        found.append(keys.project_key(name))
    return Derived(frozenset((*found, *unique, *refers)), unique, refers)


def has_same_keys(kind: Kind, document: Mapping[str, Any], before: Mapping[str, Any]) -> bool:
    """Return whether nothing that makes keys differs between two documents of one entity."""
    metadata, old = document["metadata"], before["metadata"]
    for name in ("ownerReferences", "deletionTimestamp"):
        if metadata.get(name) != old.get(name):
            return False
    for part, tops in _tops(kind):
        new, known = document.get(part, _EMPTY), before.get(part, _EMPTY)
        if new is not known:
            for top in tops:
                if new.get(top) != known.get(top):
                    return False
    return True


@cache
def _tops(kind: Kind) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Return the attributes of spec and of status in which there is something that makes keys."""
    paths = [each.path for each in _sources(kind)]
    paths += (each.path for each in reference_attributes(kind))
    return tuple(
        (part, tuple(sorted({path[1] for path in paths if path[0] == part})))
        for part in ("spec", "status")
    )


def is_project(kind: Kind) -> bool:
    """Return whether entities of this kind are the projects that others are in."""
    return (kind.domain, kind.name) == PROJECT and kind.scope is Scope.CLUSTER


@dataclass(frozen=True, slots=True)
class _Source:
    """An attribute whose values make keys with the entity."""

    path: tuple[str, ...]
    dotted: str
    indexed: bool
    unique: str | None


@cache
def _sources(kind: Kind) -> tuple[_Source, ...]:
    return tuple(
        _Source(
            attribute.path,
            attribute.dotted,
            attribute.options.indexed,
            attribute.options.unique,
        )
        for attribute in attributes(kind)
        if (attribute.options.indexed or attribute.options.unique)
        and not attribute.options.session
    )


def _reference_key(pointer: Pointer, kind: Kind, project: str, name: str) -> str:
    return keys.reference_key(
        pointer.target,
        (pointer.project, pointer.name),
        rule=pointer.rule,
        referrer=kind,
        attribute=pointer.attribute.dotted,
        by=(project, name),
    )
