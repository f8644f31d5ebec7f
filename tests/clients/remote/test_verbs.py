"""What the shared contract does not ask of every client, and this one does as one over a store."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from miren.base.errors import (
    Compacted,
    Duplicate,
    InvalidInput,
    MirenError,
    MissingRef,
    NotFound,
    Unimplemented,
)
from miren.clients.remote import RemoteClient
from miren.entities.client import Actor, Added, Client, Event, Selection, Target
from miren.entities.entity import Entity
from miren.entities.events import EntityEvent
from miren.entities.model import Model
from miren.entities.store.memory import MemoryStore
from tests.builders import (
    KINDS,
    Greeting,
    GreetingSpec,
    Nothing,
    Parcel,
    Room,
    make_greeting,
    make_parcel,
    owned_by,
)
from tests.clients.remote.serving import Front, serving
from tests.entities.vaults import Vault, make_keyring, make_vault
from tests.entities.widgets import v1alpha1, v1beta1

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


async def raised(client: Client, number: int) -> MirenError:
    """Return what the refusal of that number raises."""
    box = await client.get(Parcel, "box")
    refusals: tuple[Callable[[], Awaitable[Any]], ...] = (
        lambda: client.create(make_parcel("twin", code="x")),
        lambda: client.create(make_parcel("lost", rooms=["nowhere"])),
        lambda: client.create(make_parcel("odd", weight=-1, ports=[{"port": "x"}])),
        lambda: client.get(Greeting, "nobody"),
        lambda: client.update(box.with_metadata(labels={"no good": ""})),
        lambda: client.update(box.with_spec(box.spec.model_copy(update={"sender": "me"}))),
        lambda: first_event(client, Selection(fields={"spec.text": "x"})),
        lambda: client.get(Parcel, "box", revision=1),
    )
    with pytest.raises(MirenError) as error:
        await refusals[number]()
    return error.value


async def first_event(client: Client, selection: Selection) -> Event[Greeting]:
    async with client.watch(Greeting, selection, after=0) as events:
        return await anext(events)


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (0, Duplicate),
        (1, MissingRef),
        (2, InvalidInput),
        (3, NotFound),
        (4, InvalidInput),
        (5, InvalidInput),
        (6, InvalidInput),
        (7, Compacted),
    ],
)
async def test_refusals_are_the_same_as_over_the_store(
    client: RemoteClient, front: Front, number: int, kind: type[MirenError]
) -> None:
    made = await client.create(make_parcel(code="x", sender="you"))
    await client.create(Room.new("hall"))
    await front.client.store.compact(made.revision)
    here, there = await raised(front.client, number), await raised(client, number)
    assert type(there) is type(here)
    assert issubclass(type(there), kind)
    assert (there.message, there.hint, there.entity) == (here.message, here.hint, here.entity)
    if isinstance(here, InvalidInput):
        assert isinstance(there, InvalidInput)
        assert there.problems == here.problems
    if isinstance(here, Compacted):
        assert isinstance(there, Compacted)
        assert there.oldest == here.oldest


async def test_the_past_can_be_read(client: RemoteClient) -> None:
    made = await client.create(make_greeting())
    now = await client.update(made.with_spec(GreetingSpec(text="yo")))
    assert await client.get(Greeting, "hi", revision=made.revision) == made
    assert await client.get(Greeting, "hi", revision=now.revision) == now
    assert await client.revision() == now.revision


async def test_relations_and_managers_are_told(client: RemoteClient, front: Front) -> None:
    hall = await client.create(Room.new("hall"))
    box = await client.create(owned_by(make_parcel(rooms=["hall"]), hall))
    assert await client.referrers(Room, "hall") == await front.client.referrers(Room, "hall")
    assert await client.referrers(Room, "hall", tag="none") == ()
    assert [str(each) for each in await client.dependents(hall.uid)] == ["parcel/box"]
    assert await client.dependents(hall.uid) == await front.client.dependents(hall.uid)
    selected = Selection(refers_to=Target(Room, "hall"))
    assert (await client.list(Parcel, selected)).items == (box,)
    elsewhere = Selection(refers_to=Target(Room, "hall", "shop"))
    assert (await client.list(Parcel, elsewhere)).items == ()
    shop = client.in_project("shop")
    assert (await shop.list(Parcel, selected)).items == ()
    await client.apply(Greeting.partial("hi", text="hey"), manager="ci")
    told = await client.managers(Greeting, "hi")
    assert told == await front.client.managers(Greeting, "hi")
    assert told["ci"] == {"/spec/text"}


async def test_events_are_noted_and_told(client: RemoteClient, front: Front) -> None:
    made = await client.create(make_greeting())
    event = EntityEvent("Greeted", "so it is", "greeter", NOON, NOON)
    await client.record_events(made, [event])
    await client.record_events(made, [event])
    (told,) = await client.events(Greeting, "hi")
    assert (told.reason, told.count, told.first) == ("Greeted", 2, NOON)
    assert await client.events(Greeting, "hi") == await front.client.events(Greeting, "hi")
    for project in (None, "default", "shop", ""):
        assert await client.list_events(project) == await front.client.list_events(project)
    (ring,) = await client.list_events()
    assert ring.uid == made.uid


async def test_who_asks_is_decided_by_the_connection(client: RemoteClient) -> None:
    with pytest.raises(Unimplemented):
        client.acting_as(Actor("somebody"))


async def test_values_that_cannot_be_sent_are_refused_here(client: RemoteClient) -> None:
    await client.create(make_greeting())
    with pytest.raises(InvalidInput, match="cannot be sent"):
        await client.patch(Greeting, "hi", {"spec": {"text": "\ud800"}})


def test_an_address_has_to_be_one() -> None:
    with pytest.raises(InvalidInput, match="cannot reach"):
        RemoteClient("https://example.dev", kinds=[])


async def test_secrets_travel_masked_and_can_be_written_and_revealed(socket: Path) -> None:
    kinds, ring = (*KINDS, Vault), make_keyring()
    async with (
        MemoryStore() as store,
        serving(store, socket, kinds=kinds, keyring=ring) as front,
        RemoteClient(front.address, kinds=kinds) as client,
    ):
        made = await client.create(make_vault(pin="1234", data={"a": "b"}))
        assert made == await client.get(Vault, "v") == await front.client.get(Vault, "v")
        assert made.spec.pin is not None
        assert made.spec.pin.is_masked
        changed = await client.update(made.with_spec(made.spec.model_copy(update={"plain": "y"})))
        applied = Vault.partial("v", data={"a": "c"})
        await client.apply(applied, manager="ci", force=True)
        shown = await client.reveal(Vault, "v")
        assert (changed.spec.plain, shown.spec.plain) == ("y", "y")
        assert shown.spec.pin is not None
        assert (shown.spec.pin.reveal(), shown.spec.data["a"].reveal()) == ("1234", "c")


async def test_each_process_speaks_its_own_version(socket: Path) -> None:
    alpha, beta = v1alpha1.Widget, v1beta1.Widget
    async with (
        MemoryStore() as store,
        serving(store, socket, kinds=(alpha, beta)) as front,
        RemoteClient(front.address, kinds=[alpha]) as client,
    ):
        made = await client.create(alpha.new("w", size_gb=1))
        assert type(made) is alpha
        assert str((await front.client.get(beta, "w")).spec.limits.size) == "1Gi"
        async with client.watch(alpha, after=0) as events:
            assert await anext(events) == Added(made, made.revision)
        assert (await client.list(alpha)).items == (made,)


async def test_what_a_newer_server_says_more_is_passed_over(
    client: RemoteClient, front: Front
) -> None:
    class Spec(Model):
        text: str

    class Older(Entity[Spec, Nothing], api="example.dev/v1", name="Greeting"):
        """Greeting before it had a tone, and any status."""

    made = await client.create(make_greeting(tone="loud"))
    found = await client.get(Older, "hi")
    assert (found.uid, found.spec.text) == (made.uid, "hey")
