"""An entity as it lies in the store: canonical JSON, and a sidecar beside it.

The sidecar says who manages which fields and which derived keys were really written, so that
these are removed from that list and never guessed again from a changed schema.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import orjson

from miren.entities import keys
from miren.entities.attributes import attributes, values_at
from miren.entities.entity import Entity
from miren.entities.kinds import Kinds
from miren.entities.merging import Managers
from miren.entities.model import Ref
from miren.entities.store.api import KeyValue

__all__ = ["Sidecar", "decode", "derived_keys", "encode", "referenced", "unique_values"]

E = TypeVar("E", bound=Entity[Any, Any])


def encode(entity: Entity[Any, Any]) -> bytes:
    """Return the stored form; equal entities give equal bytes, whatever their revision."""
    document = entity.to_document()
    document["metadata"].pop("resourceVersion", None)
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


def derived_keys(entity: Entity[Any, Any]) -> frozenset[str]:
    """Return every key that is written with the entity: index entries and unique values."""
    kind, document = entity.kind, entity.to_document()
    index = {
        keys.index_key(kind, attribute.dotted, value, entity.project, entity.name)
        for attribute in attributes(kind)
        if attribute.options.indexed
        for value in values_at(document, attribute.path)
    }
    return frozenset(index | unique_values(entity).keys())


def unique_values(entity: Entity[Any, Any]) -> Mapping[str, str]:
    """Return the unique keys an entity holds, each with the words that name the value."""
    kind, document = entity.kind, entity.to_document()
    found: dict[str, str] = {}
    for attribute in attributes(kind):
        scope = attribute.options.unique
        if scope is not None:
            project = entity.project if scope == "project" else ""
            for value in values_at(document, attribute.path):
                key = keys.unique_key(kind, attribute.dotted, project, value)
                found[key] = f"{attribute.dotted} {value!r}"
    return found


def referenced(entity: Entity[Any, Any], kinds: Kinds) -> Mapping[str, str]:
    """Return the entity keys that references name, each with the words for an error.

    A reference to several kinds, or to a kind this client does not know, is not checked.
    """
    document = entity.to_document()
    known = {kind.name: kind for kind in kinds}
    found: dict[str, str] = {}
    for attribute in attributes(entity.kind):
        targets = [known[name] for name in attribute.options.to if name in known]
        if len(targets) != 1 or len(attribute.options.to) != 1:
            continue
        for value in values_at(document, attribute.path):
            ref: Ref[Any] = Ref(value)
            project = "" if targets[0].scope == "cluster" else ref.project or entity.project
            key = keys.entity_key(targets[0], project, ref.name)
            found[key] = f"{attribute.dotted}: no {targets[0].singular} {value!r}"
    return found
