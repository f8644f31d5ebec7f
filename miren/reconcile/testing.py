"""For the tests of controllers: one reconcile without a server, and time that does not pass.

    out = await reconcile_once(Greeter(), Greeting.new("hi", text="yo"))
    assert out.entity.status.shout == "YO"

`run_virtual(main())` runs the real engine on a loop whose clock jumps to the next timer, so that
ten minutes of waiting take milliseconds. What would run in a thread runs at
once; sockets do not work in it.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Generic, TypeVar

from miren.entities.client import Client
from miren.entities.entity import Entity
from miren.entities.kinds import Kinds
from miren.entities.store.memory import MemoryStore
from miren.entities.store_client import StoreClient
from miren.reconcile.attempt import Attempts
from miren.reconcile.controller import Controller
from miren.reconcile.results import Requeue

__all__ = ["Once", "VirtualLoop", "reconcile_once", "run_virtual"]

E = TypeVar("E", bound=Entity[Any, Any])
T = TypeVar("T")


@dataclass(frozen=True)
class Once(Generic[E]):
    """What one reconcile left: the entity as stored (its last state when it is gone), what comes
    next, and a client to look at what was made.
    """

    entity: E
    requeue: Requeue | None
    error: Exception | None
    client: Client
    is_gone: bool = False


async def reconcile_once(
    controller: Controller[E],
    entity: E,
    *,
    existing: Iterable[Entity[Any, Any]] = (),
    now: datetime | None = None,
) -> Once[E]:
    """Store `entity` (its status too) and `existing`, reconcile it once, and tell what is left.

    The finalizer is put on first, as the engine does. `entity` with a deletion timestamp is
    finalized. Errors the controller raises are in `error`, not raised.
    """
    clock = (lambda: now) if now is not None else (lambda: datetime.now(UTC))
    cls = type(controller)
    kinds = Kinds([type(entity), *cls.settings.owns, *(type(item) for item in existing)])
    for watch in controller.watching():
        kinds.add(watch.kind)
    # A memory store holds nothing that must be given back: it lives as long as `Once.client`.
    store = await MemoryStore().__aenter__()
    client = StoreClient(store=store, kinds=kinds, now=clock)
    for item in existing:
        await _store(client, item)
    stored = await _store(client, entity, finalizer=cls.settings.finalizer)
    attempt = await Attempts(controller, client, now=clock).make(stored)
    outcome = attempt.outcome
    project = stored.project or None
    found = await client.get(type(entity), entity.name, project=project, default=None)
    left = stored if found is None else found
    return Once(left, outcome.requeue, outcome.error, client, is_gone=found is None)


async def _store(client: StoreClient, entity: E, finalizer: str | None = None) -> E:
    names = entity.metadata.finalizers
    if finalizer is not None and finalizer not in names:
        names = (*names, finalizer)
    stored = await client.create(entity.with_metadata(finalizers=names))
    if entity.status != entity.kind.status() or entity.conditions:
        said: Mapping[str, Any] = {
            name: getattr(entity, name)
            for name in ("status", "conditions", "observed_generation", "handled")
        }
        stored = await client.update_status(replace(stored, **said))
    if entity.is_deleting:
        stored = await client.delete(type(entity), entity.name, project=stored.project or None)
    return stored


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose time jumps to the next timer as soon as nothing is ready."""

    def __init__(self) -> None:
        self._virtual = 0.0
        super().__init__(_JumpingSelector(self))

    def time(self) -> float:
        """Return the virtual time in seconds since the loop was made."""
        return self._virtual

    def advance(self, seconds: float) -> None:
        """Let time pass; called by the selector."""
        self._virtual += seconds

    def run_in_executor(  # type: ignore[override]  # typeshed has it take *args: Unpack[Ts]
        self, executor: object, func: Callable[..., Any], *args: Any
    ) -> asyncio.Future[Any]:
        """Run `func` here and now: a thread would make runs differ."""
        future = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as error:
            future.set_exception(error)
        return future

    def now(self) -> datetime:
        """Return virtual time as a date, from a fixed day on."""
        return datetime(2030, 1, 1, tzinfo=UTC) + timedelta(seconds=self._virtual)


class _JumpingSelector(selectors.DefaultSelector):
    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise RuntimeError("deadlock: every task waits and no timer is set")
        if timeout > 0:
            self._loop.advance(timeout)
        return super().select(0)


def run_virtual(main: Coroutine[Any, Any, T]) -> T:
    """Run `main` on a new VirtualLoop; a deadlock raises RuntimeError at once."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)
