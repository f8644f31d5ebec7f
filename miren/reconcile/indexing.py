"""An index over a cache: entities by values that a function says of them.

What it said of an entity is remembered, so that moving one needs no second question: a function
whose answers change, or that breaks, leaves nothing behind. Every change is O(1).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Generic, TypeVar

from miren.entities.entity import Entity
from miren.reconcile.results import Key

__all__ = ["EntityIndex"]

E = TypeVar("E", bound=Entity[Any, Any])


class EntityIndex(Generic[E]):
    """Entities by the values of `values`, which must not raise: `by_disk["data"]`."""

    def __init__(self, values: Callable[[E], Iterable[str]]) -> None:
        self._values = values
        self._entities: dict[str, dict[Key[E], E]] = {}
        self._said: dict[Key[E], tuple[str, ...]] = {}

    def __getitem__(self, value: str) -> tuple[E, ...]:
        return tuple(self._entities.get(value, {}).values())

    def __len__(self) -> int:
        return len(self._entities)

    def replace(self, key: Key[E], new: E | None) -> None:
        """Put an entity under its new values, and under no other."""
        said = () if new is None else tuple(dict.fromkeys(self._values(new)))
        for value in self._said.get(key, ()):
            if value not in said:
                self._drop(key, value)
        if new is None or not said:
            self._said.pop(key, None)
            return
        self._said[key] = said
        for value in said:
            self._entities.setdefault(value, {})[key] = new

    def _drop(self, key: Key[E], value: str) -> None:
        held = self._entities[value]
        del held[key]
        if not held:
            del self._entities[value]
