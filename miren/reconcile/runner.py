"""One controller at work: what wakes its keys, its workers, and what comes after each attempt."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Generic, TypeVar

from miren.base.backoff import Backoff
from miren.base.errors import Conflict
from miren.entities.client import Client
from miren.entities.entity import Entity
from miren.entities.unstored import said_in_sessions
from miren.reconcile.attempt import Attempts
from miren.reconcile.controller import Controller
from miren.reconcile.informer import Change, Informer
from miren.reconcile.outcome import Outcome
from miren.reconcile.queue import WorkQueue
from miren.reconcile.results import Key, Permanent, Requeue, Temporary

__all__ = ["Runner"]

E = TypeVar("E", bound=Entity[Any, Any])
A = TypeVar("A")

#: How long a reconcile waits for each cache to show what the last one wrote.
_OWN_WRITES = 5.0
_SOURCE = Backoff(first=0.1, cap=30.0)


class Runner(Generic[E]):
    """Runs one controller over the informer of its kind.

    `others` are the informers of kinds it owns or watches: work begins when all of them know
    what there is, and a key comes again only when they show what it wrote.
    """

    def __init__(
        self,
        controller: Controller[E],
        client: Client,
        informer: Informer[E],
        *,
        others: Iterable[Informer[Any]] = (),
        now: Callable[[], datetime],
        rng: random.Random,
    ) -> None:
        self.controller = controller
        self.queue: WorkQueue[Key[E]] = WorkQueue(Backoff(), rng)
        self.reconciles = 0
        self.errors = 0
        self.last_error: str | None = None
        self._settings = type(controller).settings
        self._client = client
        self._informer = informer
        self._informers: tuple[Informer[Any], ...] = (informer, *others)
        self._attempts = Attempts(controller, client, now=now)
        self._rng = rng
        self._log = logging.getLogger(f"miren.controllers.{controller.name}")
        self._written: dict[Key[E], int] = {}  # the revision that each key's last attempt made
        self._made: dict[Key[E], Mapping[type[Entity[Any, Any]], int]] = {}
        self._seen: dict[Key[E], list[Change[E]]] = {}  # what arrived while a key is in work
        self._rejected: dict[Key[E], tuple[int, bool]] = {}  # what ended in Permanent

    # -- what wakes a key ------------------------------------------------------------------

    def observe(self, change: Change[E]) -> None:
        """Take a change of the controller's own kind."""
        key = Key.of(change.entity)
        if change.new is None:
            self._forget(key)
        elif key in self._seen:
            # In work: whether this is only our own echo is known when it is done.
            self._seen[key].append(change)
        elif self._is_news(key, change):
            self.queue.add(key, low=change.listed)

    def wake(self, key: Key[E], *, low: bool = False) -> None:
        """Reconcile a key because something it depends on changed, rejected or not."""
        self.queue.add(key, low=low)

    def wake_owner(self, change: Change[Any]) -> None:
        """Take a change of an owned kind: every owner of our kind, old or new, is looked at."""
        kind = type(self.controller).kind.kind
        for entity in change.both():
            for owner in entity.metadata.owner_references:
                if owner.kind == kind.name and owner.api_version == kind.api_version:
                    project = "" if kind.scope == "cluster" else entity.project
                    self.wake(Key(project, owner.name), low=change.listed)

    def ask(
        self, question: Callable[[Any], Iterable[A]], what: str, entity: Entity[Any, Any]
    ) -> Sequence[A]:
        """Return what a method of the controller says of an entity; nothing if it breaks.

        It is called where all controllers' changes pass: one that breaks must stop no other.
        """
        try:
            return tuple(question(entity))
        except Exception as error:
            self.errors += 1
            self.last_error = f"{what}: {error}"
            self._log.warning(
                "not told", extra={"what": what, "entity": str(entity)}, exc_info=error
            )
            return ()

    def _is_news(self, key: Key[E], change: Change[E]) -> bool:
        """Return whether a version is neither our own write nor what was rejected for good."""
        old, new = change.old, change.entity
        if new.revision == self._written.get(key) and (
            old is None or said_in_sessions(old) == said_in_sessions(new)
        ):
            return False
        return self._rejected.get(key) != _wish(new)

    def _forget(self, key: Key[E]) -> None:
        self._written.pop(key, None)
        self._made.pop(key, None)
        self._rejected.pop(key, None)
        self.queue.succeeded(key)

    # -- tasks -----------------------------------------------------------------------------

    async def run(self) -> None:
        """Work until cancelled: workers, resync, and the controller's own source."""
        for informer in self._informers:
            await informer.is_synced.wait()
        async with asyncio.TaskGroup() as tasks:
            for _ in range(self._settings.concurrency):
                tasks.create_task(self._work())
            if self._settings.resync is not None:
                tasks.create_task(self._resync(self._settings.resync))
            tasks.create_task(self._follow_source())

    async def _work(self) -> None:
        while True:
            key = await self.queue.get()
            self._seen[key] = []
            try:
                await self._step(key)
            finally:
                if any(self._is_news(key, change) for change in self._seen.pop(key)):
                    self.queue.add(key)
                self.queue.done(key)

    async def _resync(self, period: float) -> None:
        while True:
            await asyncio.sleep(period * (0.9 + 0.2 * self._rng.random()))
            for key, entity in list(self._informer.entities().items()):
                if self._rejected.get(key) != _wish(entity):
                    self.queue.add(key, low=True)

    async def _follow_source(self) -> None:
        failures = 0
        while True:
            source = self.controller.source(self._client)
            if source is None:
                return
            try:
                async for key in source:
                    failures = 0
                    self.wake(key)
            except Exception as error:
                self._log.warning("source failed", extra={"why": str(error)})
                self.last_error = f"source: {error}"
            failures += 1
            await asyncio.sleep(_SOURCE.delay(failures, self._rng))

    # -- one step --------------------------------------------------------------------------

    async def _step(self, key: Key[E]) -> None:
        """Reconcile one key once, and queue what comes next."""
        await self._see_own_writes(key)
        self._seen[key].clear()  # whatever came until now is in the entity read next
        entity = self._informer.get(key)
        if entity is None:
            self._forget(key)
            return
        attempt = await self._attempts.make(entity)
        self.reconciles += attempt.was_called
        if attempt.written is not None:
            self._written[key] = attempt.written
        if attempt.made:
            self._made[key] = attempt.made
        if attempt.again:
            self.queue.add(key)
        self._rejected.pop(key, None)
        self._queue_next(key, entity, attempt.outcome)

    async def _see_own_writes(self, key: Key[E]) -> None:
        made = self._made.pop(key, {})
        for informer in self._informers:
            await informer.wait_for(made.get(informer.kind, 0), timeout=_OWN_WRITES)
        await self._informer.wait_for(self._written.get(key, 0), timeout=_OWN_WRITES)

    def _queue_next(self, key: Key[E], entity: E, outcome: Outcome) -> None:
        match outcome:
            case Outcome(error=None, requeue=None):
                self.queue.succeeded(key)
            case Outcome(error=None, requeue=Requeue(after)):
                self.queue.succeeded(key)
                self.queue.add_after(key, after)
            case Outcome(error=Permanent() as error):
                self.queue.succeeded(key)
                self._rejected[key] = _wish(entity)
                self._failed(key, error, retry=None)
            case Outcome(error=Temporary(after=float() | int() as after) as error):
                self.queue.succeeded(key)
                self.queue.add_after(key, after)
                self._failed(key, error, retry=after)
            case Outcome(error=Exception() as error):
                self._failed(key, error, retry=self.queue.failed(key))

    def _failed(self, key: Key[E], error: Exception, *, retry: float | None) -> None:
        self.errors += 1
        self.last_error = f"{key}: {error}"
        fields = {"key": str(key), "retry_in": retry, "why": str(error)}
        if isinstance(error, Temporary | Permanent | Conflict):
            self._log.info("not done", extra=fields)
        else:
            self._log.warning("reconcile failed", extra=fields, exc_info=error)

    async def drain(self, grace: float) -> None:
        """Hand out nothing more and wait, `grace` seconds at most, for what is in work."""
        await self.queue.drain(grace)


def _wish(entity: Entity[Any, Any]) -> tuple[int, bool]:
    """Return what a Permanent answers: this spec, or the wish that it goes."""
    return entity.metadata.generation, entity.is_deleting
