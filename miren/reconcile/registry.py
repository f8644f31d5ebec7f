"""`Registry`: the decorator style. Functions that are called when something comes to pass.

    disks = Registry("disks")

    @disks.changed(Disk, lambda disk: disk.spec.size, timeout=60)
    async def grow(ctx: Context[Disk], change: Change[Disk, Quantity]) -> None: ...

    @disks.every(30, Disk)
    async def scrub(ctx: Context[Disk], disk: Disk) -> None: ...

    async with Engine(store, [disks]) as engine: ...

It is compiled to one controller for each kind it has handlers for, named `<registry>-<kind>`, so
its work has the same queue, priorities, back-off and metrics as a class's. Handlers are called in
the order in which they were registered, and one that fails holds up no other. What each has
handled is remembered in the entity's status. Decorators return the function as it was.

A handler returns None when it is through, or Requeue to be called again; it raises Temporary or
Permanent to say why it is not, and anything else is retried with back-off. `where` says which
entities it is for. `timeout` is what one call may take, in seconds. `retries` is how many calls
may fail until it is given up as if it had raised Permanent. One that is not `async def` runs in
one of the engine's threads.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import Any, Generic, Literal, TypeVar, overload

from miren.entities.entity import Entity
from miren.entities.model import Model
from miren.reconcile.compiled import Compiled, Compiling, compile_handlers, look_up
from miren.reconcile.context import Context
from miren.reconcile.controller import Controller, Index, index
from miren.reconcile.daemons import DaemonContext
from miren.reconcile.handlers import (
    Change,
    DaemonHandler,
    Handler,
    Occasion,
    Timing,
    Where,
    check_handler,
    is_async,
)
from miren.reconcile.predicates import Predicate
from miren.reconcile.results import Requeue

__all__ = ["Change", "Registry", "controllers_of"]

E = TypeVar("E", bound=Entity[Any, Any])
E_co = TypeVar("E_co", bound=Entity[Any, Any], covariant=True)
S = TypeVar("S", bound=Model)
T = TypeVar("T")
#: What a handler returns, and what awaiting it gives.
R = TypeVar("R", bound=Awaitable[Requeue | None] | Requeue | None)
#: What an `every` handler returns: it is called again anyway.
N = TypeVar("N", bound=Awaitable[None] | None)
A = TypeVar("A", bound=Awaitable[None])

Kind = type[Entity[Any, Any]]


class ChangedSpec(Generic[E_co]):
    """Registers a handler of changes of the spec, whose type it knows from the kind's."""

    def __init__(self, register: Callable[[Any], Any]) -> None:
        self._register = register

    def __call__(
        self: ChangedSpec[Entity[S, Any]],
        handler: Callable[[Context[E_co], Change[E_co, S]], R],
        /,
    ) -> Callable[[Context[E_co], Change[E_co, S]], R]:
        """Register `handler` and return it as it was."""
        self._register(handler)
        return handler


