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
from miren.entities.keyring import Keyring
from miren.entities.merging import Managers
from miren.entities.secret_entities import sealed
from miren.entities.secret_places import has_secrets, mask_document
from miren.entities.store.api import KeyValue
from miren.entities.unstored import without_unstored

__all__ = ["Sidecar", "decode", "encode", "stored_document"]

E = TypeVar("E", bound=Entity[Any, Any])


def stored_document(
    entity: Entity[Any, Any], keyring: Keyring | None = None, old: bytes | None = None
) -> dict[str, Any]:
    """Return what is stored of an entity over `old`, as plain data: all but its revision."""
    document = sealed(entity, keyring, old)
    document["metadata"].pop("resourceVersion", None)
    without_unstored(entity.kind, document)
    return document


def encode(document: Mapping[str, Any]) -> bytes:
    """Return the stored form of a document; equal documents give equal bytes."""
    return orjson.dumps(document, option=orjson.OPT_SORT_KEYS)


def decode(kind: type[E], stored: KeyValue) -> E:
    """Return the entity that `encode` stored, its secrets masked."""
    document = orjson.loads(stored.value)
    if has_secrets(kind.kind):
        document = mask_document(kind.kind, document)
    return kind.from_stored(document, revision=stored.mod_revision)


@dataclass(frozen=True, slots=True)
class Sidecar:
    """What is kept about an entity beside it."""

    managers: Managers = field(default_factory=dict)
    derived: frozenset[str] = frozenset()
    version: str = ""  # of the kind, when this was written

    @classmethod
    def decode(cls, stored: KeyValue | None) -> Sidecar:
        """Return what `encode` stored; nothing stored is an empty sidecar."""
        if stored is None:
            return cls()
        plain = orjson.loads(stored.value)
        managers = {name: frozenset(owned) for name, owned in plain["managers"].items()}
        return cls(managers, frozenset(plain["derived"]), plain.get("version", ""))

    def encode(self) -> bytes:
        """Return the stored form."""
        managers = {name: sorted(owned) for name, owned in self.managers.items() if owned}
        derived = sorted(self.derived)
        plain = {"managers": managers, "derived": derived, "version": self.version}
        return orjson.dumps(plain, option=orjson.OPT_SORT_KEYS)
