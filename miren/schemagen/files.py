"""A schema file as it was read: its shape is right, what its names mean is not known yet."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from miren.base.yaml import Located
from miren.schemagen.names import snake

__all__ = ["SchemaFile"]


class SchemaFile:
    """A schema file. Where nothing of it makes a schema, only the names it defines count."""

    def __init__(self, name: str, document: Located, data: dict[str, Any] | None) -> None:
        self.name = Path(name).name
        self.module = snake(Path(name).stem.replace(".", "_"))
        self.document = document
        self.whole = data is not None
        written = document.value if isinstance(document.value, dict) else {}
        self.data: dict[str, Any] = written if data is None else data
        self.domain = str(self.data.get("domain", ""))
        self.version = str(self.data.get("version", ""))
        self.components = self._named("components")
        self.kinds = self._named("kinds")

    def _named(self, part: str) -> dict[str, Any]:
        value = self.data.get(part)
        return value if isinstance(value, dict) else {}
