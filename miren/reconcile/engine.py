"""The engine: informers shared by all controllers of a kind, one runner each, in your loop.

    async with Engine(SQLiteStore("app.db"), [Greeter()]) as engine:
        await engine.client.apply(Greeting.partial("hi", text="hey"), manager="ci")

It touches no signals, no root logger and no globals; several live in one process. When one of
its own tasks breaks, the body of the `async with` is cancelled: it never runs on half an engine.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from types import MappingProxyType, TracebackType
from typing import Any, Self, cast

from miren.base.errors import DeadlineExceeded, InvalidInput, Unavailable
from miren.entities.client import Client
from miren.entities.entity import Entity
from miren.entities.kinds import Kinds
from miren.entities.store.api import Store
from miren.entities.store_client import StoreClient
from miren.entities.versioned_client import VersionedClient
from miren.reconcile.controller import Controller, Index
from miren.reconcile.informer import Change, Informer
from miren.reconcile.plugins import Plugin, load_plugins
from miren.reconcile.results import Key
from miren.reconcile.runner import Runner

__all__ = ["ControllerHealth", "Engine"]

_GRACE = 10.0
_NOTHING_BROKEN: Mapping[str, str] = MappingProxyType({})
_POLL = 0.01


@dataclass(frozen=True, slots=True)
class ControllerHealth:
    """How one controller does. A plugin that did not load has only a name and an error."""

    name: str
    is_running: bool
    queued: int = 0
    reconciles: int = 0
    errors: int = 0
    last_error: str | None = None


def _none(_kinds: Sequence[type[Entity[Any, Any]]]) -> Iterable[Controller[Any]]:
    return ()


class Engine:
    """Runs controllers over a store or a client. Use it with `async with`, once.

    A store is opened and closed with the engine; a client stays the caller's. `plugins` adds
    the controllers of installed packages (entry point group `miren.controllers`), which may not
    define `known` kinds anew; `broken` are other plugins with what is wrong, for `health`.
    `across` is given the kinds of all of these, and makes the controllers that work with every
    kind.
    """

    client: Client

    def __init__(
        self,
        store: Store | Client,
        controllers: Iterable[Controller[Any]] = (),
        *,
        plugins: bool = False,
        known: Iterable[type[Entity[Any, Any]]] = (),
        broken: Mapping[str, str] = _NOTHING_BROKEN,
        across: Callable[[Sequence[type[Entity[Any, Any]]]], Iterable[Controller[Any]]] = _none,
        grace: float = _GRACE,
        rng: random.Random | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        own = tuple(controllers)
        loaded = _fitting(load_plugins(), own, known) if plugins else ()
        wrong = {plugin.name: plugin.error for plugin in loaded if plugin.error is not None}
        self._broken = tuple(
            ControllerHealth(name, is_running=False, last_error=error)
            for name, error in (*broken.items(), *wrong.items())
        )
        self._controllers = (
            *own,
            *(controller for plugin in loaded for controller in plugin.controllers),
        )
        self._controllers += tuple(across(self.kinds))
        self._rng = rng or random.Random()  # noqa: S311  # spreads delays, guards nothing
        self._now = now
        self._grace = grace
        self._store: Store | None = None
        if hasattr(store, "transact"):
            self._store = cast("Store", store)
            kinds = Kinds((*self.kinds, *known))
            below = StoreClient(store=self._store, kinds=kinds, now=now, rng=rng)
            self.client = VersionedClient(below, kinds) if kinds.has_versions else below
        else:
            self.client = store
        self._informers: dict[type[Entity[Any, Any]], Informer[Any]] = {}
        self._runners = [self._runner(controller) for controller in self._controllers]
        self._stack = AsyncExitStack()
        self._was_entered = False

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
        return tuple(dict.fromkeys(kind for one in self._controllers for kind in _kinds_of(one)))

    def health(self) -> Sequence[ControllerHealth]:
        """Return how each controller does, those that did not load included."""
        running = [
            ControllerHealth(
                runner.controller.name,
                is_running=True,
                queued=len(runner.queue),
                reconciles=runner.reconciles,
                errors=runner.errors,
                last_error=runner.last_error,
            )
            for runner in self._runners
        ]
        return (*running, *self._broken)

    async def run_until_idle(self, *, timeout: float = 60.0) -> None:
        """Return once every change so far is reconciled and only delayed keys are left.

        Raises DeadlineExceeded after `timeout` seconds. For one-off runs and tests.
        """
        try:
            async with asyncio.timeout(timeout):
                while not await self._is_idle():  # noqa: ASYNC110  # being idle is no event
                    await asyncio.sleep(_POLL)
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
        return all(runner.queue.is_idle for runner in self._runners)

    def _work_begun(self) -> int:
        return sum(runner.queue.handed_out for runner in self._runners)

    @asynccontextmanager
    async def _running(self) -> AsyncIterator[None]:
        """Run everything; on the way out finish what is in work, then stop the rest.

        An error of the body comes out as it is, those of the engine's tasks as a group.
        """
        broken: Exception | None = None
        async with asyncio.TaskGroup() as group:
            tasks = [
                *(group.create_task(informer.run()) for informer in self._informers.values()),
                *(group.create_task(runner.run()) for runner in self._runners),
            ]
            try:
                yield
                await asyncio.gather(*(runner.drain(self._grace) for runner in self._runners))
            except Exception as error:  # raised again below, outside of the group
                broken = error
            finally:
                for runner in self._runners:
                    runner.queue.close()
                for task in tasks:
                    task.cancel()
        if broken is not None:
            raise broken

    def _informer(self, kind: type[Entity[Any, Any]]) -> Informer[Any]:
        if kind not in self._informers:
            self._informers[kind] = Informer(self.client, kind, rng=self._rng)
        return self._informers[kind]

    def _runner(self, controller: Controller[Any]) -> Runner[Any]:
        cls = type(controller)
        informer = self._informer(cls.kind)
        kinds = dict.fromkeys(kind for kind in _kinds_of(controller) if kind is not cls.kind)
        runner = Runner(
            controller,
            self.client,
            informer,
            others=[self._informer(kind) for kind in kinds],
            now=self._now,
            rng=self._rng,
        )
        for index in cls.indexes:
            values = partial(index.values, controller)
            bound = informer.index(partial(runner.ask, values, f"@index {index.name}"))
            controller.__dict__[f"index:{index.name}"] = Index(bound.__getitem__)
        informer.listen(runner.observe)
        for owned in cls.settings.owns:
            self._informer(owned).listen(runner.wake_owner)
        for watch in controller.watching():
            method = getattr(controller, watch.method)
            keys_of = partial(runner.ask, method, f"@watches {watch.method}")
            wake = _wake_if_gone if watch.gone else _wake
            self._informer(watch.kind).listen(partial(wake, runner, keys_of))
        return runner


def _wake(
    runner: Runner[Any], keys_of: Callable[[Any], Iterable[Key[Any]]], change: Change[Any]
) -> None:
    for entity in change.both():
        for key in keys_of(entity):
            runner.wake(key, low=change.listed)


def _wake_if_gone(
    runner: Runner[Any], keys_of: Callable[[Any], Iterable[Key[Any]]], change: Change[Any]
) -> None:
    if change.new is None:
        _wake(runner, keys_of, change)


def _fitting(
    plugins: Iterable[Plugin],
    controllers: Iterable[Controller[Any]],
    kinds: Iterable[type[Entity[Any, Any]]],
) -> tuple[Plugin, ...]:
    """Return the plugins; one that defines a kind anew that is there already has an error."""
    known = [*kinds, *(kind for controller in controllers for kind in _kinds_of(controller))]
    fitting: list[Plugin] = []
    for plugin in plugins:
        more = [kind for controller in plugin.controllers for kind in _kinds_of(controller)]
        try:
            Kinds([*known, *more])
        except InvalidInput as error:
            fitting.append(Plugin(plugin.name, error=error.message))
        else:
            known += more
            fitting.append(plugin)
    return tuple(fitting)


def _kinds_of(controller: Controller[Any]) -> Iterable[type[Entity[Any, Any]]]:
    cls = type(controller)
    return (cls.kind, *cls.settings.owns, *(watch.kind for watch in controller.watching()))
