"""Owners that the client would never write, as a store may come to hold them."""

from __future__ import annotations

from typing import Any

import pytest

from miren.entities.client import Propagation
from miren.entities.entity import OwnerReference
from miren.entities.keys import entity_key, sidecar_key
from miren.entities.records import Sidecar
from miren.entities.store.memory import MemoryStore
from miren.entities.store_client import StoreClient
from miren.entities.writes import Stored, Write, commit
from tests.builders import owners
from tests.controllers.relations import (
    Land,
    Tree,
    collecting,
    make_client,
    names,
    settle,
)
from tests.reconcile.virtual import virtually


async def plant(client: StoreClient, entity: Any, *above: Any) -> None:
    """Write owners past everything that the client asks of them."""
    await plant_owners(client, entity, owners(*above))


async def plant_owners(
    client: StoreClient, entity: Any, references: tuple[OwnerReference, ...]
) -> None:
    where = (entity.kind, entity.project, entity.name)
    value, beside = [await client.store.get(at(*where)) for at in (entity_key, sidecar_key)]
    assert value is not None
    stored = Stored(entity, Sidecar.decode(beside), value.value)
    new = entity.with_metadata(owner_references=references)
    await commit(client.store, Write(new, stored, stored.sidecar.managers, client.kinds))


@pytest.mark.parametrize("propagation", list(Propagation))
@pytest.mark.parametrize("length", [1, 2, 3])
def test_a_circle_of_owners_does_not_hold_anybody_forever(
    propagation: Propagation, length: int
) -> None:
    @virtually
    async def run() -> None:
        async with MemoryStore() as store:
            client = make_client(store)
            ring = [await client.create(Tree.new(f"t{number}")) for number in range(length)]
            for number, entity in enumerate(ring):
                await plant(client, entity, ring[number - 1])
            client = make_client(store)
            async with collecting(client) as engine:
                await settle()
                assert len(await names(client)) == length, "as long as they live they stay"
                await client.delete(Tree, "t0", propagation=propagation)
                await settle()
                orphans = propagation is Propagation.ORPHAN
                assert len(await names(client)) == (length - 1 if orphans else 0)
                await engine.run_until_idle()

    run()


@virtually
async def test_an_owner_of_a_kind_that_nobody_knows_counts_as_living() -> None:
    async with MemoryStore() as store:
        client = make_client(store)
        tree = await client.create(Tree.new("a"))
        thing = {"api_version": "else.where/v1", "kind": "Thing", "name": "t", "uid": "x" * 20}
        await plant_owners(client, tree, (OwnerReference(**thing),))
        async with collecting(make_client(store)):
            await settle()
            assert await names(client) == ["tree/a"]


@virtually
async def test_who_cannot_be_the_owner_costs_nothing_its_life() -> None:
    async with MemoryStore() as store:
        client = make_client(store)
        hill, tree = await client.create(Land.new("hill")), await client.create(Tree.new("a"))
        await plant(client, hill, tree)
        await client.delete(Tree, "a")
        async with collecting(make_client(store)):
            await settle()
            assert await names(client, Land) == ["land/hill"]
