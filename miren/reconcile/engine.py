"""The engine: informers shared by all controllers of a kind, one runner each, in your loop.

    async with Engine(SQLiteStore("app.db"), [Greeter()]) as engine:
        await engine.client.apply(Greeting.partial("hi", text="hey"), manager="ci")

It touches no signals (but for `run`, which blocks until one comes), no root logger and no globals;
several live in one process. When one of its own tasks breaks, the body of the `async with` is
cancelled: it never runs on half an engine.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from types import MappingProxyType, TracebackType
from typing import Any, Self, cast

from miren.base.errors import DeadlineExceeded, Unavailable
from miren.entities.attributes import attributes
from miren.entities.client import Client, Selection
from miren.entities.entity import Entity
from miren.entities.kinds import Kinds
from miren.entities.store.api import Store
from miren.entities.store_client import StoreClient
from miren.entities.versioned_client import VersionedClient
from miren.reconcile.blocking import run_until_signalled
from miren.reconcile.controller import Controller, Index, Watch, check_together, kinds_of
from miren.reconcile.health import ControllerHealth, EngineHealth, health_of
from miren.reconcile.informer import Delta, Informer
from miren.reconcile.metrics import Sample, samples_of
from miren.reconcile.plugins import fitting, load_plugins
from miren.reconcile.recorder import Recorder
from miren.reconcile.registry import Registry, controllers_of
from miren.reconcile.results import Key
from miren.reconcile.runner import Runner
from miren.reconcile.seating import Seating
from miren.reconcile.tracing import load_tracing

__all__ = ["Engine"]

_GRACE = 10.0
_NOTHING_BROKEN: Mapping[str, str] = MappingProxyType({})
_NODE = "spec.node"
_POLL = 0.01


def _none(_kinds: Sequence[type[Entity[Any, Any]]]) -> Iterable[Controller[Any]]:
    return ()


class Engine:
    """Runs controllers over a store or a client. Use it with `async with`, once.

    A store is opened and closed with the engine; a client stays the caller's. `plugins` adds
    the controllers of installed packages (entry point group `miren.controllers`), which may not
    define `known` kinds anew; what came of each is in `plugins`. `broken` are other plugins with
    what is wrong, for `health`.
    `across` is given the kinds of all of these, and makes the controllers that work with every
    kind. At most `threads` handlers that are not async run at once.

    Raises InvalidInput for controllers that would undo each other's work: of one name, with one
    finalizer, or two that are the primary one of a kind.

    Several engines may share a store. With `elect` only that one works which leads the election of
    this name, for all controllers that do not say otherwise (see `Controller`); the others stand
    by with full caches. `identity` is its name in elections, made up unless given; it must be no
    other engine's. An engine that falls silent for `ttl` seconds is followed by another. `node` is
    the machine that its node-scoped controllers are for; without one it is the only node, and they
    see everything.
    """

    client: Client

    def __init__(
        self,
        store: Store | Client,
        controllers: Iterable[Controller[Any] | Registry] = (),
        *,
        plugins: bool = False,
        known: Iterable[type[Entity[Any, Any]]] = (),
        broken: Mapping[str, str] = _NOTHING_BROKEN,
        across: Callable[[Sequence[type[Entity[Any, Any]]]], Iterable[Controller[Any]]] = _none,
        grace: float = _GRACE,
        threads: int = 8,
        elect: str | None = None,
        identity: str | None = None,
        ttl: float = 15.0,
        node: str | None = None,
        rng: random.Random | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        own = controllers_of(controllers)
        self.plugins = fitting(load_plugins(engine=self), own, known) if plugins else ()
        wrong = {plugin.name: plugin.error for plugin in self.plugins if plugin.error}
        self._broken = tuple(
            ControllerHealth(name, is_running=False, last_error=error)
            for name, error in (*broken.items(), *wrong.items())
        )
        self._controllers = (
            *own,
            *(controller for plugin in self.plugins for controller in plugin.controllers),
        )
        self._controllers += tuple(across(self.kinds))
        check_together(self._controllers)
        self._rng = rng or random.Random()  # noqa: S311  # spreads delays, guards nothing
        self._now = now
        self._grace = grace
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="miren")
        self._store: Store | None = None
        if hasattr(store, "transact"):
            self._store = cast("Store", store)
            kinds = Kinds((*self.kinds, *known))
            below = StoreClient(store=self._store, kinds=kinds, now=now, rng=rng)
            self.client = VersionedClient(below, kinds) if kinds.has_versions else below
        else:
            self.client = store
        self._node = node
        self._seating = Seating(
            self.client, elect=elect, identity=identity, ttl=ttl, rng=self._rng
        )
        self._recorder = Recorder(self.client)
        self._informers: dict[tuple[type[Entity[Any, Any]], bool], Informer[Any]] = {}
        self._runners = [self._runner(controller) for controller in self._controllers]
        self._stack = AsyncExitStack()
        self._was_entered = False
        self._loop: asyncio.AbstractEventLoop | None = None

    async def __aenter__(self) -> Self:
        if self._was_entered:
            raise RuntimeError("an engine runs once: make a new one")
        self._was_entered = True
        async with AsyncExitStack() as stack:
            if self._store is not None:
                await stack.enter_async_context(self._store)
            await stack.enter_async_context(self._running())
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        return await self._stack.__aexit__(kind, error, traceback)

    @property
    def kinds(self) -> tuple[type[Entity[Any, Any]], ...]:
        """The kinds that the controllers work with."""
        return tuple(dict.fromkeys(kind for one in self._controllers for kind in kinds_of(one)))

    def finalizers(self, kind: type[Entity[Any, Any]]) -> Mapping[str, str]:
        """Return the finalizers that controllers here take off a kind, with the controller's name.

        An entity that another one holds back waits for a controller that does not run here.
        """
        return {
            finalizer: controller.name
            for controller in self._controllers
            if (type(controller).kind.kind.domain, type(controller).kind.kind.name)
            == (kind.kind.domain, kind.kind.name)
            for finalizer in controller.finalizers()
        }

    def health(self) -> EngineHealth:
        """Return how it and each controller does, those that did not load included."""
        return health_of(
            is_alive=self._loop is not None,
            runners=self._runners,
            informers=self._informers.values(),
            broken=self._broken,
        )

    @property
    def is_ready(self) -> bool:
        """Whether it runs, and every cache follows the store, so that all controllers can work."""
        return self.health().is_ready

    def metrics(self) -> Sequence[Sample]:
        """Return what it can be measured by, see `miren.reconcile.metrics`.

        To be called in the event loop that it runs in.
        """
        return samples_of(self._runners, self._informers.values())

    @property
    def loop(self) -> asyncio.AbstractEventLoop | None:
        """The event loop that it runs in, None while it does not run."""
        return self._loop

    def run(self, *, loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None) -> None:
        """Run until SIGINT or SIGTERM, in a loop of its own, and stop in an orderly way.

        A second signal does not wait for what is in work. Raises RuntimeError outside of the
        main thread; `async with` works everywhere. `loop_factory` may be uvloop's.
        """
        run_until_signalled(self, loop_factory=loop_factory)

    async def run_until_idle(self, *, timeout: float = 60.0) -> None:
        """Return once every change so far is reconciled and only delayed keys are left.

        The events told of it are written then, if the store takes them. Raises DeadlineExceeded
        after `timeout` seconds. For one-off runs and tests.
        """
        try:
            async with asyncio.timeout(timeout):
                while not await self._is_idle():  # noqa: ASYNC110  # being idle is no event
                    await asyncio.sleep(_POLL)
                await self._recorder.drain(timeout)
        except TimeoutError:
            raise DeadlineExceeded(f"the engine was still busy after {timeout:g} s") from None

    async def _is_idle(self) -> bool:
        """Return whether every cache is current, and no work was there or came meanwhile."""
        before = self._work_begun()
        try:
            for informer in self._informers.values():
                if not self._is_quiet() or not await informer.is_current():
                    return False
        except Unavailable:
            return False
        return self._is_quiet() and self._work_begun() == before

    def _is_quiet(self) -> bool:
        return all(
            runner.queue.is_idle and runner.permission.is_decided for runner in self._runners
        )

    def _work_begun(self) -> int:
        return sum(runner.queue.handed_out for runner in self._runners)

    @asynccontextmanager
    async def _running(self) -> AsyncIterator[None]:
        """Run everything; on the way out finish what is in work, then stop the rest.

        An error of the body comes out as it is, those of the engine's tasks as a group.
        """
        broken: Exception | None = None
        tracing = load_tracing()
        if tracing is not None:
            for runner in self._runners:
                runner.trace(tracing)
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(self._recorder.run()),
                *(group.create_task(informer.run()) for informer in self._informers.values()),
                *(group.create_task(runner.run()) for runner in self._runners),
                group.create_task(self._seating.run()),
            ]
            self._loop = asyncio.get_running_loop()
            try:
                yield
                await self._drain()
            except Exception as error:  # raised again below, outside of the group
                broken = error
            finally:
                self._loop = None
                for runner in self._runners:
                    runner.close()
                for task in tasks:
                    task.cancel()
                self._threads.shutdown(wait=False, cancel_futures=True)
        if broken is not None:
            raise broken

    async def _drain(self) -> None:
        """Finish what is in work, and write the events told of it, within the grace."""
        loop = asyncio.get_running_loop()
        end = loop.time() + self._grace
        await asyncio.gather(*(runner.drain(self._grace) for runner in self._runners))
        await self._recorder.drain(max(0.0, end - loop.time()))

    def _informer(
        self, kind: type[Entity[Any, Any]], controller: type[Controller[Any]]
    ) -> Informer[Any]:
        """Return the cache of a kind, or of what of it is bound to our node."""
        selection = None
        if controller.settings.scope == "node" and self._node and _has_node(kind):
            selection = Selection(fields={_NODE: self._node})
        which = (kind, selection is not None)
        if which not in self._informers:
            self._informers[which] = Informer(self.client, kind, selection, rng=self._rng)
        return self._informers[which]

    def _runner(self, controller: Controller[Any]) -> Runner[Any]:
        cls = type(controller)
        informer = self._informer(cls.kind, cls)
        kinds = dict.fromkeys(kind for kind in kinds_of(controller) if kind is not cls.kind)
        runner = Runner(
            controller,
            self.client,
            informer,
            others=[self._informer(kind, cls) for kind in kinds],
            now=self._now,
            rng=self._rng,
            threads=self._threads,
            note=self._recorder.note,
            permission=self._seating.permission(controller),
        )
        self._seating.seat(runner, runner.permission)
        for index in cls.indexes:
            values = partial(index.values, controller)
            bound = informer.index(partial(runner.ask, values, f"@index {index.name}", str))
            controller.__dict__[f"index:{index.name}"] = Index(bound.__getitem__)
        informer.listen(runner.observe)
        for owned in cls.settings.owns:
            self._informer(owned, cls).listen(runner.wake_owner)
        for watch in controller.watching():
            method = getattr(controller, watch.method)
            keys_of = partial(runner.ask, method, f"@watches {watch.method}", Key)
            self._informer(watch.kind, cls).listen(partial(_wake, runner, watch, keys_of))
        return runner


def _wake(
    runner: Runner[Any],
    watch: Watch,
    keys_of: Callable[[Any], Iterable[Key[Any]]],
    change: Delta[Any],
) -> None:
    if watch.gone and change.new is not None:
        return
    if watch.when is not None and not runner.holds(watch.when, change.old, change.new):
        return
    for entity in change.both():
        for key in keys_of(entity):
            runner.wake(key, priority=change.priority)


def _has_node(kind: type[Entity[Any, Any]]) -> bool:
    found = (each.options.indexed for each in attributes(kind.kind) if each.dotted == _NODE)
    return any(found)
