"""An entity as it lies in the store: canonical JSON, and a sidecar beside it.

The sidecar says who manages which fields and which derived keys were really written, so that
these are removed from that list and never guessed again from a changed schema.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import orjson

from miren.entities.entity import Entity
from miren.entities.merging import Managers
from miren.entities.store.api import KeyValue

__all__ = ["Sidecar", "decode", "encode", "stored_document"]

E = TypeVar("E", bound=Entity[Any, Any])


def stored_document(entity: Entity[Any, Any]) -> dict[str, Any]:
    """Return what is stored of an entity, as plain data: all but its revision."""
    document = entity.to_document()
    document["metadata"].pop("resourceVersion", None)
    return document


def encode(document: Mapping[str, Any]) -> bytes:
    """Return the stored form of a document; equal documents give equal bytes."""
    return orjson.dumps(document, option=orjson.OPT_SORT_KEYS)


def decode(kind: type[E], stored: KeyValue) -> E:
    """Return the entity that `encode` stored."""
    return kind.from_stored(orjson.loads(stored.value), revision=stored.mod_revision)


@dataclass(frozen=True, slots=True)
class Sidecar:
    """What is kept about an entity beside it."""

    managers: Managers = field(default_factory=dict)
    derived: frozenset[str] = frozenset()

    @classmethod
    def decode(cls, stored: KeyValue | None) -> Sidecar:
        """Return what `encode` stored; nothing stored is an empty sidecar."""
        if stored is None:
            return cls()
        plain = orjson.loads(stored.value)
        managers = {name: frozenset(owned) for name, owned in plain["managers"].items()}
        return cls(managers, frozenset(plain["derived"]))

    def encode(self) -> bytes:
        """Return the stored form."""
        managers = {name: sorted(owned) for name, owned in self.managers.items() if owned}
        plain = {"managers": managers, "derived": sorted(self.derived)}
        return orjson.dumps(plain, option=orjson.OPT_SORT_KEYS)
