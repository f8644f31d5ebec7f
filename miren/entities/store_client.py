"""The client over a store in this process: what the server, the engine and tests use.

One transaction per write. It is guarded by the entity's old revision and carries everything
derived from the entity; its other branch reads what the guards looked at, so a refusal names its
reason without a second round trip.
"""

from __future__ import annotations

import asyncio
import copy
import random
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, TypeVar, cast

from miren.base.errors import AlreadyExists, Conflict, DeadlineExceeded, InvalidInput, NotFound
from miren.base.ids import new_uid
from miren.entities import keys
from miren.entities.admission import admit
from miren.entities.client import Actor, Bookmark, Event, Listing, Mutators, Selection
from miren.entities.entity import Entity, Partial
from miren.entities.kinds import Kinds, Scope
from miren.entities.merging import changed_leaves, leaves, merge, merge_patch, take_over
from miren.entities.reading import closest, expand
from miren.entities.records import Sidecar, decode
from miren.entities.selecting import Selector, events_of
from miren.entities.store.api import Get, KeyRange, Store
from miren.entities.writes import Stored, Write, commit

__all__ = ["StoreClient"]

E = TypeVar("E", bound=Entity[Any, Any])

_ROOT = Actor("root", is_admin=True)
_MISSING = cast("Any", object())
_OWNED = ("spec", "metadata")  # what managers own: spec, and of metadata labels and annotations


