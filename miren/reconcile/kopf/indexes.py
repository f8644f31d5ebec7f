"""kopf's indexes over ours: a mapping of keys to all values that entities have under them."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from typing import Any

from miren.entities.entity import Entity
from miren.reconcile.controller import Index

__all__ = ["KopfIndex"]

Values = Callable[[Entity[Any, Any]], Any]


class KopfIndex(Mapping[Any, tuple[Any, ...]]):
    """What a handler is given: `by_node["n1"]` are all values under that key.

    It reads the cache of the kind; what `values` says of an entity is asked again then.
    """

    def __init__(self, values: Values) -> None:
        self._values = values
        self._tokens: dict[str, Hashable] = {}
        self.entities: Index[Any] = Index(lambda _token: ())  # ours, by token

    def tokens(self, entity: Entity[Any, Any]) -> Iterable[str]:
        """Return what our index finds an entity under. Raises what the handler raises."""
        said = self._said(entity)
        found = {_token(key): key for key in said}
        self._tokens.update(found)
        return tuple(found)

    def __getitem__(self, key: Any) -> tuple[Any, ...]:
        found = [self._said(each) for each in self.entities[_token(key)]]
        values = tuple(each[key] for each in found if key in each)
        if not values:
            raise KeyError(key)
        return values

    def __iter__(self) -> Iterator[Any]:
        self._tokens = {token: key for token, key in self._tokens.items() if self.entities[token]}
        return iter(tuple(self._tokens.values()))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def _said(self, entity: Entity[Any, Any]) -> Mapping[Any, Any]:
        said = self._values(entity)
        if said is None:
            return {}
        return said if isinstance(said, Mapping) else {None: said}


def _token(key: object) -> str:
    return f"{type(key).__name__} {key!r}"
