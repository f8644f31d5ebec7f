"""Kinds that change under stored entities: indexes and versions are brought up to date."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any, Literal

import pytest

from miren.base.errors import InvalidInput, Unavailable
from miren.entities import keys
from miren.entities.client import Selection
from miren.entities.entity import Entity
from miren.entities.kinds import Kinds
from miren.entities.model import Model, field
from miren.entities.store.memory import MemoryStore
from miren.entities.store_client import StoreClient
from miren.entities.upgrading import find_stale, upgrade_all, upgrading
from miren.entities.versioned_client import VersionedClient
from tests.builders import Nothing
from tests.entities.widgets import v1alpha1, v1beta1
from tests.stores import Counting, Faulty, Racing, keys_in


def cup(
    *, indexed: bool = False, unique: Literal["project", "cluster"] | None = None
) -> type[Entity[Any, Any]]:
    if unique is None:
        tone_of = field(default="plain", indexed=indexed)
    else:
        tone_of = field(default="plain", unique=unique)

    class Spec(Model):
        tone: str = tone_of
        size: int = field(default=1, indexed=True)

    class Cup(Entity[Spec, Nothing], api="example.dev/v1"):
        pass

    return Cup


Plain, Indexed, Unique = cup(), cup(indexed=True), cup(unique="project")
LOUD = Selection(fields={"spec.tone": "loud"})


def client_of(store: Any, kind: type[Entity[Any, Any]]) -> StoreClient:
    return StoreClient(store=store, kinds=Kinds([kind]))


@pytest.fixture
async def store() -> AsyncIterator[Counting]:
    async with MemoryStore() as inner:
        yield Counting(inner)


async def cups(store: Counting, *tones: str) -> None:
    """Store cups a, b, c... when their tone was not indexed yet."""
    before = client_of(store, Plain)
    await find_stale(before)
    for name, tone in zip("abcdefgh", tones, strict=False):
        await before.create(Plain.new(name, tone=tone))


async def names(client: StoreClient, selection: Selection = LOUD) -> list[str]:
    kind = next(iter(client.kinds)).entity
    return [each.name for each in (await client.list(kind, selection)).items]


async def test_an_attribute_that_is_indexed_now_selects_at_once_and_by_index_after_the_pass(
    store: Counting,
) -> None:
    await cups(store, "loud", "plain", "loud")
    client = client_of(store, Indexed)
    await find_stale(client)
    assert await names(client) == ["a", "c"]
    assert not any("spec.tone" in key for key in await keys_in(store, "/i/"))

    assert await upgrade_all(client)
    assert sum("spec.tone" in key for key in await keys_in(store, "/i/")) == 3
    await store.inner.transact((), ())
    store.calls.clear()
    assert await names(client) == ["a", "c"]
    assert store.calls["get"] == 2  # one for each that the index names

    again = client_of(store, Indexed)
    await find_stale(again)
    assert again.unindexed == set()


async def test_an_index_that_is_no_more_leaves_no_keys_and_selects_nothing(
    store: Counting,
) -> None:
    await client_of(store, Indexed).create(Indexed.new("a", tone="loud"))
    client = client_of(store, Plain)
    await find_stale(client)
    with pytest.raises(InvalidInput, match="cannot be selected on"):
        await names(client)
    assert await upgrade_all(client)
    assert not any("spec.tone" in key for key in await keys_in(store, "/i/"))
    assert await names(client, Selection(fields={"spec.size": "1"})) == ["a"]


async def test_the_pass_changes_nothing_but_the_revision(store: Counting) -> None:
    before = client_of(store, Plain)
    made = await before.apply(Plain.partial("a", tone="loud"), manager="ci")
    client = client_of(store, Indexed)
    await find_stale(client)
    await upgrade_all(client)
    after = await client.get(Indexed, "a")
    assert after.revision > made.revision
    assert after.metadata.generation == made.metadata.generation
    assert await client.managers(Indexed, "a") == await before.managers(Plain, "a")
    revision = await client.revision()
    assert await upgrade_all(client)
    assert await client.revision() == revision


async def test_an_empty_store_needs_no_pass(store: Counting) -> None:
    client = client_of(store, Indexed)
    await find_stale(client)
    assert client.unindexed == set()
    await client.create(Indexed.new("a", tone="loud"))
    assert await names(client) == ["a"]


async def test_pages_that_were_begun_by_scanning_end_by_scanning(store: Counting) -> None:
    await cups(store, *["loud"] * 5)
    client = client_of(store, Indexed)
    await find_stale(client)
    first = await client.list(Indexed, LOUD, limit=2)
    await upgrade_all(client)
    second = await client.list(Indexed, LOUD, limit=2, token=first.token)
    third = await client.list(Indexed, LOUD, limit=2, token=second.token)
    found = [each.name for page in (first, second, third) for each in page.items]
    assert found == list("abcde")


async def test_somebody_who_writes_meanwhile_is_not_overwritten(store: Counting) -> None:
    await cups(store, "loud")
    racing = Racing(store)
    client = client_of(racing, Indexed)
    await find_stale(client)

    async def race() -> None:
        await client_of(store, Indexed).patch(Indexed, "a", {"spec": {"tone": "soft"}})

    racing.before_write = race
    assert not await upgrade_all(client)
    assert await upgrade_all(client)
    assert (await client.get(Indexed, "a")).spec.tone == "soft"
    assert await names(client) == []


async def test_values_that_may_not_be_equal_any_more_are_told_and_scanned_on(
    store: Counting, caplog: pytest.LogCaptureFixture
) -> None:
    await cups(store, "loud", "loud", "soft")
    client = client_of(store, Unique)
    await find_stale(client)
    with caplog.at_level(logging.WARNING):
        assert not await upgrade_all(client)
    assert "spec.tone 'loud' is taken" in str([vars(each) for each in caplog.records])
    assert client.unindexed == {("example.dev", "Cup")}
    await client.patch(Unique, "b", {"spec": {"tone": "soft too"}})
    assert await upgrade_all(client)


async def test_a_pass_that_was_cut_off_goes_on_with_what_is_left(store: Counting) -> None:
    await cups(store, "loud", "loud", "loud")
    faulty = Faulty(store)
    client = client_of(faulty, Indexed)
    await find_stale(client)
    await client.rewrite(Indexed, "a")
    faulty.go_down()
    with pytest.raises(Unavailable):
        await upgrade_all(client)
    faulty.is_down = False
    revision = (await client.get(Indexed, "a")).revision
    assert await upgrade_all(client)
    assert (await client.get(Indexed, "a")).revision == revision


async def test_entities_of_an_older_version_are_stored_in_the_newest_one_in_the_background(
    store: Counting, caplog: pytest.LogCaptureFixture
) -> None:
    older = client_of(store, v1alpha1.Widget)
    for name in "abc":
        wanted = v1alpha1.Widget.partial(name, size_gb=2, tier="dear", nick="x")
        await older.apply(wanted, manager="ci")
    kinds = Kinds([v1alpha1.Widget, v1beta1.Widget])
    below = StoreClient(store=store, kinds=kinds)
    client = VersionedClient(below, kinds)
    fast = Selection(fields={"spec.class": "fast"})
    with caplog.at_level(logging.INFO):
        async with upgrading(below):
            assert len((await client.list(v1beta1.Widget, fast)).items) == 3
            async with asyncio.timeout(10):
                while below.unindexed:  # noqa: ASYNC110  # being done is no event
                    await asyncio.sleep(0)
    assert len((await client.list(v1beta1.Widget, fast)).items) == 3
    page = await store.list(keys.entity_range(v1beta1.Widget.kind, None))
    assert all(b'"example.dev/v1beta1"' in item.value for item in page.items)
    assert "entities are up to date with their kind" in caplog.messages
    again = await client.apply(v1alpha1.Widget.partial("a", size_gb=2), manager="ci")
    assert (again.spec.tier, again.spec.nick) == ("cheap", "")


async def test_whoever_leaves_while_entities_are_upgraded_does_not_wait(store: Counting) -> None:
    await cups(store, "loud", "loud")
    client = client_of(store, Unique)
    async with upgrading(client):
        pass
    assert client.unindexed
