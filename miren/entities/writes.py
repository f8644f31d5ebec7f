"""One write of one entity: the transaction that makes it, and what its refusal means."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Generic, TypeVar

import orjson

from miren.base.errors import InvalidInput
from miren.entities import keys
from miren.entities.attributes import values_at
from miren.entities.derived import PROJECT, Derived, derive, has_same_keys, is_project
from miren.entities.differences import Difference
from miren.entities.entity import Entity
from miren.entities.guards import Guard, Moved, Reason, operations, refusal
from miren.entities.keyring import Keyring
from miren.entities.kinds import Kinds, Scope
from miren.entities.leased import completed, guards_of, index_keys_of
from miren.entities.merging import Managers
from miren.entities.records import Sidecar, encode, stored_document
from miren.entities.references import Pointer, misspelt, reference_attributes
from miren.entities.sealing import seal_document
from miren.entities.secret_entities import masked
from miren.entities.secret_places import has_secrets
from miren.entities.store.api import (
    Compare,
    Delete,
    Get,
    KeyRange,
    KeyValue,
    Operation,
    Put,
    Store,
    TransactionResult,
)
from miren.entities.unstored import bound_attributes, session_attributes, without_unstored
from miren.entities.validating import drafted

__all__ = ["Moved", "Stored", "Write", "commit", "is_removed"]

E = TypeVar("E", bound=Entity[Any, Any])

_MOST_DERIVED = 100
_MOST_BYTES = 1024 * 1024  # etcd's own limit on a whole request is half as much again


@dataclass(frozen=True)
class Stored(Generic[E]):
    """An entity as read, with its sidecar and the very bytes that are stored, if it is."""

    entity: E
    sidecar: Sidecar
    value: bytes

    @classmethod
    def written(
        cls, entity: E, sidecar: Sidecar, value: bytes, document: Mapping[str, Any]
    ) -> Stored[E]:
        """Return what was just stored, whose document is at hand and need not be read again."""
        stored = cls(entity, sidecar, value)
        stored.__dict__["document"] = document  # where `cached_property` keeps it
        return stored

    def with_entity(self, entity: E) -> Stored[E]:
        """Return this with an equal entity, which others hold too."""
        stored = Stored(entity, self.sidecar, self.value)
        if "document" in self.__dict__:
            stored.__dict__["document"] = self.document
        return stored

    @cached_property
    def document(self) -> Mapping[str, Any]:
        """What is stored as plain data, shared with whoever asks: it must not be changed."""
        plain: dict[str, Any] = orjson.loads(self.value)
        return plain

    @cached_property
    def clear(self) -> Mapping[str, Any]:
        """The entity's document with the secrets as it has them, in the kind's version."""
        if self.value and self.is_current and not has_secrets(self.entity.kind):
            return self.document
        return self.entity.to_document(reveal=True)

    @property
    def is_current(self) -> bool:
        """Whether it lies in the store in the kind's stored version, or there is but one."""
        return self.sidecar.version in ("", self.entity.kind.version)


