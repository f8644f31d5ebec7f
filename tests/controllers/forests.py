"""Random forests of owners in which entities are deleted in every way, and what must be left.

Each forest is driven on its own, one deletion after the other, so that a simple model says what
survives; many forests grow at once in one store, under one collector.
"""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field
from typing import Any

from miren.entities.client import Client, Propagation
from miren.entities.entity import Entity
from tests.builders import owned_by
from tests.controllers.relations import (
    Leaf,
    Tree,
)

#: Longer than the longest back-off, and than what a finalizer of somebody else takes.
LONG = 1000.0


@dataclass
class Forest:
    """What there should be: the owners of each entity that lives, by name."""

    rng: random.Random
    number: int
    owners: dict[str, set[str]] = field(default_factory=dict)
    made: dict[str, Entity[Any, Any]] = field(default_factory=dict)

    async def grow(self, client: Client, size: int) -> None:
        """Create entities, each owned by none, one or two of the earlier ones."""
        for number in range(size):
            kind = self.rng.choice((Tree, Leaf))
            known = sorted(self.owners)
            above = self.rng.sample(known, min(len(known), self.rng.choice((0, 1, 1, 1, 2))))
            entity: Any = kind.new(f"f{self.number}-{number}")
            entity = owned_by(entity, *(self.made[name] for name in above))
            self.made[entity.name] = await client.create(entity)
            self.owners[entity.name] = set(above)

    def without(self, name: str, *, orphans: bool) -> set[str]:
        """Take one out, and return it with everything that goes with it."""
        gone = {name}
        del self.owners[name]
        if orphans:
            for others in self.owners.values():
                others.discard(name)
            return gone
        while True:
            lost = {each for each, others in self.owners.items() if others and others <= gone}
            if not lost:
                break
            gone |= lost
            for each in lost:
                del self.owners[each]
        for others in self.owners.values():
            others -= gone
        return gone

    async def fell(self, client: Client) -> None:
        """Delete entities one after the other until few are left; check what each one takes."""
        least = self.rng.randrange(3)
        while len(self.owners) > least:
            name = self.rng.choice(sorted(self.owners))
            how = self.rng.choice(list(Propagation))
            gone = self.without(name, orphans=how is Propagation.ORPHAN)
            kind = type(self.made[name])
            await client.delete(kind, name, propagation=how)
            if how is Propagation.FOREGROUND:
                await self._wait_for_the_end_of(client, name)
                for other in gone:
                    assert await self._read(client, other) is None, f"{other} outlived {name}"
            for other in sorted(gone):
                await self._wait_for_the_end_of(client, other)
            await self.check_owners(client)

    async def check_owners(self, client: Client) -> None:
        """Wait until everybody who lives has exactly the owners of the model."""
        for name, wanted in self.owners.items():

            def is_so(entity: Entity[Any, Any] | None, wanted: set[str] = wanted) -> bool:
                return entity is None or wanted == {
                    owner.name for owner in entity.metadata.owner_references
                }

            kind = type(self.made[name])
            found = await client.wait(kind, name, is_so, timeout=LONG)
            assert found is not None, f"{name} should live"
            assert not found.is_deleting, f"{name} should live"

    async def _wait_for_the_end_of(self, client: Client, name: str) -> None:
        await client.wait(type(self.made[name]), name, lambda entity: entity is None, timeout=LONG)

    async def _read(self, client: Client, name: str) -> Entity[Any, Any] | None:
        found: Entity[Any, Any] | None = await client.get(
            type(self.made[name]), name, default=None
        )
        return found


async def grow_and_fell(
    client: Client, rng: random.Random, *, forests: int, size: int, pause: float
) -> set[str]:
    """Drive so many forests at once and return the names of who should be left."""
    every = [Forest(random.Random(rng.random()), number) for number in range(forests)]

    async def drive(forest: Forest) -> None:
        await forest.grow(client, size)
        await asyncio.sleep(forest.rng.random() * pause)
        await forest.fell(client)

    async with asyncio.TaskGroup() as tasks:
        for forest in every:
            tasks.create_task(drive(forest))
    return {name for forest in every for name in forest.owners}


async def left(client: Client) -> set[str]:
    """Return the names of all that is there."""
    found: list[Entity[Any, Any]] = [*(await client.list(Tree)).items]
    found += (await client.list(Leaf)).items
    return {entity.name for entity in found}
