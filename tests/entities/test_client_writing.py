from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from miren.base.errors import AlreadyExists, Conflict, InvalidInput, NotFound
from miren.entities.entity import Condition, ConditionStatus
from miren.entities.store_client import StoreClient
from tests.builders import (
    Greeting,
    GreetingSpec,
    GreetingStatus,
    make_greeting,
    make_parcel,
)


async def test_a_name_is_taken_once(client: StoreClient) -> None:
    first = await client.create(make_greeting())
    with pytest.raises(AlreadyExists, match="greeting/hi exists already"):
        await client.create(make_greeting(text="other"))
    assert await client.get(Greeting, "hi") == first


async def test_what_the_server_writes_cannot_be_given_on_create(client: StoreClient) -> None:
    given = make_greeting().with_metadata(uid="mine", generation=9, resource_version="9")
    made = await client.create(given.with_status(GreetingStatus(shout="no")))
    assert made.uid != "mine"
    assert (made.metadata.generation, made.status.shout) == (1, "")


async def test_ensure_creates_once_and_then_returns_what_is_there(client: StoreClient) -> None:
    made = await client.ensure(make_greeting())
    assert await client.ensure(make_greeting(text="other")) == made
    several = [client.ensure(make_greeting("many")) for _ in range(5)]
    assert len({entity.uid for entity in await asyncio.gather(*several)}) == 1


async def test_update_writes_spec_and_metadata_and_counts_the_generation(
    client: StoreClient,
) -> None:
    made = await client.create(make_greeting())
    changed = made.with_spec(GreetingSpec(text="yo")).with_metadata(labels={"a": "b"})
    stored = await client.update(changed.with_status(GreetingStatus(shout="ignored")))
    assert await client.get(Greeting, "hi") == stored
    assert (stored.spec.text, stored.metadata.labels) == ("yo", {"a": "b"})
    assert (stored.metadata.generation, stored.status.shout) == (2, "")
    labelled = await client.update(stored.with_metadata(labels={}))
    assert labelled.metadata.generation == 2


async def test_update_over_somebody_elses_change_is_a_conflict(client: StoreClient) -> None:
    made = await client.create(make_greeting())
    theirs = await client.update(made.with_spec(GreetingSpec(text="theirs")))
    with pytest.raises(Conflict, match="greeting/hi has changed since it was read"):
        await client.update(made.with_spec(GreetingSpec(text="mine")))
    with pytest.raises(Conflict):
        await client.update_status(made.with_status(GreetingStatus(shout="mine")))
    assert await client.get(Greeting, "hi") == theirs


async def test_update_of_an_entity_created_anew_is_a_conflict(client: StoreClient) -> None:
    made = await client.create(make_greeting())
    await client.delete(Greeting, "hi")
    with pytest.raises(NotFound):
        await client.update(made)
    await client.create(make_greeting())
    with pytest.raises(Conflict):
        await client.update(made)


async def test_of_two_updates_at_once_one_wins(client: StoreClient) -> None:
    made = await client.create(make_greeting())
    both = [client.update(made.with_spec(GreetingSpec(text=text))) for text in ("first", "second")]
    results = await asyncio.gather(*both, return_exceptions=True)
    assert sorted(isinstance(result, Conflict) for result in results) == [False, True]


async def test_status_is_written_alone(client: StoreClient) -> None:
    made = await client.create(make_greeting(labels={"a": "b"}))
    said = replace(
        made.with_spec(GreetingSpec(text="ignored"))
        .with_metadata(labels={})
        .with_status(GreetingStatus(shout="HEY")),
        conditions=(Condition(type="Ready", status=ConditionStatus.TRUE),),
        observed_generation=1,
    )
    stored = await client.update_status(said)
    assert await client.get(Greeting, "hi") == stored
    assert (stored.status.shout, stored.observed_generation) == ("HEY", 1)
    assert (stored.spec, stored.metadata.labels) == (made.spec, {"a": "b"})
    assert stored.metadata.generation == 1
    ready = stored.condition("Ready")
    assert ready is not None
    assert ready.status == "True"


