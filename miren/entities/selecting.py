"""Selections of entities: which range to read, what matches, what a change means to a watcher."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any, Generic, TypeVar

from miren.base.errors import InvalidInput
from miren.entities import keys
from miren.entities.attributes import attributes, values_at
from miren.entities.client import (
    Added,
    Bookmark,
    Deleted,
    Event,
    Left,
    Modified,
    Selection,
    Target,
)
from miren.entities.entity import Entity
from miren.entities.kinds import Kind, Kinds, Scope
from miren.entities.labels import matches, requirements
from miren.entities.leased import shown_to_many
from miren.entities.reading import closest
from miren.entities.references import Pointer, pointers, reference_attributes
from miren.entities.store.api import Bookmark as StoreBookmark
from miren.entities.store.api import KeyRange, Revision

__all__ = ["Selector", "events_of", "meaning"]

E = TypeVar("E", bound=Entity[Any, Any])


class Selector(Generic[E]):
    """A selection of one kind, checked: only indexed attributes can be selected on.

    `project` is the client's own, for a target without one. `scans` while the indexes of the
    kind are not complete: all of its entities are read then.
    """

    def __init__(
        self, kind: type[E], selection: Selection, *, project: str, scans: bool = False
    ) -> None:
        self.kind = kind
        self.scans = scans
        self.selection = selection
        self._labels = requirements(selection.labels)
        self._fields = tuple(
            (self._indexed(path), value) for path, value in selection.fields.items()
        )
        target = selection.refers_to
        self._target = None if target is None else _place(target, project)

    @property
    def by_index(self) -> bool:
        """Whether the range read holds keys that only name entities."""
        return self._looks_inside and not self.scans

    @property
    def _looks_inside(self) -> bool:
        return bool(self._fields) or self._target is not None

    @cached_property
    def digest(self) -> str:
        """What tells this selection from others, in continue tokens."""
        wanted = self.selection
        parts = (
            str(self.kind.kind),
            wanted.project,
            sorted((each.key, each.operator, *sorted(each.values)) for each in self._labels),
            sorted(wanted.fields.items()),
            str(self._target and (str(self._target[0]), *self._target[1:])),
            wanted.tag,
        )
        return hashlib.sha256(repr(parts).encode()).hexdigest()[:12]

    def range(self) -> KeyRange:
        """Return the smallest range that holds all that can match."""
        kind, project = self.kind.kind, self.selection.project
        if not self.by_index:
            return keys.entity_range(kind, project)
        if self._target is not None:
            return keys.references_range(*self._target)
        dotted, value = next(iter(self.selection.fields.items()))
        return keys.index_range(kind, dotted, value, project)

    def is_entry(self, key: str) -> bool:
        """Return whether a key of that range is of this kind, and can match."""
        if self._target is None:
            return True
        domain, kind, attribute, _, _ = keys.referrer_in(key)
        mine = self.kind.kind
        return (domain, kind) == (mine.domain, mine.name) and self._is_tagged(attribute)

    def matches(self, entity: E) -> bool:
        """Return whether the entity, as it is now, belongs to the selection."""
        wanted = self.selection
        if wanted.project is not None and entity.project != wanted.project:
            return False
        if self._labels and not matches(self._labels, entity.metadata.labels):
            return False
        if not self._looks_inside:
            return True
        document = entity.to_document()
        return self._refers(document, entity.project) and all(
            value in values_at(document, path) for path, value in self._fields
        )

    def _refers(self, document: Mapping[str, Any], project: str) -> bool:
        return self._target is None or any(True for _ in self._pointing(document, project))

    def was_listed(self, entity: E, cursor: str) -> bool:
        """Return whether an entry up to `cursor` has named the entity: who refers by several
        attributes has several.
        """
        if self._target is None or not self.by_index:
            return False
        kind, where, name = self._target
        return any(
            keys.reference_key(
                kind,
                (where, name),
                rule=pointer.rule,
                referrer=self.kind.kind,
                attribute=pointer.attribute.dotted,
                by=(entity.project, entity.name),
            )
            <= cursor
            for pointer in self._pointing(entity.to_document(), entity.project)
        )

    def _pointing(self, document: Mapping[str, Any], project: str) -> Iterator[Pointer]:
        """Yield the references to the selection's target that count."""
        if self._target is None:
            return
        kind, where, name = self._target
        for pointer in pointers(self.kind.kind, document, project, Kinds([kind.entity])):
            is_here = (pointer.project, pointer.name) == (where, name)
            if is_here and self._is_tagged(pointer.attribute.dotted):
                yield pointer

    def _is_tagged(self, dotted: str) -> bool:
        tag = self.selection.tag
        return tag is None or any(
            dotted == attribute.dotted and tag in attribute.options.tags
            for attribute in reference_attributes(self.kind.kind)
        )

    def _indexed(self, dotted: str) -> tuple[str, ...]:
        known = {a.dotted: a.path for a in attributes(self.kind.kind) if a.options.indexed}
        if dotted in known:
            return known[dotted]
        hint = closest(dotted, known) or f"these can: {', '.join(known) or 'none'}"
        raise InvalidInput(f"{self.kind.kind.name} cannot be selected on {dotted!r}", hint=hint)


def _place(target: Target, project: str) -> tuple[Kind, str, str]:
    kind = target.kind.kind
    where = "" if kind.scope is Scope.CLUSTER else target.project or project
    return kind, where, target.name


def events_of(change: Revision | StoreBookmark, selector: Selector[E]) -> Iterator[Event[E]]:
    """Yield what one store revision means to a watcher of the selection."""
    if isinstance(change, StoreBookmark):
        yield Bookmark(change.revision)
        return
    for event in change.events:
        old = shown_to_many(selector.kind, event.previous) if event.previous else None
        new = shown_to_many(selector.kind, event.current) if event.current else None
        meant = meaning(old, new, change.revision, selector)
        if meant is not None:
            yield meant


def meaning(old: E | None, new: E | None, revision: int, selector: Selector[E]) -> Event[E] | None:
    """Return what a change from `old` to `new` is to a watcher of the selection, if anything."""
    was = old is not None and selector.matches(old)
    match new:
        case None:
            return Deleted(old, revision) if old is not None and was else None
        case _ if not selector.matches(new):
            return Left(new, revision) if was else None
    return Modified(new, old, revision) if old is not None and was else Added(new, revision)
