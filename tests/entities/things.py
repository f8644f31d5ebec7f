"""Two kinds with everything that a write may be refused for, and a plain model of the client.

The model is slow and obvious. It keeps one dict of records, and an entity's fields as one dict
from JSON pointer to value: who owns what, what changes and what conflicts are set operations.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from miren.base.errors import (
    AlreadyExists,
    Conflict,
    Duplicate,
    InvalidInput,
    MirenError,
    MissingRef,
    NotFound,
    Refused,
)
from miren.entities.deleting import FOREGROUND, ORPHAN, UNSET
from miren.entities.entity import Entity
from miren.entities.model import Map, Model, Ref
from miren.entities.model import field as attribute
from tests.builders import Nothing

__all__ = [
    "Holder",
    "Key",
    "Plain",
    "Record",
    "Thing",
    "key_of",
    "kind_of_error",
    "leaves_of",
    "unescaped",
]


class HolderSpec(Model):
    size: int = 1


class Holder(Entity[HolderSpec, Nothing], api="example.dev/v1"):
    """Something to refer to."""


class ThingSpec(Model):
    weight: int = attribute(default=1, indexed=True)
    code: str | None = attribute(default=None, unique="project")
    serial: str | None = attribute(default=None, unique="cluster")
    sender: str | None = attribute(default=None, immutable=True)
    restrict: Ref[Holder] | None = attribute(default=None, to=("Holder",), on_delete="restrict")
    unset: Ref[Holder] | None = attribute(default=None, to=("Holder",), on_delete="unset")
    loose: Ref[Holder] | None = attribute(default=None, to=("Holder",), indexed=True)
    env: Map[str] = attribute(default={})


class ThingStatus(Model):
    place: str = attribute(default="", indexed=True)


class Thing(Entity[ThingSpec, ThingStatus], api="example.dev/v1"):
    """Everything a write may be refused for."""


Key = tuple[str, str, str]  # kind, project, name
Fields = dict[str, object]
DEFAULTS: Mapping[str, Fields] = {
    "Thing": {"/spec/weight": 1},
    "Holder": {"/spec/size": 1},
    "Project": {},
}
REFERENCES = ("restrict", "unset", "loose")
OURS = (FOREGROUND, ORPHAN, UNSET)


def key_of(entity: Entity[Any, Any]) -> Key:
    """Return the key of an entity's record."""
    return (entity.kind.name, entity.project, entity.name)


def leaves_of(document: Mapping[str, Any]) -> Fields:
    """Return the fields that a document of spec and metadata gives, by pointer."""
    found: Fields = {}
    for name, value in document.get("spec", {}).items():
        if name == "env":
            found |= {f"/spec/env/{escaped(key)}": item for key, item in value.items()}
        else:
            found[f"/spec/{name}"] = value
    labels = document.get("metadata", {}).get("labels", {})
    return found | {f"/metadata/labels/{key}": value for key, value in labels.items()}


def escaped(step: str) -> str:
    """Return a step as a JSON pointer has it (RFC 6901)."""
    return step.replace("~", "~0").replace("/", "~1")


def unescaped(step: str) -> str:
    """Return the step of which a JSON pointer has this."""
    return step.replace("~1", "/").replace("~0", "~")


@dataclass(frozen=True)
class Record:
    """One entity: `fields` without defaults, `owned` by manager."""

    uid: str = ""
    fields: Mapping[str, object] = field(default_factory=dict)
    place: str = ""
    finalizers: tuple[str, ...] = ()
    owners: tuple[str, ...] = ()  # uids
    is_deleting: bool = False
    generation: int = 1
    owned: Mapping[str, frozenset[str]] = field(default_factory=dict)

    def spec(self) -> Fields:
        return {name: value for name, value in self.fields.items() if name.startswith("/spec")}


