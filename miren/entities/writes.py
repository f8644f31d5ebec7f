"""One write of one entity: the transaction that makes it, and what its refusal means."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Generic, TypeVar

from miren.base.errors import (
    AlreadyExists,
    Conflict,
    Duplicate,
    InvalidInput,
    MirenError,
    MissingRef,
)
from miren.entities import keys
from miren.entities.entity import Entity
from miren.entities.kinds import Kinds
from miren.entities.merging import Managers
from miren.entities.records import Sidecar, derived_keys, encode, referenced, unique_values
from miren.entities.store.api import (
    Compare,
    Delete,
    Get,
    KeyRange,
    KeyValue,
    Operation,
    Put,
    Store,
)

__all__ = ["Moved", "Stored", "Write", "commit"]

E = TypeVar("E", bound=Entity[Any, Any])

_MOST_DERIVED = 100


@dataclass(frozen=True)
class Stored(Generic[E]):
    """An entity as read, with its sidecar."""

    entity: E
    sidecar: Sidecar


class Moved(Conflict):
    """The entity is not what the write was made from any more."""

    def __init__(self, entity: Entity[Any, Any]) -> None:
        super().__init__(
            f"{entity} has changed since it was read",
            hint="read it again and repeat the change",
            entity=str(entity),
        )


class Write(Generic[E]):
    """What storing `new` over `old` takes. An entity whose deletion has begun and that no
    finalizer holds is removed instead.
    """

    def __init__(self, new: E, old: Stored[E] | None, managers: Managers, kinds: Kinds) -> None:
        self.new = new
        self.old = old
        self._kinds = kinds
        self._sidecar = Sidecar(managers, derived_keys(new))
        if len(self._sidecar.derived) > _MOST_DERIVED:
            raise InvalidInput(
                f"{new} has {len(self._sidecar.derived)} indexed values; "
                f"at most {_MOST_DERIVED} are kept",
                entity=str(new),
            )

    @cached_property
    def value(self) -> bytes:
        """The entity's stored form."""
        return encode(self.new)

    @property
    def removes(self) -> bool:
        """Whether this write ends the entity."""
        return self.new.is_deleting and not self.new.metadata.finalizers

    @property
    def changes_nothing(self) -> bool:
        """Whether all of it is stored already."""
        if self.old is None or self.removes:
            return False
        return self.value == encode(self.old.entity) and self._sidecar == self.old.sidecar

    @cached_property
    def _key(self) -> str:
        return keys.entity_key(self.new.kind, self.new.project, self.new.name)

    @cached_property
    def _sidecar_key(self) -> str:
        return keys.sidecar_key(self.new.kind, self.new.project, self.new.name)

    @cached_property
    def _new_unique(self) -> Mapping[str, str]:
        held = self.old.sidecar.derived if self.old else frozenset[str]()
        found = {} if self.removes else unique_values(self.new)
        return {key: words for key, words in found.items() if key not in held}

    @cached_property
    def _new_refs(self) -> Mapping[str, str]:
        if self.removes or (self.old and self.old.entity.spec == self.new.spec):
            return {}
        before = referenced(self.old.entity, self._kinds) if self.old else {}
        after = referenced(self.new, self._kinds)
        return {key: words for key, words in after.items() if key not in before}

    def compares(self) -> list[Compare]:
        """Return what must still hold."""
        mine = (
            Compare.absent(self._key)
            if self.old is None
            else Compare.unchanged(self._key, self.old.entity.revision)
        )
        return [
            mine,
            *(Compare.absent(key) for key in self._new_unique),
            *(Compare.exists(key) for key in self._new_refs),
        ]

    def then(self) -> list[Operation]:
        """Return what is written."""
        held = self.old.sidecar.derived if self.old else frozenset[str]()
        wanted = frozenset[str]() if self.removes else self._sidecar.derived
        gone: list[Operation] = [Delete(KeyRange.key(key)) for key in sorted(held - wanted)]
        if self.removes:
            own: list[Operation] = [Delete(KeyRange.key(self._key))]
            return [*own, Delete(KeyRange.key(self._sidecar_key)), *gone]
        uid = self.new.uid.encode()
        put: list[Operation] = [Put(self._key, self.value)]
        if self.old is None or self._sidecar != self.old.sidecar:
            put.append(Put(self._sidecar_key, self._sidecar.encode()))
        return [*put, *gone, *(Put(key, uid) for key in sorted(wanted - held))]

    def otherwise(self) -> list[Operation]:
        """Return the reads that tell which guard did not hold."""
        guarded = [self._key, *self._new_unique, *self._new_refs]
        return [Get(KeyRange.key(key)) for key in guarded]

    def refusal(self, reads: tuple[tuple[KeyValue, ...], ...]) -> MirenError:
        """Return the error for what `otherwise` read."""
        name, current, rest = str(self.new), reads[0], list(reads[1:])
        if self.old is None and current:
            return AlreadyExists(f"{name} exists already", entity=name)
        if self.old is not None and (
            not current or current[0].mod_revision != self.old.entity.revision
        ):
            return Moved(self.new)
        taken = [
            f"{words} is taken by another {self.new.kind.singular}"
            for words, found in zip(self._new_unique.values(), rest, strict=False)
            if found
        ]
        if taken:
            return Duplicate("\n".join(taken), entity=name)
        targets = rest[len(self._new_unique) :]
        missing = [
            words
            for words, found in zip(self._new_refs.values(), targets, strict=True)
            if not found
        ]
        if missing:
            return MissingRef("\n".join(missing), hint="create it first", entity=name)
        raise AssertionError("guards and reads are one step: one of them says what failed")


async def commit(store: Store, write: Write[E], *, dry_run: bool = False) -> E:
    """Run the write; return the entity as stored, or its last state when it was removed.

    A dry run checks every guard in the same way, writes nothing, and leaves the revision alone.
    """
    then = () if dry_run else write.then()
    result = await store.transact(write.compares(), then, write.otherwise())
    if not result.succeeded:
        raise write.refusal(result.reads)
    if dry_run:
        return write.new
    return write.new.with_metadata(resource_version=str(result.revision))
