from __future__ import annotations

import pytest

from miren.base.errors import Compacted, InvalidInput, NotFound
from miren.entities.client import Selection
from miren.entities.store_client import StoreClient
from tests.builders import Greeting, Parcel, Room, Stamp, make_greeting, make_parcel


def names(found: tuple[Greeting, ...] | tuple[Parcel, ...]) -> list[str]:
    return [entity.name for entity in found]


async def test_what_was_created_is_read_back(client: StoreClient) -> None:
    made = await client.create(make_greeting(labels={"app": "web"}))
    found = await client.get(Greeting, "hi")
    assert found == made
    assert found.spec.text == "hey"
    assert found.metadata.labels == {"app": "web"}
    assert (found.project, found.metadata.generation, len(found.uid)) == ("default", 1, 20)
    assert found.revision == await client.revision()
    assert found.metadata.creation_timestamp is not None


async def test_a_missing_entity_is_an_error_that_suggests_a_name(client: StoreClient) -> None:
    await client.create(make_greeting("hello"))
    with pytest.raises(NotFound, match="greeting 'helo' not found") as caught:
        await client.get(Greeting, "helo")
    assert caught.value.hint == "did you mean 'hello'?"
    assert caught.value.entity == "greeting/helo"
    with pytest.raises(NotFound, match="in project 'shop'"):
        await client.get(Greeting, "hello", project="shop")


async def test_a_missing_entity_is_the_default_where_one_is_given(client: StoreClient) -> None:
    assert await client.get(Greeting, "hi", default=None) is None
    assert await client.get(Greeting, "hi", default=7) == 7


async def test_projects_have_names_of_their_own(client: StoreClient) -> None:
    shop = client.in_project("shop")
    await client.create(make_greeting(text="one"))
    await shop.create(make_greeting(text="two"))
    assert (await client.get(Greeting, "hi")).spec.text == "one"
    assert (await shop.get(Greeting, "hi")).spec.text == "two"
    assert (await client.get(Greeting, "hi", project="shop")).spec.text == "two"
    everywhere = await client.list(Greeting)
    assert [entity.project for entity in everywhere.items] == ["default", "shop"]
    assert len((await client.list(Greeting, Selection(project="shop"))).items) == 1


async def test_a_kind_of_the_cluster_has_no_project(client: StoreClient) -> None:
    made = await client.in_project("shop").create(Stamp.new("red"))
    assert made.project == ""
    assert await client.get(Stamp, "red") == made
    assert (await client.list(Stamp)).items == (made,)


async def test_names_and_values_with_odd_characters_do_not_collide(client: StoreClient) -> None:
    odd = ["a/b", "a%2Fb", "_", "%5F", "", "a" * 200, "a" * 201, "\0"]
    for number, place in enumerate(odd):
        parcel = await client.create(make_parcel(f"p{number}"))
        status = parcel.status.model_copy(update={"place": place})
        await client.update_status(parcel.with_status(status))
    for number, place in enumerate(odd):
        found = await client.list(Parcel, Selection(fields={"status.place": place}))
        assert names(found.items) == [f"p{number}"]


async def test_a_list_is_paged_at_one_revision(client: StoreClient) -> None:
    for number in range(7):
        await client.create(make_greeting(f"g{number}"))
    first = await client.list(Greeting, limit=3)
    await client.create(make_greeting("g3x"))
    await client.delete(Greeting, "g5")
    second = await client.list(Greeting, limit=3, token=first.token)
    third = await client.list(Greeting, limit=3, token=second.token)
    assert [bool(page.token) for page in (first, second, third)] == [True, True, False]
    assert names(first.items + second.items + third.items) == [f"g{n}" for n in range(7)]
    assert second.revision == first.revision


async def test_a_page_of_a_selection_is_full_while_there_are_more(client: StoreClient) -> None:
    for number in range(150):
        tone = "loud" if number % 50 == 49 else "plain"
        await client.create(make_greeting(f"g{number:03}", labels={"tone": tone}, tone=tone))
    for selection in (Selection(labels={"tone": "loud"}), Selection(fields={"spec.tone": "loud"})):
        first = await client.list(Greeting, selection, limit=2)
        assert (names(first.items), bool(first.token)) == (["g049", "g099"], True)
        rest = await client.list(Greeting, selection, limit=2, token=first.token)
        assert (names(rest.items), rest.token) == (["g149"], "")


async def test_a_page_of_history_that_is_gone_is_compacted(client: StoreClient) -> None:
    for name in ("a", "b"):
        await client.create(make_greeting(name))
    first = await client.list(Greeting, limit=1)
    await client.create(make_greeting("c"))
    await client.store.compact(await client.revision())
    with pytest.raises(Compacted):
        await client.list(Greeting, limit=1, token=first.token)


async def test_labels_select_what_has_all_of_them(client: StoreClient) -> None:
    await client.create(make_greeting("a", labels={"app": "web", "tier": "1"}))
    await client.create(make_greeting("b", labels={"app": "web"}))
    await client.create(make_greeting("c"))
    found = await client.list(Greeting, Selection(labels={"app": "web"}))
    assert names(found.items) == ["a", "b"]
    found = await client.list(Greeting, Selection(labels={"app": "web", "tier": "1"}))
    assert names(found.items) == ["a"]


async def test_indexed_fields_select_by_value_defaults_included(client: StoreClient) -> None:
    await client.create(make_greeting("a", tone="loud"))
    await client.create(make_greeting("b"))
    await client.in_project("shop").create(make_greeting("c", tone="loud"))
    loud = {"spec.tone": "loud"}
    assert names((await client.list(Greeting, Selection(fields=loud))).items) == ["a", "c"]
    here = Selection(project="default", fields=loud)
    assert names((await client.list(Greeting, here)).items) == ["a"]
    plain = Selection(fields={"spec.tone": "plain"})
    assert names((await client.list(Greeting, plain)).items) == ["b"]


async def test_a_list_attribute_is_selected_by_any_element(client: StoreClient) -> None:
    for room in ("hall", "attic"):
        await client.create(Room.new(room))
    await client.create(make_parcel("a", rooms=["hall", "attic"]))
    await client.create(make_parcel("b", rooms=["hall"]))
    found = await client.list(Parcel, Selection(fields={"spec.rooms": "attic"}))
    assert names(found.items) == ["a"]
    found = await client.list(Parcel, Selection(fields={"spec.rooms": "hall"}))
    assert names(found.items) == ["a", "b"]


async def test_only_indexed_fields_can_be_selected_on(client: StoreClient) -> None:
    with pytest.raises(InvalidInput, match="Greeting cannot be selected on"):
        await client.list(Greeting, Selection(fields={"spec.text": "hey"}))
    with pytest.raises(InvalidInput) as caught:
        await client.list(Greeting, Selection(fields={"spec.tune": "loud"}))
    assert caught.value.hint == "did you mean 'spec.tone'?"
