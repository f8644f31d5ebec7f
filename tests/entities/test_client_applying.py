from __future__ import annotations

import asyncio

import pytest

from miren.base.errors import Conflict, InvalidInput
from miren.entities import keys
from miren.entities.entity import OwnerReference, Partial
from miren.entities.records import Sidecar
from miren.entities.store_client import StoreClient
from tests.builders import (
    Greeting,
    GreetingSpec,
    GreetingStatus,
    Parcel,
    Room,
    make_greeting,
    make_parcel,
)
from tests.stores import Racing


async def managers(client: StoreClient, name: str = "box") -> dict[str, list[str]]:
    stored = await client.store.get(keys.sidecar_key(Parcel.kind, "default", name))
    found = Sidecar.decode(stored).managers
    return {manager: sorted(owned) for manager, owned in found.items()}


async def test_applying_creates_and_then_changes(client: StoreClient) -> None:
    made = await client.apply(Greeting.partial("hi", text="hey"), manager="ci")
    assert (made.spec.text, made.metadata.generation) == ("hey", 1)
    stored = await client.apply(Greeting.partial("hi", text="yo"), manager="ci")
    assert (stored.spec.text, stored.metadata.generation, stored.uid) == ("yo", 2, made.uid)
    assert await client.get(Greeting, "hi") == stored


async def test_applying_too_little_to_create_names_what_is_missing(client: StoreClient) -> None:
    with pytest.raises(InvalidInput, match="required attribute 'text' is missing"):
        await client.apply(Greeting.partial("hi", tone="loud"), manager="ci")


async def test_applying_the_same_again_writes_nothing(client: StoreClient) -> None:
    partial = Parcel.partial("box", weight=2, env={"A": "1"}, ports=[80], labels={"a": "b"})
    made = await client.apply(partial, manager="ci")
    before = await client.revision()
    assert await client.apply(partial, manager="ci") == made
    nothing = Parcel.partial("box")
    assert await client.apply(nothing, manager="other") == made
    assert await client.apply(nothing, manager="third") == made
    assert await client.revision() == before


async def test_two_managers_own_different_fields(client: StoreClient) -> None:
    await client.apply(Parcel.partial("box", weight=2, env={"A": "1"}), manager="one")
    await client.apply(Parcel.partial("box", code="x", env={"B": "2"}), manager="two")
    stored = await client.apply(Parcel.partial("box", weight=3, env={"A": "1"}), manager="one")
    assert (stored.spec.weight, stored.spec.code) == (3, "x")
    assert stored.spec.env == {"A": "1", "B": "2"}
    assert await managers(client) == {
        "one": ["/spec/env/A", "/spec/weight"],
        "two": ["/spec/code", "/spec/env/B"],
    }


async def test_changing_what_another_owns_is_a_conflict_that_names_it(
    client: StoreClient,
) -> None:
    made = await client.apply(
        Parcel.partial("box", weight=2, env={"A": "1"}, labels={"l": "1"}), manager="one"
    )
    wanted = Parcel.partial("box", weight=3, env={"A": "2"}, labels={"l": "2"})
    with pytest.raises(Conflict) as caught:
        await client.apply(wanted, manager="two")
    assert str(caught.value).splitlines() == [
        "/metadata/labels/l is managed by 'one'",
        "/spec/env/A is managed by 'one'",
        "/spec/weight is managed by 'one'",
    ]
    assert caught.value.hint is not None
    assert await client.get(Parcel, "box") == made


async def test_force_takes_fields_over(client: StoreClient) -> None:
    await client.apply(Parcel.partial("box", weight=2, code="x"), manager="one")
    taken = await client.apply(Parcel.partial("box", weight=3), manager="two", force=True)
    assert taken.spec.weight == 3
    assert await managers(client) == {"one": ["/spec/code"], "two": ["/spec/weight"]}
    with pytest.raises(Conflict, match="/spec/weight is managed by 'two'"):
        await client.apply(Parcel.partial("box", weight=4, code="x"), manager="one")


