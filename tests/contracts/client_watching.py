"""Watches."""

from __future__ import annotations

from miren.entities.client import Added, Bookmark, Client, Deleted, Left, Modified, Selection
from tests.builders import Greeting, GreetingSpec, make_greeting
from tests.entities.watching import watching


class WatchingContract:
    async def test_every_change_is_delivered_in_order(self, client: Client) -> None:
        start = (await client.list(Greeting)).revision
        async with watching(client, Greeting, after=start) as changes:
            made = await client.create(make_greeting())
            assert await changes.next() == Added(made, made.revision)
            now = await client.update(made.with_spec(GreetingSpec(text="yo")))
            assert await changes.next() == Modified(now, made, now.revision)
            await client.delete(Greeting, "hi")
            gone = await changes.next()
            assert isinstance(gone, Deleted)
            assert gone.entity.uid == made.uid
            assert gone.revision > now.revision

    async def test_what_came_before_is_delivered_too(self, client: Client) -> None:
        first = await client.create(make_greeting("a"))
        second = await client.create(make_greeting("b"))
        third = await client.create(make_greeting("c"))
        async with watching(client, Greeting, after=first.revision) as changes:
            assert await changes.next() == Added(second, second.revision)
            assert await changes.next() == Added(third, third.revision)

    async def test_bookmarks_tell_how_far_it_is(self, client: Client) -> None:
        made = await client.create(make_greeting())
        async with watching(client, Greeting, after=made.revision) as changes:
            while (event := await changes.any()).revision < made.revision:
                assert isinstance(event, Bookmark)

    async def test_other_projects_are_not_watched(self, client: Client) -> None:
        start = (await client.list(Greeting)).revision
        here = Selection(project="shop")
        async with watching(client, Greeting, here, after=start) as changes:
            await client.create(make_greeting())
            theirs = await client.in_project("shop").create(make_greeting())
            assert await changes.next() == Added(theirs, theirs.revision)

    async def test_what_leaves_a_selection_is_not_deleted(self, client: Client) -> None:
        start = (await client.list(Greeting)).revision
        web = Selection(labels={"app": "web"})
        async with watching(client, Greeting, web, after=start) as changes:
            made = await client.create(make_greeting(labels={"app": "web"}))
            await client.create(make_greeting("other"))
            assert (await changes.next()).entity == made
            left = await client.update(made.with_metadata(labels={}))
            assert await changes.next() == Left(left, left.revision)
            back = await client.update(left.with_metadata(labels={"app": "web"}))
            assert isinstance(event := await changes.next(), Added)
            assert event.entity == back
            await client.delete(Greeting, "hi")
            assert isinstance(await changes.next(), Deleted)

    async def test_an_attributes_selection_is_watched(self, client: Client) -> None:
        loud = Selection(fields={"spec.tone": "loud"})
        start = (await client.list(Greeting, loud)).revision
        async with watching(client, Greeting, loud, after=start) as changes:
            await client.create(make_greeting("plain"))
            made = await client.create(make_greeting(tone="loud"))
            assert await changes.next() == Added(made, made.revision)
            quiet = await client.update(made.with_spec(GreetingSpec(text="hey")))
            assert await changes.next() == Left(quiet, quiet.revision)
