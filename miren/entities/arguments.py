"""From keyword arguments to the document they stand for: the body of a kind's `new`.

The generated `new` and `partial` name every attribute, so that type checkers know them, and
all end here.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import Enum
from typing import Any

from miren.base.quantities import Duration
from miren.entities.model import Model
from miren.entities.secrets import REVEALING, SecretText

__all__ = ["document", "metadata"]


def metadata(
    name: str,
    *,
    project: str = "",
    labels: Mapping[str, str] | None = None,
    annotations: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Return the metadata of a document; what is empty is left out."""
    parts = {"project": project, "labels": labels, "annotations": annotations}
    return {"name": name, **{key: value for key, value in parts.items() if value}}


def document(metadata: Mapping[str, Any], /, **spec: object) -> dict[str, Any]:
    """Return a document with this spec; an attribute that is None is left out."""
    given = {name: plain(value) for name, value in spec.items() if value is not None}
    return {"metadata": dict(metadata), "spec": given}


def plain(value: object) -> Any:
    """Return a value as JSON data: models, enums, times, amounts and bytes become texts."""
    match value:
        case Model():
            return value.model_dump(mode="json", exclude_unset=True, context=REVEALING)
        case SecretText():
            return value.in_clear()
        case Mapping():
            return {str(key): plain(item) for key, item in value.items()}
        case list() | tuple() | set() | frozenset():
            return [plain(item) for item in value]
        case Enum():
            return value.value
        case str() | bool() | int() | float() | None:
            return value
        case bytes():
            return base64.b64encode(value).decode()
        case datetime():
            return value.isoformat()
        case timedelta() if not isinstance(value, Duration):
            return str(Duration(seconds=value.total_seconds()))
    return str(value)