async def test_saying_what_another_says_shares_the_field(client: StoreClient) -> None:
    await client.apply(Parcel.partial("box", weight=2), manager="one")
    await client.apply(Parcel.partial("box", weight=2), manager="two")
    stored = await client.apply(Parcel.partial("box"), manager="one")
    assert stored.spec.weight == 2
    stored = await client.apply(Parcel.partial("box"), manager="two")
    assert stored.spec.weight == 1


async def test_what_is_no_longer_applied_is_removed(client: StoreClient) -> None:
    wrapping = {"paper": "blue", "ribbon": "green"}
    wanted = Parcel.partial("box", weight=2, env={"A": "1"}, wrapping=wrapping, labels={"l": "1"})
    await client.apply(wanted, manager="one")
    await client.apply(Parcel.partial("box", env={"B": "2"}), manager="two")
    stored = await client.apply(Parcel.partial("box"), manager="one")
    assert (stored.spec.weight, stored.spec.wrapping) == (1, None)
    assert (stored.spec.env, stored.metadata.labels) == ({"B": "2"}, {})


async def test_a_component_with_defaults_goes_whole(client: StoreClient) -> None:
    await client.apply(Parcel.partial("box", wrapping={"paper": "blue"}), manager="one")
    stored = await client.apply(Parcel.partial("box", weight=2), manager="one")
    assert stored.spec.wrapping is None


async def test_elements_of_a_keyed_list_have_managers_of_their_own(client: StoreClient) -> None:
    udp = {"port": 53, "protocol": "udp"}
    await client.apply(Parcel.partial("box", ports=[80, udp]), manager="one")
    await client.apply(Parcel.partial("box", ports=[443]), manager="two")
    with pytest.raises(Conflict, match="/spec/ports/53/protocol is managed by 'one'"):
        await client.apply(
            Parcel.partial("box", ports=[{"port": 53, "protocol": "tcp"}]), manager="two"
        )
    stored = await client.apply(Parcel.partial("box", ports=[udp]), manager="one")
    assert [port.port for port in stored.spec.ports] == [53, 443]
    stored = await client.apply(Parcel.partial("box"), manager="one")
    assert [port.port for port in stored.spec.ports] == [443]


async def test_an_element_goes_when_nobody_names_it_any_more(client: StoreClient) -> None:
    await client.create(make_parcel(ports=[{"port": 53, "protocol": "udp"}, 80]))
    await client.apply(Parcel.partial("box", ports=[53]), manager="one")
    stored = await client.apply(Parcel.partial("box"), manager="one")
    assert [port.port for port in stored.spec.ports] == [80]


async def test_a_keyed_list_follows_the_order_of_who_says_all_of_it(client: StoreClient) -> None:
    await client.apply(Parcel.partial("box", ports=[80, 443]), manager="one")
    stored = await client.apply(Parcel.partial("box", ports=[443, 80]), manager="one")
    assert [port.port for port in stored.spec.ports] == [443, 80]


async def test_elements_without_distinct_keys_are_one_field(client: StoreClient) -> None:
    twice = [{"port": 53, "protocol": "tcp"}, {"port": 53, "protocol": "udp"}]
    stored = await client.apply(Parcel.partial("box", ports=twice), manager="one")
    assert len(stored.spec.ports) == 2
    with pytest.raises(Conflict, match="/spec/ports is managed by 'one'"):
        await client.apply(Parcel.partial("box", ports=[80]), manager="two")
    assert await client.get(Parcel, "box") == stored


async def test_what_was_created_without_a_manager_is_free_to_take(client: StoreClient) -> None:
    await client.create(make_parcel(weight=2, env={"A": "1"}))
    stored = await client.apply(Parcel.partial("box", weight=3), manager="one")
    assert (stored.spec.weight, stored.spec.env) == (3, {"A": "1"})


