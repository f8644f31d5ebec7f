"""An entity as kopf's handlers see it: mappings, and what is different between two of them.

They read plain documents, with the names that stand on the wire. `namespace` is the project.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from miren.entities.entity import Entity

__all__ = ["Body", "DiffItem", "Memo", "Meta", "Patch", "diff", "essence", "look_at"]


class _View(Mapping[str, Any]):
    """Part of a document, to be read only."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._document = document

    def __getitem__(self, key: str) -> Any:
        return self._document[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._document)

    def __len__(self) -> int:
        return len(self._document)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({dict(self._document)!r})"


class Meta(_View):
    """The metadata, and shortcuts into it."""

    @property
    def name(self) -> str:
        """The name."""
        return str(self["name"])

    @property
    def namespace(self) -> str | None:
        """The project; None for cluster-scoped kinds."""
        return self.get("namespace")

    @property
    def uid(self) -> str:
        """The identity that never repeats."""
        return str(self["uid"])

    @property
    def labels(self) -> Mapping[str, str]:
        """The labels."""
        found: Mapping[str, str] = self.get("labels", {})
        return found

    @property
    def annotations(self) -> Mapping[str, str]:
        """The annotations."""
        found: Mapping[str, str] = self.get("annotations", {})
        return found


class Body(_View):
    """The whole document, and shortcuts into it."""

    @property
    def metadata(self) -> Meta:
        """The metadata; `meta` is the same."""
        return Meta(self["metadata"])

    meta = metadata

    @property
    def spec(self) -> Mapping[str, Any]:
        """What somebody wants."""
        return _View(self.get("spec", {}))

    @property
    def status(self) -> Mapping[str, Any]:
        """What handlers said so far."""
        return _View(self.get("status", {}))

    @classmethod
    def of(cls, entity: Entity[Any, Any]) -> Body:
        """Return what handlers see of an entity."""
        document = entity.to_document()
        metadata = document["metadata"]
        if entity.project:
            metadata["namespace"] = entity.project
        return cls(document)


class _MetaPatch(dict[str, Any]):
    @property
    def labels(self) -> dict[str, Any]:
        """Labels to be set, or (None) removed."""
        return self.setdefault("labels", {})  # type: ignore[no-any-return]  # made here

    @property
    def annotations(self) -> dict[str, Any]:
        """Annotations to be set, or (None) removed."""
        return self.setdefault("annotations", {})  # type: ignore[no-any-return]  # made here


class Patch(dict[str, Any]):
    """What a handler wants changed, as a merge patch: None removes."""

    @property
    def metadata(self) -> _MetaPatch:
        """Changes of the metadata; `meta` is the same."""
        return self.setdefault("metadata", _MetaPatch())  # type: ignore[no-any-return]  # made here

    meta = metadata

    @property
    def spec(self) -> dict[str, Any]:
        """Changes of the spec."""
        return self.setdefault("spec", {})  # type: ignore[no-any-return]  # made here

    @property
    def status(self) -> dict[str, Any]:
        """Changes of the status."""
        return self.setdefault("status", {})  # type: ignore[no-any-return]  # made here


class Memo(dict[str, Any]):
    """What handlers keep of an entity while this process works on it: `memo.x` is `memo["x"]`."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value

    def __delattr__(self, name: str) -> None:
        try:
            del self[name]
        except KeyError:
            raise AttributeError(name) from None


class DiffItem(NamedTuple):
    """One difference: `operation` is add, change or remove, at the path `field`."""

    operation: str
    field: tuple[str, ...]
    old: Any
    new: Any


def diff(old: Any, new: Any, path: tuple[str, ...] = ()) -> tuple[DiffItem, ...]:
    """Return what is different; None stands for what is not there. Lists are one value."""
    if old == new:
        return ()
    if old is None:
        return (DiffItem("add", path, None, new),)
    if new is None:
        return (DiffItem("remove", path, old, None),)
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        found: tuple[DiffItem, ...] = ()
        for key in dict.fromkeys((*old, *new)):
            found += diff(old.get(key), new.get(key), (*path, key))
        return found
    return (DiffItem("change", path, old, new),)


def essence(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return what people write of an entity: the spec, labels and annotations."""
    metadata = body["metadata"]
    kept = {name: metadata[name] for name in ("labels", "annotations") if name in metadata}
    found: dict[str, Any] = {"metadata": kept} if kept else {}
    return {**found, "spec": body.get("spec", {})}


def look_at(value: Any, path: Sequence[str]) -> Any:
    """Return what is at a path, None where something on the way is not there."""
    for step in path:
        if not isinstance(value, Mapping):
            return None
        value = value.get(step)
    return value
