"""Projects: usable from the start, emptied when they are deleted, and gone when empty."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from miren.base.errors import MissingRef, Refused
from miren.controllers.remains import DELETABLE
from miren.entities.client import Propagation, Selection
from miren.entities.entity import Entity
from miren.entities.gen import Project
from miren.entities.gen.meta import ProjectPhase
from miren.entities.store.memory import MemoryStore
from miren.entities.store.sqlite import SQLiteStore
from miren.entities.store_client import StoreClient
from tests.builders import owned_by
from tests.controllers.relations import (
    KEEP,
    KINDS,
    Bird,
    Land,
    Leaf,
    Tree,
    collecting,
    garden,
    make_client,
    settle,
)
from tests.reconcile.virtual import virtually


async def inside(client: StoreClient, project: str) -> list[str]:
    return [
        str(item)
        for kind in KINDS
        for item in (await client.list(kind, Selection(project=project))).items
    ]


async def gone(client: StoreClient, name: str, *, timeout: float = 400) -> None:
    await client.wait(Project, name, lambda project: project is None, timeout=timeout)


async def fill(client: StoreClient, project: str) -> None:
    """Put something of everything into a project, entities that own and refer to each other."""
    there = client.in_project(project)
    oak = await there.create(Tree.new("oak"))
    await there.create(Tree.new("elm"))
    await there.create(owned_by(Leaf.new("leaf"), oak))
    await there.create(Bird.new("owl", home="oak", food="elm", likes=["elm"], sees=["tree/oak"]))


@virtually
async def test_a_new_project_is_active() -> None:
    async with garden() as (client, engine):
        await client.create(Project.new("shop"))
        await engine.run_until_idle()
        shop = await client.get(Project, "shop")
        assert shop.status.phase is ProjectPhase.ACTIVE
        ready = shop.condition("Ready")
        assert ready is not None
        assert ready.status == "True"


@virtually
async def test_a_deleted_project_takes_all_that_is_in_it_and_nothing_else() -> None:
    async with garden() as (client, engine):
        for name in ("shop", "other"):
            await client.create(Project.new(name))
            await fill(client, name)
        await client.create(Land.new("hill"))
        await engine.run_until_idle()
        before = await inside(client, "other")
        await client.delete(Project, "shop")
        await gone(client, "shop")
        assert await inside(client, "shop") == []
        assert await inside(client, "other") == before
        assert await client.get(Land, "hill") is not None
        await client.create(Project.new("shop"))
        await client.in_project("shop").create(Tree.new("again"))


async def test_it_is_the_same_on_a_disk(tmp_path: Path) -> None:
    async with SQLiteStore(tmp_path / "db") as store:
        client = make_client(store)
        async with collecting(client) as engine:
            await client.create(Project.new("shop"))
            await fill(client, "shop")
            await engine.run_until_idle()
            await client.delete(Project, "shop")
            await gone(client, "shop", timeout=20)
            assert await inside(client, "shop") == []


@virtually
async def test_it_tells_what_is_left_and_what_holds_it() -> None:
    async with garden() as (client, engine):
        await client.create(Project.new("shop"))
        there = client.in_project("shop")
        await there.create(Leaf.new("kept").with_metadata(finalizers=(KEEP,)))
        await there.create(Tree.new("eaten"))
        await client.create(Bird.new("owl", food="shop/eaten"))
        await engine.run_until_idle()
        await client.delete(Project, "shop")
        await settle()
        shop = await client.get(Project, "shop")
        assert shop.status.phase is ProjectPhase.TERMINATING
        told = shop.condition(DELETABLE)
        assert told is not None
        assert (told.status, told.reason) == ("False", "ContentsLeft")
        assert told.message == (
            "still holds tree/eaten (tree/eaten is in use by bird/owl), "
            "leaf/kept (held by relations.dev/keep)"
        )
        before = await client.revision()
        await settle()
        assert await client.revision() == before, "waiting writes nothing"

        with pytest.raises(MissingRef, match="'shop' does not exist, or is being deleted"):
            await there.create(Tree.new("late"))
        kept: Entity[Any, Any] = await there.get(Leaf, "kept")
        await there.update(kept.with_metadata(finalizers=()))
        await client.delete(Bird, "owl")
        await gone(client, "shop")


@virtually
async def test_dependents_that_were_to_be_waited_for_or_left_go_with_the_project() -> None:
    async with garden() as (client, engine):
        await client.create(Project.new("shop"))
        there = client.in_project("shop")
        for name, how in (("a", Propagation.FOREGROUND), ("b", Propagation.ORPHAN)):
            owner = await there.create(Tree.new(name).with_metadata(finalizers=(KEEP,)))
            await there.create(owned_by(Leaf.new(name), owner))
            await there.delete(Tree, name, propagation=how)
        await engine.run_until_idle()
        await client.delete(Project, "shop")
        await settle()
        for name in ("a", "b"):
            held = await there.get(Tree, name)
            await there.update(held.with_metadata(finalizers=()))
        await gone(client, "shop")
        assert await inside(client, "shop") == []


@virtually
async def test_a_project_that_no_controller_has_seen_is_not_removed_over_its_contents() -> None:
    async with MemoryStore() as store:
        client = make_client(store)
        await client.create(Project.new("shop"))
        await fill(client, "shop")
        with pytest.raises(Refused, match="project/shop still holds tree/elm, tree/oak") as caught:
            await client.delete(Project, "shop")
        assert caught.value.hint == "delete what it holds"
        assert not (await client.get(Project, "shop")).is_deleting
        await client.create(Project.new("empty"))
        await client.delete(Project, "empty")
        assert await client.get(Project, "empty", default=None) is None
        async with collecting(client) as engine:
            await engine.run_until_idle()
            await client.delete(Project, "shop")
            await gone(client, "shop")


@virtually
async def test_who_creates_while_a_project_is_deleted_is_refused_or_goes_with_it() -> None:
    for patience in range(12):
        async with garden() as (client, _):
            await client.create(Project.new("shop"))
            there = client.in_project("shop")

            async def create(there: StoreClient = there) -> int:
                for number in range(100):
                    try:
                        await there.create(Tree.new(f"t{number}"))
                    except MissingRef:
                        return number
                    await asyncio.sleep(0)
                return 100

            async def delete(client: StoreClient = client, patience: int = patience) -> None:
                for _ in range(patience):
                    await asyncio.sleep(0)
                is_deleted = False
                while not is_deleted:
                    with suppress(Refused):  # nobody empties it yet
                        await client.delete(Project, "shop")
                        is_deleted = True
                    await asyncio.sleep(0)

            made, _ = await asyncio.gather(create(), delete())
            assert made < 100, "once its deletion has begun nothing can be created"
            await gone(client, "shop")
            assert await inside(client, "shop") == []


@virtually
async def test_the_default_project_cannot_be_deleted() -> None:
    async with garden() as (client, engine):
        await client.create(Tree.new("a"))
        await engine.run_until_idle()
        for how in Propagation:
            with pytest.raises(Refused, match="project 'default' cannot be deleted"):
                await client.delete(Project, "default", propagation=how)
        assert (await client.get(Project, "default")).status.phase is ProjectPhase.ACTIVE


@virtually
async def test_a_deletion_that_was_under_way_goes_on_after_a_restart() -> None:
    async with MemoryStore() as store:
        client = make_client(store)
        await client.create(Project.new("shop"))
        await fill(client, "shop")
        there = client.in_project("shop")
        async with collecting(client) as engine:
            await there.create(Leaf.new("kept").with_metadata(finalizers=(KEEP,)))
            await engine.run_until_idle()
            await client.delete(Project, "shop")
            await asyncio.sleep(1)
        kept = await there.get(Leaf, "kept")
        await there.update(kept.with_metadata(finalizers=()))
        async with collecting(client):
            await gone(client, "shop")
