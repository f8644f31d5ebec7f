"""What is overtaken is not told to caches, and makes no difference to them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import orjson
from hypothesis import given
from hypothesis import strategies as st

from miren.clients.kubernetes import KubernetesClient
from miren.clients.kubernetes.watching import newest
from miren.entities.client import Deleted, Event, Modified, WatchesNewest
from miren.entities.store_client import StoreClient
from tests.builders import Greeting, make_greeting
from tests.kubernetes_api import KubernetesAPI, Resource

GREETINGS = Resource.of(Greeting)
WRITES = 2000

Step = tuple[str, str, str]  # type, name, uid

STEPS = st.lists(
    st.tuples(
        st.sampled_from(["ADDED", "MODIFIED", "MODIFIED", "MODIFIED", "DELETED", "BOOKMARK"]),
        st.sampled_from(["a", "b"]),
        st.sampled_from(["1", "2"]),
    ),
    max_size=30,
)


def change(step: Step, revision: int) -> dict[str, Any]:
    type, name, uid = step
    metadata = {"name": name, "namespace": "default", "uid": uid, "resourceVersion": revision}
    return {"type": type, "object": {"metadata": metadata}}


def cache_of(changes: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for each in changes:
        name = each["object"]["metadata"]["name"]
        if each["type"] == "DELETED":
            found.pop(name, None)
        elif each["type"] != "BOOKMARK":
            found[name] = each["object"]
    return found


@given(STEPS)
def test_a_cache_ends_up_the_same_and_hears_of_all_that_came_or_went(steps: list[Step]) -> None:
    changes = [change(step, revision) for revision, step in enumerate(steps)]
    told = list(newest([*map(orjson.dumps, changes), b""]))
    assert cache_of(told) == cache_of(changes)
    assert [each for each in told if each["type"] != "MODIFIED"] == [
        each for each in changes if each["type"] != "MODIFIED"
    ]
    assert told == [each for each in changes if each in told]  # in order
    modified = {step[1:] for step in steps if step[0] == "MODIFIED"}
    assert sum(each["type"] == "MODIFIED" for each in told) == len(modified)


async def storm(client: KubernetesClient, api: KubernetesAPI, watch: Any) -> list[Event[Greeting]]:
    """Write to two greetings in turns, faster than anybody reads, and return what was told."""
    await client.create(make_greeting("a"))
    await client.create(make_greeting("b"))
    held = await client.list(Greeting)
    found: list[Event[Greeting]] = []
    async with watch(Greeting, after=held.revision) as events:
        for number in range(WRITES):
            key = ("default", "ab"[number % 2])
            old = api.objects.get(GREETINGS, *key).document
            api.objects.write(GREETINGS, key, {**old, "spec": {"text": f"text {number}"}})
        last = api.objects.delete(GREETINGS, ("default", "a"), {})[0]
        assert last.document["spec"]["text"] == f"text {WRITES - 2}"
        async for event in events:
            found.append(event)
            if isinstance(event, Deleted):
                return found
    raise AssertionError("the watch ended")


async def test_a_cache_is_told_the_newest_of_a_storm(
    client: KubernetesClient, api: KubernetesAPI
) -> None:
    told = await storm(client, api, client.watch_newest)
    modified = [event for event in told if isinstance(event, Modified)]
    assert len(modified) < WRITES / 10
    assert modified[-1].entity.spec.text == f"text {WRITES - 1}"
    assert modified[-1].old.spec.text != modified[-1].entity.spec.text
    revisions = [event.revision for event in told]
    assert revisions == sorted(revisions)


def test_a_cache_knows_which_clients_can(client: KubernetesClient) -> None:
    assert isinstance(client, WatchesNewest)
    assert not isinstance(StoreClient, WatchesNewest)


async def test_everybody_else_is_told_all_of_it(
    client: KubernetesClient, api: KubernetesAPI
) -> None:
    told = await storm(client, api, client.watch)
    assert len(told) == WRITES + 1
