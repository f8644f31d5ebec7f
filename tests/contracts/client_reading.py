"""Get, list and wait."""

from __future__ import annotations

import asyncio

import pytest

from miren.base.errors import DeadlineExceeded, InvalidInput, NotFound
from miren.entities.client import Client, Selection
from tests.builders import Greeting, GreetingStatus, Stamp, make_greeting


async def greetings(client: Client, *names: str) -> list[Greeting]:
    return [await client.create(make_greeting(name)) for name in names]


def names(found: tuple[Greeting, ...]) -> list[str]:
    return [entity.name for entity in found]


class ReadingContract:
    async def test_what_was_created_is_read(self, client: Client) -> None:
        made = await client.create(make_greeting(labels={"app": "web"}))
        assert made.uid
        assert made.revision > 0
        assert made.metadata.generation == 1
        assert made.metadata.creation_timestamp is not None
        assert (made.project, made.spec.text) == ("default", "hey")
        assert await client.get(Greeting, "hi") == made

    async def test_what_is_missing_is_not_found_or_the_default(self, client: Client) -> None:
        with pytest.raises(NotFound) as error:
            await client.get(Greeting, "hi")
        assert error.value.entity == "greeting/hi"
        assert await client.get(Greeting, "hi", default=None) is None

    async def test_projects_are_apart(self, client: Client) -> None:
        shop = client.in_project("shop")
        mine = await client.create(make_greeting(text="mine"))
        theirs = await shop.create(make_greeting(text="theirs"))
        assert (mine.project, theirs.project) == ("default", "shop")
        assert await shop.get(Greeting, "hi") == theirs
        assert await client.get(Greeting, "hi", project="shop") == theirs
        assert (await client.list(Greeting)).items == (mine, theirs)
        assert (await client.list(Greeting, Selection(project="shop"))).items == (theirs,)

    async def test_kinds_of_the_whole_cluster_have_no_project(self, client: Client) -> None:
        made = await client.create(Stamp.new("one", number="7"))
        assert made.project == ""
        assert await client.in_project("shop").get(Stamp, "one") == made
        assert (await client.list(Stamp)).items == (made,)

    async def test_a_list_is_in_order_and_as_new_as_what_it_shows(self, client: Client) -> None:
        *_, last = await greetings(client, "c", "a", "b")
        listing = await client.list(Greeting)
        assert names(listing.items) == ["a", "b", "c"]
        assert listing.revision >= last.revision
        assert not listing.token

    @pytest.mark.parametrize(
        ("labels", "found"),
        [
            ({"app": "web"}, ["a", "b"]),
            ("app=web,tier=back", ["b"]),
            ("app in (web, db), tier", ["b", "c"]),
            ("tier!=back", ["a"]),
            ("!tier", ["a"]),
        ],
    )
    async def test_labels_select(
        self, client: Client, labels: dict[str, str] | str, found: list[str]
    ) -> None:
        await client.create(make_greeting("a", labels={"app": "web"}))
        await client.create(make_greeting("b", labels={"app": "web", "tier": "back"}))
        await client.create(make_greeting("c", labels={"app": "db", "tier": "back"}))
        assert names((await client.list(Greeting, Selection(labels=labels))).items) == found

    async def test_indexed_attributes_select_and_others_cannot(self, client: Client) -> None:
        await client.create(make_greeting("loud", tone="loud"))
        await client.create(make_greeting("plain"))
        loud = Selection(fields={"spec.tone": "loud"})
        assert names((await client.list(Greeting, loud)).items) == ["loud"]
        with pytest.raises(InvalidInput, match=r"spec\.text"):
            await client.list(Greeting, Selection(fields={"spec.text": "hey"}))

    async def test_pages_show_one_revision(self, client: Client) -> None:
        await greetings(client, "a", "b", "c", "d", "e")
        first = await client.list(Greeting, limit=2)
        await client.delete(Greeting, "e")
        await client.create(make_greeting("f"))
        second = await client.list(Greeting, limit=2, token=first.token)
        third = await client.list(Greeting, limit=2, token=second.token)
        assert [names(each.items) for each in (first, second, third)] == [
            ["a", "b"],
            ["c", "d"],
            ["e"],
        ]
        assert first.revision == second.revision == third.revision
        assert not third.token

    async def test_pages_of_a_selection_are_full(self, client: Client) -> None:
        for number in range(6):
            await client.create(make_greeting(f"g{number}", tone="even" if number % 2 else "odd"))
        even = Selection(fields={"spec.tone": "even"})
        first = await client.list(Greeting, even, limit=2)
        second = await client.list(Greeting, even, limit=2, token=first.token)
        assert names(first.items + second.items) == ["g1", "g3", "g5"]
        assert len(first.items) == 2

    async def test_a_token_belongs_to_its_selection(self, client: Client) -> None:
        await greetings(client, "a", "b")
        first = await client.list(Greeting, limit=1)
        with pytest.raises(InvalidInput, match="token"):
            await client.list(Greeting, Selection(project="shop"), limit=1, token=first.token)
        with pytest.raises(InvalidInput, match="token"):
            await client.list(Greeting, limit=1, token="nonsense")

    async def test_waiting_ends_when_it_is_so(self, client: Client) -> None:
        waiting = asyncio.create_task(
            client.wait(
                Greeting, "hi", lambda g: g is not None and g.status.shout == "HEY", timeout=20
            )
        )
        made = await client.create(make_greeting())
        await client.update_status(made.with_status(GreetingStatus(shout="HEY")))
        found = await waiting
        assert found is not None
        assert found.status.shout == "HEY"
        gone = asyncio.create_task(client.wait(Greeting, "hi", lambda g: g is None, timeout=20))
        await client.delete(Greeting, "hi")
        assert await gone is None

    async def test_waiting_has_an_end(self, client: Client) -> None:
        with pytest.raises(DeadlineExceeded, match="greeting/hi: it does not exist"):
            await client.wait(Greeting, "hi", lambda g: g is not None, timeout=0.05)
