"""What a registry is compiled to: a controller that calls the handlers of one kind.

Each handler stands for itself. In one reconcile all that are due are called, in the order in which
they were registered; what one has handled is remembered whatever becomes of the others, and each
has a back-off of its own. The next reconcile is asked for at the earliest time that any of them
wants, so timers are entries of the queue and nothing more.

Three places remember: the entity (`handled`: for all time), this object (when to try again, `old`,
when a timer is due: while it works), and the queue (when to come again).
"""

from __future__ import annotations

import math
import random
import types
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Generic, TypeVar

from miren.base.backoff import Backoff
from miren.base.errors import Fenced
from miren.entities.entity import ConditionStatus, Entity
from miren.reconcile.context import READY, Context
from miren.reconcile.controller import Controller, Index, Watch, index
from miren.reconcile.daemons import Daemons
from miren.reconcile.handled import Handled
from miren.reconcile.handlers import Change, DaemonHandler, Handler, Occasion, Timing, call, fits
from miren.reconcile.outcome import Unfinished, merge_conditions
from miren.reconcile.passes import EARLY, Again, Memory, Pass, clock
from miren.reconcile.predicates import Predicate
from miren.reconcile.results import Key, Permanent, Requeue, Temporary

__all__ = ["Compiled", "CompiledWithFinalizer", "Compiling", "compile_handlers", "look_up"]

E = TypeVar("E", bound=Entity[Any, Any])

_RETRY = Backoff(first=0.1)
Kind = type[Entity[Any, Any]]

#: The controllers of the registry whose handler runs, by kind: what its indexes read.
_PEERS: ContextVar[Mapping[Kind, Controller[Any]]] = ContextVar("peers")


@dataclass(frozen=True, slots=True)
class Compiling:
    """What is compiled: the handlers of one kind, in their order."""

    name: str
    handlers: tuple[Handler, ...] = ()
    daemons: tuple[DaemonHandler, ...] = ()
    #: Other kinds whose caches the handlers read.
    indexed: tuple[Kind, ...] = ()


