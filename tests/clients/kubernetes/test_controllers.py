"""The same controllers, on a Kubernetes API."""

from __future__ import annotations

from collections.abc import Iterator

from miren.clients.kubernetes import KubernetesClient
from miren.entities.entity import OwnerReference
from miren.reconcile.context import Context
from miren.reconcile.controller import Controller, watches
from miren.reconcile.engine import Engine
from miren.reconcile.results import Key, Requeue
from tests.builders import Greeting, GreetingStatus, Room, RoomStatus, make_greeting
from tests.clients.kubernetes.eventually import eventually
from tests.kubernetes_api import KubernetesAPI, Resource
from tests.reconcile.greeters import Greeter, Keeper

GREETINGS = Resource.of(Greeting)


async def test_a_greeting_is_greeted(client: KubernetesClient, api: KubernetesAPI) -> None:
    greeter = Greeter()
    await client.create(make_greeting("early", text="early"))
    async with Engine(client, [greeter]) as engine:
        await engine.client.apply(Greeting.partial("hi", text="hey"), manager="ci")
        found = await engine.client.wait(
            Greeting, "hi", lambda g: g is not None and g.status.shout == "HEY", timeout=20
        )
        await engine.run_until_idle()
        early = await engine.client.get(Greeting, "early")
    assert found is not None
    assert (found.observed_generation, early.status.shout) == (1, "EARLY")
    ready = found.condition("Ready")
    assert ready is not None
    assert (ready.status, ready.reason, ready.observed_generation) == ("True", "Greeted", 1)
    assert sorted(greeter.texts) == ["early", "hey"], "an own write causes no second reconcile"
    assert api.requests["patch greetings/status"] == 2
    assert api.requests["get greetings"] == 1, "writes need no reading"


async def test_conditions_look_as_kubernetes_has_them(
    client: KubernetesClient, api: KubernetesAPI
) -> None:
    async with Engine(client, [Greeter()]) as engine:
        await client.create(make_greeting())
        await engine.run_until_idle()
    status = api.objects.get(GREETINGS, "default", "hi").document["status"]
    (ready,) = status["conditions"]
    assert ready.pop("lastTransitionTime").endswith("Z")
    assert ready == {
        "type": "Ready",
        "status": "True",
        "reason": "Greeted",
        "message": "",
        "observedGeneration": 1,
    }
    assert status["observedGeneration"] == 1
    assert status["shout"] == "HEY"


async def test_a_finalizer_holds_until_the_controller_has_cleaned_up(
    client: KubernetesClient,
) -> None:
    keeper = Keeper()
    async with Engine(client, [keeper]) as engine:
        await client.create(make_greeting())
        await engine.run_until_idle()
        held = await client.get(Greeting, "hi")
        assert held.metadata.finalizers == ("example.dev/keeper",)
        await client.delete(Greeting, "hi")
        assert await client.wait(Greeting, "hi", lambda g: g is None, timeout=20) is None
    assert [each.uid for each in keeper.finalized] == [held.uid]


class Hall(Controller[Room], owns=[Greeting]):
    """Keeps a greeting in each room, and counts those that went."""

    def __init__(self) -> None:
        self.gone: list[str] = []

    @watches(Greeting, gone=True)
    def left(self, gone: Greeting) -> Iterator[Key[Room]]:
        self.gone.append(gone.name)
        yield Key("default", gone.spec.tone)

    async def reconcile(self, ctx: Context[Room], entity: Room) -> None:
        await ctx.apply(Greeting.partial(entity.name, text="welcome"))
        ctx.status = RoomStatus(greetings=len(await ctx.owned(Greeting)))


async def test_what_is_owned_is_made_again_when_somebody_deletes_it(
    client: KubernetesClient,
) -> None:
    async with Engine(client, [Hall()]) as engine:
        room = await client.create(Room.new("hall"))
        await engine.run_until_idle()
        made = await client.get(Greeting, "hall")
        assert made.metadata.owner_references == (OwnerReference.of(room),)
        assert (await client.get(Room, "hall")).status.greetings == 1
        await client.delete(Greeting, "hall")
        found = await client.wait(
            Greeting, "hall", lambda g: g is not None and g.uid != made.uid, timeout=20
        )
        assert found is not None


async def test_after_410_missed_deletes_are_delivered_and_nothing_is_reconciled_again(
    client: KubernetesClient, api: KubernetesAPI
) -> None:
    greeter, hall = Greeter(), Hall()
    for number in range(20):
        await client.create(make_greeting(f"g{number:02}", text=str(number)))
    async with Engine(client, [greeter, hall]) as engine:
        await engine.run_until_idle()
        assert len(greeter.calls) == 20
        # All of this is done before the client can notice that its watches have ended.
        api.drop()
        for number in (3, 7, 11):
            api.objects.delete(GREETINGS, ("default", f"g{number:02}"), {})
        api.compact()
        await eventually(lambda: len(hall.gone) == 3)
        await client.create(make_greeting("later", text="later"))
        await eventually(lambda: greeter.texts[-1] == "later")
        await engine.run_until_idle()
    assert sorted(hall.gone) == ["g03", "g07", "g11"]
    assert len(greeter.calls) == 21


async def test_an_api_that_is_away_for_a_while_is_waited_for(
    client: KubernetesClient, api: KubernetesAPI
) -> None:
    greeter = Greeter()
    async with Engine(client, [greeter]) as engine:
        await client.create(make_greeting("before", text="before"))
        await engine.run_until_idle()
        api.is_away = True
        api.drop()
        api.objects.create(
            GREETINGS, "default", {"metadata": {"name": "x"}, "spec": {"text": "x"}}
        )
        api.is_away = False
        await eventually(lambda: "x" in greeter.texts)
        await engine.run_until_idle()
    assert greeter.texts == ["before", "x"]


async def test_a_conflict_with_another_writer_is_settled(
    client: KubernetesClient, api: KubernetesAPI
) -> None:
    class Interrupted(Greeter):
        async def act(self, ctx: Context[Greeting], greeting: Greeting) -> Requeue | None:
            if len(self.calls) == 1:
                old = api.objects.get(GREETINGS, "default", "hi").document
                theirs = {**old, "status": {"heard": 7}}
                api.objects.write(GREETINGS, ("default", "hi"), theirs, status=True)
            shout = greeting.spec.text.upper()
            ctx.status = GreetingStatus(shout=shout, heard=greeting.status.heard)
            return None

    async with Engine(client, [Interrupted()]) as engine:
        await client.create(make_greeting())
        await engine.run_until_idle()
    status = (await client.get(Greeting, "hi")).status
    assert (status.shout, status.heard) == ("HEY", 7)
