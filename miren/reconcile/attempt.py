"""One attempt to bring an entity to what its spec wants: finalizer, handler, record.

An attempt never raises: whatever went wrong is its outcome, and what it wrote until then is told
too, so that the next one can wait until the caches show it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Generic, TypeVar

from miren.base.errors import Conflict, NotFound
from miren.entities.client import Client
from miren.entities.entity import Entity
from miren.reconcile.context import Context
from miren.reconcile.controller import Controller
from miren.reconcile.outcome import Outcome, record, say_why
from miren.reconcile.results import Requeue

__all__ = ["Attempt", "Attempts"]

E = TypeVar("E", bound=Entity[Any, Any])


@dataclass(frozen=True, slots=True)
class Attempt:
    """What an attempt came to.

    `written` is the revision it gave the entity, None if it wrote nothing there; `made` the
    newest revision it made of each kind through its context. `again` asks for another one at
    once: the finalizer has just been put on, and the handler was not called yet.
    """

    outcome: Outcome = field(default_factory=Outcome)
    written: int | None = None
    made: Mapping[type[Entity[Any, Any]], int] = field(default_factory=dict)
    was_called: bool = False
    again: bool = False


class Attempts(Generic[E]):
    """Makes attempts for one controller."""

    def __init__(
        self, controller: Controller[E], client: Client, *, now: Callable[[], datetime]
    ) -> None:
        self._controller = controller
        self._settings = type(controller).settings
        self._client = client
        self._now = now
        self._log = logging.getLogger(f"miren.controllers.{controller.name}")

    async def make(self, entity: E) -> Attempt:
        """Reconcile or finalize `entity` once and record what came of it."""
        held = self._settings.finalizer in entity.metadata.finalizers
        if entity.is_deleting and not held and not self._settings.until_gone:
            return Attempt()
        if self._settings.finalizer is not None and not held:
            return await self._hold(entity, self._settings.finalizer)
        ctx = self._context(entity)
        outcome = await self._call(ctx, entity)
        written: int | None = None
        try:
            if outcome.error is not None and self._settings.primary:
                say_why(ctx, outcome.error)
            if entity.is_deleting and held and outcome == Outcome():
                written = await self._let_go(entity)
            else:
                stored = await record(self._client, entity, ctx, primary=self._settings.primary)
                written = stored.revision if stored.revision != entity.revision else None
        except Exception as error:  # the store could not be reached, or others write all the time
            outcome = Outcome(error=outcome.error or error)
        return Attempt(outcome, written, dict(ctx.written), was_called=True)

    async def _hold(self, entity: E, finalizer: str) -> Attempt:
        """Put the finalizer on: it comes before anything that it must undo."""
        names = (*entity.metadata.finalizers, finalizer)
        try:
            stored = await self._client.update(entity.with_metadata(finalizers=names))
        except NotFound:
            return Attempt()
        except Exception as error:  # somebody else wrote meanwhile, or no store: tried again
            return Attempt(Outcome(error=error))
        return Attempt(written=stored.revision, again=True)

    async def _call(self, ctx: Context[E], entity: E) -> Outcome:
        ends = entity.is_deleting and not self._settings.until_gone
        handler = self._controller.finalize if ends else self._controller.reconcile
        try:
            async with asyncio.timeout(self._settings.timeout):
                result: object = await handler(ctx, entity)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            # Something inside was cancelled, not this worker: it must not end the worker.
            return Outcome(error=RuntimeError("the reconcile was cancelled from inside"))
        except Exception as error:
            return Outcome(error=error)
        if result is None or isinstance(result, Requeue):
            return Outcome(requeue=result)
        name = f"{type(self._controller).__name__}.{handler.__name__}"
        told = f"{name} must return None or Requeue, not {type(result).__name__}"
        return Outcome(error=TypeError(told))

    async def _let_go(self, entity: E) -> int | None:
        """Take our finalizer off and return the revision that this made.

        The store removes the entity with the last one.
        """
        current: E | None = entity
        while current is not None and current.uid == entity.uid:
            names = current.metadata.finalizers
            left = tuple(name for name in names if name != self._settings.finalizer)
            try:
                stored = await self._client.update(current.with_metadata(finalizers=left))
            except NotFound:
                return None
            except Conflict:
                current = await self._client.get(
                    type(entity), entity.name, project=entity.project or None, default=None
                )
            else:
                return stored.revision
        return None

    def _context(self, entity: E) -> Context[E]:
        where = {"entity": str(entity), "project": entity.project, "revision": entity.revision}
        logger = logging.LoggerAdapter(self._log, where)
        return Context(
            entity, self._client, manager=self._controller.name, now=self._now, log=logger
        )
