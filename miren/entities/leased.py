"""Session attributes as they lie in the store, and how an entity gets them back.

A session attribute is a key of its own beside the entity, put with the lease of the session that
holds it: its value, and whose it is. It is no part of the entity's document, so a change of it
moves no resourceVersion and conflicts with nobody. Whatever reads the entity reads these keys too,
at the same revision, and completes it with them. What was said of an earlier entity of that name
does not count: the uid tells.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeVar, cast

import orjson
from pydantic import ValidationError

from miren.entities import keys
from miren.entities.attributes import values_at
from miren.entities.entity import Entity
from miren.entities.kinds import Kind
from miren.entities.model import wire_names
from miren.entities.records import decode
from miren.entities.store.api import Compare, Get, KeyRange, KeyValue, Store
from miren.entities.unstored import bound_attributes, session_attributes
from miren.entities.views import with_views

__all__ = [
    "Held",
    "completed",
    "guards_of",
    "held_at",
    "held_of",
    "index_keys",
    "index_keys_of",
    "read_shown",
    "shown",
    "shown_to_many",
]

E = TypeVar("E", bound=Entity[Any, Any])

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Held:
    """The value of one session attribute, as plain data, and who holds it for how long."""

    attribute: str
    value: object
    uid: str
    holder: str
    ttl: float

    @classmethod
    def decode(cls, stored: KeyValue) -> Held:
        """Return what `encode` stored."""
        plain = orjson.loads(stored.value)
        attribute = keys.session_attribute_in(stored.key)
        return cls(attribute, plain["value"], plain["uid"], plain["holder"], plain["ttl"])

    def encode(self) -> bytes:
        """Return the stored form; the attribute's name is in the key."""
        plain = {"value": self.value, "uid": self.uid, "holder": self.holder, "ttl": self.ttl}
        return orjson.dumps(plain, option=orjson.OPT_SORT_KEYS)


def held_of(uid: str, stored: Iterable[KeyValue]) -> Iterator[Held]:
    """Yield what is held of the entity with this uid, out of the session keys of its name."""
    for item in stored:
        held = Held.decode(item)
        if held.uid == uid:
            yield held


def index_keys(kind: Kind, held: Held, project: str, name: str) -> frozenset[str]:
    """Return the index keys that go with a session attribute's value."""
    document = {"status": {held.attribute: held.value}}
    return frozenset(
        keys.index_key(kind, attribute.dotted, value, project, name)
        for attribute in session_attributes(kind).get(held.attribute, ())
        for value in values_at(document, attribute.path)
    )


def guards_of(entity: Entity[Any, Any], stored: Iterable[KeyValue]) -> list[Compare]:
    """Return what holds while nobody sets or clears what `stored` is all that is held of."""
    known = {item.key: item.mod_revision for item in stored}
    found = []
    for attribute in session_attributes(entity.kind):
        key = keys.session_key(entity.kind, entity.project, entity.name, attribute)
        found.append(Compare.unchanged(key, known.get(key, 0)))
    return found


def index_keys_of(entity: Entity[Any, Any], stored: Iterable[KeyValue]) -> frozenset[str]:
    """Return the index keys that go with what is held."""
    where = (entity.project, entity.name)
    each = (index_keys(entity.kind, held, *where) for held in map(Held.decode, stored))
    return frozenset[str]().union(*each)


def completed(entity: E, stored: Iterable[KeyValue] = ()) -> E:
    """Return an entity as it is shown: with session attributes out of `stored`, and with views.

    A value that does not fit the kind, because its holder knows another version of it, is left
    out as if nobody held it.
    """
    kind = entity.kind
    if not session_attributes(kind) and not bound_attributes(kind):
        return entity
    found = list(held_of(entity.uid, stored))
    # Whoever writes an entity gives it with what was held when it was read.
    changes = _nothing_held(kind)
    for held in found:
        changes.update(_fitting(kind, held))
    if changes:
        entity = entity.with_status(entity.status.model_copy(update=changes))
    # One session holds all of them, and may say so in each.
    return (
        with_views(entity, ttl=found[0].ttl, holder=found[0].holder)
        if found
        else with_views(entity)
    )


def shown(kind: type[E], stored: KeyValue, held: Iterable[KeyValue] = ()) -> E:
    """Return a stored entity as it is shown, with the session attributes of its name."""
    return completed(decode(kind, stored), held)


def shown_to_many(kind: type[E], stored: KeyValue, held: Collection[KeyValue] = ()) -> E:
    """Return what `shown` does; watches that deliver the same change share one entity."""
    found: E = shown(kind, stored, held) if held else _shown_alone(cast("Any", kind), stored)
    return found


@lru_cache(maxsize=256)
def _shown_alone(kind: type[Any], stored: KeyValue) -> Any:
    return shown(kind, stored)


async def read_shown(
    store: Store, kind: type[E], project: str, name: str, *, revision: int = 0
) -> E | None:
    """Return an entity as it is shown, now or at a revision; raise as `Store.get` does."""
    key = keys.entity_key(kind.kind, project, name)
    if not session_attributes(kind.kind):
        stored = await store.get(key, revision=revision)
        return None if stored is None else shown(kind, stored)
    scope = keys.session_range(kind.kind, project, name)
    if revision:
        stored = await store.get(key, revision=revision)
        held = (await store.list(scope, revision=revision)).items
        return None if stored is None else shown(kind, stored, held)
    found, held = (await store.transact((), [Get(KeyRange.key(key)), Get(scope)])).reads
    return shown(kind, found[0], held) if found else None


async def held_at(
    store: Store, kind: Kind, project: str | None, *, name: str | None = None, revision: int = 0
) -> Mapping[tuple[str, str], Sequence[KeyValue]]:
    """Return the session keys of a kind's entities by (project, name), now or at a revision."""
    if not session_attributes(kind):
        return {}
    found: dict[tuple[str, str], list[KeyValue]] = {}
    page = await store.list(keys.session_range(kind, project, name), revision=revision)
    for item in page.items:
        found.setdefault(keys.session_owner_in(item.key), []).append(item)
    return found


def _nothing_held(kind: Kind) -> dict[str, object]:
    held = session_attributes(kind)
    nothing = kind.status()
    names = wire_names(kind.status).items()
    return {name: getattr(nothing, name) for name, wire in names if wire in held}


def _fitting(kind: Kind, held: Held) -> Iterator[tuple[str, object]]:
    if held.attribute not in session_attributes(kind):
        return
    try:
        filled = kind.status.model_validate({held.attribute: held.value})
    except ValidationError as error:
        log.warning("%s: status.%s is left out: %s", kind, held.attribute, error)
        return
    for name, wire in wire_names(kind.status).items():
        if wire == held.attribute:
            yield name, getattr(filled, name)
