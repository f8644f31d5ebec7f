"""Who may own an entity, and what `owner: true` references make of that."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from miren.base.errors import Conflict, InvalidInput, MissingRef
from miren.entities.entity import Entity, OwnerReference
from miren.entities.gen import Project
from miren.entities.kinds import Kinds, Scope
from miren.entities.model import Model, Ref, field
from miren.entities.store.api import KeyRange, Store
from miren.entities.store_client import StoreClient
from tests.builders import owned_by
from tests.stores import Racing


class BoxSpec(Model):
    size: int = 1


class BoxStatus(Model):
    pass


class Box(Entity[BoxSpec, BoxStatus], api="owners.dev/v1", plural="boxes"):
    """Owns and is owned."""


class Hall(Entity[BoxSpec, BoxStatus], api="owners.dev/v1", scope=Scope.CLUSTER):
    """Belongs to the cluster."""


class LidSpec(Model):
    box: Ref[Box] | None = field(default=None, to=("Box",), owner=True)
    hall: Ref[Hall] | None = field(default=None, to=("Hall",), owner=True)
    color: str = "red"


class Lid(Entity[LidSpec, BoxStatus], api="owners.dev/v1"):
    """Is owned by what it refers to."""


@pytest.fixture
async def client(store: Store) -> StoreClient:
    client = StoreClient(store=store, kinds=Kinds((Box, Hall, Lid, Project)))
    await client.create(Project.new("shop"))
    return client


def owner(entity: Entity[Any, Any], **changed: str) -> OwnerReference:
    return OwnerReference.of(entity).model_copy(update=changed)


def names(entity: Entity[Any, Any]) -> list[str]:
    return [each.name for each in entity.metadata.owner_references]


async def dependents(client: StoreClient, entity: Entity[Any, Any]) -> list[str]:
    return [str(each) for each in await client.dependents(entity.uid)]


async def test_an_owner_knows_its_dependents_of_every_kind_and_project(
    client: StoreClient,
) -> None:
    hall, box = await client.create(Hall.new("hall")), await client.create(Box.new("box"))
    await client.create(owned_by(Box.new("inner"), hall, box))
    await client.create(owned_by(Box.new("far", project="shop"), hall))
    await client.create(owned_by(Hall.new("annex"), hall))
    assert await dependents(client, hall) == ["box/inner", "box/shop/far", "hall/annex"]
    assert await dependents(client, box) == ["box/inner"]
    await client.delete(Box, "inner")
    assert await dependents(client, box) == []


async def test_an_owner_must_exist_with_that_very_uid(client: StoreClient) -> None:
    box = await client.create(Box.new("box"))
    for wrong in (owner(box, uid="other"), owner(box, name="none"), owner(box, kind="Lid")):
        new = Box.new("new").with_metadata(owner_references=(wrong,))
        with pytest.raises(MissingRef, match=r"owner .* with uid .* does not exist in project"):
            await client.create(new)
    assert await client.get(Box, "new", default=None) is None
    made = await client.create(Box.new("new"))
    with pytest.raises(MissingRef):
        await client.update(made.with_metadata(owner_references=(owner(box, uid="other"),)))
    assert await client.get(Box, "new") == made


async def test_an_owner_of_an_unknown_kind_is_refused(client: StoreClient) -> None:
    box = await client.create(Box.new("box"))
    new = Box.new("new").with_metadata(owner_references=(owner(box, kind="Bax"),))
    with pytest.raises(InvalidInput, match="unknown kind 'Bax'"):
        await client.create(new)


async def test_an_owner_is_in_the_same_project_or_belongs_to_the_cluster(
    client: StoreClient,
) -> None:
    box = await client.create(Box.new("box"))
    with pytest.raises(MissingRef, match="does not exist in project 'shop'") as caught:
        await client.create(owned_by(Box.new("far", project="shop"), box))
    assert caught.value.hint == "an owner is in the same project, or belongs to the cluster"
    with pytest.raises(InvalidInput, match="nothing in a project can own it"):
        await client.create(owned_by(Hall.new("hall"), box))


async def test_an_owner_that_is_gone_stays_in_what_was_written_before(
    client: StoreClient,
) -> None:
    box = await client.create(Box.new("box"))
    await client.create(owned_by(Lid.new("lid"), box))
    await client.delete(Box, "box")
    lid = await client.patch(Lid, "lid", {"spec": {"color": "blue"}})
    assert names(lid) == ["box"]
    assert await dependents(client, box) == ["lid/lid"]


async def test_nobody_owns_itself(client: StoreClient) -> None:
    box = await client.create(Box.new("box"))
    with pytest.raises(InvalidInput, match="box/box would own itself, through box/box"):
        await client.update(owned_by(box, box))


@pytest.mark.parametrize("length", [2, 3, 5])
async def test_a_circle_is_not_closed(client: StoreClient, length: int) -> None:
    first = above = await client.create(Box.new("b0"))
    for number in range(1, length):
        above = await client.create(owned_by(Box.new(f"b{number}"), above))
    told = f"box/b0 would own itself, through box/b{length - 1}"
    with pytest.raises(InvalidInput, match=told):
        await client.update(owned_by(first, above))
    document = owner(above).model_dump(mode="json")
    with pytest.raises(InvalidInput, match=told):
        await client.patch(Box, "b0", {"metadata": {"ownerReferences": [document]}})
    assert names(await client.get(Box, "b0")) == []


async def test_of_two_who_would_close_a_circle_together_at_most_one_does(
    client: StoreClient,
) -> None:
    for number in range(10):
        first, second = [await client.create(Box.new(f"{name}{number}")) for name in "ab"]
        results = await asyncio.gather(
            client.update(owned_by(first, second)),
            client.update(owned_by(second, first)),
            return_exceptions=True,
        )
        assert all(isinstance(result, Box | Conflict | InvalidInput) for result in results)
        assert sum(isinstance(result, Box) for result in results) == 1


async def test_what_was_seen_above_a_new_owner_still_holds_when_it_is_written(
    client: StoreClient,
) -> None:
    a, b, c = [await client.create(Box.new(name)) for name in "abc"]
    store = Racing(client.store)
    racing = StoreClient(store=store, kinds=client.kinds)
    store.before_write = lambda: client.update(owned_by(b, a))
    with pytest.raises((Conflict, InvalidInput)):
        await racing.update(owned_by(a, b))
    await client.update(owned_by(await client.get(Box, "b"), c))
    store.before_write = lambda: client.update(owned_by(c, a))
    with pytest.raises((Conflict, InvalidInput)):
        await racing.update(owned_by(a, b))
    assert names(await client.get(Box, "a")) == []


async def test_a_chain_has_an_end(client: StoreClient) -> None:
    above = await client.create(Box.new("b0"))
    for number in range(1, 34):
        above = await client.create(owned_by(Box.new(f"b{number}"), above))
    lone = await client.create(Box.new("lone"))
    with pytest.raises(InvalidInput, match="more than 32 owners above box/b33"):
        await client.update(owned_by(lone, above))


async def test_an_owner_that_goes_between_the_read_and_the_write_is_missed(
    client: StoreClient,
) -> None:
    box = await client.create(Box.new("box"))
    store = Racing(client.store)
    racing = StoreClient(store=store, kinds=client.kinds)
    store.before_write = lambda: client.delete(Box, "box")
    with pytest.raises(MissingRef, match="owner box/box does not exist any more"):
        await racing.create(owned_by(Lid.new("lid"), box))

    async def replaced() -> None:
        await client.delete(Box, "box")
        await client.create(Box.new("box"))

    box = await client.create(Box.new("box"))
    store.before_write = replaced
    with pytest.raises(MissingRef, match="owner box/box does not exist any more"):
        await racing.create(owned_by(Lid.new("lid"), box))
    assert await client.get(Lid, "lid", default=None) is None


async def test_a_change_of_the_owner_meanwhile_is_no_matter(client: StoreClient) -> None:
    box = await client.create(Box.new("box"))
    store = Racing(client.store)
    racing = StoreClient(store=store, kinds=client.kinds)
    store.before_write = lambda: client.patch(Box, "box", {"spec": {"size": 2}})
    await racing.create(owned_by(Lid.new("lid"), box))
    assert await dependents(client, box) == ["lid/lid"]


async def test_an_owning_reference_writes_replaces_and_removes_the_owner(
    client: StoreClient,
) -> None:
    one, two = [await client.create(Box.new(name)) for name in ("one", "two")]
    hall, extra = await client.create(Hall.new("hall")), await client.create(Box.new("extra"))
    lid = await client.create(Lid.new("lid", box="one"))
    assert lid.metadata.owner_references == (owner(one),)
    lid = await client.update(lid.with_metadata(owner_references=(owner(one), owner(extra))))
    lid = await client.patch(Lid, "lid", {"spec": {"box": "two", "hall": "hall"}})
    assert lid.metadata.owner_references == (owner(extra), owner(two), owner(hall))
    assert await dependents(client, one) == []
    lid = await client.patch(Lid, "lid", {"spec": {"color": "blue"}})
    assert names(lid) == ["extra", "two", "hall"]
    lid = await client.patch(Lid, "lid", {"spec": {"box": None, "hall": None}})
    assert lid.metadata.owner_references == (owner(extra),)
    page = await client.store.list(KeyRange.prefix("/o/"), keys_only=True)
    assert len(page.items) == 1


async def test_an_owning_reference_counts_in_apply_too(client: StoreClient) -> None:
    one, two = [await client.create(Box.new(name)) for name in ("one", "two")]
    for box in (one, two, two):
        lid = await client.apply(Lid.partial("lid", box=box.name), manager="ci")
        assert lid.metadata.owner_references == (owner(box),)
    lid = await client.apply(Lid.partial("lid"), manager="ci")
    assert lid.metadata.owner_references == ()


async def test_who_is_the_owner_already_is_not_added_again(client: StoreClient) -> None:
    box = await client.create(Box.new("box"))
    lid = await client.create(owned_by(Lid.new("lid", box="box"), box))
    assert names(lid) == ["box"]


async def test_an_owning_reference_to_nothing_is_a_missing_reference(
    client: StoreClient,
) -> None:
    with pytest.raises(MissingRef, match=r"spec.box: no box 'none'"):
        await client.create(Lid.new("lid", box="none"))


async def test_an_owning_reference_into_another_project_is_refused(client: StoreClient) -> None:
    await client.in_project("shop").create(Box.new("far"))
    with pytest.raises(MissingRef, match=r"owner box/far .* not exist in project 'default'"):
        await client.create(Lid.new("lid", box="shop/far"))
