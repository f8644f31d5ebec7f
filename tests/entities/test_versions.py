"""Versions of a kind side by side: whoever speaks one sees nothing of the others."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import orjson
import pytest

from miren.base.errors import Conflict, Duplicate, InvalidInput, NotFound, Refused
from miren.entities import keys
from miren.entities.client import Added, Bookmark, Client, Deleted, Left, Modified, Selection
from miren.entities.conversions import Converter
from miren.entities.entity import Entity, Partial
from miren.entities.kinds import Kinds
from miren.entities.model import Model
from miren.entities.store.api import Store
from miren.entities.store.memory import MemoryStore
from miren.entities.store_client import StoreClient
from miren.entities.versioned_client import VersionedClient
from tests.entities.widgets import v1, v1alpha1, v1beta1

Alpha, Beta, Stable = v1alpha1.Widget, v1beta1.Widget, v1.Widget


def client_of(store: Store, *kinds: type[Entity[Any, Any]]) -> VersionedClient:
    known = Kinds(kinds)
    return VersionedClient(StoreClient(store=store, kinds=known), known)


@pytest.fixture
def client(store: Store) -> VersionedClient:
    return client_of(store, Alpha, Beta)


def alpha(name: str = "w", **spec: Any) -> v1alpha1.Widget:
    return Alpha.new(name, **{"size_gb": 1, **spec})


def beta(name: str = "w", **spec: Any) -> v1beta1.Widget:
    return Beta.new(name, **{"limits": {"size": "1Gi"}, **spec})


async def stored_in(store: Store, name: str = "w") -> tuple[str, dict[str, Any], int]:
    """Return the version an entity is stored in, what lies beside it, and its revision."""
    kind = Beta.kind
    entity = await store.get(keys.entity_key(kind, "default", name))
    beside = await store.get(keys.sidecar_key(kind, "default", name))
    assert entity is not None
    assert beside is not None
    return (
        orjson.loads(entity.value)["apiVersion"],
        orjson.loads(beside.value),
        entity.mod_revision,
    )


def test_it_is_a_client(client: VersionedClient) -> None:
    it: Client = client
    assert it is client


# -- reading and writing in either version -------------------------------------------------


async def test_what_is_written_in_one_version_is_read_in_the_other(
    client: VersionedClient,
) -> None:
    made = await client.create(alpha(size_gb=3, tier="dear", ports=[{"port": 80}]))
    assert isinstance(made, Alpha)
    assert made.spec.size_gb == 3
    newer = await client.get(Beta, "w")
    assert str(newer.spec.limits.size) == "3Gi"
    assert newer.spec.class_ == "fast"
    assert newer.spec.ports == (v1beta1.Port(number=80),)
    assert newer.uid == made.uid
    assert newer.revision == made.revision


async def test_entities_are_stored_in_the_newest_version(
    store: Store, client: VersionedClient
) -> None:
    await client.create(alpha())
    assert (await stored_in(store))[0] == "example.dev/v1beta1"


async def test_an_update_in_the_older_version_keeps_what_it_cannot_say(
    client: VersionedClient,
) -> None:
    ports = [{"number": 80, "name": "web"}, {"number": 81}]
    await client.create(beta(limits={"size": "1536Mi"}, color="red", ports=ports))
    older = await client.get(Alpha, "w")
    assert older.spec.size_gb == 2
    changed = older.with_spec(older.spec.model_copy(update={"tier": "dear"}))
    assert (await client.update(changed)).spec.tier == "dear"
    newer = await client.get(Beta, "w")
    assert str(newer.spec.limits.size) == "1536Mi"
    assert newer.spec.color == "red"
    assert [port.name for port in newer.spec.ports] == ["web", ""]
    assert newer.spec.class_ == "fast"
    assert newer.metadata.annotations == {"converted.miren.dev/spec.nick": '""'}


async def test_a_status_is_written_in_either_version(client: VersionedClient) -> None:
    made = await client.create(beta())
    older = await client.get(Alpha, "w")
    there = await client.update_status(older.with_status(v1alpha1.WidgetStatus(place="home")))
    assert there.status.place == "home"
    assert (await client.get(Beta, "w")).status.phase == "home"
    with pytest.raises(Conflict):
        await client.update_status(made.with_status(v1beta1.WidgetStatus(phase="away")))


async def test_an_update_of_what_changed_meanwhile_is_refused(client: VersionedClient) -> None:
    older = await client.create(alpha())
    await client.patch(Beta, "w", {"spec": {"color": "red"}})
    with pytest.raises(Conflict):
        await client.update(older.with_spec(older.spec.model_copy(update={"nick": "x"})))


async def test_a_patch_changes_what_its_version_shows(client: VersionedClient) -> None:
    await client.create(beta(color="red"))
    assert (await client.patch(Alpha, "w", {"spec": {"sizeGb": 7}})).spec.size_gb == 7
    newer = await client.get(Beta, "w")
    assert (str(newer.spec.limits.size), newer.spec.color) == ("7Gi", "red")
    with pytest.raises(InvalidInput, match="unknown attribute 'color'"):
        await client.patch(Alpha, "w", {"spec": {"color": "blue"}})


async def test_deleting_waiting_and_ensuring_speak_the_version_asked_for(
    client: VersionedClient,
) -> None:
    assert (await client.ensure(alpha(size_gb=2))).spec.size_gb == 2
    assert (await client.ensure(alpha(size_gb=9))).spec.size_gb == 2
    found = await client.wait(Alpha, "w", lambda e: e is not None, timeout=5)
    assert isinstance(found, Alpha)
    assert isinstance(await client.delete(Alpha, "w"), Alpha)
    assert await client.get(Alpha, "w", default=None) is None
    with pytest.raises(NotFound):
        await client.get(Alpha, "w")


async def test_unique_values_are_unique_across_versions(client: VersionedClient) -> None:
    await client.create(alpha("one", serial="x"))
    with pytest.raises(Duplicate):
        await client.create(beta("two", serial="x"))


async def test_problems_are_told_at_the_paths_of_the_version_asked_for(
    client: VersionedClient,
) -> None:
    with pytest.raises(InvalidInput) as error:
        await client.create(alpha(size_gb=0))  # the newer version says at least 1Mi
    assert [problem.dotted() for problem in error.value.problems] == ["spec.sizeGb"]
    with pytest.raises(InvalidInput) as error:
        await client.apply(Alpha.partial("w", size_gb=0), manager="ci")
    assert [problem.dotted() for problem in error.value.problems] == ["spec.sizeGb"]


async def test_the_client_below_does_not_mistake_a_version_for_the_stored_one(
    client: VersionedClient,
) -> None:
    with pytest.raises(InvalidInput, match="is stored in v1beta1"):
        await client.inner.create(alpha())


# -- applying ------------------------------------------------------------------------------


async def test_managers_of_both_versions_share_an_entity(client: VersionedClient) -> None:
    old = await client.apply(Alpha.partial("w", size_gb=2, nick="joe"), manager="old")
    assert (old.spec.size_gb, old.spec.nick) == (2, "joe")
    await client.apply(Beta.partial("w", color="red"), manager="new")
    with pytest.raises(Conflict, match="managed by 'old'"):
        await client.apply(Beta.partial("w", limits={"size": "3Gi"}), manager="new")
    assert await client.managers(Alpha, "w") == {
        "old": {"/spec/sizeGb", "/spec/nick"},
        "new": {"/metadata/annotations/converted.miren.dev~1spec.color"},
    }
    again = await client.apply(Alpha.partial("w", size_gb=2), manager="old")
    assert again.spec.nick == ""  # given up
    assert (await client.get(Beta, "w")).spec.color == "red"


async def test_a_document_that_was_read_can_be_applied_again(store: Store) -> None:
    client = client_of(store, Beta, Stable)
    made = await client.create(
        Stable.new("w", limits={"size": "1536Mi"}, look={"color": "red", "gloss": True})
    )
    await client.update_status(made.with_status(v1.WidgetStatus(phase="x", wear=3)))
    document = (await client.get(Beta, "w")).to_document()
    del document["status"]
    again = await client.apply(Partial(Beta, document), manager="m")
    assert again.spec.color == "red"
    newer = await client.get(Stable, "w")
    assert (newer.spec.look.gloss, newer.status.wear) == (True, 3)


async def test_applying_the_same_again_writes_nothing(client: VersionedClient) -> None:
    first = await client.apply(Alpha.partial("w", size_gb=2, tier="dear"), manager="m")
    again = await client.apply(Alpha.partial("w", size_gb=2, tier="dear"), manager="m")
    assert again == first


async def test_elements_of_a_list_belong_to_whoever_applied_them(client: VersionedClient) -> None:
    await client.apply(Alpha.partial("w", size_gb=1, ports=[{"port": 80}]), manager="old")
    ports = [{"number": 81, "name": "x"}]
    await client.apply(Beta.partial("w", ports=ports), manager="new")
    assert [port.port for port in (await client.get(Alpha, "w")).spec.ports] == [80, 81]
    await client.apply(Alpha.partial("w", size_gb=1), manager="old")
    assert [port.number for port in (await client.get(Beta, "w")).spec.ports] == [81]


async def test_an_attribute_that_only_the_newer_version_has_is_unknown_in_the_older(
    client: VersionedClient,
) -> None:
    document = {"metadata": {"name": "w"}, "spec": {"size_gb": 1, "color": "red"}}
    for _ in range(2):  # once while there is none, once over one
        with pytest.raises(InvalidInput, match="unknown attribute 'color'"):
            await client.apply(Partial(Alpha, document), manager="m")
        await client.ensure(alpha())


async def test_functions_cannot_convert_parts_so_only_the_newest_version_is_applied() -> None:
    class Old(Model):
        text: str = ""

    class New(Model):
        loud: str = ""

    class Status(Model):
        pass

    def up(document: dict[str, Any]) -> dict[str, Any]:
        return {**document, "spec": {"loud": document["spec"].get("text", "").upper()}}

    def down(document: dict[str, Any]) -> dict[str, Any]:
        return {**document, "spec": {"text": document["spec"].get("loud", "").lower()}}

    class Cry(Entity[Old, Status], api="example.dev/v1alpha1"):
        pass

    older = Cry

    def newest() -> type[Entity[Any, Any]]:
        converts = {"v1alpha1": Converter.opaque(up, down)}

        class Cry(Entity[New, Status], api="example.dev/v1", converts=converts):
            pass

        return Cry

    newer = newest()
    async with MemoryStore() as store:
        client = client_of(store, older, newer)
        await client.create(older.new("c", text="hey"))
        assert (await client.get(newer, "c")).spec.loud == "HEY"
        assert (await client.get(older, "c")).spec.text == "hey"
        with pytest.raises(Refused, match="cannot be applied") as error:
            await client.apply(older.partial("c", text="x"), manager="m")
        assert "apply example.dev/v1" in (error.value.hint or "")
        await client.apply(newer.partial("c", loud="YO"), manager="m", force=True)
        assert (await client.get(older, "c")).spec.text == "yo"
        with pytest.raises(InvalidInput, match="cannot be selected on"):
            await client.list(older, Selection(fields={"spec.text": "yo"}))


# -- selecting and watching ----------------------------------------------------------------


async def test_a_selection_in_the_older_version_finds_what_the_newer_one_wrote(
    client: VersionedClient,
) -> None:
    await client.create(beta("fast", class_="fast"))
    await client.create(alpha("dear", tier="dear"))
    await client.create(alpha("cheap"))
    found = await client.list(Alpha, Selection(fields={"spec.tier": "dear"}))
    assert [each.name for each in found.items] == ["dear", "fast"]
    assert all(isinstance(each, Alpha) for each in found.items)
    first = await client.list(Alpha, limit=2)
    rest = await client.list(Alpha, limit=2, token=first.token)
    assert [each.name for each in (*first.items, *rest.items)] == ["cheap", "dear", "fast"]
    with pytest.raises(InvalidInput, match="select") as error:
        await client.list(Alpha, Selection(fields={"spec.sizeGb": "1"}))
    assert error.value.hint == "select in example.dev/v1beta1"


async def test_a_watch_delivers_entities_of_the_version_asked_for(
    client: VersionedClient,
) -> None:
    after = await client.revision()
    wanted = Selection(fields={"spec.tier": "dear"})
    await client.create(beta(class_="fast"))
    await client.patch(Beta, "w", {"spec": {"limits": {"size": "2Gi"}}})
    await client.patch(Beta, "w", {"spec": {"class": "standard"}})
    async with client.watch(Alpha, wanted, after=after) as events:
        seen = await taken(events, 3)
    assert [type(event) for event in seen] == [Added, Modified, Left]
    assert [event.entity.spec.size_gb for event in seen] == [1, 2, 2]
    assert seen[1].old.spec.size_gb == 1
    await client.delete(Beta, "w")
    async with client.watch(Alpha, after=after) as events:
        assert isinstance((await taken(events, 4))[-1], Deleted)


async def taken(events: AsyncIterator[Any], count: int) -> list[Any]:
    found: list[Any] = []
    async for event in events:
        if not isinstance(event, Bookmark):
            found.append(event)
        if len(found) == count:
            break
    return found


# -- entities that are stored in an older version ------------------------------------------


@dataclass(frozen=True)
class Past:
    """A store in which everything was written before there was another version."""

    store: Store
    client: VersionedClient


@asynccontextmanager
async def past() -> AsyncIterator[Past]:
    async with MemoryStore() as store:
        before = StoreClient(store=store, kinds=Kinds([Alpha]))
        wanted = Alpha.partial("w", size_gb=2, tier="dear", nick="joe", ports=[{"port": 80}])
        await before.apply(wanted, manager="ci")
        yield Past(store, client_of(store, Alpha, Beta))


async def test_an_entity_of_an_older_version_is_converted_when_it_is_read() -> None:
    async with past() as it:
        found = await it.client.get(Beta, "w")
        assert (str(found.spec.limits.size), found.spec.class_) == ("2Gi", "fast")
        assert found == (await it.client.list(Beta)).items[0]
        assert (await it.client.get(Alpha, "w")).spec.nick == "joe"
        assert (await stored_in(it.store))[0] == "example.dev/v1alpha1"


async def test_the_next_write_stores_the_newest_version_and_its_managers() -> None:
    async with past() as it:
        await it.client.apply(Beta.partial("w", color="red"), manager="new")
        api, beside, _ = await stored_in(it.store)
        assert api == "example.dev/v1beta1"
        assert beside["version"] == "v1beta1"
        assert beside["managers"]["ci"] == sorted(
            [
                "/metadata/annotations/converted.miren.dev~1spec.nick",
                "/spec/class",
                "/spec/limits/size",
                "/spec/ports/80/number",
            ]
        )
        selection = Selection(fields={"spec.class": "fast"})
        assert len((await it.client.list(Beta, selection)).items) == 1
        again = await it.client.apply(Alpha.partial("w", size_gb=2), manager="ci")
        assert (again.spec.nick, again.spec.tier, again.spec.ports) == ("", "cheap", ())


async def test_a_write_that_changes_nothing_leaves_the_older_version_there() -> None:
    async with past() as it:
        before = await stored_in(it.store)
        found = await it.client.get(Beta, "w")
        assert await it.client.update(found) == found
        assert await stored_in(it.store) == before


async def test_a_status_alone_upgrades_the_entity_and_keeps_who_manages_it() -> None:
    async with past() as it:
        found = await it.client.get(Beta, "w")
        written = await it.client.update_status(found.with_status(v1beta1.WidgetStatus(phase="x")))
        assert written.metadata.generation == found.metadata.generation
        assert (await stored_in(it.store))[0] == "example.dev/v1beta1"
        with pytest.raises(Conflict, match="managed by 'ci'"):
            await it.client.apply(Beta.partial("w", limits={"size": "9Gi"}), manager="new")


async def test_a_watch_from_before_the_new_version_delivers_the_new_version() -> None:
    async with past() as it:
        await it.client.patch(Beta, "w", {"spec": {"color": "red"}})
        async with it.client.watch(Beta, after=0) as events:
            first, second = await taken(events, 2)
        assert isinstance(second, Modified)
        assert str(first.entity.spec.limits.size) == str(second.old.spec.limits.size) == "2Gi"


async def test_versions_in_a_chain_are_upgraded_at_once() -> None:
    async with past() as it:
        client = client_of(it.store, Alpha, Beta, Stable)
        await client.patch(Beta, "w", {"spec": {"color": "red"}})
        assert (await client.get(Stable, "w")).spec.look.color == "red"
        assert (await client.get(Alpha, "w")).spec.nick == "joe"


async def test_a_version_that_nobody_knows_any_more_is_an_error_that_says_so() -> None:
    async with MemoryStore() as store:
        await client_of(store, Alpha, Beta, Stable).create(beta())
        with pytest.raises(InvalidInput, match=r"version v1 of example\.dev is not known"):
            await client_of(store, Alpha, Beta).get(Beta, "w")
