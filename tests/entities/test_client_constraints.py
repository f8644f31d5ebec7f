from __future__ import annotations

import asyncio

import pytest

from miren.base.errors import Duplicate, InvalidInput, MissingRef
from miren.entities.store_client import StoreClient
from tests.builders import Parcel, Room, Stamp, make_parcel
from tests.stores import keys_in


async def test_a_unique_value_is_taken_once_in_a_project(client: StoreClient) -> None:
    await client.create(make_parcel("a", code="x"))
    with pytest.raises(Duplicate, match=r"spec.code 'x' is taken by another parcel"):
        await client.create(make_parcel("b", code="x"))
    await client.in_project("shop").create(make_parcel("c", code="x"))
    await client.create(make_parcel("d", code="y"))
    with pytest.raises(Duplicate):
        await client.patch(Parcel, "d", {"spec": {"code": "x"}})
    assert (await client.get(Parcel, "d")).spec.code == "y"


async def test_values_that_look_alike_are_different_values(client: StoreClient) -> None:
    alike = ["", "_", "%5F", "%5f", "a/b", "a%2Fb", "#", "x" * 128, "x" * 129]
    for number, code in enumerate(alike):
        await client.create(make_parcel(f"p{number}", code=code))


async def test_a_unique_value_is_free_again_when_its_holder_lets_go(client: StoreClient) -> None:
    await client.create(make_parcel("a", code="x"))
    await client.patch(Parcel, "a", {"spec": {"code": "y"}})
    await client.create(make_parcel("b", code="x"))
    await client.delete(Parcel, "b")
    await client.patch(Parcel, "a", {"spec": {"code": "x"}})


async def test_a_value_unique_in_the_cluster_is_taken_once(client: StoreClient) -> None:
    await client.create(Stamp.new("red", number="7"))
    with pytest.raises(Duplicate, match=r"spec.number '7' is taken by another stamp"):
        await client.create(Stamp.new("blue", number="7"))


async def test_of_many_who_want_a_unique_value_at_once_one_gets_it(client: StoreClient) -> None:
    wishes = [client.create(make_parcel(f"p{number}", code="x")) for number in range(5)]
    results = await asyncio.gather(*wishes, return_exceptions=True)
    assert sum(isinstance(result, Duplicate) for result in results) == 4


async def test_an_immutable_value_is_set_once(client: StoreClient) -> None:
    await client.create(make_parcel())
    await client.patch(Parcel, "box", {"spec": {"sender": "me"}})
    for patch in ({"spec": {"sender": "you"}}, {"spec": {"sender": None}}):
        with pytest.raises(InvalidInput, match="cannot change from me: it is immutable") as caught:
            await client.patch(Parcel, "box", patch)
        assert caught.value.problems[0].dotted() == "spec.sender"
    await client.patch(Parcel, "box", {"spec": {"weight": 2}})


async def test_a_reference_needs_its_target(client: StoreClient) -> None:
    await client.create(Room.new("hall"))
    await client.in_project("shop").create(Room.new("store"))
    await client.create(make_parcel("a", rooms=["hall", "shop/store"]))
    with pytest.raises(MissingRef) as caught:
        await client.create(make_parcel("b", rooms=["hall", "attic", "shop/hall"]))
    assert str(caught.value).splitlines() == [
        "spec.rooms: no room 'attic'",
        "spec.rooms: no room 'shop/hall'",
    ]
    assert await client.get(Parcel, "b", default=None) is None


async def test_a_reference_that_was_there_before_is_not_asked_again(client: StoreClient) -> None:
    await client.create(Room.new("hall"))
    await client.create(make_parcel(rooms=["hall"]))
    await client.delete(Room, "hall")
    await client.patch(Parcel, "box", {"spec": {"weight": 2}})
    with pytest.raises(MissingRef):
        await client.create(make_parcel("other", rooms=["hall"]))


async def test_index_entries_come_and_go_with_the_values(client: StoreClient) -> None:
    for room in ("attic", "hall"):
        await client.create(Room.new(room))
    index = "/i/example.dev/Parcel/"
    made = await client.create(make_parcel(rooms=["hall"]))
    assert await keys_in(client.store, index) == [
        f"{index}spec.rooms/hall/default/box",
        f"{index}status.place/_/default/box",
    ]
    entity = await client.store.get(f"{index}spec.rooms/hall/default/box")
    assert entity is not None
    assert (entity.value, entity.mod_revision) == (made.uid.encode(), made.revision)
    await client.patch(Parcel, "box", {"spec": {"rooms": ["attic"]}})
    now = await client.get(Parcel, "box")
    placed = now.status.model_copy(update={"place": "shelf"})
    await client.update_status(now.with_status(placed))
    assert await keys_in(client.store, index) == [
        f"{index}spec.rooms/attic/default/box",
        f"{index}status.place/shelf/default/box",
    ]
    await client.delete(Parcel, "box")
    assert await keys_in(client.store, index) == []


async def test_too_many_indexed_values_are_refused(client: StoreClient) -> None:
    rooms = [f"r{number}" for number in range(101)]
    with pytest.raises(InvalidInput, match="at most 100 are kept"):
        await client.create(make_parcel(rooms=rooms))


async def test_a_dry_run_finds_what_the_write_would_find(client: StoreClient) -> None:
    await client.create(make_parcel("a", code="x"))
    with pytest.raises(Duplicate):
        await client.create(make_parcel("b", code="x"), dry_run=True)
    with pytest.raises(MissingRef):
        await client.create(make_parcel("b", rooms=["attic"]), dry_run=True)
