"""What a write relies on: each guard is a comparison, and the words for when it does not hold.

All guards of a write go into its one transaction. When any fails, the other branch reads what they
all looked at; each is judged again on that, and those that failed say why. So a refusal names its
reason without a second round trip, and without guessing.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import TypeVar

from miren.base.errors import (
    AlreadyExists,
    Conflict,
    Duplicate,
    MirenError,
    MissingRef,
    Refused,
)
from miren.entities.keys import name_in
from miren.entities.store.api import Compare, Get, KeyValue, Operation

__all__ = [
    "Blocked",
    "Guard",
    "Moved",
    "NoProject",
    "Reason",
    "operations",
    "refusal",
    "repeated",
]

T = TypeVar("T")

_ATTEMPTS = 10


class Reason(IntEnum):
    """Why a write is refused, the first first: later ones may only follow from it."""

    EXISTS = 1
    MOVED = 2
    PROJECT = 3
    UNIQUE = 4
    REFERENCE = 5
    OWNER = 6
    RESTRICTED = 7
    UNSET = 8
    CONTENTS = 9


@dataclass(frozen=True, slots=True)
class Guard:
    """A comparison that must hold; `words` name what it protects, for the error."""

    reason: Reason
    compare: Compare
    words: str = ""

    def holds(self, found: Sequence[KeyValue]) -> bool:
        """Return whether the comparison holds of the keys `found` in its range."""
        target, value = self.compare.target.value, self.compare.value
        each = [getattr(item, target) for item in found] or [0]
        return all((number == value) is not self.compare.negated for number in each)


class Moved(Conflict):
    """The entity is not what the write was made from any more."""

    def __init__(self, entity: str) -> None:
        super().__init__(
            f"{entity} has changed since it was read",
            hint="read it again and repeat the change",
            entity=entity,
        )


class NoProject(MissingRef):
    """The project of a new entity does not exist."""


class Blocked(Conflict):
    """It cannot go yet: others still refer to it by references that are unset first."""


async def repeated(
    once: Callable[[], Awaitable[T]], *, when: tuple[type[MirenError], ...] = (Moved,)
) -> T:
    """Return what `once` returns, which reads and writes, and is refused if it moved in between.

    Then it is done anew, ten times at most; the last refusal is raised.
    """
    for _ in range(_ATTEMPTS - 1):
        try:
            return await once()
        except when:
            continue
    return await once()


def operations(guards: Iterable[Guard]) -> list[Operation]:
    """Return the reads that tell which guard did not hold."""
    return [Get(guard.compare.range) for guard in guards]


def refusal(
    entity: str, guards: Sequence[Guard], reads: Sequence[Sequence[KeyValue]]
) -> MirenError:
    """Return the error for the guards that fail on what `operations` read."""
    failed = [
        (guard, found)
        for guard, found in zip(guards, reads, strict=True)
        if not guard.holds(found)
    ]
    if not failed:
        raise AssertionError("guards and reads are one step: one of them says what failed")
    reason = min(guard.reason for guard, _ in failed)
    words = [guard.words for guard, _ in failed if guard.reason is reason]
    found = [item for guard, items in failed if guard.reason is reason for item in items]
    return _error(reason, entity, "\n".join(words), found)


def _error(reason: Reason, entity: str, words: str, found: Sequence[KeyValue]) -> MirenError:
    match reason:
        case Reason.EXISTS:
            return AlreadyExists(f"{entity} exists already", entity=entity)
        case Reason.MOVED:
            return Moved(entity)
        case Reason.PROJECT:
            hint = "create it first: it is an entity of the kind Project"
            text = f"{words} does not exist, or is being deleted"
            return NoProject(text, hint=hint, entity=entity)
        case Reason.UNIQUE:
            return Duplicate(words, entity=entity)
        case Reason.REFERENCE:
            return MissingRef(words, hint="create it first", entity=entity)
        case Reason.OWNER:
            return MissingRef(words, hint="an owner must exist, with this uid", entity=entity)
        case Reason.UNSET:
            return Blocked(f"{entity} is still referred to", entity=entity)
    told = _told(found)
    if reason is Reason.RESTRICTED:
        hint = "delete these first, or let them refer to something else"
        return Refused(f"{entity} is in use by {told}", hint=hint, entity=entity)
    return Refused(f"{entity} still holds {told}", hint="delete what it holds", entity=entity)


def _told(found: Sequence[KeyValue]) -> str:
    """Return who stands behind keys that end in kind, ..., project and name."""
    names = list(dict.fromkeys(_name_of(item.key) for item in found))
    rest = len(names) - 5
    return ", ".join(names[:5]) + (f" and {rest} more" if rest > 0 else "")


def _name_of(key: str) -> str:
    steps = key.split("/")
    kind = steps[-4] if steps[1] == "r" else steps[-3]
    return f"{kind.lower()}/{name_in(key)[1]}"