async def test_a_write_that_changes_nothing_makes_no_revision(client: StoreClient) -> None:
    made = await client.create(make_greeting(labels={"a": "b"}))
    before = await client.revision()
    assert await client.update(made) == made
    assert await client.update_status(made) == made
    assert await client.patch(Greeting, "hi", {"spec": {"text": "hey"}}) == made
    assert await client.revision() == before


async def test_a_patch_sets_and_null_removes(client: StoreClient) -> None:
    await client.create(make_parcel(weight=3, env={"A": "1", "B": "2"}, code="c"))
    patch = {
        "metadata": {"labels": {"x": "y"}},
        "spec": {"weight": None, "env": {"A": None, "C": "3"}, "code": None},
    }
    parcel = make_parcel()
    stored = await client.patch(type(parcel), "box", patch)
    assert (stored.spec.weight, stored.spec.code) == (1, None)
    assert stored.spec.env == {"B": "2", "C": "3"}
    assert stored.metadata.labels == {"x": "y"}
    assert stored.metadata.generation == 2
    stored = await client.patch(type(parcel), "box", {"metadata": {"labels": None}})
    assert stored.metadata.labels == {}


async def test_a_patch_replaces_lists_and_reads_shorthands(client: StoreClient) -> None:
    made = await client.create(make_parcel(ports=[80, 443]))
    stored = await client.patch(type(made), "box", {"spec": {"ports": [8080]}})
    assert [(port.port, port.protocol) for port in stored.spec.ports] == [(8080, "tcp")]


async def test_a_patch_can_free_an_entity_of_its_finalizers(client: StoreClient) -> None:
    await client.create(make_greeting().with_metadata(finalizers=("example.dev/keep",)))
    await client.delete(Greeting, "hi")
    await client.patch(Greeting, "hi", {"metadata": {"finalizers": None}})
    assert await client.get(Greeting, "hi", default=None) is None


async def test_a_patch_of_what_it_cannot_write_names_all_of_it(client: StoreClient) -> None:
    made = await client.create(make_greeting())
    patch = {"status": {"shout": "X"}, "metadata": {"uid": "x", "name": "hi"}, "kind": "Room"}
    with pytest.raises(InvalidInput) as caught:
        await client.patch(Greeting, "hi", patch)
    assert {problem.dotted() for problem in caught.value.problems} == {
        "status",
        "metadata.uid",
        "kind",
    }
    assert await client.get(Greeting, "hi") == made


async def test_patches_at_once_all_count(client: StoreClient) -> None:
    made = await client.create(make_parcel())
    patches = [
        client.patch(type(made), "box", {"spec": {"env": {f"K{number}": "v"}}})
        for number in range(5)
    ]
    await asyncio.gather(*patches)
    assert len((await client.get(type(made), "box")).spec.env) == 5


async def test_input_errors_are_told_all_at_once(client: StoreClient) -> None:
    await client.create(make_parcel())
    patch = {"spec": {"weight": -1, "wieght": 1, "ports": ["x"], "env": {"A": 1}}}
    with pytest.raises(InvalidInput) as caught:
        await client.patch(type(make_parcel()), "box", patch)
    assert {problem.dotted() for problem in caught.value.problems} == {
        "spec.weight",
        "spec.wieght",
        "spec.ports[0].port",
        "spec.env.A",
    }


async def test_a_dry_run_shows_the_result_and_writes_nothing(client: StoreClient) -> None:
    made = await client.create(make_greeting())
    before = await client.revision()
    shown = await client.update(made.with_spec(GreetingSpec(text="yo")), dry_run=True)
    assert (shown.spec.text, shown.metadata.generation) == ("yo", 2)
    applied = await client.apply(Greeting.partial("hi", tone="loud"), manager="x", dry_run=True)
    assert (applied.spec.tone, applied.spec.text) == ("loud", "hey")
    new = await client.apply(Greeting.partial("new", text="x"), manager="x", dry_run=True)
    assert new.name == "new"
    assert (await client.create(make_greeting("other"), dry_run=True)).name == "other"
    assert await client.revision() == before
    assert [entity.name for entity in (await client.list(Greeting)).items] == ["hi"]
