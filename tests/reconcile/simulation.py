"""One seeded run of the real engine over a store that fails, in virtual time.

People create, change and delete greetings; the store refuses calls, does writes and says that it
does not know, drops watches and forgets history; the controller is slow and fails. Then all of
that stops, and everything must be as it should be.

Run as a program it prints the trace's hash for the seed given.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import random
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field

from miren.base.errors import MirenError, OutcomeUnknown, Unavailable
from miren.entities.store.api import Compare, Operation, TransactionResult
from miren.entities.store.memory import MemoryStore
from miren.entities.store_client import StoreClient
from miren.reconcile.context import Context
from miren.reconcile.controller import Controller
from miren.reconcile.engine import Engine
from miren.reconcile.results import Requeue, Temporary
from miren.reconcile.testing import run_virtual
from tests.builders import Greeting, make_kinds
from tests.reconcile.virtual import date, now
from tests.stores import Faulty

NAMES = [f"g{number}" for number in range(6)]
#: Longer than the longest back-off.
LONG = 400.0


@dataclass
class World:
    """What the run has in common: chance, whether things fail, and what happened."""

    rng: random.Random
    fails: bool = True
    trace: list[str] = field(default_factory=list)

    def note(self, what: str) -> None:
        self.trace.append(f"{now():.6f} {what}")

    def happens(self, chance: float) -> bool:
        return self.fails and self.rng.random() < chance

    async def pause(self, longest: float) -> None:
        await asyncio.sleep(self.rng.random() * longest)


class ShakyStore(Faulty):
    """Takes its time, refuses calls, and sometimes does not know whether it wrote."""

    def __init__(self, world: World) -> None:
        super().__init__(MemoryStore(world.rng))
        self._world = world

    async def before(self, call: str) -> None:
        await self._world.pause(0.02)
        if self._world.happens(0.05):
            raise Unavailable(f"{call} refused")

    async def transact(
        self,
        compares: Sequence[Compare],
        then: Sequence[Operation],
        otherwise: Sequence[Operation] = (),
    ) -> TransactionResult:
        result = await super().transact(compares, then, otherwise)
        if then and self._world.happens(0.05):
            raise OutcomeUnknown("the line broke")
        return result


class Shouter(Controller[Greeting], finalizer="example.dev/shouter", resync=200, timeout=5):
    """Keeps `shouted`, the world outside, as the greetings want it."""

    def __init__(self, world: World) -> None:
        self.shouted: dict[str, str] = {}
        self.in_work: set[str] = set()
        self._world = world

    async def reconcile(self, ctx: Context[Greeting], entity: Greeting) -> Requeue | None:
        await self._enter("reconcile", entity)
        try:
            self.shouted[entity.uid] = entity.spec.text
            await self._fail()
            shout = entity.spec.text.upper()
            ctx.status = entity.status.model_copy(update={"shout": shout})
            ctx.ready("Greeted")
            return Requeue(after=50) if self._world.happens(0.1) else None
        finally:
            self.in_work.discard(entity.name)

    async def finalize(self, ctx: Context[Greeting], entity: Greeting) -> Requeue | None:
        await self._enter("finalize", entity)
        try:
            await self._fail()
            self.shouted.pop(entity.uid, None)
            return Requeue(after=1) if self._world.happens(0.1) else None
        finally:
            self.in_work.discard(entity.name)

    async def _enter(self, what: str, entity: Greeting) -> None:
        assert entity.name not in self.in_work, f"{entity} is reconciled twice at once"
        self.in_work.add(entity.name)
        self._world.note(f"{what} {entity.name} {entity.revision} {entity.spec.text}")

    async def _fail(self) -> None:
        await self._world.pause(8 if self._world.happens(0.05) else 0.2)
        if self._world.happens(0.1):
            raise ValueError("no voice today")
        if self._world.happens(0.1):
            raise Temporary("hoarse", after=3)


async def drive(client: StoreClient, store: ShakyStore, world: World) -> None:
    """Do what people and bad luck do, sixty times."""
    for number in range(60):
        name = world.rng.choice(NAMES)
        what = world.rng.choice(["apply", "apply", "apply", "status", "delete", "drop", "compact"])
        world.note(f"{what} {name}")
        try:
            match what:
                case "apply":
                    partial = Greeting.partial(name, text=f"hey {number}")
                    await client.apply(partial, manager="people")
                case "status":
                    found = await client.get(Greeting, name)
                    heard = found.status.model_copy(update={"heard": number})
                    await client.update_status(found.with_status(heard))
                case "delete":
                    await client.delete(Greeting, name)
                case "drop":
                    store.drop_watches()
                case "compact":
                    await store.inner.compact(await client.revision())
        except MirenError as error:
            world.note(type(error).__name__)
        await world.pause(1.0)


async def run(seed: int) -> str:
    """Run one seed, check what must hold, and return the trace's hash."""
    world = World(random.Random(seed))
    store, shouter = ShakyStore(world), Shouter(world)
    kinds = make_kinds()
    async with store:
        people = StoreClient(store=store.inner, kinds=kinds, now=date, rng=world.rng)
        shaky = StoreClient(store=store, kinds=kinds, now=date, rng=world.rng)
        async with Engine(shaky, [shouter], rng=world.rng, now=date) as engine:
            await drive(people, store, world)
            world.fails = False
            await asyncio.sleep(LONG)
            listing = await people.list(Greeting)
            for greeting in listing.items:
                assert not greeting.is_deleting, f"{greeting} was never let go"
                assert greeting.status.shout == greeting.spec.text.upper()
                assert greeting.observed_generation == greeting.metadata.generation
            wanted = {greeting.uid: greeting.spec.text for greeting in listing.items}
            assert shouter.shouted == wanted, "the world outside is not what is wanted"
            before = await people.revision()
            await engine.run_until_idle()
            await asyncio.sleep(LONG)
            assert await people.revision() == before, "what is as it should be is not written"
            statuses = [greeting.status for greeting in listing.items]
            world.note(f"{engine.health()[0].reconciles} {statuses} {before}")
    return hashlib.sha256("\n".join(world.trace).encode()).hexdigest()


def simulate(seed: int) -> str:
    """Run one seed in virtual time and return the trace's hash."""
    return run_virtual(run(seed))


if __name__ == "__main__":
    logging.disable()
    sys.stdout.write(simulate(int(sys.argv[1])))
