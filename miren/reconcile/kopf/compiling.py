"""From kopf's handlers to controllers: each is registered with one of our own registries."""

from __future__ import annotations

import asyncio
import types
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from typing import Any, ClassVar, Generic, Literal, TypeVar

from miren.entities.client import Client
from miren.entities.entity import Entity
from miren.reconcile.compiled import Compiled
from miren.reconcile.context import Context
from miren.reconcile.controller import Controller, Watch
from miren.reconcile.daemons import DaemonContext
from miren.reconcile.handlers import is_async
from miren.reconcile.kopf.calling import Calling, Memories, call_function, log
from miren.reconcile.kopf.declared import Declared, OperatorRegistry, Reason, default
from miren.reconcile.kopf.indexes import KopfIndex
from miren.reconcile.kopf.kinds import Kind, kind_of
from miren.reconcile.kopf.stopping import Stopped, StoppedInThread
from miren.reconcile.predicates import revision_changed
from miren.reconcile.registry import Registry
from miren.reconcile.results import Key, Requeue

__all__ = ["controllers"]

E = TypeVar("E", bound=Entity[Any, Any])

_DEADLINE = 60.0


def controllers(
    kinds: Iterable[Kind],
    *,
    registry: OperatorRegistry | None = None,
    name: str = "kopf",
    finalizer: str | None = None,
    concurrency: int = 4,
    primary: bool = True,
    elect: str | None = None,
    shards: int | None = None,
    scope: Literal["cluster", "node"] = "cluster",
) -> tuple[Controller[Any], ...]:
    """Return controllers for one Engine that call the handlers declared so far.

    `kinds` are those that the decorators mean; TypeError if one means none of them. The rest is
    as in `Registry`.
    """
    compiling = _Compiling(
        name,
        finalizer=finalizer,
        concurrency=concurrency,
        primary=primary,
        elect=elect,
        shards=shards,
        scope=scope,
    )
    known = tuple(kinds)
    for declared in (registry or default()).declared:
        compiling.add(declared, known)
    return compiling.controllers()


class _Compiling(Registry):
    """A registry that knows events, hooks and memories too."""

    def __init__(self, name: str, **settings: Any) -> None:
        super().__init__(name, **settings)
        self.memories = Memories()
        self.events: dict[Kind, list[Calling]] = {}
        self.hooks = _Hooks(self.memories)

    def add(self, declared: Declared, kinds: Sequence[Kind]) -> None:
        """Register one handler."""
        match declared.reason:
            case Reason.STARTUP:
                self.hooks.startup.append(declared)
            case Reason.CLEANUP:
                self.hooks.cleanup.append(declared)
            case Reason.INDEX:
                self._add_index(declared, kind_of(declared.resource, kinds))
            case _:
                kind = kind_of(declared.resource, kinds)
                if not is_async(declared.function):
                    extra = {"id": declared.id}
                    log.warning("handler runs in a thread: it is not async", extra=extra)
                self._add(declared, kind, Calling(declared, self.memories))

    def _add(self, declared: Declared, kind: Kind, calling: Calling) -> None:
        timing = declared.timing
        deadline = {"timeout": declared.timeout or _DEADLINE}
        common: dict[str, Any] = {"name": declared.name, "retries": declared.retries, **deadline}
        match declared.reason:
            case Reason.CREATE:
                self.created(kind, **common)(calling)
            case Reason.RESUME:
                self.resumed(kind, **common)(calling)
            case Reason.DELETE:
                self.deleted(kind, **common)(calling)
            case Reason.UPDATE | Reason.FIELD:
                self.changed(kind, calling.select, **common)(calling)
            case Reason.TIMER:
                times = {key: each for key, each in timing.items() if key != "interval"}
                every = self.every(timing["interval"], kind, where=calling.fits, **times, **common)
                every(calling)
            case Reason.DAEMON:
                self.daemon(
                    kind,
                    where=calling.fits,
                    grace=timing["backoff"] + timing["timeout"],
                    initial_delay=timing["initial_delay"],
                    name=declared.name,
                )(partial(_run_daemon, calling))
            case _:
                self.events.setdefault(kind, []).append(calling)

    def _add_index(self, declared: Declared, kind: Kind) -> None:
        if is_async(declared.function):
            raise TypeError(f"kopf's index {declared.id} must not be async: it reads, no more")
        if declared.id in self.memories.indexes:
            raise TypeError(f"there is an index {declared.id!r} already; give this one an `id=`")
        found = KopfIndex(Calling(declared, self.memories).ask)

        def values(entity: Entity[Any, Any]) -> Iterable[str]:
            return found.tokens(entity)

        found.entities = self.index(kind, name=declared.id)(values)
        self.memories.indexes[declared.id] = found

    def controllers(self) -> tuple[Controller[Any], ...]:
        """Return new controllers, for kinds of which only events are told too."""
        bound: dict[Kind, Controller[Any]] = {}
        for kind in dict.fromkeys((*self._handlers, *self._daemons, *self._indexes, *self.events)):
            bound[kind] = self._compile(kind)(bound)
        return tuple(bound.values())

    def _compile(self, kind: Kind) -> type[Compiled[Any]]:
        compiled = super()._compile(kind)
        events = tuple(self.events.get(kind, ()))
        members = {
            "settings": compiled.settings,
            "events": events,
            "memories": self.memories,
            "hooks": self.hooks,
            "__module__": __name__,
            "__doc__": compiled.__doc__,
        }
        options = {"when": revision_changed} if events else {}
        made: type[Compiled[Any]] = types.new_class(
            compiled.__name__, (_Attending, compiled), options, lambda body: body.update(members)
        )
        return made