@dataclass(frozen=True, kw_only=True)
class StoreClient:
    """See `Client`. `now` and `rng` are given by simulations, so that runs repeat."""

    store: Store
    kinds: Kinds
    project: str = "default"
    actor: Actor = _ROOT
    mutators: Mutators = ()
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    rng: random.Random | None = None

    def in_project(self, project: str) -> StoreClient:
        """Return this client with another default project."""
        return replace(self, project=project)

    def acting_as(self, actor: Actor) -> StoreClient:
        """Return this client with another actor."""
        return replace(self, actor=actor)

    async def revision(self) -> int:
        """Return the store's newest revision."""
        return (await self.store.status()).revision

    # -- reading ---------------------------------------------------------------------------

    async def get(
        self, kind: type[E], name: str, *, project: str | None = None, default: Any = _MISSING
    ) -> Any:
        """Return one entity; see `Client.get`."""
        key = keys.entity_key(kind.kind, self._project(kind, project), name)
        stored = await self.store.get(key)
        if stored is not None:
            return decode(kind, stored)
        if default is not _MISSING:
            return default
        raise await self._not_found(kind, name, project)

    async def list(
        self,
        kind: type[E],
        selection: Selection = Selection(),  # noqa: B008  # frozen: one for all is right
        *,
        limit: int = 0,
        after: E | None = None,
        revision: int = 0,
    ) -> Listing[E]:
        """Return entities at one revision; see `Client.list`."""
        selector = Selector(kind, selection)
        scope = selector.range()
        cursor = None if after is None else selector.cursor(after)
        found: list[E] = []
        more = True
        while more and not (limit and len(found) >= limit):
            wanted = 0 if not limit else max(limit - len(found), 100)
            page = await self.store.list(scope, revision=revision, limit=wanted, after=cursor)
            revision, more = page.revision, page.more
            for item in page.items:
                cursor = item.key
                entity = (
                    await self._follow(kind, item.key, revision)
                    if selector.by_index
                    else (decode(kind, item))
                )
                if entity is not None and selector.matches(entity):
                    found.append(entity)
                    if limit and len(found) == limit:
                        more = more or item is not page.items[-1]
                        break
        return Listing(tuple(found), revision, more)

    @asynccontextmanager
    async def watch(
        self,
        kind: type[E],
        selection: Selection = Selection(),  # noqa: B008  # frozen: one for all is right
        *,
        after: int,
    ) -> AsyncIterator[AsyncIterator[Event[E]]]:
        """Deliver changes later than `after`; see `Client.watch`."""
        selector = Selector(kind, selection)
        scope = keys.entity_range(kind.kind, selector.selection.project)
        async with self.store.watch(scope, after=after) as revisions:
            yield _typed_events(revisions, selector)

    async def wait(
        self,
        kind: type[E],
        name: str,
        until: Callable[[E | None], bool],
        *,
        project: str | None = None,
        timeout: float,
    ) -> E | None:
        """Return the entity once `until` holds; see `Client.wait`."""
        last: E | None = None
        key = keys.entity_key(kind.kind, self._project(kind, project), name)
        try:
            async with asyncio.timeout(timeout):
                page = await self.store.list(KeyRange.key(key))
                last = decode(kind, page.items[0]) if page.items else None
                if until(last):
                    return last
                async with self.store.watch(KeyRange.key(key), after=page.revision) as changes:
                    async for change in changes:
                        for event in getattr(change, "events", ()):
                            last = decode(kind, event.current) if event.current else None
                            if until(last):
                                return last
        except TimeoutError:
            state = "it does not exist" if last is None else f"it is {_state(last)}"
            raise DeadlineExceeded(
                f"waited {timeout:g} s for {kind.kind.singular}/{name}: {state}",
                entity=f"{kind.kind.singular}/{name}",
            ) from None
        raise AssertionError("a watch never ends by itself")

    # -- writing ---------------------------------------------------------------------------

    async def create(self, entity: E, *, dry_run: bool = False) -> E:
        """Store a new entity; see `Client.create`."""
        return await self._create(entity, Sidecar(), dry_run=dry_run)

    async def ensure(self, entity: E) -> E:
        """Return the stored entity of that name, or create it; see `Client.ensure`."""
        known: E | None = await self.get(
            type(entity), entity.name, project=entity.project or None, default=None
        )
        if known is not None:
            return known
        try:
            return await self.create(entity)
        except AlreadyExists:
            found: E = await self.get(type(entity), entity.name, project=entity.project or None)
            return found

    async def update(self, entity: E, *, manager: str = "update", dry_run: bool = False) -> E:
        """Write spec and metadata over what was read; see `Client.update`."""
        old = await self._read_at(entity)
        new = replace(
            old.entity,
            spec=entity.spec,
            metadata=old.entity.metadata.model_copy(
                update={
                    "labels": entity.metadata.labels,
                    "annotations": entity.metadata.annotations,
                    "finalizers": entity.metadata.finalizers,
                    "owner_references": entity.metadata.owner_references,
                }
            ),
        )
        changed = changed_leaves(_managed(old.entity.to_document()), _managed(new.to_document()))
        managers = take_over(old.sidecar.managers, changed, manager=manager)
        return await self._write(new, old, replace(old.sidecar, managers=managers), dry_run)

    async def update_status(self, entity: E) -> E:
        """Write status and conditions over what was read; see `Client.update_status`."""
        old = await self._read_at(entity)
        new = replace(
            old.entity,
            status=entity.status,
            conditions=entity.conditions,
            observed_generation=entity.observed_generation,
            handled=entity.handled,
        )
        return await self._write(new, old, old.sidecar, dry_run=False)

    async def apply(
        self, partial: Partial[E], *, manager: str, force: bool = False, dry_run: bool = False
    ) -> E:
        """Make `manager`'s fields exactly these; see `Client.apply`."""
        kind = partial.type
        if "status" in partial.document:
            raise InvalidInput("status is written by controllers: leave it out")
        wanted = self._wanted(partial)
        old = await self._find(kind, partial.name, partial.project or None)
        if old is None:
            fresh = kind.from_document({**wanted, "metadata": self._head(partial, wanted)})
            owned = frozenset(pointer for pointer, _ in leaves(wanted))
            try:
                return await self._create(fresh, Sidecar({manager: owned}), dry_run=dry_run)
            except AlreadyExists:
                raise Conflict(f"{fresh} was created by somebody else just now") from None
        document = old.entity.to_document()
        merged = merge(
            _managed(document), old.sidecar.managers, wanted, manager=manager, force=force
        )
        new = self._changed(kind, old, merged.document)
        return await self._write(new, old, replace(old.sidecar, managers=merged.managers), dry_run)

    async def patch(
        self,
        kind: type[E],
        name: str,
        patch: Mapping[str, Any],
        *,
        project: str | None = None,
        manager: str = "patch",
    ) -> E:
        """Change spec and metadata by a JSON merge patch; see `Client.patch`."""
        old = await self._get_stored(kind, name, project)
        before = _managed(old.entity.to_document())
        wanted = {part: patch[part] for part in _OWNED if part in patch}
        if "spec" in wanted:
            wanted["spec"] = expand(kind.kind.spec, wanted["spec"])
        after = merge_patch(before, wanted)
        managers = take_over(old.sidecar.managers, changed_leaves(before, after), manager=manager)
        new = self._changed(kind, old, after)
        return await self._write(new, old, replace(old.sidecar, managers=managers), dry_run=False)

    async def delete(
        self, kind: type[E], name: str, *, project: str | None = None, uid: str | None = None
    ) -> E:
        """Begin deletion; see `Client.delete`."""
        while True:
            old = await self._get_stored(kind, name, project)
            if uid is not None and old.entity.uid != uid:
                raise Conflict(f"{old.entity} is another one than {uid}", entity=str(old.entity))
            if old.entity.is_deleting:
                return old.entity
            new = old.entity.with_metadata(deletion_timestamp=self.now())
            try:
                return await self._write(new, old, old.sidecar, dry_run=False)
            except Conflict:
                continue  # deleting asks for whatever is there now: read it again

    # -- inside ----------------------------------------------------------------------------

    def _project(self, kind: type[Entity[Any, Any]], project: str | None) -> str:
        return "" if kind.kind.scope is Scope.CLUSTER else project or self.project

    async def _find(self, kind: type[E], name: str, project: str | None) -> Stored[E] | None:
        where = self._project(kind, project)
        both = (keys.entity_key(kind.kind, where, name), keys.sidecar_key(kind.kind, where, name))
        result = await self.store.transact((), [Get(KeyRange.key(key)) for key in both])
        entity, sidecar = result.reads
        if not entity:
            return None
        return Stored(decode(kind, entity[0]), Sidecar.decode(sidecar[0] if sidecar else None))

    async def _get_stored(self, kind: type[E], name: str, project: str | None) -> Stored[E]:
        found = await self._find(kind, name, project)
        if found is None:
            raise await self._not_found(kind, name, project)
        return found

    async def _read_at(self, entity: E) -> Stored[E]:
        """Return what is stored if it is still what `entity` was made from."""
        old = await self._get_stored(type(entity), entity.name, entity.project or None)
        if old.entity.revision != entity.revision or old.entity.uid != entity.uid:
            raise Conflict(
                f"{entity} has changed since it was read",
                hint="read it again and repeat the change",
                entity=str(entity),
            )
        return old

    async def _create(self, entity: E, sidecar: Sidecar, *, dry_run: bool) -> E:
        metadata = entity.metadata.model_copy(
            update={
                "project": self._project(type(entity), entity.project),
                "uid": new_uid(self.rng),
                "generation": 1,
                "creation_timestamp": self.now(),
                "deletion_timestamp": None,
                "resource_version": "",
            }
        )
        fresh = type(entity)(metadata, entity.spec, entity.kind.status())
        return await self._write(fresh, None, sidecar, dry_run)

    async def _write(self, new: E, old: Stored[E] | None, sidecar: Sidecar, dry_run: bool) -> E:
        for mutator in self.mutators:
            new = cast("E", mutator(new, old.entity if old else None))
        admit(new, old.entity if old else None)
        if old is not None and new.spec != old.entity.spec:
            new = new.with_metadata(generation=old.entity.metadata.generation + 1)
        write = Write(new, old, sidecar, self.kinds)
        if dry_run or write.changes_nothing:
            return new if dry_run else cast("Stored[E]", old).entity
        return await commit(self.store, write)

    def _changed(self, kind: type[E], old: Stored[E], document: dict[str, Any]) -> E:
        """Return the old entity with spec, labels and annotations from `document`."""
        metadata = {**old.entity.to_document()["metadata"], **_only(document["metadata"])}
        for part in ("labels", "annotations"):
            if part not in document["metadata"]:
                metadata.pop(part, None)
        fresh = kind.from_document({"metadata": metadata, "spec": document.get("spec", {})})
        return replace(old.entity, metadata=fresh.metadata, spec=fresh.spec)

    def _wanted(self, partial: Partial[E]) -> dict[str, Any]:
        document = copy.deepcopy(dict(partial.document))
        wanted: dict[str, Any] = {"metadata": _only(document.get("metadata", {}))}
        spec = expand(partial.type.kind.spec, document.get("spec") or {})
        return {**wanted, "spec": spec}

    def _head(self, partial: Partial[E], wanted: Mapping[str, Any]) -> dict[str, Any]:
        given = partial.document["metadata"]
        extra = {
            key: given[key] for key in ("project", "finalizers", "ownerReferences") if key in given
        }
        return {"name": partial.name, **extra, **wanted["metadata"]}

    async def _follow(self, kind: type[E], index_key: str, revision: int) -> E | None:
        project, name = keys.name_in(index_key)
        key = keys.entity_key(kind.kind, project, name)
        stored = await self.store.get(key, revision=revision)
        return None if stored is None else decode(kind, stored)

    async def _not_found(self, kind: type[E], name: str, project: str | None) -> NotFound:
        where = self._project(kind, project)
        page = await self.store.list(
            keys.entity_range(kind.kind, where), limit=200, keys_only=True
        )
        hint = closest(name, [keys.name_in(item.key)[1] for item in page.items])
        suffix = f" in project {where!r}" if where not in ("", "default") else ""
        word = kind.kind.singular
        return NotFound(f"{word} {name!r} not found{suffix}", hint=hint, entity=f"{word}/{name}")


async def _typed_events(
    revisions: AsyncIterator[Any], selector: Selector[E]
) -> AsyncIterator[Event[E]]:
    async for change in revisions:
        found = False
        for event in events_of(change, selector):
            found = True
            yield event
        if not found:
            yield Bookmark(change.revision)


def _only(metadata: Mapping[str, Any]) -> dict[str, Any]:
    return {part: metadata[part] for part in ("labels", "annotations") if metadata.get(part)}


def _managed(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of a document that managers own."""
    return {"metadata": _only(document["metadata"]), "spec": document.get("spec", {})}


def _state(entity: Entity[Any, Any]) -> str:
    if entity.is_deleting:
        return f"being deleted, held by {', '.join(entity.metadata.finalizers)}"
    phase = getattr(entity.status, "phase", None)
    told = [f"{c.type}={c.status} ({c.reason}: {c.message})" for c in entity.conditions]
    return "; ".join([*([str(phase)] if phase else []), *told]) or "there, without conditions"
