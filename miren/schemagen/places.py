"""Where in the schema files something is written.

Compiled schemas know the path of each part in its file. The line and the column follow from the
file, which is read again for the few parts that are shown.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from miren.base.errors import Position
from miren.base.yaml import Located, parse
from miren.schemagen.model import Schema

__all__ = ["Origin", "Places"]


@dataclass(frozen=True, slots=True)
class Origin:
    """A path in the schema file that becomes a module."""

    module: str
    path: tuple[str | int, ...]


class Places:
    """The schema files of one run."""

    def __init__(self, paths: Iterable[Path], schemas: Iterable[Schema]) -> None:
        modules = {
            (schema.file, schema.domain, schema.version): schema.module for schema in schemas
        }
        self._documents: dict[str, Located] = {}
        for path in paths:
            for document in parse(path.read_text(encoding="utf-8-sig"), str(path)).documents[:1]:
                value = document.value if isinstance(document.value, dict) else {}
                key = (path.name, str(value.get("domain")), str(value.get("version")))
                if key in modules:
                    self._documents[modules[key]] = document

    def position(self, origin: Origin) -> Position | None:
        """Return the place, or that of the nearest part that is written down."""
        document = self._documents.get(origin.module)
        if document is None or not _defines(document, origin.path):
            # A component that a kind includes may stand in another file.
            others = (each for each in self._documents.values() if _defines(each, origin.path))
            document = next(others, document)
        return document.position(origin.path, key=True) if document else None


def _defines(document: Located, path: tuple[str | int, ...]) -> bool:
    """Return whether the kind or component that a path begins with is written here."""
    value: Any = document.value
    for step in path[:2]:
        if not isinstance(value, dict) or step not in value:
            return False
        value = value[step]
    return True
