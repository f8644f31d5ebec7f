"""A store in which every entity lies in the stored version of its kind, as far as readers see.

An entity that was written in an older version is converted as it is read, and what lies beside it
too. So nobody above knows older versions; a write stores what it was made from, which is how
entities are upgraded. What lies there already in the right version is passed on as it is.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import orjson

from miren.entities import keys
from miren.entities.conversions import Converter
from miren.entities.keyring import Keyring
from miren.entities.kinds import Kind, Kinds
from miren.entities.merging import Managers
from miren.entities.sealing import convert_sealed
from miren.entities.store.api import (
    Bookmark,
    Compare,
    KeyRange,
    KeyValue,
    Operation,
    Page,
    Revision,
    Store,
    StoreEvent,
    TransactionResult,
)
from miren.entities.store.forwarding import ForwardingStore

__all__ = ["VersionedStore", "converted_managers"]


def converted_managers(converter: Converter, managers: Managers) -> Managers:
    """Return who manages which fields in the other version."""
    moved = {
        name: frozenset(filter(None, map(converter.convert_pointer, owned)))
        for name, owned in managers.items()
    }
    return {name: owned for name, owned in moved.items() if owned}


class VersionedStore(ForwardingStore):
    """See `Store`. Reading raises InvalidInput for an entity in a version that nobody knows."""

    def __init__(self, inner: Store, kinds: Kinds, keyring: Keyring | None = None) -> None:
        super().__init__(inner)
        self._kinds = kinds
        self._keyring = keyring

    @classmethod
    def over(cls, store: Store, kinds: Kinds, keyring: Keyring | None = None) -> VersionedStore:
        """Return the store with these kinds in their stored versions."""
        return store if isinstance(store, cls) else cls(store, kinds, keyring)

    async def get(self, key: str, *, revision: int = 0) -> KeyValue | None:
        """Return a key's value; see `Store.get`."""
        found = await self.inner.get(key, revision=revision)
        return None if found is None else self._current(found)

    async def list(
        self,
        range: KeyRange,
        *,
        revision: int = 0,
        limit: int = 0,
        after: str | None = None,
        keys_only: bool = False,
    ) -> Page:
        """Return keys in order; see `Store.list`."""
        page = await self.inner.list(
            range, revision=revision, limit=limit, after=after, keys_only=keys_only
        )
        if keys_only or not self._kinds.has_versions:
            return page
        return replace(page, items=tuple(map(self._current, page.items)))

    async def transact(
        self,
        compares: Sequence[Compare],
        then: Sequence[Operation],
        otherwise: Sequence[Operation] = (),
    ) -> TransactionResult:
        """Run a transaction; see `Store.transact`."""
        result = await self.inner.transact(compares, then, otherwise)
        if not self._kinds.has_versions:
            return result
        reads = tuple(tuple(map(self._current, found)) for found in result.reads)
        return replace(result, reads=reads)

    @asynccontextmanager
    async def watch(
        self, range: KeyRange, *, after: int
    ) -> AsyncIterator[AsyncIterator[Revision | Bookmark]]:
        """Deliver revisions; see `Store.watch`."""
        async with self.inner.watch(range, after=after) as changes:
            yield self._current_changes(changes) if self._kinds.has_versions else changes

    async def _current_changes(
        self, changes: AsyncIterator[Revision | Bookmark]
    ) -> AsyncIterator[Revision | Bookmark]:
        async for change in changes:
            if isinstance(change, Revision):
                yield replace(change, events=tuple(map(self._current_event, change.events)))
            else:
                yield change

    def _current_event(self, event: StoreEvent) -> StoreEvent:
        current = None if event.current is None else self._current(event.current)
        previous = None if event.previous is None else self._current(event.previous)
        return replace(event, current=current, previous=previous)

    def _current(self, found: KeyValue) -> KeyValue:
        """Return what was found, in the stored version of its kind."""
        place = found.key[:3]
        if not self._kinds.has_versions or place not in ("/e/", "/x/"):
            return found
        kind = self._kinds.named(*keys.kind_in(found.key))
        if kind is None:
            return found
        if place == "/e/":
            value = _upgraded_entity(found.value, kind, self._kinds, self._keyring)
        else:
            value = _upgraded_sidecar(found.value, kind, self._kinds)
        return found if value is found.value else replace(found, value=value)


def _upgraded_entity(value: bytes, kind: Kind, kinds: Kinds, keyring: Keyring | None) -> bytes:
    # Stored documents are JSON with sorted keys, of which this one is the first.
    if value.startswith(b'{"apiVersion":"%b"' % kind.api_version.encode()):
        return value
    document = orjson.loads(value)
    written = kinds.of_version(kind, document["apiVersion"])
    convert = kinds.conversion(written, kind).convert
    document = convert_sealed(document, written, kind, convert, keyring)
    return _json({**document, "apiVersion": kind.api_version})


def _upgraded_sidecar(value: bytes, kind: Kind, kinds: Kinds) -> bytes:
    """Return a sidecar with converted managers. It still says the version it was written in."""
    plain: dict[str, Any] = orjson.loads(value)
    version = plain.get("version", kind.version)
    if version == kind.version:
        return value
    converter = kinds.conversion(kinds.of_version(kind, version), kind)
    owned = {name: frozenset(fields) for name, fields in plain["managers"].items()}
    managers = converted_managers(converter, owned)
    return _json({**plain, "managers": {name: sorted(each) for name, each in managers.items()}})


def _json(value: object) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
