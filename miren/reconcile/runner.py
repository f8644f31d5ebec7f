"""One controller at work: its queue, its workers, and the steps of one reconcile."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from datetime import datetime
from typing import Any, Generic, TypeVar

from miren.base.backoff import Backoff
from miren.base.errors import Conflict, NotFound
from miren.entities.client import Client
from miren.entities.entity import Entity
from miren.reconcile.context import Context
from miren.reconcile.controller import Controller
from miren.reconcile.informer import Change, Informer
from miren.reconcile.outcome import Outcome, record, say_why
from miren.reconcile.queue import WorkQueue
from miren.reconcile.results import Key, Permanent, Requeue, Temporary

__all__ = ["Runner"]

E = TypeVar("E", bound=Entity[Any, Any])

log = logging.getLogger(__name__)

#: How long a reconcile waits for the cache to show what the last one wrote.
_OWN_WRITES = 5.0
_SOURCE = Backoff(first=0.1, cap=30.0)


class Runner(Generic[E]):
    """Runs one controller over an informer."""

    def __init__(
        self,
        controller: Controller[E],
        client: Client,
        informer: Informer[E],
        *,
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
        self._now = now
        self._rng = rng
        self._log = logging.getLogger(f"miren.controllers.{controller.name}")
        self._written: dict[Key[E], int] = {}  # the newest revision each key's reconcile made
        self._seen: dict[Key[E], list[int]] = {}  # revisions that arrived while a key is in work
        self._rejected: dict[Key[E], int] = {}  # generations that ended in Permanent

    # -- what wakes a key ------------------------------------------------------------------

    def observe(self, change: Change[E]) -> None:
        """Take a change of the controller's own kind."""
        key = Key.of(change.entity)
        if change.new is None:
            self._forget(key)
            return
        if key in self._seen:
            self._seen[key].append(change.new.revision)
            return  # in work: whether this is only our own echo is known when it is done
        if change.new.revision == self._written.get(key):
            return  # the echo of our own status write: nothing new for us in it
        rejected = self._rejected.get(key)
        if rejected == change.new.metadata.generation and not change.new.is_deleting:
            return
        self.queue.add(key, low=change.listed)

    def wake(self, key: Key[E]) -> None:
        """Reconcile a key because something it depends on changed."""
        self._rejected.pop(key, None)
        self.queue.add(key)

    def wake_owner(self, change: Change[Any]) -> None:
        """Take a change of an owned kind: every owner of our kind is looked at."""
        kind = type(self.controller).kind.kind
        for owner in change.entity.metadata.owner_references:
            if owner.kind == kind.name and owner.api_version == kind.api_version:
                project = "" if kind.scope == "cluster" else change.entity.project
                self.wake(Key(project, owner.name))

    def _forget(self, key: Key[E]) -> None:
        self._written.pop(key, None)
        self._rejected.pop(key, None)
        self.queue.succeeded(key)

    # -- tasks -----------------------------------------------------------------------------

    async def run(self) -> None:
        """Work until cancelled: workers, resync, and the controller's own source."""
        async with asyncio.TaskGroup() as tasks:
            for _ in range(self._settings.concurrency):
                tasks.create_task(self._work())
            if self._settings.resync is not None:
                tasks.create_task(self._resync(self._settings.resync))
            tasks.create_task(self._follow_source())

    async def _work(self) -> None:
        await self._informer.is_synced.wait()
        while True:
            key = await self.queue.get()
            self._seen[key] = []
            try:
                await self._step(key)
            finally:
                own = self._written.get(key)
                if any(revision != own for revision in self._seen.pop(key)):
                    self.queue.add(key)
                self.queue.done(key)

    async def _resync(self, period: float) -> None:
        while True:
            await asyncio.sleep(period * (0.9 + 0.2 * self._rng.random()))
            for key in list(self._informer.entities()):
                self.queue.add(key, low=True)

    async def _follow_source(self) -> None:
        failures = 0
        await self._informer.is_synced.wait()
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
        await self._informer.wait_for(self._written.get(key, 0), timeout=_OWN_WRITES)
        entity = self._informer.get(key)
        if entity is None:
            self._forget(key)
            return
        try:
            outcome = await self.reconcile(entity)
        except Exception as error:  # writing the outcome failed: the store, or a conflict
            outcome = Outcome(error=error)
        self._queue_next(key, entity, outcome)

    async def reconcile(self, entity: E) -> Outcome:
        """Run one reconcile of `entity` and record it. Raises only what the recording raises."""
        finalizer = self._settings.finalizer
        held = finalizer in entity.metadata.finalizers
        if entity.is_deleting and not held:
            return Outcome()
        if finalizer is not None and not held:
            # The finalizer comes before anything it must undo; its echo brings the key back.
            names = (*entity.metadata.finalizers, finalizer)
            await self._client.update(entity.with_metadata(finalizers=names))
            return Outcome()
        ctx = self._context(entity)
        outcome = await self._call(ctx, entity)
        self.reconciles += 1
        if outcome.error is not None:
            say_why(ctx, outcome.error)
        if entity.is_deleting and outcome == Outcome():
            await self._let_go(entity)
            return outcome
        stored = await record(self._client, entity, ctx, primary=self._settings.primary)
        if stored.revision != entity.revision:
            self._written[Key.of(entity)] = stored.revision
        return outcome

    async def _call(self, ctx: Context[E], entity: E) -> Outcome:
        handler = self.controller.finalize if entity.is_deleting else self.controller.reconcile
        try:
            async with asyncio.timeout(self._settings.timeout):
                return Outcome(requeue=await handler(ctx, entity))
        except Exception as error:
            return Outcome(error=error)

    async def _let_go(self, entity: E) -> None:
        """Take our finalizer off; the store removes the entity with the last one."""
        finalizer = self._settings.finalizer
        current: E | None = entity
        while current is not None and current.uid == entity.uid:
            names = tuple(name for name in current.metadata.finalizers if name != finalizer)
            try:
                await self._client.update(current.with_metadata(finalizers=names))
            except NotFound:
                return
            except Conflict:
                current = await self._client.get(
                    type(entity), entity.name, project=entity.project or None, default=None
                )
            else:
                return

    def _context(self, entity: E) -> Context[E]:
        where = {"entity": str(entity), "project": entity.project, "revision": entity.revision}
        logger = logging.LoggerAdapter(self._log, where)
        return Context(
            entity, self._client, manager=self.controller.name, now=self._now, log=logger
        )

    def _queue_next(self, key: Key[E], entity: E, outcome: Outcome) -> None:
        match outcome:
            case Outcome(error=None, requeue=None):
                self.queue.succeeded(key)
            case Outcome(error=None, requeue=Requeue(after)):
                self.queue.succeeded(key)
                self.queue.add_after(key, after)
            case Outcome(error=Permanent() as error):
                self.queue.succeeded(key)
                self._rejected[key] = entity.metadata.generation
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
