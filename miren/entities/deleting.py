"""What a deletion begins with: who holds the entity back, and what is refused. Pure."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, TypeVar

from miren.base.errors import Conflict, Refused
from miren.entities.client import Propagation
from miren.entities.derived import is_project
from miren.entities.entity import Entity

__all__ = ["FOREGROUND", "ORPHAN", "UNSET", "begun", "check_preconditions", "held_by"]

E = TypeVar("E", bound=Entity[Any, Any])

#: The garbage collector takes these off: when the dependents have gone, when they have lost the
#: reference to their owner, when nobody refers to it any more by a reference that is unset.
FOREGROUND = "miren.dev/foreground"
ORPHAN = "miren.dev/orphan"
UNSET = "miren.dev/unset"

_OF: dict[Propagation, str] = {
    Propagation.FOREGROUND: FOREGROUND,
    Propagation.ORPHAN: ORPHAN,
}


def check_preconditions(
    entity: Entity[Any, Any], *, uid: str | None, revision: int | None
) -> None:
    """Raise Conflict unless this is the very entity, and the state of it, that was meant."""
    if uid is not None and entity.uid != uid:
        raise Conflict(f"{entity} is another one than {uid}", entity=str(entity))
    if revision is not None and entity.revision != revision:
        raise Conflict(
            f"{entity} is at revision {entity.revision}, not {revision}",
            hint="look at it again",
            entity=str(entity),
        )


def begun(
    entity: E, *, propagation: Propagation, has_dependents: bool, now: Callable[[], datetime]
) -> E:
    """Return the entity with its deletion begun, or as it is where that was before.

    Foreground and orphan hold it back only where there are dependents. Asking again can still
    change a background deletion into one of these, as long as something else holds the entity.
    """
    if is_project(entity.kind) and entity.name == "default":
        raise Refused("project 'default' cannot be deleted", hint="delete what it holds")
    finalizer = _OF.get(propagation) if has_dependents else None
    held = held_by(entity, finalizer) if finalizer else entity
    return held if held.is_deleting else held.with_metadata(deletion_timestamp=now())


def held_by(entity: E, finalizer: str) -> E:
    """Return the entity with a finalizer of our own, once."""
    known = entity.metadata.finalizers
    return entity if finalizer in known else entity.with_metadata(finalizers=(*known, finalizer))