class Write(Generic[E]):
    """What storing `new` over `old` takes. An entity whose deletion has begun and that no
    finalizer holds is removed instead.

    Both entities come with their secrets in the clear; `new`, as it is kept here, is masked, and
    counts a generation more where its spec differs. `of_spec` says how it differs, where somebody
    knows; `is_valid` that a new one was read just now; `held` what is held of one that is removed;
    `derives_again` finds keys that should be there and are not. Raises InvalidInput for what could
    not be read again: nobody checks what `model_copy` makes.
    """

    def __init__(
        self,
        new: E,
        old: Stored[E] | None,
        managers: Managers,
        kinds: Kinds,
        keyring: Keyring | None = None,
        *,
        of_spec: Difference | None = None,
        is_valid: bool = False,
        held: Sequence[KeyValue] = (),
        derives_again: bool = False,
    ) -> None:
        self.kind = new.kind
        #: Where the entity is stored.
        self.key = keys.entity_key(new.kind, new.project, new.name)
        #: Whether this write ends the entity.
        self.removes = is_removed(new)
        self.old = old
        self._kinds = kinds
        self._held: frozenset[str] = old.sidecar.derived if old else frozenset()
        self._held_in_sessions = held
        self._keyring = keyring
        before = old.entity if old else None
        known = old.clear if old else {}
        draft = drafted(new, before, known, of_spec=of_spec, is_valid=is_valid)
        self.document = self._sealed(draft.document)
        self._generation = self._count(has_new_spec=draft.has_new_spec)
        self.value = encode(self.document)
        self.news = self.value if draft.news is self.document else encode(draft.news)
        self.new: E = masked(draft.entity)
        self._derived = self._derive(again=derives_again)
        self._sidecar = self._beside(managers)
        self._check()

    def _sealed(self, clear: dict[str, Any]) -> dict[str, Any]:
        """Return what is stored of a document in the clear."""
        kind, uid = self.kind, clear["metadata"].get("uid", "")
        if has_secrets(kind):
            before = dict(self.old.document) if self.old else None
            clear = seal_document(kind, clear, uid=uid, keyring=self._keyring, old=before)
        if session_attributes(kind) or bound_attributes(kind):
            without_unstored(kind, clear)
        return clear

    def _count(self, *, has_new_spec: bool) -> int:
        """Return the generation, and have it stored: one more where the spec is another."""
        metadata: dict[str, Any] = self.document["metadata"]
        if self.old is not None and has_new_spec:
            metadata["generation"] = self.old.entity.metadata.generation + 1
        return int(metadata.get("generation", 0))

    @cached_property
    def _old_document(self) -> Mapping[str, Any]:
        """What would be stored of the old entity now: it may lie there in an older version."""
        assert self.old is not None
        if self.old.is_current:
            return self.old.document
        return stored_document(self.old.entity, self._keyring, self.old.value)

    def _at(self, revision: int | None = None) -> E:
        """Return the entity with its generation and, once it is stored, its revision."""
        changes: dict[str, object] = {"generation": self._generation}
        if revision is not None:
            changes["resource_version"] = str(revision)
        # Both are as reading gives them, so they are not read again.
        return self.new.made_of(metadata=self.new.metadata.model_copy(update=changes))

    def _beside(self, managers: Managers) -> Sidecar:
        """Return what lies beside the entity: the very same as before where nothing changes."""
        derived, version = self._derived.keys, self.kind.version
        if self.old is not None:
            known = self.old.sidecar
            is_same = known.managers is managers and known.derived is derived
            if is_same and known.version == version:
                return known
        return Sidecar(managers, derived, version)

    def _derive(self, *, again: bool) -> Derived:
        """Return what is derived; of what did not change, what is there, unless `again`."""
        old = self.old
        if not again and old is not None and old.is_current and self._held:
            before = old.document
            if has_same_keys(self.kind, self.document, before):
                return Derived(self._held, {}, {})
        return derive(self.kind, self.document, self._kinds)

    def _check(self) -> None:
        if reference_attributes(self.kind):
            problems = tuple(misspelt(self.kind, self.document, self._kinds))
            if problems:
                raise InvalidInput(problems, entity=str(self.new))
        count, size = len(self._derived.keys), len(self.value)
        if count > _MOST_DERIVED:
            raise InvalidInput(
                f"{self.new} has {count} indexed values and references; "
                f"at most {_MOST_DERIVED} are kept",
                entity=str(self.new),
            )
        if size > _MOST_BYTES:
            raise InvalidInput(
                f"{self.new} takes {size} bytes; at most {_MOST_BYTES} can be stored",
                hint="keep what is large elsewhere, and refer to it",
                entity=str(self.new),
            )

    @property
    def changes_nothing(self) -> bool:
        """Whether all of it is stored already."""
        if self.old is None or self.removes:
            return False
        if self.old.is_current:
            return self.value == self.old.value and self.has_all_derived
        # What is stored in another version stays so until a write has something to say.
        is_same = self.value == encode(self._old_document)
        return is_same and self._sidecar.managers == self.old.sidecar.managers

    @property
    def has_all_derived(self) -> bool:
        """Whether what lies beside the entity is what this write would put there."""
        known, mine = self.old.sidecar if self.old else None, self._sidecar
        if known is mine:
            return True
        return known is not None and (
            (known.managers, known.derived) == (mine.managers, mine.derived)
        )

    def shown_dry(self) -> E:
        """Return the entity as it would be stored."""
        return self._at()

    def stored_at(self, revision: int) -> Stored[E]:
        """Return what this write stored, when it was done at `revision`."""
        return Stored.written(self._at(revision), self._sidecar, self.value, self.document)

    # -- guards ----------------------------------------------------------------------------

    @cached_property
    def guards(self) -> tuple[Guard, ...]:
        """What must still hold of what follows from the entity itself."""
        rest = self._removal_guards() if self.removes else self._new_guards()
        return (self._own_guard(), *rest)

    def _own_guard(self) -> Guard:
        if self.old is None:
            return Guard(Reason.EXISTS, Compare.absent(self.key))
        return Guard(Reason.MOVED, Compare.unchanged(self.key, self.old.entity.revision))

    def _new_guards(self) -> list[Guard]:
        kind = self.new.kind
        found = [
            Guard(Reason.UNIQUE, Compare.absent(key), words)
            for key, words in self._derived.unique.items()
            if key not in self._held
        ]
        found += map(_reference_guard, self._new_pointers())
        if self.old is None and kind.scope is Scope.PROJECT and self._kinds.named(*PROJECT):
            compare = Compare.exists(keys.project_key(self.new.project))
            found.append(Guard(Reason.PROJECT, compare, f"project {self.new.project!r}"))
        return found

    def _new_pointers(self) -> Iterator[Pointer]:
        """Yield the references that the stored version does not have."""
        for key, pointer in self._derived.pointers.items():
            if key not in self._held and not self._was_there(pointer):
                yield pointer

    def _was_there(self, pointer: Pointer) -> bool:
        """Return whether the stored version refers so, though its keys do not say it yet."""
        path, text = pointer.attribute.path, pointer.text
        return self.old is not None and text in values_at(self.old.document, path)

    def _removal_guards(self) -> list[Guard]:
        kind, project, name = self.new.kind, self.new.project, self.new.name
        found = [
            Guard(reason, Compare.empty(keys.references_range(kind, project, name, rule)))
            for reason, rule in ((Reason.RESTRICTED, "restrict"), (Reason.UNSET, "unset"))
        ]
        found += (
            Guard(Reason.MOVED, each) for each in guards_of(self.new, self._held_in_sessions)
        )
        if is_project(kind):
            found += [
                Guard(Reason.CONTENTS, Compare.empty(keys.entity_range(other, name)))
                for other in self._kinds.all_stored()
                if other.scope is Scope.PROJECT
            ]
        return found

    # -- the transaction -------------------------------------------------------------------

    def then(self) -> list[Operation]:
        """Return what is written."""
        kind, project, name = self.kind, self.new.project, self.new.name
        wanted = frozenset[str]() if self.removes else self._derived.keys
        gone: list[Operation] = [Delete(KeyRange.key(key)) for key in sorted(self._held - wanted)]
        if self.removes:
            gone += (
                Delete(KeyRange.key(key))
                for key in index_keys_of(self.new, self._held_in_sessions)
            )
            both = (self.key, keys.sidecar_key(kind, project, name))
            own = [Delete(KeyRange.key(key)) for key in both]
            return [*own, *gone, *map(Delete, self._session_ranges())]
        put: list[Operation] = [Put(self.key, self.value)]
        if self.old is None or self._sidecar != self.old.sidecar:
            put.append(Put(keys.sidecar_key(kind, project, name), self._sidecar.encode()))
        uid = self.new.uid.encode()
        more = [Put(key, uid) for key in sorted(wanted - self._held)]
        return [*put, *gone, *more, *map(Get, self._session_ranges())]

    def _session_ranges(self) -> list[KeyRange]:
        """Return where what is held of the entity is, if its kind has such."""
        kind = self.new.kind
        some = bool(session_attributes(kind))
        return [keys.session_range(kind, self.new.project, self.new.name)] if some else []

    def shown(self, stored: E, result: TransactionResult) -> E:
        """Return the entity that was stored, or removed, with what was held of it."""
        return completed(stored, result.reads[-1] if self._session_ranges() else ())


def _reference_guard(pointer: Pointer) -> Guard:
    key = keys.entity_key(pointer.target, pointer.project, pointer.name)
    words = f"{pointer.attribute.dotted}: no {pointer.target.singular} {pointer.text!r}"
    return Guard(Reason.REFERENCE, Compare.exists(key), words)


def is_removed(entity: Entity[Any, Any]) -> bool:
    """Return whether writing this ends the entity."""
    return entity.is_deleting and not entity.metadata.finalizers


async def commit(
    store: Store, write: Write[E], *, more: Sequence[Guard] = (), dry_run: bool = False
) -> TransactionResult:
    """Run the write and return what the store said; raise what its guards say when refused.

    It is guarded by `more` beside its own guards. A dry run checks every guard in the same way,
    writes nothing, and leaves the revision alone.
    """
    guards = (*write.guards, *more)
    result = await store.transact(
        [guard.compare for guard in guards],
        () if dry_run else write.then(),
        operations(guards),
    )
    if not result.succeeded:
        raise refusal(str(write.new), guards, result.reads)
    return result
