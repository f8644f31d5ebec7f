"""Handlers: what a registry's decorators collect, checked when it is declared.

A handler is `async def`, or a plain function, which then runs in one of the engine's threads. What
it must look like is told at once, at the line that registers it, not at the first event.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import Any, Generic, TypeVar, cast

from miren.entities.entity import Entity
from miren.reconcile.context import Context
from miren.reconcile.handled import GENERATION
from miren.reconcile.predicates import Predicate
from miren.reconcile.results import Requeue

__all__ = [
    "Change",
    "DaemonHandler",
    "Handler",
    "Occasion",
    "Timing",
    "call",
    "check_handler",
    "fits",
    "is_async",
]

E = TypeVar("E", bound=Entity[Any, Any])
E_co = TypeVar("E_co", bound=Entity[Any, Any], covariant=True)
T_co = TypeVar("T_co", covariant=True)

#: Which entities a handler is for: a function of one, or a predicate of how it is.
Where = Callable[[E], bool] | Predicate[E]

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Change(Generic[E_co, T_co]):
    """What a `changed` handler is given: the entity, and what was selected of it before and now.

    `old` is None where this process does not know it: the first time, and after a restart.
    `is_first` says that nobody has handled any value before: the entity is new to the handler.
    """

    entity: E_co
    old: T_co | None
    new: T_co
    is_first: bool = False


class Occasion(StrEnum):
    """When a handler is called."""

    CREATED = "created"
    CHANGED = "changed"
    DELETED = "deleted"
    RESUMED = "resumed"
    EVERY = "every"


@dataclass(frozen=True, slots=True)
class Timing:
    """When an `every` handler is called again; all in seconds."""

    seconds: float
    initial_delay: float = 0.0
    idle: float = 0.0
    sharp: bool = False


@dataclass(frozen=True, slots=True)
class Handler:
    """One handler as it was registered.

    It is called for at most `timeout` seconds, and given up after `retries` calls that failed
    (None: never). `select` is what `changed` looks at; None stands for the spec.
    """

    occasion: Occasion
    name: str
    function: Callable[[Context[Any], Any], object]
    where: Where[Any] | None = None
    timeout: float = 60.0
    retries: int | None = None
    select: Callable[[Any], object] | None = None
    timing: Timing | None = None
    is_sync: bool = False  # it needs a thread

    def shown(self, entity: Entity[Any, Any]) -> object:
        """Return what a `changed` handler selects of an entity, by default the spec."""
        return entity.spec if self.select is None else self.select(entity)

    def compared(self, entity: Entity[Any, Any]) -> object:
        """Return what must differ for it to be called again: the generation stands for the spec,
        and a handler that is called once looks at nothing.
        """
        if self.occasion is not Occasion.CHANGED:
            return ""
        return entity.metadata.generation if self.select is None else self.select(entity)

    def sees(self, entity: Entity[Any, Any]) -> object:
        """Return all that it looks at, whether it is for the entity included."""
        return fits(self.where, entity) and (self.select is None or (True, self.select(entity)))

    def rejectable(self, entity: Entity[Any, Any]) -> object:
        """Return what must differ for it to be called again after it said that it cannot."""
        return entity.metadata.generation if self.select is None else self.select(entity)


@dataclass(frozen=True, slots=True)
class DaemonHandler:
    """A coroutine that runs beside an entity for as long as that is there and fits."""

    name: str
    function: Callable[[Any, Any], Awaitable[None]]
    where: Where[Any] | None = None
    grace: float = 10.0
    initial_delay: float = 0.0

    def sees(self, entity: Entity[Any, Any]) -> object:
        """Return whether it is for the entity."""
        return fits(self.where, entity)


def fits(where: Where[Any] | None, entity: Entity[Any, Any]) -> bool:
    """Return whether a handler is for this entity. Raises what `where` raises."""
    if where is None:
        return True
    return bool(where(None, entity) if isinstance(where, Predicate) else where(entity))


def check_handler(
    what: str, function: object, name: str | None, *, second: str, may_be_sync: bool = True
) -> str:
    """Refuse what could only fail when it is called: it must take (ctx, `second`).

    Returns the handler's name, `name` or else the function's. Warns of one that is not `async`.
    """
    name = name or getattr(function, "__name__", None)
    if not callable(function):
        raise TypeError(f"{what} decorates a function, not {function!r}")
    if name is None:
        raise TypeError(f"{what}: {function!r} has no name; give it a `name=`")
    if name == GENERATION:
        raise TypeError(f"{what}: a handler cannot be named {GENERATION!r}; give it a `name=`")
    if not _takes_two(function):
        raise TypeError(f"{what}: {name} must take (ctx, {second})")
    if inspect.isasyncgenfunction(function) or inspect.isgeneratorfunction(function):
        raise TypeError(f"{what}: {name} must not yield")
    if not is_async(function):
        if not may_be_sync:
            raise TypeError(f"{what}: {name} must be `async def`")
        log.warning("handler runs in a thread: it is not async", extra={"handler": name})
    return name


def _takes_two(function: Callable[..., object]) -> bool:
    try:
        inspect.signature(function).bind(object(), object())
    except TypeError:
        return False
    return True


def is_async(function: object) -> bool:
    """Return whether calling a function, a partial of one, or an object gives a coroutine."""
    while isinstance(function, partial):
        function = function.func
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        getattr(function, "__call__", None)  # noqa: B004  # an instance whose call is async
    )


async def call(handler: Handler, ctx: Context[Any], subject: object) -> Requeue | None:
    """Call a handler once, for at most its timeout, and return what it returned.

    Raises what it raises, TimeoutError when it took too long. A thread cannot be stopped: one that
    takes too long is waited for all the same, so that nothing else is begun for its entity.
    """
    try:
        if handler.is_sync:
            result = await _call_in_thread(handler, ctx, subject)
        else:
            async with asyncio.timeout(handler.timeout):
                result = await cast("Awaitable[object]", handler.function(ctx, subject))
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        raise RuntimeError("the handler was cancelled from inside") from None
    if result is None or isinstance(result, Requeue):
        return result
    if inspect.iscoroutine(result):
        result.close()
        raise TypeError(f"{handler.name} returns a coroutine: it must be `async def` itself")
    raise TypeError(f"{handler.name} must return None or Requeue, not {type(result).__name__}")


async def _call_in_thread(handler: Handler, ctx: Context[Any], subject: object) -> object:
    loop = asyncio.get_running_loop()
    begun = asyncio.Event()

    def work() -> object:
        loop.call_soon_threadsafe(begun.set)
        return handler.function(ctx, subject)

    running = ctx.in_thread(work)
    running.add_done_callback(lambda _: begun.set())
    try:
        await begun.wait()  # its time begins when a thread is free for it
        done, _ = await asyncio.wait((running,), timeout=handler.timeout)
        if done:
            return running.result()
        told = {"handler": handler.name}
        ctx.log.warning("a thread takes longer than its deadline", extra=told)
        await asyncio.wait((running,))
    except asyncio.CancelledError:
        running.cancel()  # one that still waits for a thread is not begun any more
        raise
    error = running.exception()
    raise TimeoutError(f"{handler.name} took longer than {handler.timeout:g} s") from error
