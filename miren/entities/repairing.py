"""Makes a store hold together again: what a check found, put right from the entities.

The entities do not change: only what is derived from them is written anew. With its sidecar an
entity gets a new revision, so that no client writes from what it knew of both. Each is repaired
in a transaction of its own, made from what is there now and guarded by the revision of everything
that was looked at, so that repairing beside a running server undoes nobody's write.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import orjson

from miren.entities import keys
from miren.entities.checking import BROKEN, derived_of, sidecar_of, version_of
from miren.entities.findings import Fault, Finding, Report, named
from miren.entities.kinds import Kinds
from miren.entities.records import Sidecar
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

__all__ = ["Repairs", "repair"]

_ATTEMPTS = 5


@dataclass(frozen=True, slots=True)
class Repairs:
    """What was `done`, a line each; what is `left` needs a person, or another run."""

    done: tuple[str, ...]
    left: tuple[Finding, ...]


async def repair(store: Store, kinds: Kinds, report: Report) -> Repairs:
    """Put right what `report` found and what follows from the entities; say what was done.

    A second run does nothing. Where a sidecar was lost, nobody manages the fields any more.
    """
    done: list[str] = []
    left = [each for each in report.problems if not each.fault.is_repairable]
    contested = {each.key for each in left if each.fault is Fault.DUPLICATE}
    seen = _Seen(report.revision, frozenset(contested))
    for entity_key, findings in _by_entity(report).items():
        outcome = await _repaired(store, kinds, entity_key, findings, seen)
        if outcome is None:
            left += findings
        else:
            done += outcome
    return Repairs(tuple(done), tuple(left))


def _by_entity(report: Report) -> Mapping[str, list[Finding]]:
    found: dict[str, list[Finding]] = {}
    for finding in report.findings:
        if finding.fault.is_repairable:
            found.setdefault(finding.entity, []).append(finding)
    return found


async def _repaired(
    store: Store, kinds: Kinds, entity_key: str, findings: Sequence[Finding], seen: _Seen
) -> list[str] | None:
    """Return what was done, or None where it went on moving or cannot be read."""
    for _ in range(_ATTEMPTS):
        plan = await _plan(store, kinds, entity_key, findings, seen)
        if plan is None or not plan.operations:
            return None if plan is None else []
        result = await store.transact(plan.guards, plan.operations)
        if result.succeeded:
            return list(plan.told)
    return None


@dataclass(frozen=True, slots=True)
class _Seen:
    """What the check tells of the whole store: its revision, unique keys that several want."""

    revision: int
    contested: frozenset[str]


@dataclass(frozen=True, slots=True)
class _Plan:
    guards: Sequence[Compare]
    operations: Sequence[Operation]
    told: Sequence[str]


async def _plan(
    store: Store, kinds: Kinds, entity_key: str, findings: Sequence[Finding], seen: _Seen
) -> _Plan | None:
    """Return what makes everything beside one entity right; None when it cannot be read."""
    sidecar_key = "/x/" + entity_key.removeprefix("/e/") if entity_key else ""
    own = [key for key in (entity_key, sidecar_key) if key]
    there = await _read(store, own)
    entity, beside = there.get(entity_key), there.get(sidecar_key)
    try:
        wanted = _wanted(entity, entity_key, kinds) - seen.contested
    except BROKEN:
        return None
    sidecar = sidecar_of(beside)
    listed = sidecar.derived if sidecar is not None else frozenset[str]()
    doubted = {each.key for each in findings if each.fault in (Fault.STRAY, Fault.WRONG_UID)}
    looked_at = sorted((wanted | listed | doubted) - seen.contested)
    found = await _read(store, looked_at)
    uid = _uid(entity)
    operations: list[Put | Delete] = []
    for key in looked_at:
        held = found.get(key)
        if held is not None and held.mod_revision > seen.revision:
            continue  # somebody knew better since
        if key in wanted and (held is None or held.value != uid):
            operations.append(Put(key, uid))
        elif key not in wanted and held is not None and (key in doubted or held.value == uid):
            operations.append(Delete(KeyRange.key(key)))
    anew = [*_sidecar(sidecar_key, entity, beside, wanted | (listed & seen.contested))]
    operations += anew
    looked = [*((key, there.get(key)) for key in own), *((k, found.get(k)) for k in looked_at)]
    guards = [Compare.unchanged(key, item.mod_revision if item else 0) for key, item in looked]
    about = f" of {named(entity_key)}" if entity_key else ""
    told = [_told(each, about) for each in operations]
    if entity is not None and anew:
        # Who goes by the entity's revision may know the old sidecar with it.
        operations.append(Put(entity_key, entity.value))
    return _Plan(guards, operations, told)


def _wanted(entity: KeyValue | None, entity_key: str, kinds: Kinds) -> frozenset[str]:
    if entity is None:
        return frozenset()
    kind = kinds.named(*keys.kind_in(entity_key))
    if kind is None:
        raise ValueError(f"the kind of {entity_key} is not known")
    return derived_of(kind, entity, kinds).keys


def _told(operation: Put | Delete, about: str) -> str:
    if isinstance(operation, Put):
        return f"wrote{about}: {operation.key}"
    return f"removed{about}: {operation.range.start}"


def _sidecar(
    key: str, entity: KeyValue | None, beside: KeyValue | None, wanted: frozenset[str]
) -> Iterator[Put | Delete]:
    if entity is None:
        if beside is not None:
            yield Delete(KeyRange.key(key))
        return
    before = sidecar_of(beside)
    version = version_of(entity)
    is_right = before is not None and before.derived == wanted and before.version in ("", version)
    if beside is None or not is_right:
        yield Put(key, replace(before or Sidecar(), derived=wanted, version=version).encode())


async def _read(store: Store, wanted: Sequence[str]) -> dict[str, KeyValue]:
    if not wanted:
        return {}
    result = await store.transact((), [Get(KeyRange.key(key)) for key in wanted])
    return {item.key: item for items in result.reads for item in items}


def _uid(entity: KeyValue | None) -> bytes:
    return b"" if entity is None else str(orjson.loads(entity.value)["metadata"]["uid"]).encode()
