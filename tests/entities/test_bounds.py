"""What is too large, too deep or misspelt is refused with its place, and nothing is stored."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from miren.base.errors import InvalidInput
from miren.base.nesting import is_deeper
from miren.entities import keys
from miren.entities.bounds import has_short_texts, is_key
from miren.entities.client import Selection
from miren.entities.entity import Entity, Metadata
from miren.entities.kinds import Kinds
from miren.entities.model import Json, Model, field
from miren.entities.records import encode, stored_document
from miren.entities.store.api import Put
from miren.entities.store_client import StoreClient
from tests.builders import KINDS, Greeting, Parcel, make_greeting, make_parcel


class BoxSpec(Model):
    content: Json = field(default=None)


class BoxStatus(Model):
    pass


class Box(Entity[BoxSpec, BoxStatus], api="example.dev/v1"):
    """Holds anything."""


def nested(levels: int) -> object:
    value: object = 1
    for _ in range(levels):
        value = [value]
    return value


async def refused(client: StoreClient, entity: Entity[Any, Any], *paths: str) -> str:
    """Return the words with which a new entity is refused, at exactly these paths."""
    before = await client.revision()
    with pytest.raises(InvalidInput) as caught:
        await client.create(entity)
    assert [problem.dotted() for problem in caught.value.problems] == list(paths)
    assert await client.revision() == before, "what is refused changes nothing"
    told = str(caught.value)
    assert told.replace("\n", "").isprintable()
    return told


HOSTILE = (
    "",
    "../x",
    "a/b",
    "a%2Fb",
    "a\0b",
    "a\nb",
    "a\n",
    "a\u202eb",
    "\u200f",
    "-",
    "_",
    ".",
    "..",
    "-a",
    "a-",
    "a_b",
    "A",
    "é",
    "日本",
    "a b",
    " a",
    "a" * 254,
    "\x1b[2J",
)


@pytest.mark.parametrize("name", HOSTILE)
async def test_a_hostile_name_is_refused(client: StoreClient, name: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        Greeting.new(name, text="x")
    assert [problem.dotted() for problem in caught.value.problems] == ["metadata.name"]
    with pytest.raises(InvalidInput):
        await client.apply(Greeting.partial(name, text="x"), manager="me")
    assert (await client.list(Greeting)).items == ()


@pytest.mark.parametrize("project", [name for name in HOSTILE if name])
async def test_a_hostile_project_is_refused(client: StoreClient, project: str) -> None:
    await refused(client, make_greeting(project=project), "metadata.project")
    with pytest.raises(InvalidInput):
        await client.apply(Greeting.partial("hi", project=project, text="x"), manager="me")


@pytest.mark.parametrize(
    "key",
    [
        *(key for key in HOSTILE if key not in ("a/b", "A", "a_b")),
        "a" * 64,
        "a/" + "b" * 64,
        "a." * 127 + "a/b",
        "A/b",
        "a_b/c",
        "/b",
        "a/",
        "a/b/c",
        "a..b/c",
    ],
)
async def test_a_hostile_key_of_a_label_or_annotation_is_refused(
    client: StoreClient, key: str
) -> None:
    await refused(client, make_greeting(labels={key: "x"}), "metadata.labels")
    await refused(client, make_greeting(annotations={key: "x"}), "metadata.annotations")


@pytest.mark.parametrize(
    "value",
    [value for value in HOSTILE if value not in ("", "A", "a_b")] + ["a" * 64, "a=b", "a,b"],
)
async def test_a_hostile_value_of_a_label_is_refused(client: StoreClient, value: str) -> None:
    await refused(client, make_greeting(labels={"key": value}), "metadata.labels.key")


async def test_what_kubernetes_allows_is_allowed(client: StoreClient) -> None:
    longest = ".".join(["a" * 61] * 4)[:253]
    labels = {
        "app.kubernetes.io/name": "web",
        "A_b.C-9": "",
        "x": "a" * 63,
        f"{longest}/{'n' * 63}": "A_b.c-9",
    }
    annotations = {"note": "free text\n\x1b[31m \u202e", "example.dev/x": ""}
    made = await client.create(make_greeting(labels=labels, annotations=annotations))
    assert (dict(made.metadata.labels), dict(made.metadata.annotations)) == (labels, annotations)
    await client.create(make_greeting("a" * 253))
    await client.create(make_greeting("0.a-b"))


async def test_labels_are_counted_and_annotations_are_weighed(client: StoreClient) -> None:
    many = {f"k{number}": "" for number in range(65)}
    assert "at most 64" in await refused(client, make_greeting(labels=many), "metadata.labels")
    heavy = {f"k{number}": "é" * 1024 for number in range(128)}
    told = await refused(client, make_greeting(annotations=heavy), "metadata.annotations")
    assert "at most 262144" in told
    many.popitem(), heavy.popitem()
    await client.create(make_greeting(labels=many, annotations=heavy))


async def test_lists_and_maps_are_bounded(client: StoreClient) -> None:
    env = {f"k{number}": "" for number in range(10_001)}
    assert "at most 10000" in await refused(client, make_parcel(env=env), "spec.env")
    boxes = replace(client, kinds=Kinds([*KINDS, Box]))
    many = Box.new("box", content=[0] * 10_001)
    assert "at most 10000" in await refused(boxes, many, "spec.content")
    env.popitem()
    await client.create(make_parcel(env=env))


@pytest.mark.parametrize("key", ["", "a\0b", "a\nb", "\u202e", "k" * 254, "\x7f", "\x85"])
async def test_a_hostile_key_of_a_map_is_refused(client: StoreClient, key: str) -> None:
    await refused(client, make_parcel(env={key: "x"}), "spec.env")


async def test_the_keys_of_maps_are_otherwise_free(client: StoreClient) -> None:
    env = {"a/b": "", "~": "", "日本 語": "", "_": "", ".": "", "A=B": "\0"}
    made = await client.create(make_parcel(env=env))
    assert dict(made.spec.env) == env


async def test_depth_is_bounded(client: StoreClient) -> None:
    boxes = replace(client, kinds=Kinds([*KINDS, Box]))
    told = await refused(boxes, Box.new("box", content=nested(64)), "spec")
    assert told == "spec: nested more than 64 levels deep"
    await boxes.create(Box.new("box", content=nested(63)))


@given(st.integers(0, 20), st.integers(0, 20))
def test_depth_counts_lists_and_mappings(levels: int, most: int) -> None:
    assert is_deeper(nested(levels), most) is (levels > most)
    assert is_deeper({"a": 1, "b": [nested(levels)]}, most) is (levels + 2 > most)


async def test_too_large_an_entity_is_refused(client: StoreClient) -> None:
    with pytest.raises(InvalidInput, match="at most 1048576 can be stored"):
        await client.create(make_greeting(text="x" * (1 << 20)))


async def test_every_problem_comes_at_once(client: StoreClient) -> None:
    bad = make_greeting(project="A", labels={"-": "", "b": "-"}, annotations={"-": ""})
    places = "metadata.project", "metadata.labels", "metadata.labels.b", "metadata.annotations"
    await refused(client, bad, *places)


@pytest.mark.parametrize("name", ["x", "a/b/c", "a/\n", "A.b/c", "/", "a/"])
async def test_a_hostile_finalizer_is_refused(client: StoreClient, name: str) -> None:
    await refused(client, make_greeting().with_metadata(finalizers=(name,)), "metadata.finalizers")


async def test_what_was_stored_before_a_bound_can_still_be_written(client: StoreClient) -> None:
    made = await client.create(make_greeting())
    old = made.with_metadata(labels={"-": "-"})
    key = keys.entity_key(Greeting.kind, "default", "hi")
    await client.store.transact((), [Put(key, encode(stored_document(old)))])
    reopened = StoreClient(store=client.store, kinds=client.kinds)
    known = await reopened.get(Greeting, "hi")
    changed = await reopened.update(known.with_spec(known.spec.model_copy(update={"text": "x"})))
    assert dict(changed.metadata.labels) == {"-": "-"}
    with pytest.raises(InvalidInput, match="is no label's value"):
        await reopened.update(changed.with_metadata(labels={"-": "-", "a": "-"}))


@pytest.mark.parametrize("value", ["", "../x", "a/b", "a%2Fb", "a\0b", "\n", "\u202e", "é" * 300])
async def test_a_hostile_value_can_be_selected_by_and_matches_itself_only(
    client: StoreClient, value: str
) -> None:
    box = await client.create(make_parcel())
    await client.create(make_parcel("other"))
    status = box.status.model_copy(update={"place": value})
    if value:
        await client.update_status(box.with_status(status))
    found = await client.list(Parcel, Selection(fields={"status.place": value}))
    assert [each.name for each in found.items] == (["box"] if value else ["box", "other"])
    by_label = await client.list(Parcel, Selection(labels={"key": value}))
    assert by_label.items == ()


@pytest.mark.parametrize("path", ["", "spec", "status.nope", "../x", "\0", "spec.env.*"])
async def test_a_hostile_field_to_select_by_is_refused(client: StoreClient, path: str) -> None:
    with pytest.raises(InvalidInput):
        await client.list(Parcel, Selection(fields={path: "x"}))


@pytest.mark.parametrize(
    "token",
    ["x", "=", "é", "\0", "../..", "bnVsbA", "W10", "e30", "WzEsMiwzXQ", "A" * 10_000, "_" * 7],
)
async def test_a_token_that_no_list_returned_is_refused(client: StoreClient, token: str) -> None:
    with pytest.raises(InvalidInput, match="no token that a list returned"):
        await client.list(Parcel, token=token)


async def test_a_token_of_another_list_is_refused(client: StoreClient) -> None:
    for name in ("a", "b"):
        await client.create(make_parcel(name))
        await client.create(make_greeting(name))
    token = (await client.list(Parcel, limit=1)).token
    for kind, selection in (
        (Greeting, Selection()),
        (Parcel, Selection(project="default")),
        (Parcel, Selection(labels={"a": "b"})),
        (Parcel, Selection(labels="!a")),
        (Parcel, Selection(fields={"status.place": ""})),
    ):
        with pytest.raises(InvalidInput, match="of another list"):
            await client.list(kind, selection, limit=1, token=token)
    assert [each.name for each in (await client.list(Parcel, limit=1, token=token)).items] == ["b"]


async def test_a_token_forged_for_a_revision_to_come_is_refused(client: StoreClient) -> None:
    from miren.entities.selecting import Selector
    from miren.entities.tokens import Token

    selector = Selector(Parcel, Selection(), project="default")
    for revision in (10**6, 2**62, 2**63, 2**64 - 1):
        with pytest.raises(InvalidInput):
            await client.list(Parcel, token=str(Token(revision, "/", selector.digest)))


@pytest.mark.parametrize("limit", [10**6, 2**40, 2**63, 2**70])
async def test_a_limit_beyond_all_numbers_is_no_limit(client: StoreClient, limit: int) -> None:
    await client.create(make_parcel())
    assert len((await client.list(Parcel, limit=limit)).items) == 1


@pytest.mark.parametrize(
    ("key", "is_good"),
    [("a", True), ("a/b", True), ("a.b-c/D_e.f", True), ("a/b/c", False), ("-/b", False)],
)
def test_keys_are_kubernetes_keys(key: str, is_good: bool) -> None:
    assert is_key(key) is is_good


def test_a_name_is_checked_by_the_whole_pattern() -> None:
    with pytest.raises(InvalidInput):
        Greeting.from_document({"metadata": {"name": "a\n"}, "spec": {"text": "x"}})
    assert Metadata(name="a").name == "a"


@given(st.lists(st.integers(0, 300), min_size=1, max_size=8))
def test_a_long_text_is_found_wherever_it_is(lengths: list[int]) -> None:
    value = b'"'.join(b"x" * length for length in lengths)
    assert has_short_texts(value) is (max(lengths) <= 253)
