"""Documents encoded once for everybody who is sent them.

Watches that deliver the same change share one entity (`shown_to_many`), so the entity itself is
what its JSON is remembered by: comparing entities would cost more than encoding them.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import orjson

from miren.entities.entity import Entity

__all__ = ["encoded_for_many"]


class _Same:
    """Equal only to itself and to what else was made of the very same entity."""

    __slots__ = ("entity",)

    def __init__(self, entity: Entity[Any, Any]) -> None:
        self.entity = entity

    def __hash__(self) -> int:
        return id(self.entity)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and other.entity is self.entity


def encoded_for_many(entity: Entity[Any, Any]) -> orjson.Fragment:
    """Return an entity's document as JSON, which orjson puts into a message as it is."""
    return _encoded(_Same(entity))


@lru_cache(maxsize=256)
def _encoded(same: _Same) -> orjson.Fragment:
    return orjson.Fragment(orjson.dumps(same.entity.to_document()))
