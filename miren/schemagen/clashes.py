"""Names that cannot both be: of classes in a module, of modules, of kinds on a command line."""

from __future__ import annotations

import keyword
from collections.abc import Iterator, Sequence

from miren.schemagen.model import Schema

__all__ = ["clashes"]

#: Names that generated modules import; a class of that name would hide them.
_IMPORTED = frozenset(
    {
        "Annotated",
        "Any",
        "Base64",
        "Column",
        "Duration",
        "Entity",
        "Json",
        "Labels",
        "Literal",
        "Map",
        "Mapping",
        "Model",
        "Partial",
        "Quantity",
        "Ref",
        "Scope",
        "Self",
        "Sequence",
        "StrEnum",
        "TYPE_CHECKING",
    }
)


def clashes(schema: Schema, schemas: Sequence[Schema]) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield the path and the message of every clash in one of `schemas`."""
    if keyword.iskeyword(schema.module) or not schema.module.isidentifier():
        yield (), f"{schema.file} makes no module name: {schema.module!r}"
    if any(other.module == schema.module for other in schemas if other is not schema):
        yield (), f"two files would become the module {schema.module!r}"
    yield from _classes(schema)
    yield from _words(schema, schemas)


def _classes(schema: Schema) -> Iterator[tuple[tuple[str, ...], str]]:
    seen = set(_IMPORTED)
    for name in _class_names(schema):
        if name in seen:
            yield (), f"two things would become the class {name}: rename one of them"
        seen.add(name)


def _class_names(schema: Schema) -> Iterator[str]:
    for kind in schema.kinds:
        yield from (kind.name, f"{kind.name}Spec", f"{kind.name}Status")
    yield from (component.name for component in schema.components)
    for attribute in schema.attributes():
        if attribute.type == "enum":
            yield from (attribute.enum, f"{attribute.enum}Text")


def _words(schema: Schema, schemas: Sequence[Schema]) -> Iterator[tuple[tuple[str, ...], str]]:
    names = {kind.name.lower(): kind for other in schemas for kind in other.kinds}
    for other in schemas:
        for kind in other.kinds:
            for word in kind.short:
                known = names.setdefault(word, kind)
                if known is not kind and other is schema:
                    message = f"{word!r} means {known.name} already"
                    yield ("kinds", kind.written, "$options", "short"), message
