"""Events of entities are Kubernetes' own."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from miren.clients.kubernetes import KubernetesClient
from miren.entities.events import EntityEvent, EventType
from tests.builders import Greeting, Stamp, make_greeting
from tests.kubernetes_api import KubernetesAPI
from tests.kubernetes_api.resources import EVENTS

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def event(reason: str, *, minutes: int = 0, count: int = 1, **rest: EventType) -> EntityEvent:
    when = NOW + timedelta(minutes=minutes)
    return EntityEvent(reason, "so it is", "greeter", when, when, count=count, **rest)


async def test_what_is_said_again_is_counted(client: KubernetesClient, api: KubernetesAPI) -> None:
    made = await client.create(make_greeting())
    await client.record_events(made, [event("Greeted"), event("Hoarse", type=EventType.WARNING)])
    await client.record_events(made, [event("Greeted", minutes=5, count=2)])
    hoarse, greeted = await client.events(Greeting, "hi")
    assert (hoarse.reason, hoarse.type, hoarse.count) == ("Hoarse", EventType.WARNING, 1)
    assert (greeted.reason, greeted.count, greeted.source) == ("Greeted", 3, "greeter")
    assert (greeted.first, greeted.last) == (NOW, NOW + timedelta(minutes=5))
    stored = [each.document for _, each in api.objects.all(EVENTS)]
    assert [each["involvedObject"]["uid"] for each in stored] == [made.uid] * 2


async def test_each_subject_has_its_own(client: KubernetesClient) -> None:
    greeting = await client.create(make_greeting())
    await client.in_project("shop").create(make_greeting())
    stamp = await client.create(Stamp.new("one"))
    await client.record_events(greeting, [event("Greeted")])
    await client.record_events(stamp, [event("Stamped")])
    assert await client.events(Greeting, "hi", project="shop") == ()
    assert [each.reason for each in await client.events(Stamp, "one")] == ["Stamped"]
    rings = await client.list_events("default")
    assert {(ring.kind, ring.project, ring.name) for ring in rings} == {
        ("Greeting", "default", "hi"),
        ("Stamp", "", "one"),
    }
    assert len(await client.list_events()) == 2