class Registry:
    """Collects handlers; give it to an Engine beside controllers.

    `concurrency` entities of a kind are worked on at once. `finalizer` (default
    `miren.dev/<name>`) is put on entities of kinds with `deleted` handlers. One controller of a
    kind is `primary`, every `resync` seconds all entities come by again, and `elect`, `shards` and
    `scope` say who may work: see `Controller`.
    """

    def __init__(
        self,
        name: str,
        *,
        finalizer: str | None = None,
        concurrency: int = 4,
        primary: bool = True,
        resync: float | None = None,
        elect: str | None = None,
        shards: int | None = None,
        scope: Literal["cluster", "node"] = "cluster",
    ) -> None:
        self.name = name
        self.finalizer: str = f"miren.dev/{name}" if finalizer is None else finalizer
        self._settings = {
            "concurrency": concurrency,
            "primary": primary,
            "resync": resync,
            "elect": elect,
            "shards": shards,
            "scope": scope,
        }
        self._handlers: dict[Kind, list[Handler]] = {}
        self._daemons: dict[Kind, list[DaemonHandler]] = {}
        self._indexes: dict[Kind, dict[str, index[Any]]] = {}
        if not name or "/" in name:
            raise TypeError(f"a registry's name is one word, not {name!r}")
        if "/" not in self.finalizer:
            raise TypeError(f"registry {name}: finalizer must be '<domain>/<name>'")
        if concurrency < 1:
            raise TypeError(f"registry {name}: concurrency must be at least 1")

    def __repr__(self) -> str:
        return f"Registry({self.name!r})"

    # -- decorators ------------------------------------------------------------------------

    def created(
        self,
        kind: type[E],
        *,
        where: Where[E] | None = None,
        timeout: float = 60.0,
        retries: int | None = None,
        name: str | None = None,
    ) -> Callable[[Callable[[Context[E], E], R]], Callable[[Context[E], E], R]]:
        """Call `handler(ctx, entity)` once for each entity, until it is through."""
        return partial(
            self._register, Occasion.CREATED, kind, name=name,
            where=where, timeout=timeout, retries=retries,
        )  # fmt: skip

    def resumed(
        self,
        kind: type[E],
        *,
        where: Where[E] | None = None,
        timeout: float = 60.0,
        retries: int | None = None,
        name: str | None = None,
    ) -> Callable[[Callable[[Context[E], E], R]], Callable[[Context[E], E], R]]:
        """Call `handler(ctx, entity)` once in each process that takes up an entity which another
        has worked on before: after a restart, or a change of leaders. For a new one see `created`.
        """
        return partial(
            self._register, Occasion.RESUMED, kind, name=name,
            where=where, timeout=timeout, retries=retries,
        )  # fmt: skip

    def deleted(
        self,
        kind: type[E],
        *,
        where: Where[E] | None = None,
        timeout: float = 60.0,
        retries: int | None = None,
        name: str | None = None,
    ) -> Callable[[Callable[[Context[E], E], R]], Callable[[Context[E], E], R]]:
        """Call `handler(ctx, entity)` before an entity goes; it stays until that is through."""
        return partial(
            self._register, Occasion.DELETED, kind, name=name,
            where=where, timeout=timeout, retries=retries,
        )  # fmt: skip

    @overload
    def changed(
        self,
        kind: type[E],
        select: Callable[[E], T],
        *,
        where: Where[E] | None = ...,
        timeout: float = ...,
        retries: int | None = ...,
        name: str | None = ...,
    ) -> Callable[
        [Callable[[Context[E], Change[E, T]], R]], Callable[[Context[E], Change[E, T]], R]
    ]: ...
    @overload
    def changed(
        self,
        kind: type[E],
        *,
        where: Where[E] | None = ...,
        timeout: float = ...,
        retries: int | None = ...,
        name: str | None = ...,
    ) -> ChangedSpec[E]: ...
    def changed(
        self,
        kind: type[E],
        select: Callable[[E], object] | None = None,
        *,
        where: Where[E] | None = None,
        timeout: float = 60.0,
        retries: int | None = None,
        name: str | None = None,
    ) -> Callable[..., Any]:
        """Call `handler(ctx, change)` when what it selects (default: the spec) is another than
        what it handled last; so it is called for the first value too, with `change.old` None.

        `select` returns plain data: what is compared after a restart is a digest of it.

        A value that is taken back is handled again if the one in between may have been begun with.
        Only this is not noticed: a process that dies within a call, and a value which is no part
        of the spec (a label, say) that is taken back before another process looks.
        """
        if select is not None and not callable(select):
            raise TypeError(f"{self.name}.changed: select is a function, not {select!r}")
        return partial(
            self._register, Occasion.CHANGED, kind, name=name, select=select,
            where=where, timeout=timeout, retries=retries,
        )  # fmt: skip

    def every(
        self,
        seconds: float,
        kind: type[E],
        *,
        where: Where[E] | None = None,
        initial_delay: float = 0.0,
        idle: float = 0.0,
        sharp: bool = False,
        timeout: float = 60.0,
        retries: int | None = None,
        name: str | None = None,
    ) -> Callable[[Callable[[Context[E], E], N]], Callable[[Context[E], E], N]]:
        """Call `handler(ctx, entity)` again and again, `seconds` after it ended; with `sharp`,
        after it was due.

        First `initial_delay` seconds after the entity was taken up. With `idle`, not before its
        spec, labels and annotations have stayed as they are for so long.
        """
        if not seconds > 0 or initial_delay < 0 or idle < 0:
            raise TypeError(f"{self.name}.every: seconds must be more than 0, delays at least 0")
        return partial(
            self._register, Occasion.EVERY, kind, name=name,
            where=where, timeout=timeout, retries=retries,
            timing=Timing(seconds, initial_delay, idle, sharp),
        )  # fmt: skip

    def daemon(
        self,
        kind: type[E],
        *,
        where: Where[E] | None = None,
        grace: float = 10.0,
        initial_delay: float = 0.0,
        name: str | None = None,
    ) -> Callable[[Callable[[DaemonContext[E], E], A]], Callable[[DaemonContext[E], E], A]]:
        """Run `handler(ctx, entity)` as a task beside each entity, for as long as that fits.

        It is cancelled, and has `grace` seconds to clean up, before `deleted` handlers are called,
        when `where` no longer holds, and when the engine stops. One that breaks is started again
        with back-off; one that returns is through. `ctx.entity` is the newest version, and
        `await ctx.save()` writes the status and conditions that it said.
        """
        if grace < 0 or initial_delay < 0:
            raise TypeError(f"{self.name}.daemon: grace and initial_delay must be at least 0")

        def register(handler: Callable[[DaemonContext[E], E], A]) -> Any:
            what = f"{self.name}.daemon({_named(kind)})"
            named = check_handler(what, handler, name, second="entity", may_be_sync=False)
            self._check_free(what, kind, named)
            self._check_where(what, kind, where)
            self._daemons.setdefault(kind, []).append(
                DaemonHandler(named, handler, where, grace, initial_delay)
            )
            return handler

        return register

    def index(
        self, kind: type[E], *, name: str | None = None
    ) -> Callable[[Callable[[E], Iterable[str]]], Index[E]]:
        """Make a function that says which values an entity is found under an index.

        Handlers of this registry, of any kind, read it: `by_node["n1"]` is a tuple of entities. It
        reads the cache; outside of handlers it is empty.
        """

        def register(values: Callable[[E], Iterable[str]]) -> Index[E]:
            what = f"{self.name}.index({_named(kind)})"
            named = name or values.__name__
            self._check_free(what, kind, named)

            def of(_controller: object, entity: E) -> Iterable[str]:
                return values(entity)

            of.__name__ = named
            self._indexes.setdefault(kind, {})[named] = index(of)
            return Index(partial(look_up, kind, named))

        return register

    # -- registering -----------------------------------------------------------------------

    def _register(
        self,
        occasion: Occasion,
        kind: type[E],
        function: Callable[[Context[E], Any], Any],
        *,
        name: str | None,
        where: Where[E] | None,
        timeout: float,
        retries: int | None,
        select: Callable[[E], object] | None = None,
        timing: Timing | None = None,
    ) -> Any:
        what = f"{self.name}.{occasion.value}({_named(kind)})"
        second = "change" if occasion is Occasion.CHANGED else "entity"
        named = check_handler(what, function, name, second=second)
        if timeout <= 0:
            raise TypeError(f"{what}: timeout must be more than 0 seconds")
        if retries is not None and retries < 1:
            raise TypeError(f"{what}: retries must be at least 1")
        self._check_where(what, kind, where)
        self._check_free(what, kind, named)
        handler = Handler(
            occasion,
            named,
            function,
            where,
            timeout,
            retries,
            select=select,
            timing=timing,
            is_sync=not is_async(function),
        )
        self._handlers.setdefault(kind, []).append(handler)
        return function

    def _check_free(self, what: str, kind: Kind, name: str) -> None:
        """Refuse a name that another handler has."""
        known = {
            *(each.name for each in self._handlers.get(kind, ())),
            *(each.name for each in self._daemons.get(kind, ())),
            *self._indexes.get(kind, ()),
        }
        if name in known:
            raise TypeError(f"{what}: there is a {name!r} already; give this one a `name=`")

    def _check_where(self, what: str, kind: Kind, where: Where[Any] | None) -> None:
        if isinstance(where, Predicate):
            where.check(kind)
        elif where is not None and not callable(where):
            raise TypeError(f"{what}: where is a function of an entity, not {where!r}")

    # -- compiling -------------------------------------------------------------------------

    def controllers(self) -> tuple[Controller[Any], ...]:
        """Return new controllers that call the handlers registered so far, one for each kind."""
        bound: dict[Kind, Controller[Any]] = {}
        for kind in dict.fromkeys((*self._handlers, *self._daemons, *self._indexes)):
            bound[kind] = self._compile(kind)(bound)
        return tuple(bound.values())

    def _compile(self, kind: Kind) -> type[Compiled[Any]]:
        compiling = Compiling(
            f"{self.name}-{kind.kind.name.lower()}",
            tuple(self._handlers.get(kind, ())),
            tuple(self._daemons.get(kind, ())),
            indexed=tuple(other for other in self._indexes if other is not kind),
        )
        return compile_handlers(
            compiling,
            kind,
            indexes=self._indexes.get(kind, {}),
            finalizer=self.finalizer,
            settings=self._settings,
        )


def controllers_of(parts: Iterable[Controller[Any] | Registry]) -> tuple[Controller[Any], ...]:
    """Return controllers, with those that registries are compiled to in their place."""
    found: list[Controller[Any]] = []
    for part in parts:
        found += part.controllers() if isinstance(part, Registry) else [part]
    return tuple(found)


def _named(kind: object) -> str:
    """Return the name of a kind for messages; refuse what is none."""
    if isinstance(kind, type) and issubclass(kind, Entity) and hasattr(kind, "kind"):
        return kind.kind.name
    raise TypeError(f"a handler is for an entity class, not {kind!r}")
