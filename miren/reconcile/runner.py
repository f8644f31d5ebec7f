"""One controller at work: what wakes its keys, its workers, and what comes after each attempt."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import AbstractAsyncContextManager, nullcontext
from datetime import datetime
from functools import partial
from operator import attrgetter
from typing import Any, Generic, TypeVar

from miren.base.backoff import Backoff
from miren.base.errors import Conflict
from miren.entities.client import Client
from miren.entities.entity import Entity
from miren.entities.unstored import said_in_sessions
from miren.reconcile.attempt import Attempt, Attempts
from miren.reconcile.controller import Controller
from miren.reconcile.informer import Delta, Informer
from miren.reconcile.leading import Belongs, Open, Permission
from miren.reconcile.outcome import DONE, Outcome
from miren.reconcile.predicates import Predicate
from miren.reconcile.queue import WorkQueue
from miren.reconcile.recorder import Note, unheard
from miren.reconcile.results import LOW, NORMAL, Key, Permanent, Requeue, Temporary
from miren.reconcile.storms import Storm
from miren.reconcile.tally import Tally
from miren.reconcile.tracing import Make, Tracing

__all__ = ["Runner"]

E = TypeVar("E", bound=Entity[Any, Any])
A = TypeVar("A")

#: How long a reconcile waits for each cache to show what the last one wrote.
_OWN_WRITES = 5.0
#: After so many keys a worker lets others in the loop work, though its own work waits for nothing.
_STRETCH = 16
_PROJECT = attrgetter("project")
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
        threads: Executor | None = None,
        note: Note = unheard,
        permission: Permission | None = None,
    ) -> None:
        self.controller = controller
        self.permission: Permission = permission or Open(client)
        self.queue: WorkQueue[Key[E]] = WorkQueue(Backoff(), rng, project=_PROJECT)
        self.reconciles = 0
        self.errors = 0
        self.last_error: str | None = None
        self._settings = type(controller).settings
        self._client = client
        self._informer = informer
        self.informers: tuple[Informer[Any], ...] = (informer, *others)
        self.tally = Tally()
        self._attempts = Attempts(controller, client, now=now, threads=threads, note=note, rng=rng)
        self._attempt: Make[E] = self._attempts.make
        self._rng = rng
        self._storm = Storm()
        self._log = logging.getLogger(f"miren.controllers.{controller.name}")
        self._written: dict[Key[E], int] = {}  # the revision that each key's last attempt made
        self._made: dict[Key[E], Mapping[type[Entity[Any, Any]], int]] = {}
        self._resets = 0
        self._seen: dict[Key[E], list[Delta[E]]] = {}  # what arrived while a key is in work
        self._rejected: dict[Key[E], tuple[int, bool]] = {}  # what ended in Permanent

    # -- what wakes a key ------------------------------------------------------------------

    def observe(self, change: Delta[E]) -> None:
        """Take a change of the controller's own kind."""
        key = Key.of(change.entity)
        if change.new is None:
            self._forget(key)
        elif key in self._seen:
            # In work: whether this is only our own echo is known when it is done.
            if self._is_wanted(change):
                _keep(self._seen[key], change)
        elif self._is_news(key, change):
            self.queue.add(key, priority=change.priority)

    def wake(self, key: Key[E], *, priority: int = NORMAL) -> None:
        """Reconcile a key because something it depends on changed, rejected or not."""
        self.queue.add(key, priority=priority)

    def wake_owner(self, change: Delta[Any]) -> None:
        """Take a change of an owned kind: every owner of our kind, old or new, is looked at."""
        when = self._settings.owns_when.get(type(change.entity))
        if when is not None and not self.holds(when, change.old, change.new):
            return
        kind = type(self.controller).kind.kind
        for entity in change.both():
            for owner in entity.metadata.owner_references:
                domain = owner.api_version.partition("/")[0]
                if owner.kind == kind.name and kind.is_in(domain):
                    project = "" if kind.scope == "cluster" else entity.project
                    self.wake(Key(project, owner.name), priority=change.priority)

    def ask(
        self,
        question: Callable[[Any], Iterable[A]],
        what: str,
        wanted: type[A],
        entity: Entity[Any, Any],
    ) -> Sequence[A]:
        """Return what a method of the controller says of an entity; nothing if it breaks.

        It is called where all controllers' changes pass: one that breaks, or returns anything
        else than several of what is wanted, must stop no other.
        """
        try:
            return _several(question(entity), wanted)
        except Exception as error:
            self._broke("not told", what, str(entity), error)
            return ()

    def _is_news(self, key: Key[E], change: Delta[E]) -> bool:
        """Return whether a version is neither our own write nor what was rejected for good."""
        old, new = change.old, change.entity
        written = self._written.get(key)
        if (
            written is not None
            and written == new.revision
            and (old is None or said_in_sessions(old) == said_in_sessions(new))
        ):
            return False
        return self._is_open(key, change)

    def _is_open(self, key: Key[E], change: Delta[E]) -> bool:
        """Return whether a version is wanted, and was not rejected for good."""
        if self._rejected and self._rejected.get(key) == _wish(change.entity):
            return False
        return self._is_wanted(change)

    def _is_wanted(self, change: Delta[E]) -> bool:
        """Return whether the predicate lets a change through; a deletion always is."""
        old, new, when = change.old, change.entity, self._settings.when
        if when is None or (new.is_deleting and (old is None or not old.is_deleting)):
            return True
        return self.holds(when, old, new)

    def holds(
        self, when: Predicate[Any], old: Entity[Any, Any] | None, new: Entity[Any, Any] | None
    ) -> bool:
        """Return whether a predicate holds of a change. One that breaks counts as true."""
        try:
            return when(old, new)
        except Exception as error:
            self._broke("predicate failed", str(when), str(new or old), error)
            return True

    def _broke(self, said: str, what: str, entity: str, error: Exception) -> None:
        """Tell of what broke where all controllers' changes pass, and must not stop them."""
        self.errors += 1
        self.last_error = f"{what}: {error}"
        untold = self._storm.untold(error)
        if untold is not None:
            fields = {"what": what, "entity": entity, "untold": untold}
            self._log.warning(said, extra=fields, exc_info=error)

    def _forget(self, key: Key[E]) -> None:
        try:
            self.controller.forget(key)
        except Exception as error:
            self._broke("not told", "forget", str(key), error)
        self._written.pop(key, None)
        self._made.pop(key, None)
        self._rejected.pop(key, None)
        self.queue.succeeded(key)

    # -- tasks -----------------------------------------------------------------------------

    async def run(self) -> None:
        """Work until cancelled: workers, resync, and the controller's own source."""
        await self.synced()
        serving = nullcontext() if self.permission.has_terms else self.serving()
        async with serving, asyncio.TaskGroup() as tasks:
            for _ in range(self._settings.concurrency):
                tasks.create_task(self._work())
            if self._settings.resync is not None:
                tasks.create_task(self._resync(self._settings.resync))
            tasks.create_task(self.permission.follow(self._follow_source))

    async def _work(self) -> None:
        while True:
            key = await self.queue.get()
            self._seen[key] = []
            try:
                await self.permission.work(key, partial(self._step, key))
            finally:
                arrived = self._seen.pop(key)
                if arrived and any(self._is_news(key, change) for change in arrived):
                    self.queue.add(key)
                self.queue.done(key)
            if self.queue.handed_out % _STRETCH == 0:
                await asyncio.sleep(0)

    async def _resync(self, period: float) -> None:
        while True:
            await asyncio.sleep(period * (0.9 + 0.2 * self._rng.random()))
            self._look_at_all()

    def _look_at_all(self, belongs: Belongs | None = None) -> None:
        """Queue every key that `belongs` (None: all), behind other work."""
        for key, entity in list(self._informer.entities().items()):
            if belongs is not None and not belongs(key):
                continue
            if self._rejected.get(key) != _wish(entity) and self._is_wanted(Delta(None, entity)):
                self.queue.add(key, priority=LOW)

    async def _follow_source(self, client: Client) -> None:
        failures = 0
        while True:
            try:
                source = self.controller.source(client)
                if source is None:
                    return
                async for key in source:
                    failures = 0
                    self.wake(key)
            except Exception as error:
                self._log.warning("source failed", extra={"why": str(error)})
                self.last_error = f"source: {error}"
            failures += 1
            await asyncio.sleep(_SOURCE.delay(failures, self._rng))

    # -- terms, see `Work` -----------------------------------------------------------------

    async def synced(self) -> None:
        """Return once all its caches know what there is."""
        for informer in self.informers:
            await informer.is_synced.wait()

    async def catch_up(self, revision: int) -> None:
        """Return once all its caches show what was written up to `revision`, or late."""
        for informer in self.informers:
            await informer.catch_up(revision, timeout=_OWN_WRITES)

    def serving(self) -> AbstractAsyncContextManager[None]:
        """Return what is entered before the first reconcile and left after the last."""
        return self.controller.serving()

    def take_up(self, belongs: Belongs) -> None:
        """Look at every key that belongs to who begins to work.

        Those too that were refused before: what they wait for may have come when nobody worked.
        """
        for key in [key for key in self._rejected if belongs(key)]:
            del self._rejected[key]
        self._look_at_all(belongs)

    async def lay_down(self, belongs: Belongs) -> None:
        """Drop what is kept of keys that others will work on."""
        keys = [key for key in self._informer.entities() if belongs(key)]
        try:
            await self.controller.lay_down(keys)
        except Exception as error:
            self._broke("not told", "lay_down", f"{len(keys)} keys", error)

    # -- one step --------------------------------------------------------------------------

    def trace(self, tracing: Tracing) -> None:
        """Make each attempt a span from now on; what `tracing` makes adds up."""
        self._attempt = tracing.around(self._attempt, self.controller.name)

    async def _step(self, key: Key[E], client: Client) -> Exception | None:
        """Reconcile one key once, and queue what comes next; return what went wrong."""
        if key in self._made or self._written.get(key, 0) > self._informer.revision:
            await self._see_own_writes(key)
        self._seen[key].clear()  # whatever came until now is in the entity read next
        entity = self._informer.get(key)
        if entity is None:
            self._forget(key)
            return None
        time = asyncio.get_running_loop().time
        begun = time()
        attempt = await self._attempt(entity, client)
        self.reconciles += attempt.was_called
        if attempt.was_called or attempt.outcome.error is not None:
            self.tally.count(attempt.outcome, time() - begun)
        if attempt.written is not None:
            self._written[key] = attempt.written
        if attempt.made:
            self._made[key] = attempt.made
        if attempt.again:
            self.queue.add_after(key, 0)
        self._rejected.pop(key, None)
        if attempt.outcome is DONE:
            self.queue.succeeded(key)
        else:
            self._queue_next(key, entity, attempt)
        beneath = attempt.overtaken_by
        # Though it may be what we wrote last: that may lie on top of what the cache still lacks.
        if beneath is not None and self._is_open(key, Delta(entity, beneath)):
            self.queue.add(key)
        if self._informer.get(key) is None:  # it went meanwhile
            self._forget(key)
        return attempt.outcome.error

    async def _see_own_writes(self, key: Key[E]) -> None:
        resets = sum(informer.resets for informer in self.informers)
        if resets != self._resets:  # what was written before is nowhere any more
            self._resets = resets
            self._written.clear()
            self._made.clear()
        if key in self._made:
            made = self._made.pop(key)
            for informer in self.informers:
                await informer.wait_for(made.get(informer.kind, 0), timeout=_OWN_WRITES)
        if key in self._written:
            await self._informer.wait_for(self._written[key], timeout=_OWN_WRITES)

    def _queue_next(self, key: Key[E], entity: E, attempt: Attempt) -> None:
        failed = partial(self._failed, key, attempt.id)
        match attempt.outcome:
            case Outcome(error=None, requeue=None):
                self.queue.succeeded(key)
            case Outcome(error=None, requeue=Requeue(after, priority)):
                self.queue.succeeded(key)
                self.queue.add_after(key, after, priority=priority)
            case Outcome(error=error, requeue=requeue, is_settled=True):
                self.queue.succeeded(key)
                if requeue is not None:
                    self.queue.add_after(key, requeue.after, priority=requeue.priority)
                if error is not None:
                    failed(error, retry=None if requeue is None else requeue.after)
            case Outcome(error=Permanent() as error):
                self.queue.succeeded(key)
                self._rejected[key] = _wish(entity)
                failed(error, retry=None)
            case Outcome(error=Temporary(after=float() | int() as after) as error):
                self.queue.succeeded(key)
                self.queue.add_after(key, after)
                failed(error, retry=after)
            case Outcome(error=Exception() as error):
                failed(error, retry=self.queue.failed(key))

    def _failed(self, key: Key[E], id: str, error: Exception, *, retry: float | None) -> None:
        self.errors += 1
        self.last_error = f"{key}: {error}"
        untold = self._storm.untold(error)
        if untold is None:
            return
        fields = {
            "key": str(key),
            "reconcile": id,
            "retry_in": retry,
            "why": str(error),
            "untold": untold,
        }
        if isinstance(error, Temporary | Permanent | Conflict):
            self._log.info("not done", extra=fields)
        else:
            self._log.warning("reconcile failed", extra=fields, exc_info=error)

    async def drain(self, grace: float) -> None:
        """Hand out nothing more and wait, `grace` seconds at most, for what is in work."""
        await self.queue.drain(grace)

    def close(self) -> None:
        """Leave no timers behind."""
        self.queue.close()
        self._attempts.close()


def _keep(seen: list[Delta[E]], change: Delta[E]) -> None:
    """Keep what arrived while a key is in work, few of many: a reconcile may take very long.

    One of them may be the reconcile's own write, and those of one wish may be refused for good.
    So of two alike one says what the other does, and with six it is certain that there is news.
    """
    wish = _wish(change.entity)
    if len(seen) < 6 and sum(_wish(each.entity) == wish for each in seen) < 2:
        seen.append(change)


def _several(answer: Iterable[A], wanted: type[A]) -> Sequence[A]:
    said = tuple(answer)
    if isinstance(answer, str) or not all(isinstance(each, wanted) for each in said):
        raise TypeError(f"must return several {wanted.__name__}, not {answer!r}")
    return said


def _wish(entity: Entity[Any, Any]) -> tuple[int, bool]:
    """Return what a Permanent answers: this spec, or the wish that it goes."""
    return entity.metadata.generation, entity.is_deleting
