"""Selections of entities: which range to read, what matches, what a change means to a watcher."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Generic, TypeVar

from miren.base.errors import InvalidInput
from miren.entities import keys
from miren.entities.attributes import attributes, values_at
from miren.entities.client import Added, Bookmark, Deleted, Event, Left, Modified, Selection
from miren.entities.entity import Entity
from miren.entities.reading import closest
from miren.entities.records import decode
from miren.entities.store.api import Bookmark as StoreBookmark
from miren.entities.store.api import KeyRange, Revision, StoreEvent

__all__ = ["Selector", "events_of"]

E = TypeVar("E", bound=Entity[Any, Any])


class Selector(Generic[E]):
    """A selection of one kind, checked: only indexed attributes can be selected on."""

    def __init__(self, kind: type[E], selection: Selection) -> None:
        self.kind = kind
        self.selection = selection
        self._fields = tuple(
            (self._indexed(path), value) for path, value in selection.fields.items()
        )

    @property
    def by_index(self) -> bool:
        """Whether the range read is an index, whose entries only name entities."""
        return bool(self._fields)

    def range(self) -> KeyRange:
        """Return the smallest range that holds all that can match."""
        kind, project = self.kind.kind, self.selection.project
        if not self._fields:
            return keys.entity_range(kind, project)
        path, value = self._fields[0]
        return keys.index_range(kind, ".".join(path), value, project)

    def cursor(self, entity: E) -> str:
        """Return the key in that range after which the rest follows."""
        if not self._fields:
            return keys.entity_key(self.kind.kind, entity.project, entity.name)
        path, value = self._fields[0]
        return keys.index_key(self.kind.kind, ".".join(path), value, entity.project, entity.name)

    def matches(self, entity: E) -> bool:
        """Return whether the entity, as it is now, belongs to the selection."""
        wanted = self.selection
        if wanted.project is not None and entity.project != wanted.project:
            return False
        labels = entity.metadata.labels
        if any(labels.get(key) != value for key, value in wanted.labels.items()):
            return False
        if not self._fields:
            return True
        document = entity.to_document()
        return all(value in values_at(document, path) for path, value in self._fields)

    def _indexed(self, dotted: str) -> tuple[str, ...]:
        known = {a.dotted: a.path for a in attributes(self.kind.kind) if a.options.indexed}
        if dotted in known:
            return known[dotted]
        hint = closest(dotted, known) or f"these can: {', '.join(known) or 'none'}"
        raise InvalidInput(f"{self.kind.kind.name} cannot be selected on {dotted!r}", hint=hint)


def events_of(change: Revision | StoreBookmark, selector: Selector[E]) -> Iterator[Event[E]]:
    """Yield what one store revision means to a watcher of the selection."""
    if isinstance(change, StoreBookmark):
        yield Bookmark(change.revision)
        return
    for event in change.events:
        meant = _meaning(event, change.revision, selector)
        if meant is not None:
            yield meant


def _meaning(event: StoreEvent, revision: int, selector: Selector[E]) -> Event[E] | None:
    old = decode(selector.kind, event.previous) if event.previous else None
    new = decode(selector.kind, event.current) if event.current else None
    was = old is not None and selector.matches(old)
    match new:
        case None:
            return Deleted(old, revision) if old is not None and was else None
        case _ if not selector.matches(new):
            return Left(new, revision) if was else None
    return Modified(new, old, revision) if old is not None and was else Added(new, revision)
