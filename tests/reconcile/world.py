"""Controllers that see to a world outside, which no crash touches, and people who change it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from miren.base.errors import MirenError
from miren.reconcile.context import Context
from miren.reconcile.controller import Controller, index
from miren.reconcile.registry import Change, Registry
from miren.reconcile.results import Key, Requeue, Temporary
from miren.reconcile.testing import Simulation
from tests.builders import Greeting, Room

__all__ = ["NAMES", "Counter", "Shouter", "World", "make_rooms", "people"]

NAMES = [f"g{number}" for number in range(6)]


@dataclass
class World:
    """What controllers keep as entities want it, by uid.

    Who has lost the lead and does not know yet may still act on it: that no store can hold up.
    So the world takes only what is not older than what it has, as a world behind a fence does.
    """

    sim: Simulation
    shouted: dict[str, tuple[int, str]] = field(default_factory=dict)  # generation, text
    made: dict[str, int] = field(default_factory=dict)
    sizes: dict[str, tuple[int, int]] = field(default_factory=dict)  # generation, size
    taken_up: dict[str, None] = field(default_factory=dict)  # every uid ever worked on
    finalized: dict[str, None] = field(default_factory=dict)

    def controllers(self) -> list[Controller[Any] | Registry]:
        return [Shouter(self), make_rooms(self), Counter()]

    def shout(self, greeting: Greeting) -> None:
        self.taken_up[greeting.uid] = None
        before = self.shouted.get(greeting.uid, (0, ""))
        if greeting.uid not in self.finalized:
            said = (greeting.metadata.generation, greeting.spec.text)
            self.shouted[greeting.uid] = max(before, said)

    def build(self, room: Room) -> None:
        self.taken_up[room.uid] = None
        if room.uid not in self.finalized:
            self.made[room.uid] = self.made.get(room.uid, 0) + 1

    def resize(self, room: Room, size: int) -> None:
        before = self.sizes.get(room.uid, (0, 0))
        if room.uid not in self.finalized:
            self.sizes[room.uid] = max(before, (room.metadata.generation, size))

    async def work(self) -> None:
        """Take a while, and fail sometimes."""
        sim = self.sim
        await sim.sleep(8 if sim.happens(0.03) else 0.2)
        if sim.happens(0.1):
            raise ValueError("no voice today")
        if sim.happens(0.1):
            raise Temporary("hoarse", after=3)


class Shouter(
    Controller[Greeting], finalizer="example.dev/shouter", owns=[Room], resync=200, timeout=5
):
    """Shouts, and keeps a room for each greeting."""

    def __init__(self, world: World) -> None:
        self.world = world

    @index
    def by_tone(self, greeting: Greeting) -> Iterable[str]:
        return (greeting.spec.tone,)

    async def reconcile(self, ctx: Context[Greeting], entity: Greeting) -> Requeue | None:
        self.world.shout(entity)
        await self.world.work()
        await ctx.apply(Room.partial(f"of-{entity.name}", size=int(entity.spec.text.split()[1])))
        shout = entity.spec.text.upper()
        ctx.status = entity.status.model_copy(update={"shout": shout})
        ctx.ready("Greeted")
        return Requeue(after=50) if self.world.sim.happens(0.1) else None

    async def finalize(self, ctx: Context[Greeting], entity: Greeting) -> Requeue | None:
        await self.world.work()
        for room in await ctx.owned(Room):
            await ctx.delete(room)
        self.world.shouted.pop(entity.uid, None)
        if self.world.sim.happens(0.1):
            return Requeue(after=1)
        self.world.finalized[entity.uid] = None
        return None


def make_rooms(world: World) -> Registry:
    """The decorator style."""
    rooms = Registry("rooms", primary=False)

    @rooms.created(Room)
    async def build(ctx: Context[Room], room: Room) -> None:
        world.build(room)
        await world.work()

    @rooms.changed(Room, lambda room: room.spec.size)
    async def resize(ctx: Context[Room], change: Change[Room, int]) -> None:
        world.resize(change.entity, change.new)  # and then fail, so that it is half done
        await world.work()

    @rooms.deleted(Room)
    async def pull_down(ctx: Context[Room], room: Room) -> None:
        await world.work()
        world.made.pop(room.uid, None)
        world.sizes.pop(room.uid, None)
        world.finalized[room.uid] = None

    return rooms


class Counter(Controller[Room]):
    """Has nothing but its memory to know rooms by."""

    def __init__(self) -> None:
        self.rooms: dict[Key[Room], str] = {}

    async def reconcile(self, ctx: Context[Room], entity: Room) -> Requeue | None:
        self.rooms[Key.of(entity)] = entity.uid
        return None

    def forget(self, key: Key[Room]) -> None:
        self.rooms.pop(key, None)


async def people(sim: Simulation, *, steps: int, pace: float = 1.0) -> None:
    """Do what people do."""
    client = sim.client
    for number in range(steps):
        name = sim.rng.choice(NAMES)
        what = sim.rng.choice(["apply", "apply", "apply", "status", "delete", "room"])
        try:
            match what:
                case "apply":
                    text = f"hey {sim.rng.randint(1, 3)}"  # few, so that some are taken back
                    partial = Greeting.partial(name, text=text)
                    await client.apply(partial, manager="people")
                case "status":
                    found = await client.get(Greeting, name)
                    heard = found.status.model_copy(update={"heard": number})
                    await client.update_status(found.with_status(heard))
                case "delete":
                    await client.delete(Greeting, name)
                case "room":
                    await client.delete(Room, f"of-{name}")
        except MirenError as error:
            sim.note(type(error).__name__, who="people")
        await sim.sleep(pace)
