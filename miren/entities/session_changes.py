"""What a session writes to hold session attributes of an entity, and what that relies on. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Generic, TypeVar

from miren.base.errors import Conflict, InvalidInput, Problem
from miren.entities import keys
from miren.entities.arguments import plain
from miren.entities.entity import Entity
from miren.entities.kinds import Kind
from miren.entities.leased import Held, guards_of, index_keys
from miren.entities.model import spellings
from miren.entities.reading import closest, read
from miren.entities.store.api import Compare, Delete, KeyRange, KeyValue, Lease, Operation, Put
from miren.entities.unstored import session_attributes

__all__ = ["Known", "SessionChange", "checked_names", "checked_values"]

E = TypeVar("E", bound=Entity[Any, Any])


@dataclass(frozen=True)
class Known(Generic[E]):
    """An entity as read, and the session keys of its name, all there are in `range`."""

    entity: E
    stored: KeyValue
    range: KeyRange
    held: Sequence[KeyValue]


@dataclass(frozen=True)
class SessionChange(Generic[E]):
    """A change by `holder`, whose lease lasts `ttl` seconds. Raises Conflict for another's."""

    known: Known[E]
    holder: str
    ttl: float
    lease: Lease

    def __post_init__(self) -> None:
        entity = self.known.entity
        for held in self._held.values():
            if held.uid == entity.uid and held.holder != self.holder:
                raise Conflict(
                    f"{entity} is held by {held.holder}",
                    hint=f"it lets go of it {held.ttl:g} s after it has fallen silent at most",
                    entity=str(entity),
                )

    def guards(self) -> list[Compare]:
        """Return what must still hold: it is the same entity, and nobody's hold has changed."""
        stored = self.known.stored
        same = Compare.same(stored.key, stored.create_revision)
        return [same, *guards_of(self.known.entity, self.known.held)]

    def operations(self, wanted: Mapping[str, object], gone: Sequence[str]) -> list[Operation]:
        """Return what makes the attributes `wanted` these, and those in `gone` nobody's."""
        found: list[Operation] = []
        for attribute, value in wanted.items():
            found += self._put(attribute, value)
        for attribute in gone:
            if attribute in self._held:
                found.append(Delete(KeyRange.key(self._key(attribute))))
                found += _deleted(self._index(self._held[attribute]))
        return found

    def _put(self, attribute: str, value: object) -> Iterator[Operation]:
        entity, key = self.known.entity, self._key(attribute)
        new = Held(attribute, value, entity.uid, self.holder, self.ttl)
        before = next((item for item in self.known.held if item.key == key), None)
        encoded = new.encode()
        is_ours = before is not None and before.lease == self.lease
        if is_ours and before is not None and before.value == encoded:
            return
        yield Put(key, encoded, self.lease)
        was = self._index(self._held[attribute]) if before is not None else frozenset[str]()
        wanted = self._index(new)
        yield from _deleted(was - wanted)
        uid = entity.uid.encode()
        # What another lease holds has to be put again, or it would go with that one.
        for index_key in sorted(wanted - was if is_ours else wanted):
            yield Put(index_key, uid, self.lease)

    @cached_property
    def _held(self) -> Mapping[str, Held]:
        return {held.attribute: held for held in map(Held.decode, self.known.held)}

    def _index(self, held: Held) -> frozenset[str]:
        entity = self.known.entity
        return index_keys(entity.kind, held, entity.project, entity.name)

    def _key(self, attribute: str) -> str:
        entity = self.known.entity
        return keys.session_key(entity.kind, entity.project, entity.name, attribute)


def _deleted(gone: frozenset[str]) -> Iterator[Operation]:
    return (Delete(KeyRange.key(key)) for key in sorted(gone))


def checked_names(kind: Kind, names: Sequence[str]) -> tuple[str, ...]:
    """Return session attributes by wire name; raise InvalidInput with all that are none."""
    known, spelt = session_attributes(kind), spellings(kind.status)
    problems = []
    for name in names:
        if spelt.get(name) not in known:
            hint = closest(name, list(known)) or f"these are: {', '.join(known) or 'none'}"
            told = f"is no session attribute of {kind.name}"
            problems.append(Problem(told, ("status", name), hint=hint))
    if problems:
        raise InvalidInput(problems)
    return tuple(spelt[name] for name in names)


def checked_values(kind: Kind, values: Mapping[str, object]) -> Mapping[str, object]:
    """Return session attributes by wire name, as plain data; raise InvalidInput."""
    wires = checked_names(kind, tuple(values))
    given = {wire: plain(value) for wire, value in zip(wires, values.values(), strict=True)}
    nothing = [
        Problem("needs a value", ("status", wire), hint="clear it to let go of it")
        for wire, value in given.items()
        if value is None
    ]
    if nothing:
        raise InvalidInput(nothing)
    # All at once, then each as the model writes it: shorthands and defaults written out.
    document = read(kind.status, given, path=("status",)).model_dump(mode="json")
    return {wire: document[wire] for wire in wires}
