"""Leases decide who leads; a client that is fenced stops with its leadership."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from miren.base.errors import Fenced, InvalidInput, Unimplemented
from miren.clients.kubernetes import KubernetesClient
from miren.entities.elections import Leadership
from miren.reconcile.context import Context
from miren.reconcile.engine import Engine
from miren.reconcile.registry import Registry
from tests.builders import KINDS, Greeting, GreetingSpec, make_greeting
from tests.clients.kubernetes.eventually import eventually
from tests.kubernetes_api import KubernetesAPI
from tests.kubernetes_api.resources import LEASES
from tests.reconcile.greeters import Greeter

TTL = 1.0


class Standing:
    """A candidate: `leadership` is what it got."""

    def __init__(self) -> None:
        self.leadership: Leadership | None = None
        self.enough = asyncio.Event()

    async def stand(self, client: KubernetesClient, holder: str) -> None:
        async with client.elect("shop", holder=holder, ttl=TTL) as leadership:
            self.leadership = leadership
            await self.enough.wait()


@asynccontextmanager
async def standing(client: KubernetesClient, holder: str) -> AsyncIterator[Standing]:
    candidate = Standing()
    async with asyncio.TaskGroup() as group:
        task = group.create_task(candidate.stand(client, holder))
        try:
            yield candidate
        finally:
            task.cancel()


def held_by(api: KubernetesAPI) -> str:
    return str(api.objects.get(LEASES, "default", "shop").document["spec"]["holderIdentity"])


async def test_one_leads_and_the_next_follows_when_it_gives_up(
    client: KubernetesClient, api: KubernetesAPI
) -> None:
    async with standing(client, "n1") as first:
        await eventually(lambda: first.leadership)
        async with standing(client, "n2") as second:
            found = await client.leader("shop")
            assert found is not None
            assert (found.holder, second.leadership) == ("n1", None)
            first.enough.set()
            await eventually(lambda: second.leadership)
            assert held_by(api).startswith("n2_")
    assert held_by(api) == ""
    assert await client.leader("shop") is None


async def test_a_leader_that_renews_stays_and_one_that_is_silent_is_replaced(
    client: KubernetesClient, url: str, api: KubernetesAPI
) -> None:
    async with KubernetesClient(url, kinds=KINDS) as other, standing(client, "n1") as first:
        await eventually(lambda: first.leadership)
        assert first.leadership is not None
        mine = client.fenced(first.leadership.key, first.leadership.revision)
        made = await mine.create(make_greeting())
        async with standing(other, "n2") as second:
            renewed = api.requests["patch leases"]
            await eventually(lambda: api.requests["patch leases"] >= renewed + 6)
            assert second.leadership is None
            # From here on nothing that the leader says is heard.
            document = api.objects.get(LEASES, "default", "shop").document
            taken = {**document, "spec": {**document["spec"], "holderIdentity": "somebody"}}
            api.objects.write(LEASES, ("default", "shop"), taken)
            await asyncio.wait_for(first.leadership.lost.wait(), 10)
            await eventually(lambda: second.leadership)
        with pytest.raises(Fenced):
            await mine.update(made.with_spec(GreetingSpec(text="late")))
        with pytest.raises(Fenced):
            await mine.in_project("default").delete(Greeting, "hi")
        assert await mine.get(Greeting, "hi") == made


async def test_a_leader_that_cannot_reach_the_api_stops_before_others_follow(
    client: KubernetesClient, api: KubernetesAPI
) -> None:
    async with standing(client, "n1") as first:
        await eventually(lambda: first.leadership)
        assert first.leadership is not None
        api.is_away = True
        async with asyncio.timeout(TTL):
            await first.leadership.lost.wait()
        api.is_away = False


async def test_a_lease_that_others_touch_is_renewed_all_the_same(
    client: KubernetesClient, api: KubernetesAPI
) -> None:
    async with client.elect("shop", holder="n1", ttl=4) as leadership:
        document = api.objects.get(LEASES, "default", "shop").document
        labelled = {**document, "metadata": {**document["metadata"], "labels": {"new": "yes"}}}
        api.objects.write(LEASES, ("default", "shop"), labelled)
        asked = api.requests["get leases"]
        await eventually(lambda: api.requests["get leases"] > asked)  # refused: whose is it?

        def renewed() -> bool:
            spec = api.objects.get(LEASES, "default", "shop").document["spec"]
            return bool(spec["renewTime"] > document["spec"]["renewTime"])

        async with asyncio.timeout(0.4):  # and not with the next heartbeat only
            await eventually(renewed)
        assert not leadership.lost.is_set()


async def test_a_leader_whose_renewing_breaks_knows_that_it_does_not_lead(url: str) -> None:
    def broken() -> str:
        if standing_now:
            raise RuntimeError("no token here")
        return "t"

    standing_now: list[Leadership] = []
    async with (
        KubernetesClient(url, token=broken) as client,
        client.elect("shop", holder="n1", ttl=TTL) as leadership,
    ):
        standing_now.append(leadership)
        async with asyncio.timeout(2 * TTL):
            await leadership.lost.wait()


async def test_an_engine_works_while_it_leads(client: KubernetesClient) -> None:
    greeter = Greeter()
    await client.create(make_greeting())
    async with Engine(client, [greeter], elect="shop", ttl=TTL):
        await eventually(lambda: greeter.texts == ["hey"])
    assert await client.leader("shop") is None


async def test_keys_cannot_be_spread_over_engines_and_that_is_said_before_any_work(
    client: KubernetesClient,
) -> None:
    registry = Registry("spread", shards=4)

    @registry.created(Greeting)
    async def greet(ctx: Context[Greeting], greeting: Greeting) -> None: ...

    with pytest.raises(Unimplemented, match="spread-greeting has `shards`") as raised:
        Engine(client, [registry])
    assert 'elect="<name>"' in (raised.value.hint or "")


async def test_what_a_lease_is_not_is_said(client: KubernetesClient) -> None:
    with pytest.raises(Fenced):
        client.fenced("leases/default/shop", 7)
    with pytest.raises(Unimplemented):
        client.candidates("shop")
    with pytest.raises(InvalidInput):
        async with client.elect("", holder="n1"):
            pass