class Plain:
    """What the client must do: each method returns the new record, or raises what it must."""

    def __init__(self) -> None:
        self.records: dict[Key, Record] = {}

    # -- what there is ---------------------------------------------------------------------

    def shown(self, kind: str, fields: Mapping[str, object]) -> Fields:
        """Return fields with defaults, and an empty map where there is one."""
        found = DEFAULTS[kind] | dict(fields)
        if kind == "Thing" and not any(name.startswith("/spec/env/") for name in found):
            found["/spec/env"] = {}
        return found

    def stored(self, kind: str, fields: Mapping[str, object]) -> Fields:
        """Return fields without those that only say what would be so anyway."""
        said = {**fields}
        said.pop("/spec/env", None)
        return {
            name: value for name, value in said.items() if DEFAULTS[kind].get(name, ...) != value
        }

    def found(self, key: Key) -> Record:
        if key not in self.records:
            raise NotFound(str(key))
        return self.records[key]

    def referrers(self, key: Key, rule: str) -> list[Key]:
        kind, project, name = key
        return [
            other
            for other, record in self.records.items()
            if kind == "Holder"
            and other[1] == project
            and record.fields.get(f"/spec/{rule}") == name
        ]

    def by_uid(self, uid: str) -> Key | None:
        return next((key for key, each in self.records.items() if each.uid == uid), None)

    def dependents(self, uid: str) -> list[Key]:
        return [key for key, each in self.records.items() if uid in each.owners]

    # -- what is asked ---------------------------------------------------------------------

    def create(self, key: Key, record: Record) -> Record:
        record = replace(record, fields=self.stored(key[0], record.fields))
        self._check_owners(key, record, None)
        self._check_new(key, record, None)
        self.records[key] = record
        return record

    def change(self, key: Key, new: Record) -> Record:
        """Write `new` over what is there."""
        old = self.found(key)
        new = replace(new, fields=self.stored(key[0], new.fields))
        self._admit(old, new)
        self._check_owners(key, new, old)
        if new.spec() != old.spec():
            new = replace(new, generation=old.generation + 1)
        if new.is_deleting and not new.finalizers:
            if self.referrers(key, "restrict"):
                raise Refused(str(key))
            if not self.referrers(key, "unset"):
                self._check_contents(key)
                del self.records[key]
                return new
            new = replace(new, finalizers=(UNSET,))
        if new != old:
            self._check_new(key, new, old)
        self.records[key] = new
        return new

    def take_over(self, key: Key, fields: Mapping[str, object], manager: str) -> Record:
        """Return the record with other fields: what changed is the manager's."""
        old, kind = self.found(key), key[0]
        before, after = self.shown(kind, old.fields), self.shown(kind, fields)
        changed = {
            name for name in before.keys() | after.keys() if before.get(name) != after.get(name)
        }
        owned = {who: names - changed for who, names in old.owned.items()}
        if changed:
            mine = owned.get(manager, frozenset()) | (changed & after.keys())
            owned = {**owned, manager: frozenset(mine)}
        return replace(old, fields=dict(fields), owned=_without_empty(owned))

    def apply(self, key: Key, fields: Fields, *, manager: str, force: bool) -> Record:
        if key not in self.records:
            owned = _without_empty({manager: frozenset(fields)})
            return self.create(key, Record(fields=fields, owned=owned))
        old, kind = self.records[key], key[0]
        now = self.shown(kind, old.fields)
        contested = {
            (name, who)
            for who, names in old.owned.items()
            for name in names & fields.keys()
            if who != manager and now.get(name) != fields[name]
        }
        if contested and not force:
            raise Conflict("\n".join(sorted(f"{a} is managed by {b!r}" for a, b in contested)))
        lost = {name for name, _ in contested}
        owned = {who: names - lost for who, names in old.owned.items()}
        owned = _without_empty({**owned, manager: frozenset(fields)})
        gone = old.owned.get(manager, frozenset()) - frozenset().union(*owned.values())
        kept = {name: value for name, value in old.fields.items() if name not in gone}
        return self.change(key, replace(old, fields=kept | fields, owned=owned))

    def delete(self, key: Key, propagation: str) -> Record:
        old = self.found(key)
        if key == ("Project", "", "default"):
            raise Refused(str(key))
        held = {"foreground": FOREGROUND, "orphan": ORPHAN}.get(propagation)
        new = replace(old, is_deleting=True)
        if held and self.dependents(old.uid) and held not in old.finalizers:
            new = replace(new, finalizers=(*old.finalizers, held))
        if new != old and self.referrers(key, "restrict"):
            raise Refused(str(key))
        return self.change(key, new)

    # -- what is refused, in the order in which it is ---------------------------------------

    def _admit(self, old: Record, new: Record) -> None:
        was = old.fields.get("/spec/sender")
        if was is not None and new.fields.get("/spec/sender") != was:
            raise InvalidInput("immutable")
        if old.is_deleting and set(new.finalizers) - set(old.finalizers) - set(OURS):
            raise Refused("no finalizer can be added")

    def _check_owners(self, key: Key, new: Record, old: Record | None) -> None:
        added = [uid for uid in new.owners if old is None or uid not in old.owners]
        for uid in added:
            owner = self.by_uid(uid)
            if owner is None or owner[1] != key[1]:
                raise MissingRef("owner")
        if old is not None and any(old.uid in self._above(uid) for uid in added):
            raise InvalidInput("owns itself")

    def _above(self, uid: str) -> set[str]:
        found, rest = set[str](), [uid]
        while rest:
            here = rest.pop()
            key = self.by_uid(here)
            if key is not None and here not in found:
                found.add(here)
                rest += self.records[key].owners
        return found

    def _check_new(self, key: Key, new: Record, old: Record | None) -> None:
        kind, project, _ = key
        if old is None and key in self.records:
            raise AlreadyExists(str(key))
        holder = self.records.get(("Project", "", project))
        if old is None and kind != "Project" and (holder is None or holder.is_deleting):
            raise MissingRef("project")
        for name, everywhere in (("code", False), ("serial", True)):
            value = new.fields.get(f"/spec/{name}")
            if value is not None and any(
                other.fields.get(f"/spec/{name}") == value
                for where, other in self.records.items()
                if where != key and (everywhere or where[1] == project)
            ):
                raise Duplicate(name)
        for name in REFERENCES:
            target = new.fields.get(f"/spec/{name}")
            was = old.fields.get(f"/spec/{name}") if old else None
            if target not in (None, was) and ("Holder", project, target) not in self.records:
                raise MissingRef(name)

    def _check_contents(self, key: Key) -> None:
        if key[0] == "Project" and any(other[1] == key[2] for other in self.records):
            raise Refused("it still holds something")


def _without_empty(owned: Mapping[str, Iterable[str]]) -> dict[str, frozenset[str]]:
    return {who: frozenset(names) for who, names in owned.items() if names}


def kind_of_error(error: MirenError) -> type[MirenError]:
    """Return the error of the public tree that this is."""
    return next(each for each in type(error).__mro__ if each.__module__ == MirenError.__module__)
