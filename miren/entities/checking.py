"""Whether a store holds together: everything derived from entities, computed again and compared.

Index, unique, reference, dependent and project keys follow from the entities, and a sidecar lists
those of its entity. A check reads all of it at one revision, page by page, and says where these
three differ. It keeps keys and uids in memory, never documents. What belongs to kinds that are
not known here is counted and left alone: nobody here can say what it should be.

Session attributes are leased: they and their index keys go with the lease whatever happens, so
what is left over of an entity that is gone is no damage.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import orjson
from pydantic import ValidationError

from miren.base.errors import MirenError
from miren.entities import keys
from miren.entities.derived import PROJECT, Derived, derive
from miren.entities.findings import Fault, Finding, Report, named
from miren.entities.kinds import Kind, Kinds
from miren.entities.leased import Held, index_keys
from miren.entities.records import Sidecar, decode
from miren.entities.store.api import NO_LEASE, KeyRange, KeyValue, Store
from miren.entities.store.paging import every

__all__ = [
    "BROKEN",
    "check",
    "derived_of",
    "sidecar_of",
    "version_of",
]

#: What reading a record that somebody damaged raises.
BROKEN = (ValidationError, MirenError, ValueError, KeyError, TypeError, AttributeError)


async def check(store: Store, kinds: Kinds) -> Report:
    """Return what is wrong in a store, as of now; change nothing.

    Raises Compacted when the store forgets that revision meanwhile: begin again.
    """
    checking = _Checking(store, kinds, (await store.status()).revision)
    await checking.entities()
    await checking.sidecars()
    await checking.sessions()
    await checking.derived()
    return checking.report()


def derived_of(kind: Kind, stored: KeyValue, kinds: Kinds) -> Derived:
    """Return what is derived from a stored entity, in the version that it is stored in.

    Raises one of `BROKEN` when it is no entity of that kind.
    """
    document = orjson.loads(stored.value)
    written = kinds.of_version(kind, document["apiVersion"])
    if not document["metadata"]["uid"]:
        raise ValueError("it has no uid")
    decode(written.entity, stored)
    return derive(written, document, kinds)


def version_of(stored: KeyValue) -> str:
    """Return the version of its kind that an entity is stored in."""
    return str(orjson.loads(stored.value)["apiVersion"]).rpartition("/")[2]


def sidecar_of(stored: KeyValue | None) -> Sidecar | None:
    """Return what a sidecar says, or None where it cannot be read."""
    try:
        return Sidecar.decode(stored)
    except BROKEN:
        return None


@dataclass(slots=True)
class _Known:
    """What is kept of an entity while its keys are looked at."""

    uid: str
    version: str
    expected: frozenset[str]
    has_sidecar: bool = False


@dataclass(slots=True)
class _Checking:
    store: Store
    kinds: Kinds
    revision: int
    known: dict[str, _Known] = field(default_factory=dict)  # by entity key
    broken: set[str] = field(default_factory=set)  # entity keys
    by_uid: dict[str, str] = field(default_factory=dict)
    wanted: dict[str, str] = field(default_factory=dict)  # derived key -> entity key
    contested: dict[str, set[str]] = field(default_factory=dict)  # who want one unique key, by uid
    targets: list[tuple[str, str, str, str]] = field(default_factory=list)
    owners: list[tuple[str, str, str]] = field(default_factory=list)
    withheld: set[str] = field(default_factory=set)  # what broken entities had
    leased: set[str] = field(default_factory=set)  # index keys of session attributes
    unknown: Counter[str] = field(default_factory=Counter)
    found: list[Finding] = field(default_factory=list)
    keys: int = 0

    def report(self) -> Report:
        self._dangling()
        order = sorted(self.found, key=lambda each: (each.fault.is_warning, each.entity, each.key))
        entities = len(self.known) + len(self.broken)
        return Report(self.revision, entities, self.keys, dict(self.unknown), tuple(order))

    # -- what there is ---------------------------------------------------------------------

    async def entities(self) -> None:
        async for item in self._all("/e/"):
            kind = self.kinds.named(*keys.kind_in(item.key))
            if kind is None:
                self.unknown["{1}.{0}".format(*keys.kind_in(item.key))] += 1
                continue
            try:
                self._entity(kind, item)
            except BROKEN as error:
                self.broken.add(item.key)
                self._note(Fault.UNREADABLE, item.key, item.key, _reason(error))

    def _entity(self, kind: Kind, item: KeyValue) -> None:
        derived = derived_of(kind, item, self.kinds)
        metadata = orjson.loads(item.value)["metadata"]
        project, name = metadata.get("project", ""), metadata["name"]
        if keys.entity_key(kind, project, name) != item.key:
            self.broken.add(item.key)
            self._note(Fault.MISPLACED, item.key, item.key, f"it says it is {project}/{name}")
            return
        self.known[item.key] = _Known(metadata["uid"], version_of(item), derived.keys)
        self.by_uid[metadata["uid"]] = item.key
        for key in derived.keys:
            other = self.wanted.setdefault(key, item.key)
            if other != item.key:
                uids = {self.known[other].uid, metadata["uid"]}
                self.contested.setdefault(key, set()).update(uids)
                told = f"{named(other)} and {named(item.key)} both have it"
                self._note(Fault.DUPLICATE, key, item.key, told)
        for key, pointer in derived.pointers.items():
            target = keys.entity_key(pointer.target, pointer.project, pointer.name)
            text = f"{pointer.attribute.dotted}: no {pointer.target.singular} {pointer.text!r}"
            self.targets.append((target, key, item.key, text))
        for owner in metadata.get("ownerReferences", ()):
            text = f"{owner['kind'].lower()}/{owner['name']} with uid {owner['uid']}"
            self.owners.append((owner["uid"], item.key, f"no {text}"))

    async def sidecars(self) -> None:
        async for item in self._all("/x/"):
            if self.kinds.named(*keys.kind_in(item.key)) is None:
                continue
            entity_key = "/e/" + item.key.removeprefix("/x/")
            known = self.known.get(entity_key)
            if known is not None:
                known.has_sidecar = True
                self._sidecar(entity_key, known, item)
            elif entity_key in self.broken:
                beside = sidecar_of(item)
                self.withheld |= beside.derived if beside is not None else frozenset()
            else:
                self._note(Fault.STRAY_SIDECAR, item.key, entity_key, "there is no such entity")
        for entity_key, known in self.known.items():
            if not known.has_sidecar:
                key = "/x/" + entity_key.removeprefix("/e/")
                self._note(Fault.NO_SIDECAR, key, entity_key)

    def _sidecar(self, entity_key: str, known: _Known, item: KeyValue) -> None:
        sidecar = sidecar_of(item)
        if sidecar is None:
            self._note(Fault.BROKEN_SIDECAR, item.key, entity_key)
            return
        differs = (sidecar.derived ^ known.expected) - self.contested.keys()
        if differs:
            words = {True: "lists", False: "lacks"}
            told = ", ".join(f"{words[key in sidecar.derived]} {key}" for key in sorted(differs))
            self._note(Fault.SIDECAR_DIFFERS, item.key, entity_key, told)
        elif sidecar.version not in ("", known.version):
            told = f"it is of {sidecar.version}, the entity of {known.version}"
            self._note(Fault.SIDECAR_DIFFERS, item.key, entity_key, told)

    async def sessions(self) -> None:
        async for item in self._all("/s/"):
            kind = self.kinds.named(*keys.kind_in(item.key.rpartition("/")[0]))
            if kind is None:
                continue
            project, name = keys.session_owner_in(item.key)
            if item.lease == NO_LEASE:
                entity_key = keys.entity_key(kind, project, name)
                self._note(Fault.STRAY, item.key, entity_key, "it has no lease")
                continue
            try:
                self.leased |= index_keys(kind, Held.decode(item), project, name)
            except BROKEN as error:
                entity_key = keys.entity_key(kind, project, name)
                self._note(Fault.STRAY, item.key, entity_key, _reason(error))

    async def derived(self) -> None:
        seen: set[str] = set()
        for prefix in keys.DERIVED:
            async for item in self._all(prefix):
                self.keys += 1
                if item.key in self.wanted:
                    seen.add(item.key)
                    self._holder(item)
                elif item.key not in self.leased:
                    self._stray(item)
        for key, entity_key in self.wanted.items():
            if key not in seen and key not in self.contested:
                self._note(Fault.MISSING, key, entity_key)

    def _holder(self, item: KeyValue) -> None:
        entity_key = self.wanted[item.key]
        uid = item.value.decode(errors="replace")
        if uid not in self.contested.get(item.key, {self.known[entity_key].uid}):
            self._note(Fault.WRONG_UID, item.key, entity_key, f"it holds {uid!r}")

    def _stray(self, item: KeyValue) -> None:
        kind = self._kind_of(item.key)
        if kind is None:
            return
        uid = item.value.decode(errors="replace")
        entity_key = _entity_of(item.key, kind) or self.by_uid.get(uid, "")
        if entity_key in self.broken or item.key in self.withheld:
            return  # what it should have nobody can tell
        is_there = entity_key in self.known
        told = "the entity does not say so" if is_there else "there is no such entity"
        self._note(Fault.STRAY, item.key, entity_key, told)

    # -- inside ----------------------------------------------------------------------------

    def _dangling(self) -> None:
        there = self.known.keys() | self.broken
        for target, key, entity_key, told in self.targets:
            if target not in there:
                self._note(Fault.DANGLING_REFERENCE, key, entity_key, told)
        for uid, entity_key, told in self.owners:
            if uid not in self.by_uid:
                self._note(Fault.DANGLING_OWNER, entity_key, entity_key, told)

    def _note(self, fault: Fault, key: str, entity_key: str, told: str = "") -> None:
        self.found.append(Finding(fault, key, entity_key, told))

    def _kind_of(self, key: str) -> Kind | None:
        """Return the kind of the entity that a derived key is of, if it is known."""
        if key.startswith("/p/"):
            return self.kinds.named(*PROJECT)
        return self.kinds.named(*_kind_steps(key))

    def _all(self, prefix: str) -> AsyncIterator[KeyValue]:
        return every(self.store, KeyRange.prefix(prefix), revision=self.revision)


def _kind_steps(key: str) -> tuple[str, str]:
    """Return (domain, kind) of the entity that a derived key is of."""
    steps = key.split("/")
    at = {"i": 2, "u": 2, "r": len(steps) - 5, "o": len(steps) - 4}[steps[1]]
    domain, name, *_ = [*steps[at : at + 2], "", ""]
    return domain, name


def _entity_of(key: str, kind: Kind) -> str:
    """Return the key of the entity that a derived key names; empty for a unique key."""
    if key.startswith("/p/"):
        return "/e/" + "/".join((kind.domain, kind.name, "_", key.removeprefix("/p/")))
    if key.startswith("/u/") or key.count("/") < 4:
        return ""
    return keys.entity_key(kind, *keys.name_in(key))


def _reason(error: BaseException) -> str:
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False, include_input=False)[0]
        return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    return f"{type(error).__name__}: {error}"