class Compiled(Controller[E], Generic[E]):
    """Calls the handlers of a registry. Made by `Registry.controllers`."""

    compiling: ClassVar[Compiling]

    def __init__(self, bound: Mapping[Kind, Controller[Any]]) -> None:
        self._bound = bound
        # Seeded by its name, so that a seeded run repeats; engines differ in when they fail.
        self._rng = random.Random(self.name)  # noqa: S311  # spreads delays, guards nothing
        self._memory: dict[Key[Any], Memory] = {}
        self._daemons: Daemons[E] = Daemons(self.compiling.daemons, rng=self._rng)
        self._names = frozenset(handler.name for handler in self.compiling.handlers)

    @property
    def name(self) -> str:
        """`<registry>-<kind>`."""
        return self.compiling.name

    def watching(self) -> Sequence[Watch]:
        """Return the kinds whose caches must be there before a handler reads their indexes."""
        return [Watch(kind, "wakes_nothing") for kind in self.compiling.indexed]

    def wakes_nothing(self, _entity: Entity[Any, Any]) -> Iterable[Key[E]]:
        """Map an indexed entity to no key: indexes are read, they wake nobody."""
        return ()

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        """Let daemons run inside, and forget on the way out what another process may change."""
        async with self._daemons.serving():
            try:
                yield
            finally:
                self._memory.clear()

    def forget(self, key: Key[E]) -> None:
        """Forget an entity that is gone or another's; its daemons are cancelled."""
        self._memory.pop(key, None)
        self._daemons.forget(key)

    async def lay_down(self, keys: Sequence[Key[E]]) -> None:
        """Forget entities that other engines take up, once their daemons have ended."""
        for key in keys:
            self.forget(key)
        await self._daemons.ended(keys)

    @property
    def daemons(self) -> int:
        """How many daemons run."""
        return len(self._daemons)

    def troubles(self) -> Sequence[str]:
        """Return what is wrong with daemons."""
        return self._daemons.troubles()

    async def reconcile(self, ctx: Context[E], entity: E) -> Requeue | None:
        """Call every handler that is due, and keep the daemons that fit."""
        if entity.is_deleting:  # there is no `deleted` handler that it would have to wait for
            await self._daemons.stop(ctx.key)
            return None
        this = self._begin(ctx, entity)
        for handler in self.compiling.handlers:
            if handler.occasion is not Occasion.DELETED:
                await self._attend(handler, this)
        try:
            await self._daemons.keep(ctx, entity)
        except Exception as error:  # of somebody's `where`
            this.errors.append(error)
            this.again.append(Again(clock() + _RETRY.cap))
        if self._is_moved(ctx, entity):  # its own write wakes nobody, but a handler is for it
            this.again.append(Again(clock()))
        return self._finish(this)

    def enter(self) -> None:
        """Let the registry's indexes be read in this task."""
        _PEERS.set(self._bound)

    def _begin(self, ctx: Context[E], entity: E) -> Pass:
        self.enter()
        handled = Handled(entity.handled.get(self.name, {}))
        memory = self._memory.get(ctx.key)
        if memory is None or memory.uid != entity.uid:
            memory = Memory(
                entity.uid,
                is_resumed=not handled.is_new,
                was_failing=handled.is_failing,
                may_be_lost=handled.may_be_lost(entity.metadata.generation),
            )
            self._memory[ctx.key] = memory
        wish = (entity.metadata.generation, entity.metadata.labels, entity.metadata.annotations)
        if memory.wish != wish:
            memory.wish, memory.since = wish, clock()
        return Pass(ctx, entity, memory, handled, is_primary=self.settings.primary)

    def _is_moved(self, ctx: Context[E], entity: E) -> bool:
        """Return whether what was said is something else to a handler than what was there."""
        if ctx.status is entity.status and not ctx.conditions:
            return False
        conditions = merge_conditions(entity.conditions, ctx.conditions, ctx.now())
        if ctx.status == entity.status and conditions == entity.conditions:
            return False
        after = replace(entity, status=ctx.status, conditions=conditions)
        every: tuple[Handler | DaemonHandler, ...] = (
            *self.compiling.handlers,
            *self.compiling.daemons,
        )
        try:
            return any(each.sees(entity) != each.sees(after) for each in every)
        except Exception:  # of somebody's `where` or `select`: told when it is asked in earnest
            return False

    # -- one handler -----------------------------------------------------------------------

    async def _attend(self, handler: Handler, this: Pass) -> None:
        """Call a handler if it is due, and note when it wants to be called again."""
        await self._call_if_due(handler, this)
        name, memory = handler.name, this.memory
        retry = memory.retries.get(name)
        at = None if retry is None else retry.at
        if handler.timing is not None and name in memory.timers:
            due = max(memory.timers[name], memory.since + handler.timing.idle)
            at = due if at is None else max(due, at)
        if at is not None:
            this.again.append(Again(at, None if retry is None else retry.priority))

    async def _call_if_due(self, handler: Handler, this: Pass) -> None:
        """Call it; whatever becomes of it is noted, and nothing raised."""
        mark: str | None = None
        if this.waits(handler, mark):
            return
        try:
            seen = this.memory.digest(handler.name, handler.compared(this.entity))
            if not self._is_due(handler, this, seen):
                return
            mark = seen
            subject = self._subject(handler, this)
            known = this.memory.retries.get(handler.name)
            this.ctx.retry = 0 if known is None else known.failures
            if handler.occasion is Occasion.CHANGED:
                this.memory.begun[handler.name] = mark
            requeue = await call(handler, this.ctx, subject)
        except Fenced:
            raise  # nothing that is done now would be of use
        except Exception as error:
            self._fail(handler, this, error, mark)
            return
        if requeue is not None:
            this.put_off(handler, mark, failures=0, after=requeue.after, priority=requeue.priority)
            return
        this.memory.retries.pop(handler.name, None)
        self._succeed(handler, this, mark)
        if isinstance(subject, Change):
            this.memory.shown[handler.name] = subject.new

    def _is_due(self, handler: Handler, this: Pass, mark: str) -> bool:
        name, memory = handler.name, this.memory
        match handler.occasion:
            case Occasion.EVERY:
                is_open = True
            case Occasion.RESUMED:
                is_open = memory.is_resumed and name not in memory.resumed
            case _:
                is_changed = handler.occasion is Occasion.CHANGED
                if is_changed and this.handled.has(name, mark) and this.may_have_begun(name, mark):
                    this.handled.begin(name, has_failed=False)
                is_open = not this.handled.has(name, mark)
                if not is_open and is_changed:
                    memory.shown[name] = handler.shown(this.entity)
        is_open = is_open and fits(handler.where, this.entity)
        if is_open and this.has_rejected(handler):
            is_open, this.is_stuck = False, True
        if not is_open:
            memory.retries.pop(name, None)
            memory.timers.pop(name, None)
            this.handled.let_be(name)
            return False
        if handler.timing is not None:
            at = memory.timers.setdefault(name, clock() + handler.timing.initial_delay)
            return clock() + EARLY >= max(at, memory.since + handler.timing.idle)
        return not this.waits(handler, mark)

    def _subject(self, handler: Handler, this: Pass) -> object:
        if handler.occasion is not Occasion.CHANGED:
            return this.entity
        old, new = this.memory.shown.get(handler.name), handler.shown(this.entity)
        if old == new:
            old = None  # it was another one in between, and may be half of that
        return Change(this.entity, old, new, not this.handled.knows(handler.name))

    def _succeed(self, handler: Handler, this: Pass, mark: str) -> None:
        if handler.timing is not None:
            timers = this.memory.timers
            timers[handler.name] = _next_time(handler.timing, timers[handler.name], clock())
            this.handled.succeed(handler.name, None)
        elif handler.occasion is Occasion.RESUMED:
            this.memory.resumed |= {handler.name}
            this.handled.succeed(handler.name, None)
        else:
            this.handled.succeed(handler.name, mark)

    def _fail(self, handler: Handler, this: Pass, error: Exception, mark: str | None) -> None:
        known = this.memory.retries.get(handler.name)
        is_same = known is not None and known.wish == this.memory.wish and known.mark == mark
        failures = 1 + (known.failures if known is not None and is_same else 0)
        match error:
            case Permanent() if mark is not None:
                this.reject(handler)
            case _ if mark is not None and failures >= (handler.retries or math.inf):
                told = f"{handler.name} failed {failures} times, at last with: {error}"
                gave_up = Permanent(told, reason="RetriesExhausted")
                gave_up.__cause__ = error
                error = gave_up
                this.reject(handler)
            case Temporary(after=float() | int() as after):
                this.put_off(handler, mark, failures=failures, after=after)
            case _:
                delay = _RETRY.delay(failures, self._rng)
                this.put_off(handler, mark, failures=failures, after=delay)
        if this.errors:  # only the first is the outcome
            this.ctx.log.warning("handler failed", extra={"handler": handler.name}, exc_info=error)
        this.errors.append(error)

    # -- what comes of it ------------------------------------------------------------------

    def _finish(self, this: Pass) -> Requeue | None:
        """Say what was handled and when to come again; raise Unfinished if a handler failed."""
        this.handled.keep(self._names, this.entity.metadata.generation)
        this.ctx.handled = this.handled.now
        if self.settings.primary:
            self._say_ready(this)
        next = min(this.again, key=Again.sort_key, default=None)
        requeue = None if next is None else Requeue(max(0.0, next.at - clock()), next.priority)
        if this.errors:
            raise Unfinished(this.errors[0], requeue)
        return requeue

    def _say_ready(self, this: Pass) -> None:
        """Let Ready not hide that a handler called earlier is not through, nor that it is now."""
        ctx, memory = this.ctx, this.memory
        is_failing = this.is_stuck or any(each.failures for each in memory.retries.values())
        said = ctx.conditions.get(READY)
        if is_failing and said is not None and said.status == ConditionStatus.TRUE:
            del ctx.conditions[READY]
        elif not is_failing and memory.was_failing and said is None:
            ctx.ready("Handled")
        memory.was_failing = is_failing or bool(this.errors)


