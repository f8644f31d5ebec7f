"""Tables as `miren get` shows them, made here so that every client shows the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from miren.entities.attributes import values_at
from miren.entities.entity import Entity
from miren.entities.kinds import Kind, Scope

__all__ = ["Look", "age", "columns", "row"]

_WIDEST = 72
_PHASE = "status.phase"


@dataclass(frozen=True, slots=True)
class Look:
    """Which columns a table has. `is_wide` shows cells whole, and who owns each entity."""

    with_project: bool = False
    is_wide: bool = False
    with_labels: bool = False


def columns(kind: Kind, look: Look) -> list[str]:
    """Return the headings of a kind's table."""
    return [
        *(["PROJECT"] if look.with_project and kind.scope is Scope.PROJECT else []),
        "NAME",
        *(column.title.upper() for column in kind.columns),
        "AGE",
        *(["OWNER"] if look.is_wide else []),
        *(["LABELS"] if look.with_labels else []),
    ]


def row(entity: Entity[Any, Any], look: Look, *, now: datetime, gone: bool = False) -> list[str]:
    """Return an entity's cells, under the headings of `columns`; `gone` says it was deleted.

    Its end shows in place of its phase; of a kind without phases, in place of its age.
    """
    document = entity.to_document()
    ending = "deleted" if gone else "deleting" if entity.is_deleting else None
    cells = [
        ending
        if ending is not None and column.path == _PHASE
        else ", ".join(values_at(document, tuple(column.path.split("."))))
        for column in entity.kind.columns
    ]
    has_phase = any(column.path == _PHASE for column in entity.kind.columns)
    created, labels = entity.metadata.creation_timestamp, entity.metadata.labels
    owners = [f"{o.kind.lower()}/{o.name}" for o in entity.metadata.owner_references]
    return [
        *([entity.project] if look.with_project and entity.kind.scope is Scope.PROJECT else []),
        entity.name,
        *(cell or "-" if look.is_wide else _cell(cell) for cell in cells),
        ending if ending is not None and not has_phase else _age(created, now),
        *([", ".join(owners) or "-"] if look.is_wide else []),
        *([",".join(f"{k}={v}" for k, v in labels.items()) or "-"] if look.with_labels else []),
    ]


def _age(created: datetime | None, now: datetime) -> str:
    return "-" if created is None else age(now - created)


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
