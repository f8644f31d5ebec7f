"""The informer: a cache of one kind, or a selection of it, that follows the store.

It lists at revision R, watches from there, and tells its listeners what changed. When that history
is gone it lists again and tells the difference: deletes that nobody saw are delivered with the
last state seen, unchanged entities are not told twice. Entities are immutable, so everybody gets
the same object.
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from miren.base.backoff import Backoff
from miren.base.errors import Compacted, InvalidInput, MirenError, StoreReset
from miren.entities.client import (
    Added,
    Bookmark,
    Client,
    Deleted,
    Event,
    Left,
    Listing,
    Modified,
    Selection,
    WatchesNewest,
)
from miren.entities.entity import Entity
from miren.entities.unstored import said_in_sessions
from miren.reconcile.indexing import EntityIndex
from miren.reconcile.results import LOW, NORMAL, Key

__all__ = ["Delta", "Informer"]

E = TypeVar("E", bound=Entity[Any, Any])

log = logging.getLogger(__name__)

_RELIST = Backoff(first=0.1, cap=10.0)


@dataclass(frozen=True, slots=True)
class Delta(Generic[E]):
    """What an informer tells: `old` None is new to it, `new` None is gone.

    `listed` says that it comes from the first list, and nobody waits for it. `revision` is the
    store's when it was found: of a delete that nobody saw, the revision of the list without it.
    """

    old: E | None
    new: E | None
    listed: bool = False
    revision: int = 0

    @property
    def priority(self) -> int:
        """Of the keys that it makes ready."""
        return LOW if self.listed else NORMAL

    @property
    def entity(self) -> E:
        """The newest that is known of it."""
        found = self.old if self.new is None else self.new
        assert found is not None, "a change has at least one of the two"
        return found

    def both(self) -> tuple[E, ...]:
        """Return what is known of it, before and now."""
        return tuple(entity for entity in (self.old, self.new) if entity is not None)


def _state(entity: Entity[Any, Any]) -> tuple[object, ...]:
    """Return what differs between any two states of the entities of one name."""
    return entity.uid, entity.revision, said_in_sessions(entity)


class Informer(Generic[E]):
    """A cache of one kind. `run` follows the store until it is cancelled.

    `revision` is the newest that it has seen everything of; `relists` counts the lists after the
    first, `resets` those that found an older store than before, restored from a backup say;
    `is_following` says whether a watch is open.
    """

    def __init__(
        self,
        client: Client,
        kind: type[E],
        selection: Selection | None = None,
        *,
        rng: random.Random,
    ) -> None:
        self.kind = kind
        self.selection = selection or Selection()
        self.revision = 0
        self.relists = 0
        self.resets = 0
        self.is_synced = asyncio.Event()
        self.is_following = False
        self._client = client
        # A cache is only asked what there is now: what was in between it need not be told.
        self._watch = client.watch_newest if isinstance(client, WatchesNewest) else client.watch
        self._heard: float | None = None
        self._rng = rng
        self._entities: dict[Key[E], E] = {}
        self._listeners: list[Callable[[Delta[E]], None]] = []
        self._indexes: list[EntityIndex[E]] = []
        self._waiting: list[tuple[int, asyncio.Future[None]]] = []

    def __getitem__(self, key: Key[E]) -> E:
        return self._entities[key]

    def get(self, key: Key[E]) -> E | None:
        """Return the newest entity of a key that has been seen."""
        return self._entities.get(key)

    def __len__(self) -> int:
        return len(self._entities)

    @property
    def name(self) -> str:
        """What it holds, for people: the kind, and the values by which it is selected."""
        return f"{self.kind.kind}[{self.selected}]" if self.selected else str(self.kind.kind)

    @property
    def selected(self) -> str:
        """The values by which it is selected, `spec.node=n1`; empty where it is all of a kind."""
        return ",".join(f"{path}={value}" for path, value in self.selection.fields.items())

    @property
    def lag(self) -> float:
        """Seconds since it last knew that it was current, by a list, a change or a bookmark.

        Infinite before the first list. A quiet store may send no bookmarks: with `is_following`
        a lag means that nothing happened, or that nothing came through.
        """
        if self._heard is None:
            return math.inf
        return asyncio.get_running_loop().time() - self._heard

    def entities(self) -> Mapping[Key[E], E]:
        """Return all that is cached, by key. Do not hold on to it: it lives."""
        return self._entities

    def listen(self, listener: Callable[[Delta[E]], None]) -> None:
        """Call `listener` for every change from now on. Call it before `run`."""
        self._listeners.append(listener)

    def index(self, values: Callable[[E], Iterable[str]]) -> EntityIndex[E]:
        """Return an index kept up to date. Call it before `run`."""
        index = EntityIndex(values)
        self._indexes.append(index)
        return index

    async def wait_for(self, revision: int, *, timeout: float) -> bool:
        """Wait until everything up to `revision` is in the cache; False if it took too long."""
        if self.revision >= revision:
            return True
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((revision, future))
        try:
            async with asyncio.timeout(timeout):
                await future
        except TimeoutError:
            return False
        finally:
            self._waiting = [entry for entry in self._waiting if entry[1] is not future]
        return True

    async def catch_up(self, revision: int, *, timeout: float) -> bool:
        """Wait until the cache shows every change up to `revision`; False if it took too long.

        Unlike `wait_for` it ends soon where no change of this kind is that new.
        """
        try:
            async with asyncio.timeout(timeout):
                newest = await self._newest(revision)
                return await self.wait_for(newest, timeout=timeout)
        except (MirenError, TimeoutError):
            return False

    async def _newest(self, through: int) -> int:
        """Return the newest revision up to `through`, or just after, that it has to have seen."""
        newest = self.revision
        if newest >= through:
            return newest
        async with self._client.watch(self.kind, self.selection, after=newest) as events:
            async for event in events:
                if not isinstance(event, Bookmark):
                    newest = event.revision
                if event.revision >= through:
                    break
        return newest

    async def is_current(self) -> bool:
        """Return whether the cache is what a list says now. Reads the whole kind."""
        if not self.is_synced.is_set():
            return False
        listing = await self._client.list(self.kind, self.selection)
        listed = {Key.of(entity): _state(entity) for entity in listing.items}
        return listed == {key: _state(entity) for key, entity in self._entities.items()}

    async def run(self) -> None:
        """List, watch, and list again whenever the watch cannot go on."""
        failures = 0
        while True:
            try:
                # No name for the listing: it would hold all that was there once.
                self._replace(await self._client.list(self.kind, self.selection))
                async with self._watch(self.kind, self.selection, after=self.revision) as events:
                    self.is_following = True
                    async for event in events:
                        failures = 0
                        self._take(event)
            except (Compacted, StoreReset, InvalidInput) as error:
                log.info("listing again", extra={"kind": str(self.kind.kind), "why": str(error)})
            except MirenError as error:  # out of reach, not allowed: both may pass
                log.warning(
                    "kind not followed", extra={"kind": str(self.kind.kind), "why": str(error)}
                )
            finally:
                self.is_following = False
            failures += 1
            await asyncio.sleep(_RELIST.delay(failures, self._rng))

    def _replace(self, listing: Listing[E]) -> None:
        """Make the cache what was listed, and tell only what is different."""
        first, revision = not self.is_synced.is_set(), listing.revision
        self.relists += not first
        self.resets += revision < self.revision
        listed = {Key.of(entity): entity for entity in listing.items}
        for key in [key for key in self._entities if key not in listed]:
            self._set(key, None, revision)
        for key, entity in listed.items():
            known = self._entities.get(key)
            if known is None or _state(known) != _state(entity):
                self._set(key, entity, revision, listed=first)
        self._advance(revision)
        self.is_synced.set()

    def _take(self, event: Event[E]) -> None:
        match event:
            case Added(entity, revision) | Modified(entity, _, revision):
                self._set(Key.of(entity), entity, revision)
            case Deleted(entity, revision) | Left(entity, revision):
                key = Key.of(entity)
                if key in self._entities:
                    self._set(key, None, revision)
            case Bookmark(revision):
                pass
        self._advance(revision)

    def _set(self, key: Key[E], new: E | None, revision: int, *, listed: bool = False) -> None:
        old = self._entities.get(key)
        if old is not None and (new is None or old.uid != new.uid):
            # Deleted; if it was created anew under its name, unseen, these are two changes.
            del self._entities[key]
            self._tell(key, Delta(old, None, revision=revision))
            old = None
        if new is not None:
            self._entities[key] = new
            self._tell(key, Delta(old, new, listed, revision))

    def _tell(self, key: Key[E], change: Delta[E]) -> None:
        for index in self._indexes:
            index.replace(key, change.new)
        for listener in self._listeners:
            listener(change)

    def _advance(self, revision: int) -> None:
        self.revision = revision
        self._heard = asyncio.get_running_loop().time()
        for wanted, future in self._waiting:
            if wanted <= revision and not future.done():
                future.set_result(None)
