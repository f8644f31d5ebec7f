from __future__ import annotations

import asyncio

import pytest

from miren.base.errors import Compacted, DeadlineExceeded
from miren.entities.client import (
    Added,
    Deleted,
    Left,
    Modified,
    Selection,
)
from miren.entities.store_client import StoreClient
from tests.builders import Greeting, make_greeting
from tests.entities.watching import watching
from tests.stores import Watched


async def test_a_watch_tells_every_change_with_old_and_new(client: StoreClient) -> None:
    async with watching(client, Greeting) as watch:
        made = await client.create(make_greeting())
        assert await watch.next() == Added(made, made.revision)
        loud = await client.apply(Greeting.partial("hi", text="HEY"), manager="ci")
        assert await watch.next() == Modified(loud, made, loud.revision)
        gone = await client.delete(Greeting, "hi")
        assert await watch.next() == Deleted(loud, gone.revision)


async def test_a_watch_from_a_list_misses_nothing(client: StoreClient) -> None:
    listing = await client.list(Greeting)
    made = await client.create(make_greeting())
    async with watching(client, Greeting, after=listing.revision) as watch:
        assert await watch.next() == Added(made, made.revision)


async def test_leaving_a_selection_is_not_deletion(client: StoreClient) -> None:
    async with watching(client, Greeting, Selection(labels={"app": "web"})) as watch:
        made = await client.create(make_greeting(labels={"app": "web"}))
        assert await watch.next() == Added(made, made.revision)
        patch = {"metadata": {"labels": {"app": "db"}}}
        moved = await client.patch(Greeting, "hi", patch)
        assert await watch.next() == Left(moved, moved.revision)
        await client.patch(Greeting, "hi", {"spec": {"text": "unseen"}})
        back = await client.patch(Greeting, "hi", {"metadata": {"labels": {"app": "web"}}})
        assert await watch.next() == Added(back, back.revision)
        await client.delete(Greeting, "hi")
        assert isinstance(await watch.next(), Deleted)


async def test_a_watch_can_select_by_field_and_project(client: StoreClient) -> None:
    selection = Selection(project="shop", fields={"spec.tone": "loud"})
    async with watching(client, Greeting, selection) as watch:
        await client.create(make_greeting(tone="loud"))
        shop = client.in_project("shop")
        await shop.create(make_greeting("quiet"))
        loud = await shop.create(make_greeting("loud", tone="loud"))
        assert await watch.next() == Added(loud, loud.revision)
        quiet = await shop.patch(Greeting, "loud", {"spec": {"tone": None}})
        assert await watch.next() == Left(quiet, quiet.revision)


async def test_what_is_not_selected_moves_the_bookmark(client: StoreClient) -> None:
    async with watching(client, Greeting, Selection(labels={"app": "web"})) as watch:
        await watch.bookmark()
        made = await client.create(make_greeting())
        assert await watch.bookmark() == made.revision


async def test_a_watch_of_history_that_is_gone_is_compacted(client: StoreClient) -> None:
    start = await client.revision()
    await client.create(make_greeting())
    await client.store.compact(await client.revision())
    async with watching(client, Greeting, after=start) as watch:
        with pytest.raises(Compacted):
            await watch.next()


async def test_waiting_returns_at_once_what_is_already_so(client: StoreClient) -> None:
    made = await client.create(make_greeting())
    found = await client.wait(Greeting, "hi", lambda entity: entity is not None, timeout=10)
    assert found == made
    assert await client.wait(Greeting, "no", lambda entity: entity is None, timeout=10) is None


async def test_waiting_sees_creation_change_and_deletion(client: StoreClient) -> None:
    async def change() -> None:
        await client.create(make_greeting())
        await client.patch(Greeting, "hi", {"spec": {"text": "HEY"}})

    async with asyncio.TaskGroup() as group:
        group.create_task(change())
        found = await client.wait(
            Greeting, "hi", lambda e: e is not None and e.spec.text == "HEY", timeout=10
        )
    assert found is not None
    async with asyncio.TaskGroup() as group:
        group.create_task(client.delete(Greeting, "hi"))
        gone = await client.wait(Greeting, "hi", lambda entity: entity is None, timeout=10)
    assert gone is None


async def test_waiting_goes_on_when_history_is_compacted_under_it(client: StoreClient) -> None:
    async def change_and_forget() -> None:
        await client.create(make_greeting())
        await client.store.compact(await client.revision())

    store = Watched(client.store)
    store.before_watch = change_and_forget
    waiting = StoreClient(store=store, kinds=client.kinds)
    found = await waiting.wait(Greeting, "hi", lambda entity: entity is not None, timeout=10)
    assert found is not None


async def test_waiting_too_long_says_what_the_state_was(client: StoreClient) -> None:
    with pytest.raises(DeadlineExceeded, match=r"waited 0\.05 s for greeting/hi: it does"):
        await client.wait(Greeting, "hi", lambda entity: entity is not None, timeout=0.05)
    await client.create(make_greeting().with_metadata(finalizers=("example.dev/keep",)))
    await client.delete(Greeting, "hi")
    with pytest.raises(DeadlineExceeded, match=r"being deleted, held by example\.dev/keep"):
        await client.wait(Greeting, "hi", lambda entity: entity is None, timeout=0.05)


async def test_a_timeout_inside_the_condition_is_not_the_deadline(client: StoreClient) -> None:
    def broken(_entity: Greeting | None) -> bool:
        raise TimeoutError("mine")

    with pytest.raises(TimeoutError, match="mine"):
        await client.wait(Greeting, "hi", broken, timeout=10)
