"""The informer: a cache of one kind that follows the store and tells what changed.

It lists at revision R and watches from there. When that history is gone it lists again and tells
the difference: deletes that nobody saw are delivered, unchanged entities are not told twice.
Entities are immutable, so everybody gets the same object.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from miren.base.backoff import Backoff
from miren.base.errors import Compacted, InvalidInput, StoreReset, Unavailable
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
)
from miren.entities.entity import Entity
from miren.entities.unstored import said_in_sessions
from miren.reconcile.results import Key

__all__ = ["Change", "Informer"]

E = TypeVar("E", bound=Entity[Any, Any])

log = logging.getLogger(__name__)

_RELIST = Backoff(first=0.1, cap=10.0)


@dataclass(frozen=True, slots=True)
class Change(Generic[E]):
    """What an informer tells: `old` None is new to it, `new` None is gone.

    `listed` says that it comes from the first list, and nobody waits for it.
    """

    old: E | None
    new: E | None
    listed: bool = False

    @property
    def entity(self) -> E:
        """The newest that is known of it."""
        return self.both()[-1]

    def both(self) -> tuple[E, ...]:
        """Return what is known of it, before and now."""
        return tuple(entity for entity in (self.old, self.new) if entity is not None)


class _Index(Generic[E]):
    """Entities by values computed from them; O(1) for each change."""

    def __init__(self, values: Callable[[E], Iterable[str]]) -> None:
        self._values = values
        self._entities: dict[str, dict[Key[E], E]] = {}

    def replace(self, key: Key[E], old: E | None, new: E | None) -> None:
        """Move one entity from its old values to its new ones."""
        for value in self._values(old) if old is not None else ():
            held = self._entities.get(value, {})
            held.pop(key, None)
            if not held:
                self._entities.pop(value, None)
        for value in self._values(new) if new is not None else ():
            self._entities.setdefault(value, {})[key] = new  # type: ignore[assignment]  # not None

    def __getitem__(self, value: str) -> tuple[E, ...]:
        return tuple(self._entities.get(value, {}).values())


def _state(entity: Entity[Any, Any]) -> tuple[object, ...]:
    """Return what differs between any two states of the entities of one name."""
    return entity.uid, entity.revision, said_in_sessions(entity)


class Informer(Generic[E]):
    """A cache of one kind. `run` follows the store until it is cancelled."""

    def __init__(
        self,
        client: Client,
        kind: type[E],
        selection: Selection | None = None,
        *,
        rng: random.Random,
    ) -> None:
        self.kind = kind
        self.revision = 0
        self.is_synced = asyncio.Event()
        self._client = client
        self._selection = selection or Selection()
        self._rng = rng
        self._entities: dict[Key[E], E] = {}
        self._listeners: list[Callable[[Change[E]], None]] = []
        self._indexes: list[_Index[E]] = []
        self._waiting: list[tuple[int, asyncio.Future[None]]] = []

    def __getitem__(self, key: Key[E]) -> E:
        return self._entities[key]

    def get(self, key: Key[E]) -> E | None:
        """Return the newest entity of a key that has been seen."""
        return self._entities.get(key)

    def __len__(self) -> int:
        return len(self._entities)

    def entities(self) -> Mapping[Key[E], E]:
        """Return all that is cached, by key. Do not hold on to it: it lives."""
        return self._entities

    def listen(self, listener: Callable[[Change[E]], None]) -> None:
        """Call `listener` for every change from now on. Call it before `run`."""
        self._listeners.append(listener)

    def index(self, values: Callable[[E], Iterable[str]]) -> _Index[E]:
        """Return an index kept up to date. Call it before `run`."""
        index = _Index(values)
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

    async def is_current(self) -> bool:
        """Return whether the cache is what a list says now. Reads the whole kind."""
        listing = await self._client.list(self.kind, self._selection)
        listed = {Key.of(entity): _state(entity) for entity in listing.items}
        return listed == {key: _state(entity) for key, entity in self._entities.items()}

    async def run(self) -> None:
        """List, watch, and list again whenever the watch cannot go on."""
        failures = 0
        while True:
            try:
                listing = await self._client.list(self.kind, self._selection)
                self._replace(listing)
                async with self._client.watch(
                    self.kind, self._selection, after=listing.revision
                ) as events:
                    async for event in events:
                        failures = 0
                        self._take(event)
            except (Compacted, StoreReset, InvalidInput) as error:
                log.info("listing again", extra={"kind": str(self.kind.kind), "why": str(error)})
            except Unavailable as error:
                log.warning(
                    "store unavailable", extra={"kind": str(self.kind.kind), "why": str(error)}
                )
            failures += 1
            await asyncio.sleep(_RELIST.delay(failures, self._rng))

    def _replace(self, listing: Listing[E]) -> None:
        """Make the cache what was listed, and tell only what is different."""
        first = not self.is_synced.is_set()
        listed = {Key.of(entity): entity for entity in listing.items}
        for key in [key for key in self._entities if key not in listed]:
            self._set(key, None, listed=False)
        for key, entity in listed.items():
            known = self._entities.get(key)
            if known is None or _state(known) != _state(entity):
                self._set(key, entity, listed=first)
        self._advance(listing.revision)
        self.is_synced.set()

    def _take(self, event: Event[E]) -> None:
        match event:
            case Added(entity, revision) | Modified(entity, _, revision):
                self._set(Key.of(entity), entity, listed=False)
            case Deleted(entity, revision) | Left(entity, revision):
                if Key.of(entity) in self._entities:
                    self._set(Key.of(entity), None, listed=False)
            case Bookmark(revision):
                pass
        self._advance(revision)

    def _set(self, key: Key[E], new: E | None, *, listed: bool) -> None:
        old = self._entities.pop(key, None)
        if old is not None and new is not None and old.uid != new.uid:
            # Deleted and created anew under the same name, unseen: two changes, not one.
            self._tell(key, Change(old, None))
            old = None
        if new is not None:
            self._entities[key] = new
        self._tell(key, Change(old, new, listed))

    def _tell(self, key: Key[E], change: Change[E]) -> None:
        for index in self._indexes:
            index.replace(key, change.old, change.new)
        for listener in self._listeners:
            listener(change)

    def _advance(self, revision: int) -> None:
        self.revision = revision
        for wanted, future in self._waiting:
            if wanted <= revision and not future.done():
                future.set_result(None)
