"""One attempt to bring an entity to what its spec wants: finalizer, handler, record.

An attempt never raises: whatever went wrong is its outcome, and what it wrote until then is told
too, so that the next one can wait until the caches show it.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Generic, TypeVar

from miren.base.errors import Conflict, Fenced, NotFound
from miren.entities.client import Client
from miren.entities.entity import Entity
from miren.reconcile.context import Context
from miren.reconcile.controller import Controller
from miren.reconcile.deadlines import Deadlines
from miren.reconcile.outcome import DONE, Outcome, Unfinished, record, say_why, warn_of
from miren.reconcile.recorder import Note, unheard
from miren.reconcile.results import Permanent, Requeue, Temporary

__all__ = ["Attempt", "Attempts"]

E = TypeVar("E", bound=Entity[Any, Any])


@dataclass(frozen=True, slots=True)
class Attempt:
    """What an attempt came to.

    `written` is the revision it gave the entity, None if it wrote nothing there; `made` the
    newest revision it made of each kind through its context. `again` asks for another one at
    once: the finalizer has just been put on, and the handler was not called yet. `overtaken_by` is
    what others made of the entity meanwhile, if its record was put on top of that: it may never be
    seen by itself, for a list shows only the newest. `id` is in what was logged meanwhile.
    """

    outcome: Outcome = field(default_factory=Outcome)
    written: int | None = None
    made: Mapping[type[Entity[Any, Any]], int] = field(default_factory=dict)
    was_called: bool = False
    again: bool = False
    overtaken_by: Any = None
    id: str = ""


class Attempts(Generic[E]):
    """Makes attempts for one controller."""

    def __init__(
        self,
        controller: Controller[E],
        client: Client,
        *,
        now: Callable[[], datetime],
        threads: Executor | None = None,
        note: Note = unheard,
        rng: random.Random | None = None,
    ) -> None:
        self._controller = controller
        self._settings = type(controller).settings
        self._name = controller.name
        self._client = client
        self._now = now
        self._threads = threads
        self._note = note
        self._rng = rng or random.Random()  # noqa: S311  # names reconciles, guards nothing
        timeout = self._settings.timeout
        self._deadlines = None if timeout is None else Deadlines(timeout)
        self._log = logging.getLogger(f"miren.controllers.{controller.name}")

    def close(self) -> None:
        """Leave no timer behind; nothing is limited any more."""
        if self._deadlines is not None:
            self._deadlines.close()

    async def make(self, entity: E, client: Client | None = None) -> Attempt:
        """Reconcile or finalize `entity` once and record what came of it.

        Everything is written with `client`, a fenced one say, where one is given.
        """
        client = client or self._client
        held = self._settings.finalizer in entity.metadata.finalizers
        if entity.is_deleting and not held and not self._settings.until_gone:
            return Attempt()
        if self._settings.finalizer is not None and not held:
            return await self._hold(entity, self._settings.finalizer, client)
        ctx = self._context(entity, client)
        outcome = await self._call(ctx, entity)
        written: int | None = None
        try:
            if outcome.error is not None:
                self._explain(ctx, outcome.error)
            if held and entity.is_deleting and outcome == DONE:
                written = await self._let_go(entity, client)
            else:
                stored = await record(client, entity, ctx, primary=self._settings.primary)
                if stored is not entity and stored.revision != entity.revision:
                    written = stored.revision
        except Fenced as error:  # it counts for more than whatever else went wrong
            outcome = Outcome(error=error)
        except Exception as error:  # the store could not be reached, or others write all the time
            # Who would come back late or never must come back for this, or nobody is told why.
            is_lasting = outcome.is_settled or isinstance(outcome.error, Permanent | Temporary)
            outcome = Outcome(error=error if is_lasting else outcome.error or error)
        return Attempt(
            outcome,
            written,
            dict(ctx.written),
            was_called=True,
            overtaken_by=ctx.overtaken_by,
            id=ctx.id,
        )

    def _explain(self, ctx: Context[E], error: Exception) -> None:
        warn_of(ctx, error)
        if self._settings.primary:
            say_why(ctx, error)

    async def _hold(self, entity: E, finalizer: str, client: Client) -> Attempt:
        """Put the finalizer on: it comes before anything that it must undo."""
        names = (*entity.metadata.finalizers, finalizer)
        try:
            stored = await client.update(entity.with_metadata(finalizers=names))
        except NotFound:
            return Attempt()
        except Exception as error:  # somebody else wrote meanwhile, or no store: tried again
            return Attempt(Outcome(error=error))
        return Attempt(written=stored.revision, again=True)

    async def _call(self, ctx: Context[E], entity: E) -> Outcome:
        ends = entity.is_deleting and not self._settings.until_gone
        handler = self._controller.finalize if ends else self._controller.reconcile
        try:
            work = handler(ctx, entity)
            limited = self._deadlines.limit(work) if self._deadlines is not None else work
            result: object = await limited
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            # Something inside was cancelled, not this worker: it must not end the worker.
            return Outcome(error=RuntimeError("the reconcile was cancelled from inside"))
        except Unfinished as unfinished:
            return unfinished.outcome
        except Exception as error:
            return Outcome(error=error)
        if result is None:
            return DONE
        if isinstance(result, Requeue):
            return Outcome(requeue=result)
        name = f"{type(self._controller).__name__}.{handler.__name__}"
        told = f"{name} must return None or Requeue, not {type(result).__name__}"
        return Outcome(error=TypeError(told))

    async def _let_go(self, entity: E, client: Client) -> int | None:
        """Take our finalizer off and return the revision that this made.

        The store removes the entity with the last one.
        """
        current: E | None = entity
        while current is not None and current.uid == entity.uid:
            names = current.metadata.finalizers
            left = tuple(name for name in names if name != self._settings.finalizer)
            try:
                stored = await client.update(current.with_metadata(finalizers=left))
            except NotFound:
                return None
            except Fenced:
                raise
            except Conflict:
                current = await client.get(
                    type(entity), entity.name, project=entity.project or None, default=None
                )
            else:
                return stored.revision
        return None

    def _context(self, entity: E, client: Client) -> Context[E]:
        return Context(
            entity,
            client,
            manager=self._name,
            now=self._now,
            log=self._log,
            threads=self._threads,
            note=self._note,
            id=f"{self._rng.getrandbits(32):08x}",
        )
