"""Daemons: a task for each entity that a `daemon` handler fits, for as long as it does.

They are opt-in, because each costs a task. One that breaks is started again with back-off, one
that returns or raises Permanent stays ended until its entity no longer fits, or goes. They are
cancelled when their entity begins to go (before `deleted` handlers are called), no longer fits or
is gone, and when the engine stops or no longer leads. Each has its `grace` to clean up; what is
not through by then is left behind and told of, for nothing can end a task that refuses to.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from miren.base.backoff import Backoff
from miren.entities.entity import Entity
from miren.reconcile.context import Context
from miren.reconcile.handlers import DaemonHandler, fits
from miren.reconcile.outcome import record
from miren.reconcile.results import Key, Permanent, Temporary

__all__ = ["DaemonContext", "Daemons"]

E = TypeVar("E", bound=Entity[Any, Any])

log = logging.getLogger(__name__)

_RESTART = Backoff(first=1.0, cap=60.0)
#: A daemon that ran this long before it broke begins anew with the shortest delay.
_HEALTHY = 60.0
#: How many broken daemons health names.
_TOLD = 10


class DaemonContext(Context[E]):
    """What a daemon is handed. It lives long: `entity` is the newest, `save` writes at once."""

    def __init__(self, ctx: Context[E], newest: Callable[[], E]) -> None:
        vars(self).update(vars(ctx))
        self.conditions = {}
        self.written = {}
        self.handled = None
        self._newest = newest
        self._begin(newest())

    @property
    def entity(self) -> E:
        """The newest version of the entity that the engine has seen."""
        return self._newest()

    async def save(self) -> None:
        """Write the status and conditions said since the last time, if they say anything new."""
        self._begin(await record(self.client, self._entity, self, primary=False))

    def _begin(self, entity: E) -> None:
        self._entity = entity
        self._status = entity.status
        self.conditions.clear()


@dataclass(slots=True, eq=False)
class _Daemon(Generic[E]):
    handler: DaemonHandler
    entity: E
    ctx: Context[E]
    task: asyncio.Task[None] | None = None
    trouble: str | None = None


class Daemons(Generic[E]):
    """The daemons of one controller. They run only inside of `serving`."""

    def __init__(self, handlers: Sequence[DaemonHandler], *, rng: random.Random) -> None:
        self._handlers = tuple(handlers)
        self._rng = rng
        self._daemons: dict[Key[E], dict[str, _Daemon[E]]] = {}
        self._leaving: dict[Key[E], dict[asyncio.Task[None], float]] = {}  # with their grace
        self._is_serving = False

    def __len__(self) -> int:
        """Return how many run."""
        return sum(1 for each in self._each() if each.task is not None and not each.task.done())

    def troubles(self) -> Sequence[str]:
        """Return what is wrong with those that broke, at most a few lines."""
        told = [
            f"{Key.of(each.entity)}: daemon {each.handler.name}: {each.trouble}"
            for each in self._each()
            if each.trouble is not None
        ]
        more = [f"and {len(told) - _TOLD} more"] if len(told) > _TOLD else []
        return (*told[:_TOLD], *more)

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        """Let daemons run inside; on the way out cancel all of them, and wait."""
        self._is_serving = True
        try:
            yield
        finally:
            self._is_serving = False
            for key in tuple(self._daemons):
                self.forget(key)
            await self.ended(tuple(self._leaving))

    async def keep(self, ctx: Context[E], entity: E) -> None:
        """Start what fits the entity and does not run, stop what no longer fits.

        Raises what a `where` raises; the daemons after that one are left as they are.
        """
        if not self._handlers or not self._is_serving:
            return
        key = Key.of(entity)
        known = self._daemons.get(key, {})
        for daemon in known.values():
            if daemon.entity.uid != entity.uid:
                self.forget(key)
                break
            daemon.entity = entity
        await self.ended([key])
        for handler in self._handlers:
            is_running = handler.name in self._daemons.get(key, {})
            is_wanted = fits(handler.where, entity)
            if is_wanted and not is_running:
                started = self._start(handler, ctx, entity)
                self._daemons.setdefault(key, {})[handler.name] = started
            elif is_running and not is_wanted:
                self._end(key, self._daemons[key].pop(handler.name))
                await self.ended([key])

    async def stop(self, key: Key[E]) -> None:
        """Cancel the daemons of an entity and wait, for their grace at most, until they ended."""
        self.forget(key)
        await self.ended([key])

    async def ended(self, keys: Iterable[Key[E]]) -> None:
        """Wait for daemons of these entities that were cancelled, for their grace at most."""
        leaving = (self._leaving.get(key, {}) for key in keys)
        await _ended({task: grace for tasks in leaving for task, grace in tasks.items()})

    def forget(self, key: Key[E]) -> None:
        """Cancel the daemons of an entity without waiting."""
        for daemon in self._daemons.pop(key, {}).values():
            self._end(key, daemon)

    def _each(self) -> Iterator[_Daemon[E]]:
        return (each for daemons in self._daemons.values() for each in daemons.values())

    def _start(self, handler: DaemonHandler, ctx: Context[E], entity: E) -> _Daemon[E]:
        daemon = _Daemon(handler, entity, ctx)
        name = f"daemon {handler.name} of {entity}"
        # Owned by this object: whatever happens, `serving` cancels it and waits for it.
        daemon.task = asyncio.create_task(self._supervise(daemon), name=name)
        return daemon

    def _end(self, key: Key[E], daemon: _Daemon[E]) -> None:
        task = daemon.task
        if task is None or task.done():
            return
        task.cancel()
        self._leaving.setdefault(key, {})[task] = daemon.handler.grace
        task.add_done_callback(lambda done: self._left(key, done))

    def _left(self, key: Key[E], task: asyncio.Task[None]) -> None:
        leaving = self._leaving.get(key, {})
        leaving.pop(task, None)
        if not leaving:
            self._leaving.pop(key, None)

    # -- one daemon ------------------------------------------------------------------------

    async def _supervise(self, daemon: _Daemon[E]) -> None:
        """Run it until it is through, again with back-off whenever it breaks."""
        loop = asyncio.get_running_loop()
        await asyncio.sleep(daemon.handler.initial_delay)
        failures = 0
        while True:
            begun = loop.time()
            error = await self._run(daemon)
            if error is None:
                daemon.trouble = None
                return
            failures = 1 if loop.time() - begun >= _HEALTHY else failures + 1
            daemon.trouble = f"{type(error).__name__}: {error}"
            delay = self._delay(error, failures)
            fields = {"daemon": daemon.handler.name, "retry_in": delay}
            daemon.ctx.log.warning("daemon broke", extra=fields, exc_info=error)
            if delay is None:
                return
            await asyncio.sleep(delay)

    async def _run(self, daemon: _Daemon[E]) -> Exception | None:
        """Run it once, and return what it broke with."""
        ctx = DaemonContext(daemon.ctx, lambda: daemon.entity)
        try:
            await daemon.handler.function(ctx, daemon.entity)
            await ctx.save()
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            return RuntimeError("the daemon was cancelled from inside")
        except Exception as error:  # somebody else's code: it is logged, and told by health
            return error
        return None

    def _delay(self, error: Exception, failures: int) -> float | None:
        match error:
            case Permanent():
                return None
            case Temporary(after=float() | int() as after):
                return after
            case _:
                return _RESTART.delay(failures, self._rng)


async def _ended(leaving: Mapping[asyncio.Task[None], float]) -> None:
    """Wait until these tasks have ended, or had their grace."""
    if not leaving:
        return
    _, stubborn = await asyncio.wait(tuple(leaving), timeout=max(leaving.values()))
    for task in stubborn:
        log.error("daemon does not end", extra={"daemon": task.get_name()})
