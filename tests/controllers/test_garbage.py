"""What is left of others when an entity goes: background, foreground, orphan."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from miren.base.errors import Compacted
from miren.controllers.garbage import collectors
from miren.controllers.remains import DELETABLE
from miren.entities.client import Propagation
from miren.entities.deleting import FOREGROUND, ORPHAN
from miren.entities.entity import Entity
from miren.entities.gen import Project
from miren.entities.store.api import Bookmark, KeyRange, Revision, Store
from miren.entities.store.memory import MemoryStore
from miren.reconcile.engine import Engine
from tests.builders import Greeting, make_greeting, owned_by, owners
from tests.controllers.relations import (
    KEEP,
    Land,
    Leaf,
    Tree,
    collecting,
    garden,
    grow,
    let_go,
    make_client,
    names,
    settle,
)
from tests.reconcile.greeters import Greeter
from tests.reconcile.virtual import date, virtually
from tests.stores import Around, Counting, Racing


@virtually
async def test_dependents_of_every_depth_and_kind_follow_their_owner() -> None:
    async with garden() as (client, engine):
        await grow(client, Tree.new("a"), Leaf.new("b"), Tree.new("c"))
        await client.create(Tree.new("other"))
        await engine.run_until_idle()
        before = await client.revision()
        await settle()
        assert await client.revision() == before, "while owners live nothing is written"
        await client.delete(Tree, "a")
        assert await client.get(Tree, "a", default=None) is None, "the owner does not wait"
        await engine.run_until_idle()
        assert await names(client) == ["tree/other"]


@virtually
async def test_an_owner_that_is_in_the_cache_is_not_read() -> None:
    async with MemoryStore() as store:
        client = make_client(store)
        await grow(client, Tree.new("a"), Tree.new("b"))
        counting = Counting(store)
        async with collecting(make_client(counting)) as engine:
            await engine.run_until_idle()
            counting.calls.clear()
            for size in (2, 3, 4):
                await client.patch(Tree, "b", {"spec": {"size": size}})
                await settle()
            assert not counting.calls


@virtually
async def test_what_has_another_owner_only_loses_the_one_that_is_gone() -> None:
    async with garden() as (client, engine):
        a, b = await client.create(Tree.new("a")), await client.create(Leaf.new("b"))
        await client.create(owned_by(Tree.new("c"), a, b))
        await client.delete(Tree, "a")
        await engine.run_until_idle()
        await settle()
        assert (await client.get(Tree, "c")).metadata.owner_references == owners(b)
        await client.delete(Leaf, "b")
        await engine.run_until_idle()
        assert await names(client) == []


@virtually
async def test_an_owner_of_the_cluster_takes_what_it_owns_in_every_project() -> None:
    async with garden() as (client, engine):
        await client.create(Project.new("shop"))
        land = await client.create(Land.new("hill"))
        await client.create(owned_by(Tree.new("a"), land))
        await client.create(owned_by(Tree.new("a", project="shop"), land))
        await client.create(owned_by(Land.new("top"), land))
        await client.delete(Land, "hill")
        await engine.run_until_idle()
        assert await names(client, Tree, Land) == []


@virtually
async def test_the_next_of_the_same_name_is_another_owner() -> None:
    async with garden() as (client, engine):
        await grow(client, Tree.new("a"), Leaf.new("b"))
        await client.delete(Tree, "a")
        await client.create(Tree.new("a"))
        await engine.run_until_idle()
        assert await names(client) == ["tree/a"]


@virtually
async def test_owners_that_went_while_nobody_collected_are_missed_at_the_start() -> None:
    async with MemoryStore() as store:
        client = make_client(store)
        await grow(client, Tree.new("a"), Leaf.new("b"), Tree.new("c"))
        await client.delete(Tree, "a")
        held = await client.create(Tree.new("d").with_metadata(finalizers=(KEEP,)))
        await client.create(owned_by(Leaf.new("e"), held))
        await client.delete(Tree, "d", propagation=Propagation.FOREGROUND)
        await let_go(client, Tree, "d")
        async with collecting(client) as engine:
            await engine.run_until_idle()
            assert await names(client) == []


class Blind(Around):
    """Tells nothing of trees for a while, and then that it has forgotten."""

    def __init__(self, inner: Store) -> None:
        super().__init__(inner)
        self.sees = asyncio.Event()

    @asynccontextmanager
    async def watch(
        self, range: KeyRange, *, after: int
    ) -> AsyncIterator[AsyncIterator[Revision | Bookmark]]:
        if "/Tree/" in range.start and not self.sees.is_set():
            yield self._nothing()
            return
        async with self.inner.watch(range, after=after) as changes:
            yield changes

    async def _nothing(self) -> AsyncGenerator[Revision | Bookmark, None]:
        while not self.sees.is_set():
            yield Bookmark(0)
            await self.sees.wait()
        raise Compacted("it was too long ago", oldest=1)


@virtually
async def test_an_owner_that_no_cache_ever_showed_is_missed_too() -> None:
    async with MemoryStore() as store:
        client, blind = make_client(store), Blind(store)
        async with collecting(make_client(blind)):
            await grow(client, Tree.new("a"), Leaf.new("b"))
            await settle()
            await client.delete(Tree, "a")
            blind.sees.set()
            await settle()
            assert await names(client) == []


@virtually
async def test_foreground_takes_the_deepest_first_and_the_owner_last() -> None:
    async with garden() as (client, engine):
        keep = {"finalizers": (KEEP,)}
        _, b = await grow(client, Tree.new("a"), Leaf.new("b"))
        await client.create(owned_by(Tree.new("c"), b).with_metadata(**keep))
        await engine.run_until_idle()
        await client.delete(Tree, "a", propagation=Propagation.FOREGROUND)
        await settle()
        for kind, name, holds in ((Tree, "a", FOREGROUND), (Leaf, "b", FOREGROUND)):
            entity: Entity[Any, Any] = await client.get(kind, name)
            assert entity.is_deleting
            assert entity.metadata.finalizers == (holds,)
        told = (await client.get(Tree, "a")).condition(DELETABLE)
        assert told is not None
        assert (told.status, told.reason) == ("False", "DependentsLeft")
        assert told.message == "waits for leaf/b (held by miren.dev/foreground)"
        before = await client.revision()
        await settle()
        assert await client.revision() == before, "waiting writes nothing"
        await let_go(client, Tree, "c")
        await engine.run_until_idle()
        assert await names(client) == []


@virtually
async def test_foreground_spares_what_somebody_else_owns_too() -> None:
    async with garden() as (client, engine):
        a, b = await client.create(Tree.new("a")), await client.create(Tree.new("b"))
        await client.create(owned_by(Leaf.new("c"), a, b))
        await engine.run_until_idle()
        await client.delete(Tree, "a", propagation=Propagation.FOREGROUND)
        await engine.run_until_idle()
        await settle()
        assert await names(client) == ["tree/b", "leaf/c"]
        assert (await client.get(Leaf, "c")).metadata.owner_references == owners(b)


@virtually
async def test_what_both_owners_wait_for_goes() -> None:
    async with MemoryStore() as store:
        client = make_client(store)
        a, b = await client.create(Tree.new("a")), await client.create(Tree.new("b"))
        await client.create(owned_by(Leaf.new("c"), a, b))
        for name in ("a", "b"):
            await client.delete(Tree, name, propagation=Propagation.FOREGROUND)
        async with collecting(client):
            await settle()
            assert await names(client) == []


@virtually
async def test_orphans_stay_without_the_owner() -> None:
    async with garden() as (client, engine):
        await grow(client, Tree.new("a"), Leaf.new("b"), Tree.new("c"))
        await engine.run_until_idle()
        held = await client.delete(Tree, "a", propagation=Propagation.ORPHAN)
        assert held.metadata.finalizers == (ORPHAN,)
        await engine.run_until_idle()
        await settle()
        assert await names(client) == ["tree/c", "leaf/b"]
        assert (await client.get(Leaf, "b")).metadata.owner_references == ()
        assert len((await client.get(Tree, "c")).metadata.owner_references) == 1


@virtually
async def test_who_asks_for_orphans_gets_them_whatever_else_is_asked_for() -> None:
    async with MemoryStore() as store:
        client = make_client(store)
        a = await client.create(Tree.new("a").with_metadata(finalizers=(KEEP,)))
        await client.create(owned_by(Leaf.new("b"), a))
        for how in (Propagation.BACKGROUND, Propagation.FOREGROUND, Propagation.ORPHAN):
            await client.delete(Tree, "a", propagation=how)
        await let_go(client, Tree, "a")
        async with collecting(client):
            await settle()
            assert await names(client) == ["leaf/b"]


@virtually
async def test_finalizers_of_others_outlast_ours_and_what_was_said_is_taken_back() -> None:
    async with garden() as (client, _):
        a = await client.create(Tree.new("a").with_metadata(finalizers=(KEEP,)))
        await client.create(owned_by(Leaf.new("b"), a).with_metadata(finalizers=(KEEP,)))
        await client.delete(Tree, "a", propagation=Propagation.FOREGROUND)
        await settle()
        assert (await client.get(Tree, "a")).metadata.finalizers == (KEEP, FOREGROUND)
        await let_go(client, Leaf, "b")
        await settle()
        left = await client.get(Tree, "a")
        assert left.metadata.finalizers == (KEEP,)
        told = left.condition(DELETABLE)
        assert told is not None
        assert told.status == "True"


@virtually
async def test_nothing_is_deleted_that_was_given_to_a_living_owner_meanwhile() -> None:
    async with MemoryStore() as store:
        client = make_client(store)
        _, b = await grow(client, Tree.new("a"), Leaf.new("b"))
        new = await client.create(Tree.new("new"))
        await client.delete(Tree, "a")
        racing = Racing(store)

        async def adopt() -> None:
            await client.update(owned_by(b, new))

        racing.before_write = adopt
        async with collecting(make_client(racing)):
            await settle()
            assert await names(client) == ["tree/new", "leaf/b"]


@virtually
async def test_whoever_embeds_an_engine_has_a_collector_with_one_word() -> None:
    async with Engine(MemoryStore(), [Greeter()], across=collectors, now=date) as engine:
        client = engine.client
        first = await client.create(make_greeting("first"))
        await client.create(owned_by(make_greeting("second"), first))
        await engine.run_until_idle()
        await client.delete(Greeting, "first")
        await engine.run_until_idle()
        assert (await client.list(Greeting)).items == ()
