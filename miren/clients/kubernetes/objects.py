"""Between entities and the API's objects: nearly the same documents.

Read leniently: an object may have attributes that this kind does not know of, written by newer
versions or other controllers. They are not shown, and never lost: what is written are merge
patches of what differs, never whole objects. So a list whose elements hold unknown attributes is
what one must not change without knowing them; owner references, the one such list of every kind,
are put together with what is stored.
"""

from __future__ import annotations

import gc
import logging
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

from pydantic import ValidationError

from miren.base.errors import InvalidInput
from miren.entities.entity import Entity, Partial
from miren.entities.model import Model
from miren.entities.reading import expand, problems_of
from miren.entities.secrets import REVEALING

__all__ = [
    "Document",
    "difference",
    "document_of",
    "entity_of",
    "joined_owners",
    "partial_of",
    "readable",
    "status_of",
    "tell_unreadable",
    "uncollected",
    "wishes_of",
]

E = TypeVar("E", bound=Entity[Any, Any])

Document = dict[str, Any]

log = logging.getLogger(__name__)

_WRITABLE = ("labels", "annotations", "finalizers", "ownerReferences")
_NOTHING: Mapping[str, Any] = {}


def entity_of(kind: type[E], document: Mapping[str, Any]) -> E:
    """Return the entity that an object of the API is; raise InvalidInput if it is none."""
    metadata = document["metadata"]
    head = {**metadata, "project": metadata.get("namespace", "")}
    spec, status = document.get("spec") or _NOTHING, document.get("status") or _NOTHING
    try:
        return kind.from_parts(head, spec, status, lenient=True)
    except ValidationError as error:
        who = f"{kind.kind.singular}/{metadata.get('name')}"
        found = problems_of(Model, error.errors(), ())
        hint = "the API's schema of this kind allows what the kind's model does not"
        raise InvalidInput(found, entity=who, hint=hint) from None


def readable(kind: type[E], documents: Iterable[Mapping[str, Any]]) -> list[E]:
    """Return the entities among these; the log says which could not be read."""
    found: list[E] = []
    with uncollected():
        for document in documents:
            try:
                found.append(entity_of(kind, document))
            except InvalidInput as error:
                tell_unreadable(error)
    return found


@contextmanager
def uncollected() -> Iterator[None]:
    """Make a great many objects, all of which stay: to look for garbage among them is in vain.

    Of reading a large kind it would be a third. Nothing may be awaited within.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def tell_unreadable(error: InvalidInput) -> None:
    """Log that an object is left out: one that cannot be read must stop no other."""
    log.warning("unreadable object left out", extra={"entity": error.entity, "why": str(error)})


def document_of(entity: Entity[Any, Any]) -> Document:
    """Return what creates an object: without status, and without what the API itself writes."""
    document = entity.to_document(reveal=True)
    document.pop("status", None)
    known = document["metadata"]
    document["metadata"] = {
        "name": entity.name,
        **{name: known[name] for name in _WRITABLE if name in known},
    }
    return document


def partial_of(partial: Partial[Any], *, project: str) -> Document:
    """Return the configuration to apply: one manager's fields, shorthands written out."""
    given, kind = partial.document, partial.type.kind
    known = given.get("metadata", {})
    head: Document = {"name": partial.name}
    if project:
        head["namespace"] = project
    head |= {name: known[name] for name in _WRITABLE if known.get(name)}
    document = {"apiVersion": kind.api_version, "kind": kind.name, "metadata": head}
    spec = expand(kind.spec, given.get("spec") or {})
    return {**document, "spec": spec} if spec else document


def wishes_of(entity: Entity[Any, Any]) -> Document:
    """Return what an update may change of an entity."""
    document = entity.to_document(reveal=True)
    known = document["metadata"]
    metadata = {name: known[name] for name in _WRITABLE if name in known}
    return {"metadata": metadata, "spec": document["spec"]}


def status_of(entity: Entity[Any, Any]) -> Document:
    """Return all of an entity's status, as it is written."""
    own = entity.status.model_dump(
        mode="json", exclude_none=True, context=REVEALING, warnings=False
    )
    return {**own, **entity.reserved_document()}


def difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> Document:
    """Return the merge patch (RFC 7396) that makes `new` of `old`, empty if they are the same."""
    patch: Document = {}
    for name, value in new.items():
        before = old.get(name)
        if before == value and type(before) is type(value):
            continue
        if isinstance(before, Mapping) and isinstance(value, Mapping):
            inner = difference(before, value)
            if inner:
                patch[name] = inner
        else:
            patch[name] = value
    patch.update((name, None) for name in old if name not in new)
    return patch


def joined_owners(
    stored: Iterable[Mapping[str, Any]], wanted: Iterable[Mapping[str, Any]]
) -> list[Mapping[str, Any]]:
    """Return the owners wanted, those that are stored as they are (`controller` and all)."""
    known = {owner.get("uid"): owner for owner in stored}
    return [known.get(owner.get("uid"), owner) for owner in wanted]
