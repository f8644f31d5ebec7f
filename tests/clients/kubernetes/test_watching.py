"""Watches over connections that end, and what is not readable."""

from __future__ import annotations

import asyncio

import pytest

from miren.base.errors import Compacted, InvalidInput
from miren.clients.kubernetes import KubernetesClient
from miren.entities.client import Added, Bookmark, Deleted, Modified
from miren.entities.entity import OwnerReference
from tests.builders import KINDS, Greeting, GreetingSpec, GreetingStatus, Room, make_greeting
from tests.clients.kubernetes.eventually import eventually
from tests.entities.watching import watching
from tests.kubernetes_api import KubernetesAPI, Resource

GREETINGS = Resource.of(Greeting)


async def test_a_watch_goes_on_over_broken_connections_without_gap_or_repeat(
    client: KubernetesClient, api: KubernetesAPI
) -> None:
    start = (await client.list(Greeting)).revision
    async with watching(client, Greeting, after=start) as changes:
        made = await client.create(make_greeting())
        wanted, seen = [made.revision], [(await changes.next()).revision]
        for number in range(12):
            if number % 3 == 0:
                api.drop()
            made = await client.update(made.with_spec(GreetingSpec(text=str(number))))
            wanted.append(made.revision)
            if number % 2 == 0:
                seen.append((await changes.next()).revision)
        seen += [event.revision for event in await changes.until(made.revision)]
    assert seen == wanted
    assert api.requests["watch greetings"] > 1


async def test_what_has_been_forgotten_is_compacted(
    client: KubernetesClient, api: KubernetesAPI
) -> None:
    start = (await client.list(Greeting)).revision
    await client.create(make_greeting())
    api.compact()
    async with watching(client, Greeting, after=start) as changes:
        with pytest.raises(Compacted):
            await changes.next()
    api.gone_at_once = True
    async with watching(client, Greeting, after=start) as changes:
        with pytest.raises(Compacted):
            await changes.next()


async def test_a_list_whose_history_is_forgotten_is_compacted(
    client: KubernetesClient, api: KubernetesAPI
) -> None:
    for name in ("a", "b"):
        await client.create(make_greeting(name))
    first = await client.list(Greeting, limit=1)
    api.compact()
    with pytest.raises(Compacted):
        await client.list(Greeting, limit=1, token=first.token)


async def test_bookmarks_keep_a_quiet_watch_fresh(
    client: KubernetesClient, api: KubernetesAPI
) -> None:
    start = (await client.list(Greeting)).revision
    async with watching(client, Greeting, after=start) as changes:
        room = await client.create(Room.new("hall"))
        assert await changes.bookmark() >= room.revision
        api.compact()
        api.drop()
        made = await client.create(make_greeting())
        assert await changes.next() == Added(made, made.revision)


async def test_a_silent_connection_is_replaced(url: str, api: KubernetesAPI) -> None:
    api.bookmarks = 1e6
    async with (
        KubernetesClient(url, idle=0.05) as client,
        watching(client, Greeting, after=api.objects.revision) as changes,
    ):
        made = await client.create(make_greeting())
        assert await changes.next() == Added(made, made.revision)
        more = api.requests["watch greetings"] + 2
        task = asyncio.create_task(changes.next())
        await eventually(lambda: api.requests["watch greetings"] >= more)
        now = await client.update(made.with_spec(GreetingSpec(text="yo")))
        assert await task == Modified(now, made, now.revision)


async def test_the_echo_of_a_write_is_what_the_write_returned(client: KubernetesClient) -> None:
    made = await client.create(make_greeting())
    async with watching(client, Greeting, after=made.revision) as changes:
        stored = await client.update_status(made.with_status(GreetingStatus(shout="HEY")))
        event = await changes.next()
    assert event == Modified(stored, made, stored.revision)


async def test_an_unreadable_object_stops_no_other(
    client: KubernetesClient, api: KubernetesAPI, caplog: pytest.LogCaptureFixture
) -> None:
    broken = {"metadata": {"name": "broken"}, "spec": {"text": ["no", "text"]}}
    start = (await client.list(Greeting)).revision
    api.objects.create(GREETINGS, "default", broken)
    made = await client.create(make_greeting())
    assert (await client.list(Greeting)).items == (made,)
    with pytest.raises(InvalidInput, match=r"text"):
        await client.get(Greeting, "broken")
    async with watching(client, Greeting, after=start) as changes:
        assert isinstance(await changes.any(), Bookmark)
        assert await changes.next() == Added(made, made.revision)
        api.objects.delete(GREETINGS, ("default", "broken"), {})
        await client.delete(Greeting, "hi")
        event = await changes.next()
        assert isinstance(event, Deleted)
        assert event.entity.uid == made.uid
    assert "unreadable object left out" in caplog.messages


async def test_attributes_that_are_not_known_are_passed_over_and_kept(
    client: KubernetesClient, api: KubernetesAPI
) -> None:
    owner = {"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "u", "controller": True}
    theirs = {
        "metadata": {"name": "hi", "ownerReferences": [owner]},
        "spec": {"text": "hey", "newer": 1},
    }
    api.objects.create(GREETINGS, "default", theirs)
    old = await client.get(Greeting, "hi")
    room = await client.create(Room.new("hall"))
    both = (*old.metadata.owner_references, OwnerReference.of(room))
    await client.update(
        old.with_spec(GreetingSpec(text="yo")).with_metadata(owner_references=both)
    )
    document = api.objects.get(GREETINGS, "default", "hi").document
    assert document["spec"] == {"text": "yo", "newer": 1}
    assert document["metadata"]["ownerReferences"] == [
        owner,
        {"apiVersion": "example.dev/v1", "kind": "Room", "name": "hall", "uid": room.uid},
    ]


async def test_waiting_outlasts_a_forgotten_history(
    client: KubernetesClient, api: KubernetesAPI
) -> None:
    waiting = asyncio.create_task(
        client.wait(Greeting, "hi", lambda g: g is not None and g.spec.text == "yo", timeout=20)
    )
    await eventually(lambda: api.requests["watch greetings"])
    await client.create(make_greeting())
    api.drop()
    await client.patch(Greeting, "hi", {"spec": {"text": "yo"}})
    api.compact()
    found = await waiting
    assert found is not None
    assert found.spec.text == "yo"


async def test_the_newest_revision_is_that_of_a_list(url: str, api: KubernetesAPI) -> None:
    async with KubernetesClient(url, kinds=KINDS) as client:
        assert await client.revision() == api.objects.revision