class _Attending(Compiled[E], Generic[E]):
    """Tells events, runs hooks, and forgets memories, beside what is compiled anyway."""

    events: ClassVar[tuple[Calling, ...]] = ()
    memories: ClassVar[Memories]
    hooks: ClassVar[_Hooks]

    def __init__(self, bound: Mapping[Kind, Controller[Any]]) -> None:
        super().__init__(bound)
        self._told: dict[Key[E], E] = {}
        self._gone: dict[Key[E], E] = {}
        self._has_gone = asyncio.Event()

    def watching(self) -> Sequence[Watch]:
        """Return what else it sees: what has gone, where somebody is told of that."""
        gone = [Watch(self.kind, "take_note", gone=True)] if self.events else []
        return [*super().watching(), *gone]

    def take_note(self, entity: E) -> Iterable[Key[E]]:
        """Note what has gone, for `source` to tell of."""
        self._gone[Key.of(entity)] = entity
        self._has_gone.set()
        return ()

    def source(self, client: Client) -> AsyncIterator[Key[E]] | None:
        """Tell handlers of events what has gone."""
        return self._tell_gone(client) if self.events else None

    async def _tell_gone(self, client: Client) -> AsyncIterator[Key[E]]:
        while True:
            await self._has_gone.wait()
            self._has_gone.clear()
            gone, self._gone = self._gone, {}
            self.enter()
            for entity in gone.values():
                ctx = Context(entity, client, manager=self.name, now=_utc_now, log=log)
                for calling in self.events:
                    await calling.tell(ctx, entity, "DELETED")
                yield Key.of(entity)  # nothing is there to reconcile: it is forgotten

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        """Run the hooks around everything else."""
        async with self.hooks.around(), super().serving():
            yield

    def forget(self, key: Key[E]) -> None:
        """Forget an entity that is gone or another's."""
        super().forget(key)
        self._told.pop(key, None)
        self.memories.forget(self.kind, key)

    async def reconcile(self, ctx: Context[E], entity: E) -> Requeue | None:
        """Call every handler that is due, and tell of what is new."""
        self.enter()
        told = self._told.get(ctx.key)
        if self.events and (told is None or _visible(told) != _visible(entity)):
            self._told[ctx.key] = entity
            for calling in self.events:
                await calling.tell(ctx, entity, None if told is None else "MODIFIED")
        return await super().reconcile(ctx, entity)


class _Hooks:
    """Runs startup handlers before the first controller works, and cleanup after the last."""

    def __init__(self, memories: Memories) -> None:
        self.startup: list[Declared] = []
        self.cleanup: list[Declared] = []
        self._memories = memories
        self._users = 0
        self._turn = asyncio.Lock()

    @asynccontextmanager
    async def around(self) -> AsyncIterator[None]:
        """Return what is entered by each controller. Raises what startup handlers raise."""
        async with self._turn:
            if not self._users:
                await self._run(self.startup)
            self._users += 1
        try:
            yield
        finally:
            self._users -= 1
            if not self._users:
                await self._run(self.cleanup)

    async def _run(self, hooks: Iterable[Declared]) -> None:
        for each in hooks:
            kwargs = {"logger": log, "memo": self._memories.shared, "param": each.param}
            await call_function(each.function, kwargs)


async def _run_daemon(calling: Calling, ctx: DaemonContext[Any], entity: Entity[Any, Any]) -> None:
    """Run a daemon until it ends, or is to end and its time is over."""
    declared = calling.declared
    stopped = Stopped() if is_async(declared.function) else StoppedInThread()
    running = asyncio.ensure_future(calling.run(ctx, entity, stopped))
    try:
        await asyncio.shield(running)
    except asyncio.CancelledError:
        stopped.set()
        done, _ = await asyncio.wait((running,), timeout=declared.timing["backoff"])
        if not done:
            running.cancel()
            await asyncio.wait((running,))
        if not running.cancelled() and (error := running.exception()) is not None:
            ctx.log.warning("daemon broke as it ended", extra={"id": declared.id}, exc_info=error)
        await ctx.save()
        raise
    finally:
        running.cancel()


def _visible(entity: Entity[Any, Any]) -> tuple[object, ...]:
    """Return what an event is about: all that people see, without what the engine notes."""
    metadata = entity.metadata.model_copy(update={"resource_version": "", "finalizers": ()})
    return metadata, entity.spec, entity.status, entity.conditions


def _utc_now() -> datetime:
    return datetime.now(UTC)
