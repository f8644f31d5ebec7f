"""What this client last read or wrote, so that the next write need not read it again.

An entry is what lay under a key at one revision, which never changes. A write that is made from
it is guarded by that revision, so an entry that is out of date costs a second attempt and nothing
else. Only a write that succeeds may rest on one: refusals and "nothing to do" are told from what
is stored now.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from miren.entities.entity import Entity
from miren.entities.writes import Stored

__all__ = ["Recent"]


class Recent:
    """The newest version known of some entities; the one used longest ago is dropped first."""

    def __init__(self, most: int = 4096) -> None:
        self._most = most
        self._stored: OrderedDict[str, Stored[Any]] = OrderedDict()

    def get(self, key: str) -> Stored[Any] | None:
        """Return what is known of a key."""
        return self._stored.get(key)

    def put(self, key: str, stored: Stored[Any]) -> None:
        """Take what was read or written."""
        self._stored[key] = stored
        self._stored.move_to_end(key)
        if len(self._stored) > self._most:
            self._stored.popitem(last=False)

    def adopt(self, key: str, entity: Entity[Any, Any]) -> None:
        """Keep this very object as what is known of the key, if it is that version.

        What is made of it can then be told from it by looking at few objects.
        """
        known = self._stored.get(key)
        if known is None or type(known.entity) is not type(entity):
            return
        if known.entity.metadata.resource_version == entity.metadata.resource_version:
            self._stored[key] = known.with_entity(entity)

    def drop(self, key: str) -> None:
        """Forget a key."""
        self._stored.pop(key, None)
