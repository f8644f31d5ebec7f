"""The reading half of the store client: get, list, watch, wait."""

from __future__ import annotations

import logging
import random
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Self, TypeVar, cast

from miren.base.errors import Compacted, InvalidInput, NotFound, Refused
from miren.entities import keys
from miren.entities.attributes import attributes
from miren.entities.client import (
    Actor,
    Bookmark,
    Deleted,
    Event,
    Listing,
    Mutators,
    Selection,
)
from miren.entities.elections import (
    Candidate,
    Leadership,
    elected,
    find_leader,
    watch_candidates,
)
from miren.entities.entity import Entity
from miren.entities.events import EntityEvent, EventRing, EventStore
from miren.entities.keyring import Keyring
from miren.entities.kinds import Kind, Kinds, Scope
from miren.entities.leased import held_at, read_shown, shown
from miren.entities.merging import Managers
from miren.entities.reading import closest
from miren.entities.records import Sidecar, decode
from miren.entities.references import Reference
from miren.entities.secret_entities import revealed
from miren.entities.selecting import Selector, events_of
from miren.entities.session_watching import SessionWatch
from miren.entities.sessions import Session, open_session
from miren.entities.store.api import Bookmark as StoreBookmark
from miren.entities.store.api import KeyRange, KeyValue, Revision, Store
from miren.entities.store.fencing import FencedStore
from miren.entities.tokens import Token
from miren.entities.unstored import session_attributes
from miren.entities.versioned_store import VersionedStore
from miren.entities.waiting import awaited

__all__ = ["MISSING", "StoreReader"]

log = logging.getLogger(__name__)

E = TypeVar("E", bound=Entity[Any, Any])

_ROOT = Actor("root", is_admin=True)
#: Stands for no default.
MISSING = cast("Any", object())
_Held = Mapping[tuple[str, str], Sequence[KeyValue]]
_PAGE = 100  # entries read at least for a limited list, of which some may not match