class CompiledWithFinalizer(Compiled[E], Generic[E]):
    """One that has `deleted` handlers too."""

    async def finalize(self, ctx: Context[E], entity: E) -> Requeue | None:
        """Stop the daemons, then call the `deleted` handlers until each is through."""
        await self._daemons.stop(ctx.key)
        this = self._begin(ctx, entity)
        for handler in self.compiling.handlers:
            if handler.occasion is Occasion.DELETED:
                await self._attend(handler, this)
        requeue = self._finish(this)
        if requeue is None and this.is_stuck:
            raise Unfinished(None)  # it stays, until its spec says something else
        return requeue


def _next_time(timing: Timing, due: float, now: float) -> float:
    """Return when a timer is due after a call that was `due` and ended `now`."""
    if not timing.sharp:
        return now + timing.seconds
    return due + timing.seconds * (1 + max(0, math.floor((now - due) / timing.seconds)))


_NEVER: Predicate[Entity[Any, Any]] = Predicate(lambda _old, _new: False, "never")


def compile_handlers(
    compiling: Compiling,
    kind: Kind,
    *,
    indexes: Mapping[str, index[Any]],
    finalizer: str,
    settings: Mapping[str, object],
) -> type[Compiled[Any]]:
    """Return the class of a controller of `kind`; the finalizer only if it has `deleted` handlers.

    `settings` are those of a controller's class line.
    """
    has_finalizer = any(each.occasion is Occasion.DELETED for each in compiling.handlers)
    options = dict(settings)
    if has_finalizer:
        options["finalizer"] = finalizer
    elif compiling.daemons:
        options["until_gone"] = True  # they are stopped when it begins to go
    if not compiling.handlers and not compiling.daemons:
        options |= {"primary": False, "when": _NEVER}  # only its cache is of use
    base: Any = CompiledWithFinalizer if has_finalizer else Compiled
    members = {
        "compiling": compiling,
        "__module__": __name__,
        "__doc__": f"The handlers of {compiling.name}.",
        **indexes,
    }
    made: type[Compiled[Any]] = types.new_class(
        compiling.name, (base[kind],), options, lambda body: body.update(members)
    )
    # Each handler has a deadline of its own, and a thread that is late must be waited for.
    made.settings = replace(made.settings, timeout=None)
    return made


def look_up(kind: Kind, name: str, value: str) -> tuple[Any, ...]:
    """Return what an index finds in the engine whose handler asks; nothing outside of one."""
    controller = _PEERS.get({}).get(kind)
    found: Index[Any] | None = getattr(controller, name, None)
    return () if found is None else found[value]
