"""`Simulation`: engines, people and a store in memory, in one loop on virtual time.

It puts the parts together: each engine is a `Machine` with a `Connection` on which calls fail,
`Chaos` is what befalls whole engines, and everything is noted in one `Trace`.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from functools import partial
from typing import Any

from miren.base.errors import MirenError
from miren.entities import keys
from miren.entities.client import Client
from miren.entities.entity import Entity
from miren.entities.kinds import Kinds
from miren.entities.store.api import Store
from miren.entities.store.memory import MemoryStore
from miren.entities.store_client import StoreClient
from miren.entities.versioned_client import VersionedClient
from miren.reconcile.controller import Controller
from miren.reconcile.engine import Engine
from miren.reconcile.registry import Registry
from miren.reconcile.testing.chaos import Chaos
from miren.reconcile.testing.faults import ALL, NONE, Connection, Fault, Line
from miren.reconcile.testing.loop import VirtualLoop
from miren.reconcile.testing.machine import Controllers, Machine
from miren.reconcile.testing.trace import Entry, Trace

__all__ = ["Scenario", "Simulation"]

#: Longer than the longest back-off, after which everything has been tried again.
_LONG = 400.0
_IDLE = 600.0
_ELECTION = "simulation"
_TOUCHED = "simulation.miren.dev/touched"

Scenario = Callable[["Simulation"], Awaitable[object]]


class Simulation:
    """What a scenario is given. Made by `simulate` and by the pytest plugin.

    `rng` is where chance comes from, `client` people's way to the store, on which nothing goes
    wrong, and `store` what is below it. `faults` says what goes wrong now; it can be set.
    """

    def __init__(
        self,
        seed: int,
        faults: Iterable[Fault] = ALL,
        *,
        kinds: Iterable[type[Entity[Any, Any]]] = (),
    ) -> None:
        self.seed = seed
        self.faults = frozenset(faults)
        self.rng = self._chance("scenario")
        self.trace = Trace()
        self.store: Store = MemoryStore(self._chance("store"))
        self.client: Client
        self._kinds = Kinds()
        self._chaos: Chaos | None = None
        self._machines: list[Machine] = []
        self._failure: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._touches = 0
        self._tasks: list[asyncio.Task[None]] = []
        self.know(*kinds)

    # -- for scenarios ---------------------------------------------------------------------

    @property
    def engines(self) -> Sequence[Machine]:
        """The engines started, in order: each can `crash`, `stop`, or be started by `restart`."""
        return self._machines

    def know(self, *kinds: type[Entity[Any, Any]]) -> None:
        """Let the client know kinds; those of controllers are known from `start` on."""
        for kind in kinds:
            self._kinds.add(kind)
        self.client = self._client("people", "store")

    async def start(
        self,
        controllers: Controllers | Iterable[Controller[Any] | Registry],
        *,
        engines: int = 1,
        elect: str | None = None,
        **options: Any,
    ) -> Sequence[Engine]:
        """Start so many engines, and return them.

        `controllers` makes the controllers of one engine, and is called anew for each start; only
        what holds nothing in memory may be given as it is. Several engines stand for election
        unless all controllers say otherwise; `options` are the engine's.
        """
        make = controllers if callable(controllers) else partial(tuple, tuple(controllers))
        election = elect or (_ELECTION if engines > 1 else None)
        new = [self._machine(make, {"elect": election, **options}) for _ in range(engines)]
        for machine in new:
            self.know(*machine.make().kinds)
        for machine in new:
            machine.begin()
        if self._chaos is None:
            self._chaos = Chaos(
                self._machines,
                self.store,
                faults=self._now_wrong,
                rng=self._chance("chaos"),
                note=partial(self.note, who="fault"),
            )
            self._tasks.append(asyncio.create_task(self._chaos.run(), name="chaos"))
        await asyncio.sleep(0)
        return [machine.engine for machine in new]

    def restart(self, machine: Machine) -> Engine:
        """Start an engine that has crashed or was stopped, and return the new one."""
        if machine.is_up:
            raise RuntimeError(f"{machine.name} runs: crash or stop it first")
        engine = machine.make()
        machine.begin()
        return engine

    async def settle(self, *, seconds: float = _LONG) -> None:
        """Let nothing go wrong any more, and return when all work is done.

        Engines that crashed by chance run again. `seconds` of virtual time pass first, by default
        more than any back-off takes. Raises DeadlineExceeded if the engines do not come to rest.
        """
        self.faults = NONE
        self.note("nothing goes wrong any more", who="fault")
        if self._chaos is not None:
            await self._chaos.repair()
        await asyncio.sleep(seconds)
        for machine in self._machines:
            if machine.is_up:
                await machine.engine.run_until_idle(timeout=_IDLE)
        self.note("settled", who="fault")

    async def sleep(self, longest: float) -> None:
        """Let some time pass, `longest` seconds at most."""
        await asyncio.sleep(self.rng.random() * longest)

    def happens(self, chance: float) -> bool:
        """Return True so often, and never once nothing goes wrong any more.

        For controllers that are to fail in a simulation.
        """
        return bool(self.faults) and self.rng.random() < chance

    def note(self, what: str, *, who: str = "scenario") -> None:
        """Put a line into the trace."""
        self.trace.add(Entry(self.time(), who, what))

    def check(self, holds: object, message: str) -> None:
        """Fail the simulation unless it holds, wherever this is called.

        An assertion in a controller would only be one more error that the engine tries again.
        """
        if not holds:
            error = AssertionError(message)
            self.fail(error)
            raise error

    def fail(self, error: BaseException) -> None:
        """End the simulation with an error; the first one counts."""
        self.note(f"fails: {error}", who="simulation")
        if not self._failure.done():
            self._failure.set_exception(error)
            self._failure.exception()  # it may have no waiter any more, and is raised by `run`

    def time(self) -> float:
        """Return the virtual time in seconds."""
        return asyncio.get_running_loop().time()

    def now(self) -> datetime:
        """Return the virtual time as a date, the same as clients write."""
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop), "a simulation runs in a loop of its own"
        return loop.now()

    # -- running it ------------------------------------------------------------------------

    async def run(self, scenario: Scenario, *, limit: float) -> None:
        """Run a scenario to its end, and everything that it started; raise what went wrong."""
        async with self._opened():
            body = asyncio.ensure_future(_finish(scenario, self))
            try:
                either: list[asyncio.Future[Any]] = [body, self._failure]
                done, _ = await asyncio.wait(
                    either, timeout=limit, return_when=asyncio.FIRST_COMPLETED
                )
                if not done:
                    raise AssertionError(f"the scenario still runs after {limit:g} s")
                if self._failure.done():
                    self._failure.result()
                body.result()
            finally:
                body.cancel()
                await asyncio.wait([body])

    @asynccontextmanager
    async def _opened(self) -> AsyncIterator[None]:
        before = asyncio.all_tasks()
        async with self.store:
            ends = "crash"
            try:
                yield
                self.faults, ends = NONE, "stop"
            except BaseException:
                self.trace.is_over = True  # what follows is only tidying up
                raise
            finally:
                for task in self._tasks:
                    task.cancel()
                await asyncio.gather(*self._tasks, return_exceptions=True)
                for machine in self._machines:
                    await getattr(machine, ends)()
        await asyncio.sleep(0)
        if self._failure.done():
            self._failure.result()
        if left := [task for task in asyncio.all_tasks() - before if not task.done()]:
            names = ", ".join(sorted(task.get_name() for task in left))
            raise AssertionError(f"tasks were left behind: {names}")

    # -- parts -----------------------------------------------------------------------------

    def _machine(self, controllers: Controllers, options: dict[str, Any]) -> Machine:
        machine = Machine(
            name=f"engine-{len(self._machines) + 1}",
            controllers=controllers,
            connect=self._connect,
            known=lambda: [kind.entity for kind in self._kinds],
            trace=self.trace,
            fail=self.fail,
            seed=str(self.seed),
            options=options,
            now=self.now,
        )
        self._machines.append(machine)
        return machine

    def _connect(self, name: str) -> Connection:
        return Connection(
            self.store,
            partial(self._noted, name),
            faults=self._now_wrong,
            rng=self._chance(name),
            overtake=self._overtake,
        )

    def _now_wrong(self) -> frozenset[Fault]:
        return self.faults

    def _client(self, who: str, chance: str) -> Client:
        store = Line(self.store, partial(self._noted, who))
        below = StoreClient(
            store=store, kinds=self._kinds, now=self.now, rng=self._chance(f"{who}:{chance}")
        )
        return VersionedClient(below, self._kinds) if self._kinds.has_versions else below

    async def _overtake(self, key: str) -> None:
        """Write to an entity as somebody does of whom nobody knows."""
        kind = self._kinds.named(*keys.kind_in(key))
        if kind is None:
            return
        project, name = keys.name_in(key)
        client = self._client("somebody", str(self._touches))
        self._touches += 1
        try:
            found = await client.get(kind.entity, name, project=project or None, default=None)
            if found is not None:
                touched = {**found.metadata.annotations, _TOUCHED: str(self._touches)}
                await client.update(found.with_metadata(annotations=touched))
        except MirenError:
            pass  # somebody else was faster yet

    def _noted(self, who: str, what: str, key: str, revision: int) -> None:
        self.trace.add(Entry(self.time(), who, what, key, revision))

    def _chance(self, of: str) -> random.Random:
        return random.Random(f"{self.seed}:{of}")  # noqa: S311  # guards nothing


async def _finish(scenario: Scenario, sim: Simulation) -> None:
    await scenario(sim)
