"""Watches of kinds with session attributes, which are not in the entities' own range.

A store watches one range, and two watches would not tell in which order their changes came. So
this watches all that lies between the entities and their session attributes, drops what is
neither, and keeps the session attributes as they were at the revision it is at. An entity whose
session attributes alone changed is read at that revision; nothing else is read.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import Any, Generic, TypeVar

from miren.entities import keys
from miren.entities.client import Bookmark, Event
from miren.entities.entity import Entity
from miren.entities.leased import shown_to_many
from miren.entities.selecting import Selector, meaning
from miren.entities.store.api import Bookmark as StoreBookmark
from miren.entities.store.api import KeyRange, KeyValue, Revision, Store, StoreEvent

__all__ = ["SessionWatch"]

E = TypeVar("E", bound=Entity[Any, Any])

# Most revisions are of other kinds: after so many of them the reader is told how far this is.
_BOOKMARK_EVERY = 50

_Who = tuple[str, str]


class SessionWatch(Generic[E]):
    """The changes of one selection, from the store's changes in `scope` later than `after`."""

    def __init__(self, store: Store, selector: Selector[E], *, after: int) -> None:
        kind, project = selector.kind.kind, selector.selection.project
        self._store = store
        self._selector = selector
        self._after = after
        self._entities = keys.entity_range(kind, project)
        self._sessions = keys.session_range(kind, project)
        self._held: dict[_Who, dict[str, KeyValue]] = {}
        self.scope = KeyRange(self._entities.start, self._sessions.end)

    async def events(
        self, changes: AsyncIterator[Revision | StoreBookmark]
    ) -> AsyncIterator[Event[E]]:
        """Yield what the changes mean; raise Compacted as `Client.watch` does."""
        if self._after > 0:
            page = await self._store.list(self._sessions, revision=self._after)
            for item in page.items:
                self._held.setdefault(keys.session_owner_in(item.key), {})[item.key] = item
        told = self._after
        async for change in changes:
            if isinstance(change, StoreBookmark):
                told = change.revision
                yield Bookmark(told)
                continue
            mine = [event for event in change.events if self._is_mine(event.key)]
            found = [event async for event in self._meanings(mine, change.revision)]
            for event in found:
                yield event
            if not found and (mine or change.revision - told >= _BOOKMARK_EVERY):
                yield Bookmark(change.revision)
                told = change.revision
            elif found:
                told = change.revision

    def _is_mine(self, key: str) -> bool:
        return key in self._entities or key in self._sessions

    async def _meanings(
        self, events: Sequence[StoreEvent], revision: int
    ) -> AsyncIterator[Event[E]]:
        """Yield what one revision means, one event an entity."""
        entities = {keys.name_in(e.key): e for e in events if e.key in self._entities}
        sessions = [event for event in events if event.key in self._sessions]
        whose = {keys.session_owner_in(event.key) for event in sessions}
        for who in sorted(entities.keys() | whose):
            held: Mapping[str, KeyValue] = self._held.get(who, {})
            old, new = await self._versions(who, entities.get(who), revision)
            was = None if old is None else shown_to_many(self._selector.kind, old, held.values())
            held = self._apply(who, sessions)
            now = None if new is None else shown_to_many(self._selector.kind, new, held.values())
            if who not in entities and was == now:
                continue  # another lease, or what was held of an entity that is gone
            meant = meaning(was, now, revision, self._selector)
            if meant is not None:
                yield meant

    async def _versions(
        self, who: _Who, event: StoreEvent | None, revision: int
    ) -> tuple[KeyValue | None, KeyValue | None]:
        """Return the stored entity before and after a revision."""
        if event is not None:
            return event.previous, event.current
        key = keys.entity_key(self._selector.kind.kind, *who)
        same = await self._store.get(key, revision=revision)
        return same, same

    def _apply(self, who: _Who, events: Iterable[StoreEvent]) -> Mapping[str, KeyValue]:
        """Return what is held of an entity after some of these changes, now that they are made."""
        held = self._held.setdefault(who, {})
        for event in events:
            if keys.session_owner_in(event.key) != who:
                continue
            if event.current is None:
                held.pop(event.key, None)
            else:
                held[event.key] = event.current
        if not held:
            del self._held[who]
        return held
