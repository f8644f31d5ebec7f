"""A kind's attributes as data: where each is, and what the entity layer makes of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache

from pydantic.alias_generators import to_camel

from miren.entities.kinds import Kind
from miren.entities.model import Model, Options
from miren.entities.reading import children

__all__ = ["Attribute", "attributes", "found_at", "values_at"]

Path = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Attribute:
    """One attribute with options. `path` is camelCase, from `spec` or `status` on."""

    path: Path
    options: Options

    @property
    def dotted(self) -> str:
        """The path as selectors write it: `spec.node`."""
        return ".".join(self.path)


@cache
def attributes(kind: Kind) -> tuple[Attribute, ...]:
    """Return every attribute of a kind that carries options, nested ones too."""
    return (*_walk(kind.spec, ("spec",)), *_walk(kind.status, ("status",)))


def _walk(model: type[Model], path: Path) -> Iterator[Attribute]:
    inside = children(model)
    for name, info in model.model_fields.items():
        here = (*path, to_camel(name))
        for options in info.metadata:
            if isinstance(options, Options):
                yield Attribute(here, options)
        yield from _walk(inside[to_camel(name)].model, here)


def values_at(document: object, path: Path) -> Iterator[str]:
    """Yield the scalars at a path as text; lists on the way give one value an element."""
    for value in found_at(document, path):
        if isinstance(value, bool):
            yield "true" if value else "false"
        elif not isinstance(value, Mapping):
            yield str(value)


def found_at(document: object, path: Path) -> Iterator[object]:
    """Yield what is at a path, whatever it is; lists give one value an element."""
    if isinstance(document, list | tuple):
        for item in document:
            yield from found_at(item, path)
    elif not path:
        if document is not None:
            yield document
    elif isinstance(document, Mapping):
        yield from found_at(document.get(path[0]), path[1:])
