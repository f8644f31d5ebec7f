"""JSON Patch, dry runs, and what a patch may not touch."""

from __future__ import annotations

from typing import Any

import pytest

from miren.base.errors import Conflict, InvalidInput
from miren.entities.store_client import StoreClient
from tests.builders import Greeting, Parcel, make_greeting, make_parcel


def op(name: str, path: str, **rest: Any) -> dict[str, Any]:
    return {"op": name, "path": path, **rest}


async def test_operations_change_what_they_name(client: StoreClient) -> None:
    await client.create(make_parcel(env={"A": "1", "B": "2"}, ports=[80]))
    patch = [
        op("replace", "/spec/weight", value=7),
        op("remove", "/spec/env/A"),
        op("add", "/spec/ports/-", value={"port": 90}),
        op("add", "/metadata/labels", value={"app": "web"}),
    ]
    changed = await client.patch(Parcel, "box", patch)
    assert (changed.spec.weight, changed.spec.env) == (7, {"B": "2"})
    assert [port.port for port in changed.spec.ports] == [80, 90]
    assert changed.metadata.labels == {"app": "web"}
    assert changed == await client.get(Parcel, "box")


async def test_what_a_patch_changes_is_its_managers(client: StoreClient) -> None:
    await client.apply(Parcel.partial("box", weight=2, env={"A": "1"}), manager="ci")
    await client.patch(Parcel, "box", [op("replace", "/spec/weight", value=3)], manager="ann")
    found = await client.managers(Parcel, "box")
    assert found == {"ci": {"/spec/env/A"}, "ann": {"/spec/weight"}}


async def test_a_test_that_does_not_hold_is_a_conflict(client: StoreClient) -> None:
    made = await client.create(make_parcel(weight=2))
    patch = [op("test", "/spec/weight", value=1), op("replace", "/spec/weight", value=3)]
    with pytest.raises(Conflict, match="operation 0: the test of /spec/weight does not hold"):
        await client.patch(Parcel, "box", patch)
    assert await client.get(Parcel, "box") == made
    patch[0]["value"] = 2
    assert (await client.patch(Parcel, "box", patch)).spec.weight == 3


@pytest.mark.parametrize(
    ("operation", "said"),
    [
        ({"op": "set", "path": "/spec/weight"}, "is no operation"),
        ({"op": "add"}, "is no operation"),
        (op("replace", "/spec/nothing/here", value=1), "nothing is there"),
        (op("remove", "/spec/ports/7"), "nothing is there"),
        (op("replace", "/spec/weight", value="x"), "must be a valid integer"),
        (op("add", "/spec/wieght", value=1), "unknown attribute"),
        (op("replace", "/metadata/name", value="other"), "cannot be patched"),
        (op("add", "/status/place", value="x"), "is written by controllers"),
        (op("replace", "/kind", value="Room"), "cannot be patched"),
        (op("remove", "/metadata/uid"), "cannot be patched"),
        (op("replace", "", value=[]), "would make it no mapping"),
    ],
    ids=str,
)
async def test_a_patch_that_cannot_be_changes_nothing(
    client: StoreClient, operation: dict[str, Any], said: str
) -> None:
    made = await client.create(make_parcel(ports=[80]))
    with pytest.raises(InvalidInput, match=said):
        await client.patch(Parcel, "box", [operation])
    assert await client.get(Parcel, "box") == made


async def test_a_dry_run_of_a_patch_returns_what_it_would_be(client: StoreClient) -> None:
    made = await client.create(make_parcel())
    shown = await client.patch(Parcel, "box", {"spec": {"weight": 9}}, dry_run=True)
    assert (shown.spec.weight, shown.metadata.generation) == (9, 2)
    assert await client.get(Parcel, "box") == made


async def test_an_entity_is_shown_as_it_was_at_a_revision(client: StoreClient) -> None:
    first = await client.create(make_greeting(text="hey"))
    second = await client.patch(Greeting, "hi", {"spec": {"text": "yo"}})
    await client.delete(Greeting, "hi")
    for was in (first, second):
        assert await client.get(Greeting, "hi", revision=was.revision) == was
    assert await client.get(Greeting, "hi", default=None) is None


async def test_many_who_patch_at_once_all_have_their_say(client: StoreClient) -> None:
    import asyncio

    await client.create(make_parcel())
    names = [f"V{number}" for number in range(5)]
    await asyncio.gather(
        *(client.patch(Parcel, "box", {"spec": {"env": {name: "x"}}}) for name in names)
    )
    assert sorted((await client.get(Parcel, "box")).spec.env) == names


async def test_an_update_rests_on_what_was_written_and_needs_no_read(client: StoreClient) -> None:
    made = await client.create(make_parcel())
    elsewhere = StoreClient(store=client.store, kinds=client.kinds)
    await elsewhere.patch(Parcel, "box", {"spec": {"weight": 5}})
    with pytest.raises(Conflict, match="has changed since it was read"):
        await client.update(made.with_spec(made.spec.model_copy(update={"weight": 3})))
    with pytest.raises(Conflict, match="has changed since it was read"):
        await client.update(made)  # even one that would change nothing
    now = await client.get(Parcel, "box")
    again = await client.update(now.with_spec(now.spec.model_copy(update={"weight": 6})))
    assert again.spec.weight == 6