@dataclass(frozen=True, kw_only=True)
class StoreReader:
    """Reads entities out of a store; see `Client` for what each verb promises."""

    store: Store
    kinds: Kinds
    project: str = "default"
    actor: Actor = _ROOT
    mutators: Mutators = ()
    keyring: Keyring | None = None  # needed to write and to reveal secrets
    unindexed: set[tuple[str, str]] = field(default_factory=set, repr=False, compare=False)
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    rng: random.Random | None = None
    _events: EventStore | None = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        versioned = VersionedStore.over(self.store, self.kinds, self.keyring)
        object.__setattr__(self, "store", versioned)
        if self._events is None or self._events.store is not versioned:
            # Those that only differ in project or actor know together what they wrote.
            object.__setattr__(self, "_events", EventStore(versioned))

    def in_project(self, project: str) -> Self:
        """Return this client with another default project."""
        return replace(self, project=project)

    def acting_as(self, actor: Actor) -> Self:
        """Return this client with another actor."""
        return replace(self, actor=actor)

    async def revision(self) -> int:
        """Return the store's newest revision."""
        return (await self.store.status()).revision

    async def get(
        self,
        kind: type[E],
        name: str,
        *,
        project: str | None = None,
        revision: int = 0,
        default: Any = MISSING,
    ) -> Any:
        """Return one entity; see `Client.get`."""
        where = self._project(kind, project)
        found = await read_shown(self.store, kind, where, name, revision=revision)
        if found is not None:
            return found
        if default is not MISSING:
            return default
        if revision:
            who = f"{kind.kind.singular}/{name}"
            raise NotFound(f"{who} did not exist at revision {revision}", entity=who)
        raise await self._not_found(kind, name, project)

    async def reveal(self, kind: type[E], name: str, *, project: str | None = None) -> E:
        """Return one entity with its secrets in the clear; see `Client.reveal`."""
        who = f"{kind.kind.singular}/{name}"
        told = {"entity": who, "project": self._project(kind, project), "actor": self.actor.name}
        if not self.actor.is_admin:
            log.warning("secrets were not revealed", extra=told)
            raise Refused(f"{self.actor.name} may not see the secrets of {who}", entity=who)
        stored = await self.store.get(self._key(kind, name, project))
        if stored is None:
            raise await self._not_found(kind, name, project)
        found = revealed(decode(kind, stored), stored.value, self.keyring)
        log.info("secrets were revealed", extra=told)
        return found

    async def list(
        self,
        kind: type[E],
        selection: Selection = Selection(),  # noqa: B008  # frozen: one for all is right
        *,
        limit: int = 0,
        token: str = "",
    ) -> Listing[E]:
        """Return entities at one revision; see `Client.list`."""
        selector, begun = self._selecting(kind, selection, token)
        revision, cursor = (begun.revision, begun.cursor) if begun else (0, None)
        found: list[E] = []
        seen: set[str] = set()
        held: _Held | None = None
        while True:
            page = await self.store.list(
                selector.range(),
                revision=revision,
                limit=limit and max(limit, _PAGE),
                after=cursor,
            )
            revision = page.revision
            if held is None:
                where = selection.project
                held = await held_at(self.store, kind.kind, where, revision=revision)
            for item in page.items:
                cursor = item.key
                stored = await self._stored_of(selector, item, revision, seen)
                if stored is None:
                    continue
                entity = shown(kind, stored, held.get(keys.name_in(stored.key), ()))
                if not selector.matches(entity):
                    continue
                if begun is not None and selector.was_listed(entity, begun.cursor):
                    continue  # on an earlier page
                found.append(entity)
                if len(found) == limit:
                    is_last = not page.more and item is page.items[-1]
                    rest = "" if is_last else str(Token(revision, cursor, selector.digest))
                    return Listing(tuple(found), revision, rest)
            if not page.more:
                return Listing(tuple(found), revision)

    async def referrers(
        self, kind: type[E], name: str, *, project: str | None = None, tag: str | None = None
    ) -> Sequence[Reference]:
        """Return who refers to an entity; see `Client.referrers`."""
        scope = keys.references_range(kind.kind, self._project(kind, project), name)
        page = await self.store.list(scope, keys_only=True)
        known = {(each.domain, each.name): each for each in self.kinds}
        found = []
        for item in page.items:
            domain, word, attribute, where, by = keys.referrer_in(item.key)
            referrer = known.get((domain, word))
            if referrer is not None and (tag is None or tag in _tags(referrer, attribute)):
                found.append(Reference(referrer, where, by, attribute))
        return tuple(found)

    async def dependents(self, uid: str) -> Sequence[Reference]:
        """Return what an entity owns; see `Client.dependents`."""
        page = await self.store.list(keys.dependents_range(uid), keys_only=True)
        known = {(each.domain, each.name): each for each in self.kinds}
        found = []
        for item in page.items:
            domain, word = keys.kind_in(item.key)
            where, name = keys.name_in(item.key)
            if (domain, word) in known:
                at = "metadata.ownerReferences"
                found.append(Reference(known[domain, word], where, name, at))
        return tuple(found)

    async def managers(self, kind: type[E], name: str, *, project: str | None = None) -> Managers:
        """Return who manages which fields; see `Client.managers`."""
        where = self._project(kind, project)
        stored = await self.store.get(keys.sidecar_key(kind.kind, where, name))
        if stored is None:
            raise await self._not_found(kind, name, project)
        return Sidecar.decode(stored).managers

    @asynccontextmanager
    async def watch(
        self,
        kind: type[E],
        selection: Selection = Selection(),  # noqa: B008  # frozen: one for all is right
        *,
        after: int,
    ) -> AsyncIterator[AsyncIterator[Event[E]]]:
        """Deliver changes later than `after`; see `Client.watch`."""
        selector = Selector(kind, selection, project=self.project)
        if session_attributes(kind.kind):
            watch = SessionWatch(self.store, selector, after=after)
            async with self.store.watch(watch.scope, after=after) as revisions:
                yield watch.events(revisions)
            return
        scope = keys.entity_range(kind.kind, selector.selection.project)
        async with self.store.watch(scope, after=after) as revisions:
            yield _typed_events(revisions, selector)

    def session(self, *, holder: str, ttl: float = 60.0) -> AbstractAsyncContextManager[Session]:
        """Hold session attributes of entities; see `miren.entities.sessions`.

        They are forgotten `ttl` seconds after the holder was last heard of, at once on leaving.
        """
        return open_session(self, holder=holder, ttl=ttl)

    def elect(
        self, name: str, *, holder: str, ttl: float = 15.0
    ) -> AbstractAsyncContextManager[Leadership]:
        """Wait until `holder` leads an election; see `Client.elect`."""
        return elected(self.store, name, holder=holder, ttl=ttl, now=self.now)

    def candidates(
        self, name: str
    ) -> AbstractAsyncContextManager[AsyncIterator[tuple[Candidate, ...]]]:
        """Deliver who stands in an election; see `Client.candidates`."""
        return watch_candidates(self.store, name)

    async def leader(self, name: str) -> Candidate | None:
        """Return who leads an election; see `Client.leader`."""
        return await find_leader(self.store, name)

    def fenced(self, key: str, revision: int) -> Self:
        """Return this client for as long as a key is that one; see `Client.fenced`."""
        # Below the conversions, of which one is enough.
        below = self.store.inner if isinstance(self.store, VersionedStore) else self.store
        return replace(self, store=FencedStore(below, key, revision))

    @property
    def _ring_store(self) -> EventStore:
        assert self._events is not None
        return self._events

    async def record_events(
        self, subject: Entity[Any, Any], events: Sequence[EntityEvent]
    ) -> None:
        """Note what happened to an entity; see `Client.record_events`."""
        await self._ring_store.record(subject, events, now=self.now())

    async def events(
        self, kind: type[E], name: str, *, project: str | None = None
    ) -> Sequence[EntityEvent]:
        """Return what happened to an entity lately; see `Client.events`."""
        key = keys.events_key(kind.kind, self._project(kind, project), name)
        ring = await self._ring_store.read(key)
        return () if ring is None else ring.events

    async def list_events(self, project: str | None = None) -> Sequence[EventRing]:
        """Return what happened lately to all entities of a project; see `Client.list_events`."""
        return await self._ring_store.list(project)

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
        versions = self._versions(kind, self._project(kind, project), name)
        who = f"{kind.kind.singular}/{name}"
        return await awaited(versions, until, who=who, timeout=timeout)

    async def _versions(
        self, kind: type[E], project: str, name: str
    ) -> AsyncGenerator[E | None, None]:
        """Yield an entity as it is now (None: there is none) and after every change."""
        if not session_attributes(kind.kind):
            key = keys.entity_key(kind.kind, project, name)
            async for stored in _values(self.store, key):
                yield shown(kind, stored) if stored else None
            return
        while True:
            everyone, start = Selection(project), await self.revision()
            try:
                yield await read_shown(self.store, kind, project, name, revision=start)
                async with self.watch(kind, everyone, after=start) as events:
                    async for event in events:
                        if not isinstance(event, Bookmark) and event.entity.name == name:
                            yield None if isinstance(event, Deleted) else event.entity
            except Compacted:
                continue  # what it was in between nobody knows: look at what it is now

    def _project(self, kind: type[Entity[Any, Any]], project: str | None) -> str:
        stored = self.kinds.stored(kind.kind)
        if stored.version != kind.kind.version:
            raise InvalidInput(
                f"{kind.kind.singular} is stored in {stored.version}, not {kind.kind.version}",
                hint="use a VersionedClient over this one",
            )
        return "" if kind.kind.scope is Scope.CLUSTER else project or self.project

    def _key(self, kind: type[Entity[Any, Any]], name: str, project: str | None) -> str:
        return keys.entity_key(kind.kind, self._project(kind, project), name)

    def _selecting(
        self, kind: type[E], selection: Selection, token: str
    ) -> tuple[Selector[E], Token | None]:
        """Return what selects, and where a listing that has begun goes on."""
        scans = (kind.kind.domain, kind.kind.name) in self.unindexed
        selector = Selector(kind, selection, project=self.project, scans=scans)
        if not token:
            return selector, None
        begun = Token.parse(token, selector)
        selector.scans = keys.is_entity_key(begun.cursor)  # as the first page was read
        return selector, begun

    async def _stored_of(
        self, selector: Selector[E], item: KeyValue, revision: int, seen: set[str]
    ) -> KeyValue | None:
        """Return the entity that an entry of the range read is, or names for the first time."""
        if not selector.by_index:
            return item
        if not selector.is_entry(item.key):
            return None
        project, name = keys.name_in(item.key)
        key = keys.entity_key(selector.kind.kind, project, name)
        if key in seen:
            return None
        seen.add(key)
        return await self.store.get(key, revision=revision)

    async def _not_found(self, kind: type[E], name: str, project: str | None) -> NotFound:
        where = self._project(kind, project)
        page = await self.store.list(
            keys.entity_range(kind.kind, where), limit=200, keys_only=True
        )
        hint = closest(name, [keys.name_in(item.key)[1] for item in page.items])
        suffix = f" in project {where!r}" if where not in ("", "default") else ""
        word = kind.kind.singular
        return NotFound(f"{word} {name!r} not found{suffix}", hint=hint, entity=f"{word}/{name}")


def _tags(kind: Kind, dotted: str) -> tuple[str, ...]:
    return next((a.options.tags for a in attributes(kind) if a.dotted == dotted), ())


async def _values(store: Store, key: str) -> AsyncIterator[KeyValue | None]:
    """Yield a key's value now (None: there is none) and after every change."""
    scope = KeyRange.key(key)
    while True:
        page = await store.list(scope)
        yield page.items[0] if page.items else None
        try:
            async with store.watch(scope, after=page.revision) as changes:
                async for change in changes:
                    for event in change.events if isinstance(change, Revision) else ():
                        yield event.current
        except Compacted:
            continue  # what it was in between nobody knows: look at what it is now


async def _typed_events(
    revisions: AsyncIterator[Revision | StoreBookmark], selector: Selector[E]
) -> AsyncIterator[Event[E]]:
    async for change in revisions:
        found = False
        for event in events_of(change, selector):
            found = True
            yield event
        if not found:
            yield Bookmark(change.revision)
