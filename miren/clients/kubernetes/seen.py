"""What was last seen of each entity, for as long as somebody holds it.

It saves most of the reading: an update knows what it changes, a change what was before, and the
echo of an own write is the very entity that the write returned. Entities are held weakly, as
caches hold them anyway; only the last few writes are kept until their echo has come.
"""

from __future__ import annotations

from typing import Any, TypeVar, cast
from weakref import WeakValueDictionary

from miren.entities.entity import Entity

__all__ = ["Seen"]

E = TypeVar("E", bound=Entity[Any, Any])

_Key = tuple[type[Entity[Any, Any]], str, str]
_WRITES = 1024


class Seen:
    """The newest version of each entity that went through a client."""

    def __init__(self) -> None:
        self._entities: WeakValueDictionary[_Key, Entity[Any, Any]] = WeakValueDictionary()
        self._written: dict[_Key, tuple[Entity[Any, Any], Entity[Any, Any] | None]] = {}

    def get(self, kind: type[E], project: str, name: str) -> E | None:
        """Return the newest version that is known, None if nobody holds one."""
        return cast("E | None", self._entities.get((kind, project, name)))

    def add(self, entity: E) -> E:
        """Remember a version that was read, unless a newer one is known, and return it."""
        key = (type(entity), entity.metadata.project, entity.metadata.name)
        known = self._entities.get(key)
        if known is None or _number(known) <= _number(entity):
            self._entities[key] = entity
        return entity

    def put(self, key: _Key, entity: Entity[Any, Any]) -> None:
        """Remember a version that is newer than what is known under its key."""
        self._entities[key] = entity

    def wrote(self, entity: E, *, over: E | None = None) -> E:
        """Remember what a write made, `over` what was there, until its echo comes; return it."""
        key = (type(entity), entity.metadata.project, entity.metadata.name)
        known = self._entities.get(key)
        if known is None or _number(known) < _number(entity):
            self._entities[key] = entity
            self._written[key] = (entity, over)
            if len(self._written) > _WRITES:
                del self._written[next(iter(self._written))]
        return entity

    def echoed(self, kind: type[E], project: str, name: str) -> E | None:
        """Let go of a write whose echo has come; return what it was written over, if known."""
        _, over = self._written.pop((kind, project, name), (None, None))
        return cast("E | None", over)

    def forget(self, gone: Entity[Any, Any]) -> None:
        """Forget an entity that is gone, but not one that has taken its name since."""
        key = (type(gone), gone.metadata.project, gone.metadata.name)
        known = self._entities.get(key)
        if known is not None and known.uid == gone.uid:
            del self._entities[key]
            self._written.pop(key, None)


def _number(entity: Entity[Any, Any]) -> int:
    return int(entity.metadata.resource_version or 0)
