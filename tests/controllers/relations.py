"""Kinds that own and refer to each other in every way, and an engine that collects them."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from miren.controllers.garbage import collectors
from miren.controllers.project import ProjectController
from miren.entities.client import Client
from miren.entities.entity import Entity
from miren.entities.gen import Project
from miren.entities.kinds import Kinds, Scope
from miren.entities.model import Map, Model, Ref, field
from miren.entities.store.api import Store
from miren.entities.store.memory import MemoryStore
from miren.entities.store_client import StoreClient
from miren.reconcile.controller import Controller
from miren.reconcile.engine import Engine
from tests.builders import owned_by
from tests.reconcile.virtual import date


class TreeSpec(Model):
    size: int = 1


class TreeStatus(Model):
    seen: int = 0


class Tree(Entity[TreeSpec, TreeStatus], api="relations.dev/v1"):
    """Owns and is owned."""


class Leaf(Entity[TreeSpec, TreeStatus], api="relations.dev/v1", plural="leaves"):
    """Another kind that is owned."""


class Land(Entity[TreeSpec, TreeStatus], api="relations.dev/v1", scope=Scope.CLUSTER):
    """Owns across projects."""


class Place(Model):
    tree: Ref[Tree] | None = field(default=None, to=("Tree",), on_delete="unset")
    note: str = ""


class BirdSpec(Model):
    home: Ref[Tree] | None = field(default=None, to=("Tree",), on_delete="unset", tags=("stay",))
    food: Ref[Tree] | None = field(default=None, to=("Tree",), on_delete="restrict", tags=("eat",))
    likes: tuple[Ref[Tree], ...] = field(default=(), to=("Tree",), on_delete="unset")
    by_day: Map[Ref[Tree]] = field(default={}, to=("Tree",), on_delete="unset")
    places: tuple[Place, ...] = ()
    sits_on: Ref[Any] | None = field(default=None, to=("Tree", "Leaf"))
    sees: tuple[Ref[Any], ...] = ()
    nest: Ref[Tree] | None = field(default=None, to=("Tree",), owner=True)
    egg: str = ""


class BirdStatus(Model):
    flies_to: Ref[Tree] | None = field(default=None, to=("Tree",), on_delete="unset")


class Bird(Entity[BirdSpec, BirdStatus], api="relations.dev/v1"):
    """Refers in every way there is."""


class StubbornSpec(Model):
    tree: Ref[Tree] = field(to=("Tree",), on_delete="unset")


class Stubborn(Entity[StubbornSpec, TreeStatus], api="relations.dev/v1"):
    """Cannot be without what it refers to."""


#: The finalizer of somebody's controller.
KEEP = "relations.dev/keep"

KINDS: tuple[type[Entity[Any, Any]], ...] = (Tree, Leaf, Land, Bird, Stubborn)


def make_client(store: Store, *, rng: random.Random | None = None) -> StoreClient:
    return StoreClient(store=store, kinds=Kinds((*KINDS, Project)), now=date, rng=rng)


@asynccontextmanager
async def collecting(
    client: Client, *controllers: Controller[Any], rng: random.Random | None = None
) -> AsyncIterator[Engine]:
    """Run collectors and the project controller over all these kinds."""

    def across(kinds: Sequence[type[Entity[Any, Any]]]) -> Sequence[Controller[Any]]:
        every = tuple(dict.fromkeys((*KINDS, Project, *kinds)))
        return (ProjectController(every), *collectors(every))

    rng = rng or random.Random(0)
    async with Engine(client, controllers, across=across, rng=rng, now=date) as engine:
        yield engine


@asynccontextmanager
async def garden() -> AsyncIterator[tuple[StoreClient, Engine]]:
    """A fresh store with a running collector."""
    async with MemoryStore() as store:
        client = make_client(store)
        async with collecting(client) as engine:
            yield client, engine


async def names(client: StoreClient, *kinds: type[Entity[Any, Any]]) -> list[str]:
    """Everything that exists, as `kind/name`."""
    found = [item for kind in kinds or (Tree, Leaf) for item in (await client.list(kind)).items]
    return [str(item) for item in found]


async def settle() -> None:
    """Let every delayed look come by too."""
    await asyncio.sleep(60)


async def grow(client: StoreClient, *chain: Any) -> list[Any]:
    """Create entities each of which owns the next."""
    made: list[Any] = []
    for entity in chain:
        made.append(await client.create(owned_by(entity, *made[-1:])))
    return made


async def let_go(client: StoreClient, kind: type[Entity[Any, Any]], name: str) -> None:
    """Take the finalizer of somebody's controller off."""

    def left(entity: Entity[Any, Any]) -> tuple[str, ...]:
        return tuple(each for each in entity.metadata.finalizers if each != KEEP)

    entity = await client.get(kind, name)
    await client.update(entity.with_metadata(finalizers=left(entity)))
