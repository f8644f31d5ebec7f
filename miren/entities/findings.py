"""What can be wrong in a store, and how a check reports it: at which key, of which entity."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from miren.entities import keys

__all__ = ["Fault", "Finding", "Report", "named"]


class Fault(StrEnum):
    """What is wrong at one place."""

    UNREADABLE = "unreadable"  # the entity is not what its kind says; only a person can tell
    DUPLICATE = "duplicate"  # two entities have a unique value; only a person can tell
    MISPLACED = "misplaced"  # the document is of another name than its key
    MISSING = "missing key"
    STRAY = "stray key"
    WRONG_UID = "wrong uid"
    NO_SIDECAR = "no sidecar"
    BROKEN_SIDECAR = "broken sidecar"
    SIDECAR_DIFFERS = "sidecar differs"
    STRAY_SIDECAR = "stray sidecar"
    DANGLING_REFERENCE = "dangling reference"  # allowed: its target was deleted
    DANGLING_OWNER = "dangling owner"  # the garbage collector's work

    @property
    def is_warning(self) -> bool:
        """Whether a sound store may hold this."""
        return self in (Fault.DANGLING_REFERENCE, Fault.DANGLING_OWNER)

    @property
    def is_repairable(self) -> bool:
        """Whether it follows from the entities what there should be instead."""
        return not self.is_warning and self not in (
            Fault.UNREADABLE,
            Fault.DUPLICATE,
            Fault.MISPLACED,
        )


@dataclass(frozen=True, slots=True)
class Finding:
    """One fault: at which key, and of the entity at which key (empty: of none that is known)."""

    fault: Fault
    key: str
    entity: str = ""
    told: str = ""

    def __str__(self) -> str:
        whose = f" of {named(self.entity)}" if self.entity and self.entity != self.key else ""
        told = f": {self.told}" if self.told else ""
        return f"{self.fault}{whose}: {self.key}{told}"


@dataclass(frozen=True, slots=True)
class Report:
    """What a check saw at `revision`. `unknown` counts entities of kinds that are not known."""

    revision: int
    entities: int
    keys: int
    unknown: Mapping[str, int]
    findings: tuple[Finding, ...]

    @property
    def problems(self) -> tuple[Finding, ...]:
        """The findings that a sound store has none of."""
        return tuple(each for each in self.findings if not each.fault.is_warning)

    @property
    def is_clean(self) -> bool:
        """Whether nothing is wrong; warnings are allowed."""
        return not self.problems


def named(entity_key: str) -> str:
    """Return how people call the entity at a key: `parcel/box`, `parcel/blue/box`."""
    _, kind = keys.kind_in(entity_key)
    project, name = keys.name_in(entity_key)
    where = f"{project}/" if project not in ("", "default") else ""
    return f"{kind.lower()}/{where}{name}"
