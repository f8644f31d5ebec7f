"""References seen from their targets: who refers, what that means when the target goes."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from miren.base.errors import InvalidInput, MissingRef, Refused
from miren.entities.client import Added, Bookmark, Deleted, Left, Modified, Selection, Target
from miren.entities.deleting import UNSET
from miren.entities.entity import Entity
from miren.entities.gen import Project
from miren.entities.kinds import Kinds, Scope
from miren.entities.model import Map, Model, Ref, field
from miren.entities.store.api import Store
from miren.entities.store_client import StoreClient
from tests.stores import Racing, keys_in

KEEP = "references.dev/keep"


class ThingSpec(Model):
    size: int = 1


class ThingStatus(Model):
    pass


class Room(Entity[ThingSpec, ThingStatus], api="references.dev/v1"):
    """Is referred to."""


class Hall(Entity[ThingSpec, ThingStatus], api="references.dev/v1", scope=Scope.CLUSTER):
    """Is referred to, and belongs to the cluster."""


class Stop(Model):
    room: Ref[Room] | None = field(default=None, to=("Room",), tags=("route",))


class GuestSpec(Model):
    sleeps: Ref[Room] | None = field(default=None, to=("Room",), on_delete="restrict")
    eats: Ref[Room] | None = field(default=None, to=("Room",), on_delete="unset", tags=("day",))
    likes: tuple[Ref[Room], ...] = field(default=(), to=("Room",), tags=("day", "taste"))
    keys: Map[Ref[Room]] = field(default={}, to=("Room",), tags=("key",))
    stops: tuple[Stop, ...] = ()
    meets: Ref[Any] | None = field(default=None, to=("Room", "Hall"))
    sees: tuple[Ref[Any], ...] = ()


class Guest(Entity[GuestSpec, ThingStatus], api="references.dev/v1"):
    """Refers in every way."""


class Plan(Entity[GuestSpec, ThingStatus], api="references.dev/v1"):
    """Refers too."""


@pytest.fixture
async def client(store: Store) -> StoreClient:
    client = StoreClient(store=store, kinds=Kinds((Room, Hall, Guest, Plan, Project)))
    await client.create(Project.new("shop"))
    for name in ("attic", "cellar"):
        await client.create(Room.new(name))
    await client.create(Room.new("attic", project="shop"))
    await client.create(Hall.new("great"))
    return client


async def referrers(client: StoreClient, name: str, **rest: Any) -> list[str]:
    found = await client.referrers(Room, name, **rest)
    return [f"{each} {each.attribute}" for each in found]


async def test_who_refers_is_known_by_kind_attribute_and_tag(client: StoreClient) -> None:
    await client.create(Guest.new("ann", sleeps="attic", likes=["attic", "cellar"]))
    await client.create(Plan.new("tour", keys={"a": "attic"}, stops=[{"room": "attic"}]))
    await client.create(Guest.new("bob", project="shop", likes=["attic", "default/attic"]))
    assert sorted(await referrers(client, "attic")) == [
        "guest/ann spec.likes",
        "guest/ann spec.sleeps",
        "guest/shop/bob spec.likes",
        "plan/tour spec.keys",
        "plan/tour spec.stops.room",
    ]
    assert await referrers(client, "attic", project="shop") == ["guest/shop/bob spec.likes"]
    assert await referrers(client, "attic", tag="route") == ["plan/tour spec.stops.room"]
    assert await referrers(client, "attic", tag="day") == [
        "guest/ann spec.likes",
        "guest/shop/bob spec.likes",
    ]
    assert await referrers(client, "attic", tag="nobody") == []
    assert await referrers(client, "nowhere") == []


async def test_a_reference_is_forgotten_with_the_value_and_with_the_referrer(
    client: StoreClient,
) -> None:
    await client.create(Guest.new("ann", likes=["attic", "cellar"], keys={"k": "attic"}))
    await client.patch(Guest, "ann", {"spec": {"likes": ["cellar"], "keys": {"k": None}}})
    assert await referrers(client, "attic") == []
    assert await referrers(client, "cellar") == ["guest/ann spec.likes"]
    await client.delete(Guest, "ann")
    assert len(await keys_in(client.store, "/r/")) == 0


async def test_references_in_maps_and_lists_need_their_targets(client: StoreClient) -> None:
    with pytest.raises(MissingRef) as caught:
        await client.create(
            Guest.new("ann", likes=["none1"], keys={"k": "none2"}, stops=[{"room": "none3"}])
        )
    assert sorted(caught.value.message.splitlines()) == [
        "spec.keys: no room 'none2'",
        "spec.likes: no room 'none1'",
        "spec.stops.room: no room 'none3'",
    ]


async def test_a_target_that_goes_between_the_read_and_the_write_is_missed(
    client: StoreClient,
) -> None:
    store = Racing(client.store)
    store.before_write = lambda: client.delete(Room, "attic")
    with pytest.raises(MissingRef, match=r"spec\.eats: no room 'attic'"):
        await StoreClient(store=store, kinds=client.kinds).create(Guest.new("ann", eats="attic"))


async def test_a_reference_to_several_kinds_begins_with_one_of_them(client: StoreClient) -> None:
    for number, text in enumerate(
        ("room/attic", "rooms/attic", "room/shop/attic", "hall/great", "Room/attic")
    ):
        await client.create(Guest.new(f"g{number}", meets=text))
    assert await referrers(client, "attic") == [
        f"guest/g{number} spec.meets" for number in (0, 1, 4)
    ]
    found = await client.referrers(Hall, "great")
    assert [str(each) for each in found] == ["guest/g3"]
    for text in ("attic", "rom/attic", "guest/g0", "shop/attic", "hall"):
        with pytest.raises(InvalidInput) as caught:
            await client.create(Guest.new("wrong", meets=text))
        (problem,) = caught.value.problems
        assert problem.dotted() == "spec.meets"
        assert problem.message == f"{text!r} names no kind: write room/<name>, hall/<name>"
    for text in ("room/none", "hall/attic", "room/shop/cellar"):
        with pytest.raises(MissingRef, match=r"spec\.meets: no (room|hall)"):
            await client.create(Guest.new("wrong", meets=text))


async def test_a_reference_to_one_kind_has_a_project_and_a_name_at_most(
    client: StoreClient,
) -> None:
    with pytest.raises(InvalidInput, match="must be '<name>' or '<project>/<name>'"):
        await client.create(Guest.new("ann", eats="room/shop/attic"))


async def test_a_reference_to_anything_is_checked_where_its_kind_is_known(
    client: StoreClient,
) -> None:
    await client.create(Guest.new("ann", sees=["room/attic", "hall/great", "moon/full"]))
    assert await referrers(client, "attic") == ["guest/ann spec.sees"]
    assert len(await keys_in(client.store, "/r/")) == 2
    with pytest.raises(MissingRef, match=r"spec\.sees: no guest 'guest/none'"):
        await client.create(Guest.new("bob", sees=["guest/ann", "guest/none"]))


async def test_what_restricts_refuses_the_deletion_and_says_who(client: StoreClient) -> None:
    for name in ("ann", "bob"):
        await client.create(Guest.new(name, sleeps="attic", likes=["attic"]))
    before = await client.revision()
    for dry_run in (True, False):
        with pytest.raises(Refused) as caught:
            await client.delete(Room, "attic", dry_run=dry_run)
        assert caught.value.message == "room/attic is in use by guest/ann, guest/bob"
        assert caught.value.hint == "delete these first, or let them refer to something else"
    assert await client.revision() == before
    await client.delete(Guest, "ann")
    await client.patch(Guest, "bob", {"spec": {"sleeps": None}})
    await client.delete(Room, "attic")
    assert await client.get(Room, "attic", default=None) is None


async def test_of_many_who_restrict_the_first_are_told(client: StoreClient) -> None:
    for number in range(7):
        await client.create(Guest.new(f"g{number}", sleeps="attic"))
    with pytest.raises(Refused, match=r"in use by guest/g0, .*, guest/g4 and 2 more$"):
        await client.delete(Room, "attic")


async def test_a_deletion_and_a_new_reference_that_restricts_do_not_both_happen(
    client: StoreClient,
) -> None:
    store = Racing(client.store)
    racing = StoreClient(store=store, kinds=client.kinds)
    store.before_write = lambda: client.create(Guest.new("ann", sleeps="attic"))
    with pytest.raises(Refused, match="in use by guest/ann"):
        await racing.delete(Room, "attic")
    for number in range(10):
        await client.create(Room.new(f"r{number}"))
        await asyncio.gather(
            client.delete(Room, f"r{number}"),
            client.create(Guest.new(f"g{number}", sleeps=f"r{number}")),
            return_exceptions=True,
        )
        room = await client.get(Room, f"r{number}", default=None)
        guest = await client.get(Guest, f"g{number}", default=None)
        assert room is not None or guest is None


async def test_what_restricts_holds_at_the_last_finalizer_too(client: StoreClient) -> None:
    den = await client.create(Room.new("den").with_metadata(finalizers=(KEEP,)))
    held = await client.delete(Room, den.name)
    # It is still there, so it can still be referred to.
    await client.create(Guest.new("ann", sleeps="den"))
    with pytest.raises(Refused, match="room/den is in use by guest/ann"):
        await client.update(held.with_metadata(finalizers=()))
    assert (await client.get(Room, "den")).metadata.finalizers == (KEEP,)
    await client.delete(Guest, "ann")
    await client.update(held.with_metadata(finalizers=()))
    assert await client.get(Room, "den", default=None) is None


async def test_what_is_unset_first_holds_the_target_until_it_is(client: StoreClient) -> None:
    await client.create(Guest.new("ann", eats="attic"))
    held = await client.delete(Room, "attic")
    assert held.is_deleting
    assert held.metadata.finalizers == (UNSET,)
    assert await client.get(Room, "attic") == held
    again = await client.update(held.with_metadata(finalizers=()))
    assert again.metadata.finalizers == (UNSET,), "somebody still refers to it"
    await client.patch(Guest, "ann", {"spec": {"eats": None}})
    await client.update(held.with_metadata(finalizers=()))
    assert await client.get(Room, "attic", default=None) is None


async def test_what_is_unset_holds_at_the_last_finalizer_too(client: StoreClient) -> None:
    den = await client.create(Room.new("den").with_metadata(finalizers=(KEEP,)))
    await client.create(Guest.new("ann", eats="den"))
    held = await client.delete(Room, den.name)
    assert held.metadata.finalizers == (KEEP,)
    held = await client.update(held.with_metadata(finalizers=()))
    assert held.metadata.finalizers == (UNSET,)


async def test_a_reference_without_a_rule_holds_nobody(client: StoreClient) -> None:
    await client.create(Guest.new("ann", likes=["attic"], meets="room/attic"))
    await client.delete(Room, "attic")
    assert await client.get(Room, "attic", default=None) is None
    assert (await client.get(Guest, "ann")).spec.likes == ("attic",)


# -- selecting -----------------------------------------------------------------------------

ATTIC = Target(Room, "attic")


async def listed(client: StoreClient, selection: Selection) -> list[str]:
    return [guest.name for guest in (await client.list(Guest, selection)).items]


async def test_a_selection_of_who_refers(client: StoreClient) -> None:
    await client.create(Guest.new("ann", likes=["attic"], eats="attic", labels={"a": "b"}))
    await client.create(Guest.new("bob", stops=[{"room": "attic"}], keys={"k": "cellar"}))
    await client.create(Guest.new("cat", meets="room/attic"))
    await client.create(Guest.new("dan", likes=["cellar"]))
    await client.create(Guest.new("eve", project="shop", likes=["attic", "default/attic"]))
    await client.create(Plan.new("tour", likes=["attic"]))
    select = Selection(refers_to=ATTIC)
    assert sorted(await listed(client, select)) == ["ann", "bob", "cat", "eve"]
    here = Selection(project="default", refers_to=ATTIC)
    assert sorted(await listed(client, here)) == ["ann", "bob", "cat"]
    assert await listed(client, Selection(refers_to=ATTIC, tag="route")) == ["bob"]
    assert sorted(await listed(client, Selection(refers_to=ATTIC, tag="day"))) == ["ann", "eve"]
    assert await listed(client, Selection(refers_to=ATTIC, labels="a=b")) == ["ann"]
    far = Target(Room, "attic", project="shop")
    assert await listed(client, Selection(refers_to=far)) == ["eve"]
    in_shop = client.in_project("shop")
    assert await listed(in_shop, select) == ["eve"], (
        "a target without a project is in the client's"
    )


async def test_pages_of_who_refers_show_each_once_and_one_revision(client: StoreClient) -> None:
    for number in range(7):
        await client.create(Guest.new(f"g{number}", likes=["attic"], keys={"k": "attic"}))
    select, found, token = Selection(refers_to=ATTIC), [], ""
    while True:
        page = await client.list(Guest, select, limit=2, token=token)
        found += [guest.name for guest in page.items]
        token = page.token
        if not token:
            break
        if len(found) == 2:
            await client.delete(Guest, "g6")
    assert sorted(found) == [f"g{number}" for number in range(7)]
    first = await client.list(Guest, select, limit=2)
    other = Selection(refers_to=Target(Room, "cellar"))
    with pytest.raises(InvalidInput):
        await client.list(Guest, other, limit=2, token=first.token)


async def test_a_watch_of_who_refers_tells_when_the_reference_moves(client: StoreClient) -> None:
    await client.create(Guest.new("ann", eats="attic"))
    after = await client.revision()
    select = Selection(project="default", refers_to=ATTIC)
    async with client.watch(Guest, select, after=after) as events, asyncio.timeout(10):
        await client.create(Guest.new("bob", eats="cellar"))
        await client.patch(Guest, "ann", {"metadata": {"labels": {"a": "b"}}})
        await client.patch(Guest, "ann", {"spec": {"eats": "cellar"}})
        await client.patch(Guest, "bob", {"spec": {"eats": "default/attic"}})
        await client.delete(Guest, "ann")
        await client.delete(Guest, "bob")
        seen: list[str] = []
        async for event in events:
            if not isinstance(event, Bookmark):
                assert isinstance(event, Added | Modified | Deleted | Left)
                seen.append(f"{type(event).__name__} {event.entity.name}")
            if event.revision == await client.revision():
                break
    assert seen == ["Modified ann", "Left ann", "Added bob", "Deleted bob"]