async def test_update_and_patch_take_over_what_they_change(client: StoreClient) -> None:
    made = await client.apply(Parcel.partial("box", weight=2, env={"A": "1"}), manager="one")
    spec = made.spec.model_copy(update={"weight": 3})
    await client.update(made.with_spec(spec), manager="editor")
    await client.patch(Parcel, "box", {"spec": {"env": {"B": "2"}}}, manager="patcher")
    assert await managers(client) == {
        "editor": ["/spec/weight"],
        "one": ["/spec/env/A"],
        "patcher": ["/spec/env/B"],
    }
    with pytest.raises(Conflict, match="/spec/weight is managed by 'editor'"):
        await client.apply(Parcel.partial("box", weight=2, env={"A": "1"}), manager="one")


async def test_what_a_patch_removed_is_nobodys(client: StoreClient) -> None:
    partial = Parcel.partial("box", env={"A": "1"})
    await client.apply(partial, manager="one")
    await client.patch(Parcel, "box", {"spec": {"env": {"A": None}}})
    assert "one" not in await managers(client)
    assert (await client.apply(partial, manager="one")).spec.env == {"A": "1"}


async def test_status_cannot_be_applied_and_is_left_alone(client: StoreClient) -> None:
    made = await client.apply(Greeting.partial("hi", text="hey"), manager="ci")
    await client.update_status(made.with_status(GreetingStatus(shout="HEY")))
    stored = await client.apply(Greeting.partial("hi", text="yo"), manager="ci")
    assert stored.status.shout == "HEY"
    document = {**Greeting.partial("hi", text="yo").document, "status": {"shout": "X"}}
    with pytest.raises(InvalidInput, match="status is written by controllers"):
        await client.apply(Partial(Greeting, document), manager="ci")


async def test_owners_named_in_an_apply_are_added(client: StoreClient) -> None:
    hall = await client.create(Room.new("hall"))
    owner = OwnerReference.of(hall)
    partial = Greeting.partial("hi", text="hey")
    metadata = {"name": "hi", "ownerReferences": [owner.model_dump(mode="json")]}
    owned = Partial(Greeting, {**partial.document, "metadata": metadata})
    await client.apply(partial, manager="ci")
    assert (await client.apply(owned, manager="ci")).metadata.owner_references == (owner,)
    assert (await client.apply(partial, manager="ci")).metadata.owner_references == (owner,)
    made = await client.apply(Partial(Greeting, {**owned.document}), manager="ci")
    assert made.metadata.owner_references == (owner,)


async def test_applying_reads_again_when_another_was_faster(client: StoreClient) -> None:
    made = await client.create(make_greeting())
    store = Racing(client.store)
    racing = StoreClient(store=store, kinds=client.kinds)
    store.before_write = lambda: client.update(made.with_spec(GreetingSpec(text="faster")))
    stored = await racing.apply(Greeting.partial("hi", tone="loud"), manager="ci")
    assert (stored.spec.text, stored.spec.tone) == ("faster", "loud")
    store.before_write = lambda: client.create(make_greeting("new", text="faster"))
    stored = await racing.apply(Greeting.partial("new", text="mine", tone="loud"), manager="ci")
    assert (stored.spec.text, stored.metadata.generation) == ("mine", 2)


async def test_applies_at_once_all_count(client: StoreClient) -> None:
    applies = [
        client.apply(Parcel.partial("box", env={f"K{number}": "v"}), manager=f"m{number}")
        for number in range(5)
    ]
    await asyncio.gather(*applies)
    assert len((await client.get(Parcel, "box")).spec.env) == 5


async def test_an_element_somebody_else_has_a_part_of_stays_when_its_key_is_given_up(
    client: StoreClient,
) -> None:
    await client.apply(Parcel.partial("box", ports=[80]), manager="ci")
    udp = [{"op": "replace", "path": "/spec/ports/0/protocol", "value": "udp"}]
    await client.patch(Parcel, "box", udp, manager="ann")
    stored = await client.apply(Parcel.partial("box"), manager="ci")
    assert [(port.port, port.protocol) for port in stored.spec.ports] == [(80, "udp")]
    assert await client.managers(Parcel, "box") == {"ann": {"/spec/ports/80/protocol"}}
    assert stored == await client.get(Parcel, "box")
