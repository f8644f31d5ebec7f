"""What is to be done with an entity, given its owners; and a document without some references.

Pure: nothing here reads or writes.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from miren.entities.attributes import EVERY
from miren.entities.client import Propagation
from miren.entities.deleting import FOREGROUND, ORPHAN
from miren.entities.entity import Entity

__all__ = ["Disown", "Keep", "Remove", "Standing", "Verdict", "judge", "standing_of", "without"]


class Standing(StrEnum):
    """How it is with an owner."""

    LIVING = "living"  # it is there, or nobody can tell
    LEAVING = "leaving"  # it goes as soon as its dependents have gone
    GONE = "gone"


@dataclass(frozen=True, slots=True)
class Keep:
    """Leave it alone."""


@dataclass(frozen=True, slots=True)
class Disown:
    """Take these owners off it, others live."""

    uids: frozenset[str]


@dataclass(frozen=True, slots=True)
class Remove:
    """Delete it: nobody that it was for is left."""

    propagation: Propagation


Verdict = Keep | Disown | Remove


def standing_of(owner: Entity[Any, Any] | None, uid: str) -> Standing:
    """Return how it is with the owner of that uid, where `owner` has its name now."""
    if owner is None or owner.uid != uid:
        return Standing.GONE
    leaves = owner.is_deleting and FOREGROUND in owner.metadata.finalizers
    return Standing.LEAVING if leaves else Standing.LIVING


def judge(entity: Entity[Any, Any], owners: Mapping[str, Standing]) -> Verdict:
    """Return what is to be done with an entity whose owners, by uid, stand like this."""
    lost = frozenset(uid for uid, standing in owners.items() if standing is not Standing.LIVING)
    if not lost:
        return Keep()
    if len(lost) < len(owners):
        return Disown(lost)
    if Standing.LEAVING not in owners.values():
        return Keep() if entity.is_deleting else Remove(Propagation.BACKGROUND)
    begun = entity.is_deleting and not {FOREGROUND, ORPHAN}.isdisjoint(entity.metadata.finalizers)
    return Keep() if begun else Remove(Propagation.FOREGROUND)


def without(document: Any, path: tuple[str, ...], texts: Collection[str]) -> Any:
    """Return a document without these values at a path, as `attributes` writes paths.

    A scalar goes with its name, an element out of its list, a value of a map with its key.
    """
    if isinstance(document, list | tuple):
        kept = [item for item in document if path or item not in texts]
        return [without(item, path, texts) for item in kept]
    if not isinstance(document, Mapping) or not path:
        return document
    step, rest = path[0], path[1:]
    return {
        name: without(value, rest, texts) if step in (EVERY, name) else value
        for name, value in document.items()
        if rest or step not in (EVERY, name) or not isinstance(value, str) or value not in texts
    }
