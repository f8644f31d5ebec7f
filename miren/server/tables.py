"""Tables as `miren get` shows them, made here so that every client shows the same."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from miren.entities.attributes import values_at
from miren.entities.entity import Entity
from miren.entities.kinds import Kind, Scope

__all__ = ["age", "columns", "row"]

_WIDEST = 72


def columns(kind: Kind, *, with_project: bool) -> list[str]:
    """Return the headings of a kind's table."""
    project = ["PROJECT"] if with_project and kind.scope is Scope.PROJECT else []
    return [*project, "NAME", *(column.title.upper() for column in kind.columns), "AGE"]


def row(
    entity: Entity[Any, Any], *, with_project: bool, now: datetime, gone: bool = False
) -> list[str]:
    """Return an entity's cells, under the headings of `columns`; `gone` says it was deleted."""
    document = entity.to_document()
    project = [entity.project] if with_project and entity.kind.scope is Scope.PROJECT else []
    ending = "deleted" if gone else "deleting" if entity.is_deleting else None
    cells = [
        ending
        if ending is not None and column.path == "status.phase"
        else _cell(", ".join(values_at(document, tuple(column.path.split(".")))))
        for column in entity.kind.columns
    ]
    created = entity.metadata.creation_timestamp
    return [*project, entity.name, *cells, "-" if created is None else age(now - created)]


def _cell(text: str) -> str:
    """Return a cell that keeps its line readable; `describe` shows all of it."""
    return f"{text[: _WIDEST - 1]}…" if len(text) > _WIDEST else text or "-"


def age(span: timedelta) -> str:
    """Return a span of time in its largest one or two units: `45s`, `3m`, `2h5m`, `9d`."""
    seconds = max(0, int(span.total_seconds()))
    units: Sequence[tuple[str, int]] = (("d", 86400), ("h", 3600), ("m", 60), ("s", 1))
    for position, (unit, size) in enumerate(units):
        if seconds >= size:
            count, rest = divmod(seconds, size)
            text = f"{count}{unit}"
            if count < 3 and position + 1 < len(units) and rest >= units[position + 1][1]:
                text += f"{rest // units[position + 1][1]}{units[position + 1][0]}"
            return text
    return "0s"
