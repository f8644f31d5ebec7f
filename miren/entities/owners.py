"""Who owns an entity: owners that `owner: true` references name, and what must hold of any owner.

An owner exists, with the uid that the reference says; it is in the same project or belongs to
the cluster; and nobody comes to own itself. A new entity owns nothing yet, so it cannot close a
circle; where an existing one gets an owner, the chain above is walked, and guarded as it was seen.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar

import orjson

from miren.base.errors import InvalidInput, MissingRef, Problem
from miren.entities import keys
from miren.entities.attributes import attributes
from miren.entities.derived import derive
from miren.entities.entity import Entity, OwnerReference
from miren.entities.guards import Guard, Reason
from miren.entities.kinds import Kind, Kinds, Scope
from miren.entities.records import stored_document
from miren.entities.references import Pointer
from miren.entities.store.api import Compare, KeyValue, Store

__all__ = ["owned", "owner_guards"]

E = TypeVar("E", bound=Entity[Any, Any])

_AT = ("metadata", "ownerReferences")
_HIGHEST = 32  # owners above each other


@dataclass(frozen=True, slots=True)
class _Owner:
    reference: OwnerReference
    kind: Kind
    project: str
    stored: KeyValue

    def above(self) -> list[OwnerReference]:
        metadata = orjson.loads(self.stored.value)["metadata"]
        found = metadata.get("ownerReferences", ())
        return [OwnerReference.model_validate(each) for each in found]


async def owned(new: E, old: Entity[Any, Any] | None, store: Store, kinds: Kinds) -> E:
    """Return `new` with its owners as its `owner: true` references say.

    The target of a new reference becomes an owner; that of one that is gone is none any more.
    """
    if not _names_owners(new.kind) or (old is not None and old.spec == new.spec):
        return new
    after = _owning(new, kinds)
    before = {} if old is None else _owning(old, kinds)
    if after.keys() == before.keys():
        return new
    lost = [pointer for key, pointer in before.items() if key not in after]
    owners = [
        owner
        for owner in new.metadata.owner_references
        if not any(owner.kind == p.target.name and owner.name == p.name for p in lost)
    ]
    for key, pointer in after.items():
        if key not in before:
            stored = await store.get(key)
            if stored is None:
                continue  # the reference's own guard says so
            uid = orjson.loads(stored.value)["metadata"]["uid"]
            if all(owner.uid != uid for owner in owners):
                owners.append(_reference(pointer, uid))
    return new.with_metadata(owner_references=tuple(owners))


@cache
def _names_owners(kind: Kind) -> bool:
    """Return whether there are `owner: true` references in a kind."""
    return any(each.options.owner for each in attributes(kind))


def _reference(pointer: Pointer, uid: str) -> OwnerReference:
    target = pointer.target
    return OwnerReference(
        api_version=target.api_version, kind=target.name, name=pointer.name, uid=uid
    )


def _owning(entity: Entity[Any, Any], kinds: Kinds) -> dict[str, Pointer]:
    """Return what an entity's `owner: true` references name, by the target's key."""
    pointers = derive(entity.kind, stored_document(entity), kinds).pointers.values()
    return {
        keys.entity_key(pointer.target, pointer.project, pointer.name): pointer
        for pointer in pointers
        if pointer.attribute.options.owner
    }


async def owner_guards(
    new: Entity[Any, Any], old: Entity[Any, Any] | None, store: Store, kinds: Kinds
) -> Sequence[Guard]:
    """Return what must hold of the owners that `new` has and `old` had not.

    Raises InvalidInput for owners that cannot own it, MissingRef for those that do not exist.
    """
    if not new.metadata.owner_references:
        return ()
    known = {owner.uid for owner in old.metadata.owner_references} if old else set()
    added = [owner for owner in new.metadata.owner_references if owner.uid not in known]
    if not added:
        return ()
    found = [await _find(owner, new, store, kinds) for owner in added]
    guards = [_guard(each) for each in found]
    if old is not None:
        for owner in found:
            async for above in _chain(owner, store, kinds):
                if above.reference.uid == new.uid:
                    text = f"{new} would own itself, through {_named(owner.reference)}"
                    raise InvalidInput([Problem(text, _AT)], entity=str(new))
                compare = Compare.unchanged(above.stored.key, above.stored.mod_revision)
                guards.append(Guard(Reason.MOVED, compare))
    return guards


async def _find(owner: OwnerReference, of: Entity[Any, Any], store: Store, kinds: Kinds) -> _Owner:
    kind = kinds.of_document(owner.api_version, owner.kind)
    if kind.scope is Scope.PROJECT and of.kind.scope is Scope.CLUSTER:
        text = f"{of} belongs to the cluster: nothing in a project can own it"
        raise InvalidInput([Problem(text, _AT)], entity=str(of))
    project = "" if kind.scope is Scope.CLUSTER else of.project
    stored = await store.get(keys.entity_key(kind, project, owner.name))
    found = None if stored is None else _Owner(owner, kind, project, stored)
    if found is None or _uid(found.stored) != owner.uid:
        where = f" in project {project!r}" if project else ""
        raise MissingRef(
            f"owner {_named(owner)} with uid {owner.uid!r} does not exist{where}",
            hint="an owner is in the same project, or belongs to the cluster",
            entity=str(of),
        )
    return found


async def _chain(owner: _Owner, store: Store, kinds: Kinds) -> AsyncIterator[_Owner]:
    """Yield an owner and everything above it that still exists, each once."""
    seen: set[str] = set()
    rest = [owner]
    while rest:
        here = rest.pop()
        if here.reference.uid in seen:
            continue
        seen.add(here.reference.uid)
        if len(seen) > _HIGHEST:
            raise InvalidInput(f"more than {_HIGHEST} owners above {_named(owner.reference)}")
        yield here
        for above in here.above():
            kind = kinds.of_document(above.api_version, above.kind)
            project = "" if kind.scope is Scope.CLUSTER else here.project
            stored = await store.get(keys.entity_key(kind, project, above.name))
            if stored is not None and _uid(stored) == above.uid:
                rest.append(_Owner(above, kind, project, stored))


def _uid(stored: KeyValue) -> str:
    return str(orjson.loads(stored.value)["metadata"]["uid"])


def _named(owner: OwnerReference) -> str:
    return f"{owner.kind.lower()}/{owner.name}"


def _guard(owner: _Owner) -> Guard:
    compare = Compare.same(owner.stored.key, owner.stored.create_revision)
    return Guard(Reason.OWNER, compare, f"owner {_named(owner.reference)} does not exist any more")
