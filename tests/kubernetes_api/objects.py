"""The objects themselves: one history with one revision a write, as etcd has it."""

from __future__ import annotations

import uuid
from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import orjson

from tests.kubernetes_api.patching import (
    Document,
    Fields,
    applied,
    at,
    changes,
    conflicts,
    fields_of,
)
from tests.kubernetes_api.refusals import Refusal
from tests.kubernetes_api.resources import (
    BUILT_IN,
    CRDS,
    NAMESPACES,
    Place,
    Resource,
    defined_by,
)

Key = tuple[str, str]  # namespace ("" for cluster-scoped), name
#: A resource in all its versions: they are the same objects.
Table = tuple[str, str]


@dataclass(slots=True)
class Stored:
    """An object, its JSON, and who manages which of its fields."""

    document: Document
    body: bytes
    managers: dict[str, Fields] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Change:
    """One write: `new` None is a deletion, whose last state is `old` with its revision."""

    revision: int
    old: Stored | None
    new: Stored | None


class Objects:
    """What is stored. Writes are whole at once; whoever watches is called after each."""

    def __init__(
        self, resources: Iterable[Resource] = (), *, namespaces: Iterable[str] = ("default",)
    ) -> None:
        self.revision = 0
        self.resources: dict[tuple[str, str], Resource] = {}  # by apiVersion and plural
        self.compacted = 0
        self._tables: dict[Table, dict[Key, Stored]] = {}
        self._history: dict[Table, list[Change]] = {}
        self._watchers: dict[Table, dict[int, Callable[[Change], None]]] = {}
        for resource in BUILT_IN:
            self._serve(resource)
        for name in (*namespaces, "kube-system"):
            self.create(NAMESPACES, "", {"metadata": {"name": name}})
        for resource in resources:
            self.create(CRDS, "", resource.definition())

    def resource_at(self, place: Place) -> Resource | None:
        """Return the resource that a path names."""
        return self.resources.get((place.api_version, place.plural))

    # -- reading ---------------------------------------------------------------------------

    def get(self, resource: Resource, namespace: str, name: str) -> Stored:
        """Return an object; refuse where there is none."""
        found = self._table(resource).get((namespace, name))
        if found is None:
            message = f'{resource.plural}.{resource.group} "{name}" not found'
            raise Refusal(404, message, details=resource.details(name))
        return found

    def all(self, resource: Resource, namespace: str | None = None) -> list[tuple[Key, Stored]]:
        """Return the objects by their keys, in order; of one namespace or of all."""
        found = self._table(resource).items()
        return sorted(
            ((key, stored) for key, stored in found if namespace is None or key[0] == namespace),
            key=lambda item: item[0],
        )

    def since(self, resource: Resource, revision: int) -> list[Change]:
        """Return the changes later than `revision`; refuse where they are no longer kept."""
        if revision < self.compacted:
            message = f"too old resource version: {revision} ({self.compacted})"
            raise Refusal(410, message)
        history = self._history[_table(resource)]
        return history[bisect_right(history, revision, key=lambda change: change.revision) :]

    def follow(self, resource: Resource, watcher: Callable[[Change], None]) -> Callable[[], None]:
        """Call `watcher` with every change from now on; return what ends that."""
        watchers = self._watchers[_table(resource)]
        watchers[id(watcher)] = watcher
        return lambda: watchers.pop(id(watcher), None) and None

    def compact(self) -> None:
        """Forget all history: only what is there now can be asked for."""
        self.compacted = self.revision
        for history in self._history.values():
            history.clear()

    # -- writing ---------------------------------------------------------------------------

    def create(
        self,
        resource: Resource,
        namespace: str,
        document: Document,
        *,
        manager: str = "unknown",
        dry_run: bool = False,
    ) -> Stored:
        """Store a new object."""
        metadata = dict(document.get("metadata") or {})
        if not metadata.get("name") and metadata.get("generateName"):
            metadata["name"] = metadata["generateName"] + uuid.uuid4().hex[:5]
        name = metadata.get("name")
        if not name:
            raise _invalid(resource, "", "metadata.name", "name or generateName is required")
        if resource.namespaced and not self._has_namespace(namespace):
            message = f'namespaces "{namespace}" not found'
            raise Refusal(404, message, details=NAMESPACES.details(namespace))
        if (namespace, name) in self._table(resource):
            message = f'{resource.plural}.{resource.group} "{name}" already exists'
            raise Refusal(409, message, reason="AlreadyExists", details=resource.details(name))
        given = ("name", "labels", "annotations", "finalizers", "ownerReferences", "generateName")
        head = {part: metadata[part] for part in given if metadata.get(part)}
        head |= {"uid": str(uuid.uuid4()), "generation": 1, "creationTimestamp": _now()}
        if resource.namespaced:
            head["namespace"] = namespace
        new = {**_named(resource), **document, "metadata": head}
        if resource.has_status:
            new.pop("status", None)
        if resource is NAMESPACES:
            new["status"] = {"phase": "Active"}
        stored = Stored(new, b"", {manager: fields_of(new)})
        if not dry_run:
            self._commit(resource, (namespace, name), None, stored)
        if resource is CRDS:
            for each in defined_by(new):
                self._serve(each)
        return stored

    def write(
        self,
        resource: Resource,
        key: Key,
        wanted: Document,
        *,
        status: bool = False,
        manager: str = "unknown",
        dry_run: bool = False,
    ) -> Stored:
        """Make an object what is wanted, or its status; refuse when it is of an older version."""
        old = self.get(resource, *key)
        head = wanted.get("metadata") or {}
        self._check_version(resource, old, head)
        new = self._wanted(resource, old.document, wanted, status=status)
        if new == old.document:
            return old
        managers = old.managers
        if not status:
            self._check_finalizers(resource, old.document, new)
            changed = set(changes(old.document, new))
            if changed:
                managers = {name: held - changed for name, held in managers.items()}
                gained = frozenset(each for each in changed if _is_leaf(at(new, each)))
                managers[manager] = managers.get(manager, frozenset()) | gained
        return self._store(resource, key, old, Stored(new, b"", managers), dry_run=dry_run)

    def apply(
        self,
        resource: Resource,
        key: Key,
        wanted: Document,
        *,
        manager: str,
        force: bool = False,
        dry_run: bool = False,
    ) -> Stored:
        """Server-side apply."""
        namespace, name = key
        old = self._table(resource).get(key)
        if old is None:
            wanted = {**wanted, "metadata": {**wanted.get("metadata", {}), "name": name}}
            return self.create(resource, namespace, wanted, manager=manager, dry_run=dry_run)
        clashes = conflicts(old.document, wanted, old.managers, manager=manager)
        if clashes and not force:
            told = [
                {
                    "reason": "FieldManagerConflict",
                    "message": f'conflict with "{who}"',
                    "field": f".{where}",
                }
                for where, who in clashes
            ]
            where, who = clashes[0]
            message = f'Apply failed with {len(clashes)} conflict: conflict with "{who}": .{where}'
            raise Refusal(409, message, details=resource.details(name), causes=told)
        document, fields = applied(old.document, wanted, old.managers, manager=manager)
        new = self._wanted(resource, old.document, document, status=False)
        taken = {where for where, _ in clashes}
        managers = {
            who: frozenset(each for each in held if ".".join(each) not in taken)
            for who, held in old.managers.items()
        } | {manager: fields}
        if new == old.document:
            old.managers = managers
            return old
        return self._store(resource, key, old, Stored(new, b"", managers), dry_run=dry_run)

    def delete(
        self, resource: Resource, key: Key, options: Mapping[str, Any], *, dry_run: bool = False
    ) -> tuple[Stored, bool]:
        """Begin deletion; return the object and whether it is gone at once."""
        old = self.get(resource, *key)
        for name, value in (options.get("preconditions") or {}).items():
            if old.document["metadata"][name] != value:
                message = f"Precondition failed: {name} in precondition: {value}"
                raise Refusal(409, message, details=resource.details(key[1]))
        metadata = old.document["metadata"]
        if not metadata.get("finalizers"):
            if not dry_run:
                self._commit(resource, key, old, None)
            return old, True
        if "deletionTimestamp" in metadata:
            return old, False
        begun = {
            **metadata,
            "deletionTimestamp": _now(),
            "deletionGracePeriodSeconds": 0,
            "generation": metadata["generation"] + 1,
        }
        new = Stored({**old.document, "metadata": begun}, b"", old.managers)
        if not dry_run:
            self._commit(resource, key, old, new)
        return new, False

    # -- inside ------------------------------------------------------------------------------

    def _serve(self, resource: Resource) -> None:
        self.resources[resource.api_version, resource.plural] = resource
        table = _table(resource)
        self._tables.setdefault(table, {})
        self._history.setdefault(table, [])
        self._watchers.setdefault(table, {})

    def _table(self, resource: Resource) -> dict[Key, Stored]:
        return self._tables[_table(resource)]

    def _has_namespace(self, name: str) -> bool:
        return ("", name) in self._table(NAMESPACES)

    def _check_version(self, resource: Resource, old: Stored, head: Mapping[str, Any]) -> None:
        known = old.document["metadata"]
        for part in ("resourceVersion", "uid"):
            if head.get(part) not in (None, "", known[part]):
                name = known["name"]
                message = (
                    f"Operation cannot be fulfilled on {resource.plural}.{resource.group}"
                    f' "{name}": the object has been modified'
                )
                raise Refusal(409, message, details=resource.details(name))

    def _check_finalizers(self, resource: Resource, old: Document, new: Document) -> None:
        before, after = (set(each["metadata"].get("finalizers") or ()) for each in (old, new))
        if "deletionTimestamp" in old["metadata"] and after - before:
            raise _invalid(
                resource,
                old["metadata"]["name"],
                "metadata.finalizers",
                "no new finalizers can be added if the object is being deleted",
                reason="FieldValueForbidden",
            )

    def _wanted(
        self, resource: Resource, old: Document, wanted: Document, *, status: bool
    ) -> Document:
        """Return the object after a write: what it may not change stays as it was."""
        if status:
            return _with(old, "status", wanted.get("status"))
        head = dict(old["metadata"])
        given = wanted.get("metadata") or {}
        for part in ("labels", "annotations", "finalizers", "ownerReferences"):
            head.pop(part, None)
            if given.get(part):
                head[part] = given[part]
        new = {**wanted, **_named(resource), "metadata": head}
        if resource.has_status:
            new = _with(new, "status", old.get("status"))
        if _wish(new) != _wish(old):
            head["generation"] += 1
        return new

    def _store(
        self, resource: Resource, key: Key, old: Stored, new: Stored, *, dry_run: bool
    ) -> Stored:
        """Store a new version; without finalizers one that is being deleted goes instead."""
        if dry_run:
            return new
        metadata = new.document["metadata"]
        if "deletionTimestamp" in metadata and not metadata.get("finalizers"):
            self._commit(resource, key, new, None)
            return new
        self._commit(resource, key, old, new)
        return new

    def _commit(
        self, resource: Resource, key: Key, old: Stored | None, new: Stored | None
    ) -> None:
        self.revision += 1
        table = self._table(resource)
        if new is not None:
            _seal(new, self.revision)
            table[key] = new
        elif old is not None:
            # The last event of an object is of the revision in which it went.
            old = Stored(old.document, b"", old.managers)
            _seal(old, self.revision)
            del table[key]
        change = Change(self.revision, old, new)
        name = _table(resource)
        self._history[name].append(change)
        for watcher in list(self._watchers[name].values()):
            watcher(change)


def _is_leaf(value: Any) -> bool:
    return value is not None and not isinstance(value, dict)


def _table(resource: Resource) -> Table:
    return resource.group, resource.plural


def _seal(stored: Stored, revision: int) -> None:
    head = {**stored.document["metadata"], "resourceVersion": str(revision)}
    stored.document = {**stored.document, "metadata": head}
    stored.body = orjson.dumps(stored.document)


def _named(resource: Resource) -> Document:
    return {"apiVersion": resource.api_version, "kind": resource.kind}


def _with(document: Document, name: str, value: Any) -> Document:
    rest = {key: each for key, each in document.items() if key != name}
    return rest if value is None else {**rest, name: value}


def _wish(document: Document) -> Document:
    return {key: each for key, each in document.items() if key not in ("metadata", "status")}


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _invalid(
    resource: Resource, name: str, where: str, message: str, *, reason: str = "FieldValueInvalid"
) -> Refusal:
    return Refusal(
        422,
        f'{resource.kind}.{resource.group} "{name}" is invalid: {where}: {message}',
        details=resource.details(name),
        causes=[{"reason": reason, "message": message, "field": where}],
    )
