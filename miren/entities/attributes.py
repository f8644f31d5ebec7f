"""A kind's attributes as data: where each is, and what the entity layer makes of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache

from pydantic.alias_generators import to_camel

from miren.entities.kinds import Kind
from miren.entities.model import Model, Options
from miren.entities.reading import children

__all__ = ["Attribute", "attributes", "values_at"]

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
    """Yield the values at a path as text; lists on the way give one value an element."""
    if not path:
        if isinstance(document, list | tuple):
            for item in document:
                yield from values_at(item, ())
        elif isinstance(document, bool):
            yield "true" if document else "false"
        elif document is not None and not isinstance(document, Mapping):
            yield str(document)
    elif isinstance(document, list | tuple):
        for item in document:
            yield from values_at(item, path)
    elif isinstance(document, Mapping):
        yield from values_at(document.get(path[0]), path[1:])
