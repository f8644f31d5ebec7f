"""Events of entities as Kubernetes' own Events, so that `kubectl describe` shows them too.

What says the same of the same entity is one Event, whose count goes up: its name is a digest of
that. The API forgets Events after an hour, as a store here does.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from miren.base.errors import AlreadyExists
from miren.clients.kubernetes.addresses import query as address
from miren.clients.kubernetes.objects import Document
from miren.clients.kubernetes.writing import Writer
from miren.entities.entity import Entity
from miren.entities.events import LONGEST, RING, EntityEvent, EventRing, EventType

__all__ = ["list_rings", "record", "ring_of"]

#: Where Events of what has no namespace are kept.
_CLUSTER = "default"


async def record(writer: Writer, subject: Entity[Any, Any], events: Iterable[EntityEvent]) -> None:
    """Write each event, or count it up."""
    for event in events:
        document = _document(subject, event)
        target = _events(subject.project or _CLUSTER)
        about = f"event/{document['metadata']['name']}"
        try:
            await writer.send("POST", target, document, about=about)
        except AlreadyExists:
            place = f"{target}/{quote(document['metadata']['name'], safe='')}"
            known = await writer.fetch(place, about=about)
            seen = known.get("count") or 1
            more = {"count": seen + event.count, "lastTimestamp": document["lastTimestamp"]}
            await writer.merge(place, more, about=about)


async def ring_of(
    writer: Writer, kind: type[Entity[Any, Any]], project: str, name: str
) -> Sequence[EntityEvent]:
    """Return what happened to the last entity of that name, the latest last."""
    which = f"involvedObject.kind={kind.kind.name},involvedObject.name={name}"
    rings = await _rings(writer, project or _CLUSTER, which)
    return max(rings, key=lambda ring: ring.events[-1].last).events if rings else ()


async def list_rings(writer: Writer, project: str | None) -> Sequence[EventRing]:
    """Return what happened lately to everything in a project, or everywhere."""
    return await _rings(writer, project, "")


async def _rings(writer: Writer, project: str | None, fields: str) -> list[EventRing]:
    target = address(_events(project), fieldSelector=fields)
    page = await writer.fetch(target, about="events")
    found: dict[tuple[str, str, str, str, str], list[EntityEvent]] = {}
    for each in page["items"]:
        about = each.get("involvedObject") or {}
        domain = str(about.get("apiVersion", "")).rpartition("/")[0]
        kind, where, name, uid = (
            str(about.get(part, "")) for part in ("kind", "namespace", "name", "uid")
        )
        found.setdefault((domain, kind, where, name, uid), []).append(_event(each))
    return [
        EventRing(*subject, events=tuple(sorted(events, key=lambda event: event.last))[-RING:])
        for subject, events in found.items()
    ]


def _document(subject: Entity[Any, Any], event: EntityEvent) -> Document:
    told = "\0".join((subject.uid, *event.identity))
    digest = hashlib.sha256(told.encode()).hexdigest()[:16]
    about = {
        "apiVersion": subject.kind.api_version,
        "kind": subject.kind.name,
        "name": subject.name,
        "uid": subject.uid,
    }
    if subject.project:
        about["namespace"] = subject.project
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": f"{subject.name[:230]}.{digest}"},
        "involvedObject": about,
        "type": event.type.value,
        "reason": event.reason,
        "message": event.message[:LONGEST],
        "source": {"component": event.source},
        "count": event.count,
        "firstTimestamp": _text(event.first),
        "lastTimestamp": _text(event.last),
    }


def _event(document: Mapping[str, Any]) -> EntityEvent:
    created = document["metadata"].get("creationTimestamp")
    last = document.get("lastTimestamp") or document.get("eventTime") or created
    source = document.get("source") or {}
    kind = EventType.WARNING if document.get("type") == "Warning" else EventType.NORMAL
    return EntityEvent(
        reason=document.get("reason") or "",
        message=document.get("message") or "",
        source=source.get("component") or document.get("reportingComponent") or "",
        first=datetime.fromisoformat(document.get("firstTimestamp") or last),
        last=datetime.fromisoformat(last),
        type=kind,
        count=document.get("count") or 1,
    )


def _events(project: str | None) -> str:
    if project is None:
        return "/api/v1/events"
    return f"/api/v1/namespaces/{quote(project, safe='')}/events"


def _text(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
