"""What a write makes of an entity: create, update, apply and patch as pure functions.

Managers own spec, labels and annotations. For merging, a document holds only these, without
defaults (which nobody owns) and with keyed lists as maps.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import Any, Generic, TypeVar, cast

from miren.base.errors import Conflict, InvalidInput, Problem
from miren.entities.client import Patch
from miren.entities.differences import Difference, difference
from miren.entities.entity import Entity, Metadata, OwnerReference, Partial
from miren.entities.guards import Guard
from miren.entities.json_patch import patched_by_operations
from miren.entities.keyed_lists import keyed, listed
from miren.entities.merging import Managers, Merge, fields, merge, merge_patch, take_over
from miren.entities.model import Model
from miren.entities.reading import expand, read
from miren.entities.secret_entities import kept
from miren.entities.secret_places import has_secrets, keep_masked
from miren.entities.secrets import REVEALING
from miren.entities.writes import Stored

__all__ = ["Change", "applied", "fresh", "patched", "updated"]

E = TypeVar("E", bound=Entity[Any, Any])
Document = dict[str, Any]

_PATCHABLE = ("labels", "annotations", "finalizers", "ownerReferences")
_LABELS = ("labels", "annotations")
#: What an update can write of the metadata.
_WRITABLE = (*_LABELS, "finalizers", "owner_references")
_writable = attrgetter(*_WRITABLE)
_NOTHING: Document = {}
_HINT = "spec, labels and annotations can"


@dataclass(frozen=True, slots=True)
class Change(Generic[E]):
    """The entity as it should be stored, who manages what in it then, and what must hold."""

    entity: E
    managers: Managers
    guards: tuple[Guard, ...] = ()
    of_spec: Difference | None = None  # how the spec differs from what is stored
    is_valid: bool = False  # a new entity that was read from a document just now


def updated(old: Stored[E], wanted: E, *, manager: str) -> Change[E]:
    """Return `old` with spec and writable metadata of `wanted`."""
    metadata = old.entity.metadata
    if wanted.metadata is not metadata:
        pairs = zip(_WRITABLE, _writable(wanted.metadata), _writable(metadata), strict=True)
        written = {name: value for name, value, known in pairs if value != known}
        if written:
            metadata = old.entity.with_metadata(**written).metadata
    return _taken_over(old, metadata, wanted.spec, manager)


def fresh(partial: Partial[E], *, manager: str) -> Change[E]:
    """Return a new entity of what `partial` says; raise InvalidInput if that is not enough."""
    given = partial.document["metadata"]
    known = ("name", "project", *_PATCHABLE)
    head = {key: given[key] for key in known if given.get(key)}
    spec = _spec_of(partial)
    made = partial.type.from_document({"metadata": head, "spec": spec})
    wanted = _without_empty(given, keyed(partial.type.kind.spec, spec))
    owned = fields(wanted)
    return Change(made, {manager: owned} if owned else {}, is_valid=True)


def applied(old: Stored[E], partial: Partial[E], *, manager: str, force: bool) -> Change[E]:
    """Return `old` with exactly the fields of `partial` as the manager's.

    Owners that it names are added; who owns an entity is never taken back by applying.
    """
    stored, managers = _managed(old.entity, defaults=False), old.sidecar.managers
    wanted, shown = _wanted(partial, old.entity), _managed(old.entity, defaults=True)

    def merging(wanted: Document, *, force: bool) -> Merge:
        return merge(stored, managers, wanted, manager=manager, force=force, shown=shown)

    try:
        merged = merging(wanted, force=force)
    except Conflict:
        # 1024Mi is 1Gi: what is read alike is the same value, however it was written.
        read_back = _with(old.entity, merging(wanted, force=True))
        merged = merging(_as_read(wanted, _managed(read_back, defaults=True)), force=force)
    new = _with(old.entity, merged)
    owners = _joined(new.metadata.owner_references, _owners(partial))
    return Change(new.with_metadata(owner_references=owners), merged.managers)


def patched(old: Stored[E], patch: Patch, *, manager: str) -> Change[E]:
    """Return `old` changed by a patch of spec and writable metadata; see `Client.patch`.

    A patch sees masks: it can neither test a secret nor copy one to where it would show.
    """
    before = old.entity.to_document()
    document = _merged(old.entity, before, patch) if isinstance(patch, Mapping) else None
    if document is None:
        document = patched_by_operations(before, cast("Sequence[Mapping[str, Any]]", patch))
    problems = [*_unpatchable(before, document)]
    if problems:
        raise InvalidInput(problems, entity=str(old.entity))
    found = type(old.entity).from_document(
        {"metadata": document.get("metadata", {}), "spec": document.get("spec", {})}
    )
    return _taken_over(old, found.metadata, found.spec, manager)


def _merged(entity: Entity[Any, Any], before: Document, patch: Mapping[str, Any]) -> Document:
    wanted = {part: value for part, value in patch.items() if part not in ("spec", "metadata")}
    for part, model in (("metadata", Metadata), ("spec", entity.kind.spec)):
        if part in patch:
            wanted[part] = expand(model, patch[part])
    merged: Document = merge_patch(before, wanted)
    return merged


def _unpatchable(before: Document, after: Document) -> Iterator[Problem]:
    """Yield a problem for each part that differs and that no patch may change."""
    metadata = after.get("metadata", {})
    if not isinstance(metadata, Mapping):
        return  # reading it says so
    for part in sorted(before.keys() | after.keys()):
        if part not in ("spec", "metadata") and before.get(part) != after.get(part):
            told = "is written by controllers: leave it out"
            yield Problem(told if part == "status" else "cannot be patched", (part,), hint=_HINT)
    for part in sorted(before["metadata"].keys() | metadata.keys()):
        if part not in _PATCHABLE and before["metadata"].get(part) != metadata.get(part):
            yield Problem("cannot be patched", ("metadata", part), hint=_HINT)


def _taken_over(old: Stored[E], metadata: Metadata, spec: Model, manager: str) -> Change[E]:
    """Return `old` with these parts, whose masks keep its secrets."""
    entity = old.entity
    if has_secrets(entity.kind):
        spec = kept(entity.made_of(metadata=metadata, spec=spec), entity).spec
    found = difference(entity.spec, spec, old.clear["spec"], part="spec")
    new = entity.made_of(metadata=metadata, spec=found.model)
    if found.problems:
        raise InvalidInput(found.problems, entity=str(new))
    managers = old.sidecar.managers
    if not found.is_none or metadata is not entity.metadata:
        before, after = _labels_apart(entity.metadata, metadata)
        model = entity.kind.spec
        managers = take_over(
            managers,
            _without_empty(before, keyed(model, found.before)),
            _without_empty(after, keyed(model, found.after)),
            manager=manager,
        )
    return Change(new, managers, of_spec=found)


def _labels_apart(old: Metadata, new: Metadata) -> tuple[Document, Document]:
    """Return the labels and annotations of both where they differ."""
    if new is old:
        return _NOTHING, _NOTHING
    parts = [(part, getattr(old, part), getattr(new, part)) for part in _LABELS]
    before = {part: was for part, was, now in parts if was != now}
    after = {part: now for part, was, now in parts if was != now}
    return before, after


def _managed(entity: Entity[Any, Any], *, defaults: bool) -> Document:
    """Return the part of an entity that managers own, as a document for merging."""
    model = entity.kind.spec
    spec = entity.spec.model_dump(
        mode="json", exclude_none=True, exclude_defaults=not defaults, context=REVEALING
    )
    metadata = entity.metadata.model_dump(mode="json", include=set(_LABELS))
    return _without_empty(metadata, keyed(model, spec))


def _wanted(partial: Partial[E], old: E) -> Document:
    """Return what a partial says as a document for merging; its masks keep what `old` holds."""
    spec = _spec_of(partial)
    if has_secrets(partial.type.kind):
        stored = old.to_document(reveal=True)
        spec = keep_masked(partial.type.kind, {"spec": spec}, stored)["spec"]
    return _without_empty(partial.document["metadata"], keyed(partial.type.kind.spec, spec))


def _spec_of(partial: Partial[E]) -> Any:
    """Return the spec that a partial says, by wire names and with shorthands written out."""
    if "status" in partial.document:
        raise InvalidInput("status is written by controllers: leave it out")
    spec = partial.document.get("spec")
    return {} if spec is None else expand(partial.type.kind.spec, spec)


def _without_empty(metadata: Mapping[str, Any], spec: Any) -> Document:
    """Return both parts; an empty one is no field, so it is left out."""
    if not metadata:
        return {"spec": spec} if spec else {}
    for part in _LABELS:
        if metadata.get(part) and not isinstance(metadata[part], Mapping):
            raise InvalidInput([Problem("must be a mapping", ("metadata", part))])
    some = {part: dict(metadata[part]) for part in _LABELS if metadata.get(part)}
    return {part: value for part, value in (("metadata", some), ("spec", spec)) if value}


def _with(entity: E, merged: Merge) -> E:
    """Return the entity with spec, labels and annotations from a merged document."""
    kind, metadata = type(entity).kind, entity.to_document()["metadata"]
    for part in ("labels", "annotations"):
        metadata[part] = merged.document.get("metadata", {}).get(part, {})
    spec = listed(kind.spec, merged.document.get("spec", {}), merged.held, "/spec")
    found = type(entity).from_document({"metadata": metadata, "spec": spec})
    return replace(entity, metadata=found.metadata, spec=found.spec)


def _as_read(wanted: Any, found: Any) -> Any:
    """Return what is wanted with its values as they were read; null says that there is none."""
    if not isinstance(wanted, Mapping) or not isinstance(found, Mapping):
        return found
    return {name: _as_read(value, found[name]) for name, value in wanted.items() if name in found}


def _owners(partial: Partial[E]) -> tuple[OwnerReference, ...]:
    given = partial.document["metadata"].get("ownerReferences", ())
    document = {"name": partial.name, "ownerReferences": given}
    return read(Metadata, document, path=("metadata",)).owner_references


def _joined(
    owners: tuple[OwnerReference, ...], more: tuple[OwnerReference, ...]
) -> tuple[OwnerReference, ...]:
    known = {owner.uid for owner in owners}
    return (*owners, *(owner for owner in more if owner.uid not in known))
