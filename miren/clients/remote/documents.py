"""What goes over the wire, and what it is here: entities, selections, events, references."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar

from miren.base.errors import NotFound
from miren.entities.arguments import plain
from miren.entities.client import (
    Added,
    Bookmark,
    Deleted,
    Event,
    Left,
    Modified,
    Selection,
)
from miren.entities.elections import Candidate
from miren.entities.entity import Entity, Partial
from miren.entities.events import EventRing, event_from
from miren.entities.kinds import Kind, Kinds
from miren.entities.references import Reference

__all__ = [
    "candidate_of",
    "document_of",
    "entity_of",
    "event_of",
    "partial_document",
    "references_of",
    "rings_of",
    "selecting",
    "word_of",
]

E = TypeVar("E", bound=Entity[Any, Any])

Document = Mapping[str, Any]


def word_of(kind: Kind) -> str:
    """Return what only this kind, in this version, is meant by."""
    return f"{kind.singular}.{kind.version}.{kind.domain}"


def entity_of(kind: type[E], document: Document) -> E:
    """Return an entity that the server sent.

    It was checked there. What this process does not know of a newer schema is passed over.
    """
    version = document["metadata"].get("resourceVersion", "")
    found = kind.from_stored(document, revision=int(version or 0), lenient=True)
    # A dry run of a creation has no revision.
    return found if version else found.with_metadata(resource_version="")


def document_of(entity: Entity[Any, Any]) -> Document:
    """Return an entity as it is sent to be written, with what secrets it holds in the clear."""
    return entity.to_document(reveal=True)


def partial_document(partial: Partial[Any]) -> Document:
    """Return what is to be applied, its kind named."""
    kind: Kind = partial.type.kind
    return {**plain(partial.document), "apiVersion": kind.api_version, "kind": kind.name}


def selecting(selection: Selection, *, project: str) -> Document:
    """Return a request's part that says which entities; `project` is the client's own."""
    request: dict[str, Any] = {"fields": dict(selection.fields)}
    if selection.project is None:
        request["allProjects"] = True
    else:
        request["project"] = selection.project
    is_text = isinstance(selection.labels, str)
    request["selector" if is_text else "labels"] = (
        selection.labels if isinstance(selection.labels, str) else dict(selection.labels)
    )
    target = selection.refers_to
    if target is not None:
        request["refersTo"] = {
            "kind": word_of(target.kind.kind),
            "name": target.name,
            "project": target.project or project,
        }
    if selection.tag is not None:
        request["tag"] = selection.tag
    return request


def event_of(kind: type[E], message: Document) -> Event[E]:
    """Return a change that a watch tells."""
    revision = int(message["revision"])
    if message["type"] == "BOOKMARK":
        return Bookmark(revision)
    entity = entity_of(kind, message["entity"])
    match message["type"]:
        case "MODIFIED":
            return Modified(entity, entity_of(kind, message["old"]), revision)
        case "ADDED":
            return Added(entity, revision)
        case "DELETED":
            return Deleted(entity, revision)
        case "LEFT":
            return Left(entity, revision)
    raise ValueError(f"no watch tells {message['type']!r}")


def references_of(told: Iterable[Document], kinds: Kinds) -> Sequence[Reference]:
    """Return references; those of kinds that are not known here are left out."""
    found = []
    for each in told:
        try:
            kind = kinds.resolve(each["kind"])
        except NotFound:
            continue
        found.append(Reference(kind, each["project"], each["name"], each["attribute"]))
    return tuple(found)


def rings_of(told: Iterable[Document]) -> Sequence[EventRing]:
    """Return events by the entities that they are of."""
    return [
        EventRing(
            ring["domain"],
            ring["kind"],
            ring["project"],
            ring["name"],
            ring["uid"],
            tuple(map(event_from, ring["events"])),
        )
        for ring in told
    ]


def candidate_of(told: Document) -> Candidate:
    """Return who stands in an election."""
    since = told["since"]
    begun = None if since is None else datetime.fromisoformat(since)
    return Candidate(told["holder"], told["key"], int(told["revision"]), begun)
