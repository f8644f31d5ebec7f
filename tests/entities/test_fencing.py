"""What a deposed leader writes is refused by the store itself, in every kind of write."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from miren.base.errors import AlreadyExists, Conflict, Fenced, InvalidInput, NotFound
from miren.entities.client import Client
from miren.entities.elections import Leadership
from miren.entities.entity import Entity
from miren.entities.kinds import Kinds
from miren.entities.store.api import Compare, Delete, KeyRange, Put, Store
from miren.entities.store.fencing import FencedStore
from miren.entities.store.memory import MemoryStore
from miren.entities.store_client import StoreClient
from miren.entities.versioned_client import VersionedClient
from tests.backends import BACKENDS, make_store
from tests.builders import Greeting, GreetingStatus, Room, make_kinds
from tests.entities.beacons import Beacon
from tests.entities.widgets import v1alpha1, v1beta1
from tests.etcd import Member
from tests.stores import Counting

Alpha, Beta = v1alpha1.Widget, v1beta1.Widget


@pytest.fixture(params=BACKENDS)
async def store(
    request: pytest.FixtureRequest, tmp_path: Path, shared_etcd: Member
) -> AsyncIterator[Store]:
    async with make_store(request.param, folder=tmp_path, etcd=shared_etcd) as opened:
        yield opened


def client_of(store: Store) -> StoreClient:
    known = [kind.entity for kind in make_kinds()]
    return StoreClient(store=store, kinds=Kinds(dict.fromkeys([*known, Beacon])))


@pytest.fixture
def client(store: Store) -> StoreClient:
    return client_of(store)


def by(client: StoreClient, leadership: Leadership) -> StoreClient:
    return client.fenced(leadership.key, leadership.revision)


async def depose(store: Store, leadership: Leadership) -> None:
    await store.transact([], [Delete(KeyRange.key(leadership.key))])


def changed(greeting: Greeting) -> Greeting:
    return greeting.with_spec(greeting.spec.model_copy(update={"text": "new"}))


async def take_a_finalizer_off(client: Client, greeting: Greeting) -> object:
    held = await client.get(Greeting, "held")
    return await client.update(held.with_metadata(finalizers=()))


Write = Callable[[Client, Greeting], Awaitable[object]]

#: Each writes one thing, given what is stored as "there".
WRITES: dict[str, Write] = {
    "create": lambda client, _: client.create(Greeting.new("new", text="a")),
    "ensure": lambda client, _: client.ensure(Greeting.new("new", text="a")),
    "update": lambda client, there: client.update(changed(there)),
    "update_status": lambda client, there: client.update_status(
        there.with_status(GreetingStatus(shout="HA"))
    ),
    "apply what is new": lambda client, _: client.apply(
        Greeting.partial("new", text="a"), manager="m"
    ),
    "apply what is there": lambda client, _: client.apply(
        Greeting.partial("there", text="b"), manager="m", force=True
    ),
    "patch": lambda client, _: client.patch(Greeting, "there", {"spec": {"text": "b"}}),
    "delete": lambda client, _: client.delete(Greeting, "there"),
    "begin a deletion": lambda client, _: client.delete(Greeting, "held"),
    "take a finalizer off": take_a_finalizer_off,
    "dry run": lambda client, there: client.update(changed(there), dry_run=True),
    "in a project": lambda client, _: client.in_project("shop").create(Room.new("r")),
}


async def prepare(client: StoreClient) -> Greeting:
    there = await client.create(Greeting.new("there", text="a"))
    held = Greeting.new("held", text="a").with_metadata(finalizers=("example.dev/x",))
    await client.create(held)
    return there


@pytest.mark.parametrize("kind", WRITES)
async def test_the_late_write_of_a_deposed_leader_is_refused(
    store: Store, client: StoreClient, kind: str
) -> None:
    there = await prepare(client)
    async with client.elect("shop", holder="n1") as leadership:
        fenced = by(client, leadership)
        await depose(store, leadership)
        revision = await client.revision()
        with pytest.raises(Fenced, match="no longer held"):
            await WRITES[kind](fenced, there)
        assert await client.revision() == revision, "nothing was written"
        # Whoever leads by now is not held up by what the other one tried, or remembers.
        await WRITES[kind](client, there)


@pytest.mark.parametrize("kind", WRITES)
async def test_a_leader_writes_as_anybody_does(
    store: Store, client: StoreClient, kind: str
) -> None:
    there = await prepare(client)
    async with client.elect("shop", holder="n1") as leadership:
        await WRITES[kind](by(client, leadership), there)


async def test_a_successor_does_not_lift_the_fence_of_its_predecessor(
    client: StoreClient,
) -> None:
    async with client.elect("shop", holder="n1") as first:
        late = by(client, first)
    async with client.elect("shop", holder="n1") as second:
        with pytest.raises(Fenced):
            await late.create(Greeting.new("a", text="a"))
        await by(client, second).create(Greeting.new("a", text="a"))


async def test_sessions_of_a_deposed_leader_set_nothing(store: Store, client: StoreClient) -> None:
    await client.create(Beacon.new("b"))
    async with (
        client.elect("shop", holder="n1") as leadership,
        by(client, leadership).session(holder="n1") as session,
    ):
        await session.set(Beacon, "b", phase="ready")
        await depose(store, leadership)
        with pytest.raises(Fenced):
            await session.set(Beacon, "b", phase="dark")
        with pytest.raises(Fenced):
            await session.clear(Beacon, "b")


async def test_a_deposed_leader_reads_on(store: Store, client: StoreClient) -> None:
    there = await prepare(client)
    async with client.elect("shop", holder="n1") as leadership:
        fenced = by(client, leadership)
        await depose(store, leadership)
        assert await fenced.get(Greeting, "there") == there
        assert len((await fenced.list(Greeting)).items) == 2
        assert await fenced.update(there) == there, "a write of nothing is none"


async def test_other_refusals_are_told_as_ever(client: StoreClient) -> None:
    there = await prepare(client)
    async with client.elect("shop", holder="n1") as leadership:
        fenced = by(client, leadership)
        with pytest.raises(AlreadyExists):
            await fenced.create(Greeting.new("there", text="a"))
        await client.patch(Greeting, "there", {"spec": {"text": "z"}})
        with pytest.raises(Conflict) as caught:
            await fenced.update(changed(there))
        assert not isinstance(caught.value, Fenced)
        with pytest.raises(NotFound):
            await fenced.patch(Greeting, "nowhere", {"spec": {"text": "z"}})


async def test_a_write_is_told_to_be_fenced_before_it_is_told_to_conflict(
    store: Store, client: StoreClient
) -> None:
    there = await prepare(client)
    async with client.elect("shop", holder="n1") as leadership:
        fenced = by(client, leadership)
        await depose(store, leadership)
        await client_of(store).patch(Greeting, "there", {"spec": {"text": "z"}})
        with pytest.raises(Fenced):
            await fenced.update(changed(there))


async def test_fences_add_up(store: Store, client: StoreClient) -> None:
    async with client.elect("a", holder="n1") as one, client.elect("b", holder="n1") as other:
        both = by(by(client, one), other)
        await both.create(Greeting.new("x", text="a"))
        await depose(store, one)
        with pytest.raises(Fenced, match="/l/a/"):
            await both.create(Greeting.new("y", text="a"))


async def test_a_fenced_write_and_its_refusal_each_take_one_round_trip() -> None:
    async with MemoryStore() as memory:
        store = Counting(memory)
        client = client_of(store)
        there = await prepare(client)
        async with client_of(memory).elect("shop", holder="n1") as leadership:
            fenced = by(client, leadership)
            store.calls.clear()
            there = await fenced.update_status(there.with_status(GreetingStatus(shout="A")))
            assert store.calls == {"write": 1}
            await depose(memory, leadership)
            store.calls.clear()
            with pytest.raises(Fenced):
                await fenced.update_status(there.with_status(GreetingStatus(shout="B")))
            assert store.calls == {"write": 1}


async def test_what_one_client_wrote_fenced_the_other_changes_without_reading_it() -> None:
    async with MemoryStore() as memory:
        store = Counting(memory)
        client = client_of(store)
        async with client_of(memory).elect("shop", holder="n1") as leadership:
            made = await by(client, leadership).create(Greeting.new("x", text="a"))
            store.calls.clear()
            await client.update(changed(made))
            assert store.calls == {"write": 1}


# -- in versions ---------------------------------------------------------------------------

OLDER: dict[str, Callable[[Client, Any], Awaitable[Entity[Any, Any]]]] = {
    "create": lambda client, _: client.create(Alpha.new("new", size_gb=1)),
    "update": lambda client, there: client.update(
        there.with_spec(there.spec.model_copy(update={"size_gb": 7}))
    ),
    "update_status": lambda client, there: client.update_status(
        there.with_status(v1alpha1.WidgetStatus(place="home"))
    ),
    "apply": lambda client, _: client.apply(Alpha.partial("new", size_gb=1), manager="m"),
    "patch": lambda client, _: client.patch(Alpha, "w", {"spec": {"sizeGb": 7}}),
    "delete": lambda client, _: client.delete(Alpha, "w"),
}


@pytest.mark.parametrize("kind", OLDER)
async def test_writes_in_an_older_version_are_fenced_too(store: Store, kind: str) -> None:
    known = Kinds([Alpha, Beta])
    client = VersionedClient(StoreClient(store=store, kinds=known), known)
    there = await client.create(Alpha.new("w", size_gb=1))
    async with client.elect("shop", holder="n1") as leadership:
        fenced = client.fenced(leadership.key, leadership.revision)
        led = await client.leader("shop")
        assert led is not None
        assert led.holder == "n1"
        await depose(store, leadership)
        with pytest.raises(Fenced):
            await OLDER[kind](fenced, there)
        assert await client.get(Alpha, "w") == there


async def test_what_would_be_written_without_the_fence_is_refused_at_once(store: Store) -> None:
    fenced, key = FencedStore(store, "/there/leads/nobody", 7), "/late"
    with pytest.raises(InvalidInput, match="may only read"):
        await fenced.transact([Compare.absent(key)], [], [Put(key, b"late")])
    assert await store.get(key) is None
