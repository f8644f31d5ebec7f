"""Names that cannot both be: of modules, and of kinds on a command line."""

from __future__ import annotations

import keyword
from collections.abc import Iterator, Sequence

from miren.schemagen.model import Path, Schema

__all__ = ["clashes"]


def clashes(schema: Schema, schemas: Sequence[Schema]) -> Iterator[tuple[Path, str]]:
    """Yield the path and the message of every clash in one of `schemas`."""
    is_name = schema.module.isidentifier() and schema.module != "__init__"
    if keyword.iskeyword(schema.module) or not is_name:
        yield (), f"{schema.file} makes no module name: {schema.module!r}"
    if any(other.module == schema.module for other in schemas if other is not schema):
        yield (), f"two files would become the module {schema.module!r}"
    yield from _words(schema, schemas)


def _words(schema: Schema, schemas: Sequence[Schema]) -> Iterator[tuple[Path, str]]:
    """Yield short words that another kind has; versions of one kind are no other."""
    kinds = [(other, kind) for other in schemas for kind in other.kinds]
    meant = {kind.name.lower(): (other.domain, kind.name) for other, kind in kinds}
    for other, kind in kinds:
        for word in kind.short:
            known = meant.setdefault(word, (other.domain, kind.name))
            if known != (other.domain, kind.name) and other is schema:
                yield (*kind.at, "$options", "short"), f"{word!r} means {known[1]} already"
