"""Create, ensure, update, apply, patch and delete."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from miren.base.errors import AlreadyExists, Conflict, InvalidInput, NotFound, Refused
from miren.entities.client import Client
from miren.entities.entity import Condition, ConditionStatus
from tests.builders import (
    Greeting,
    GreetingSpec,
    GreetingStatus,
    Room,
    make_greeting,
    owned_by,
    owners,
)

READY = Condition(type="Ready", status=ConditionStatus.TRUE, reason="Greeted", message="so it is")


class WritingContract:
    async def test_a_name_is_taken_once(self, client: Client) -> None:
        first = await client.create(make_greeting())
        with pytest.raises(AlreadyExists):
            await client.create(make_greeting(text="other"))
        assert await client.get(Greeting, "hi") == first

    async def test_what_the_server_writes_cannot_be_given(self, client: Client) -> None:
        given = make_greeting().with_metadata(uid="mine", generation=9, resource_version="9")
        made = await client.create(given.with_status(GreetingStatus(shout="no")))
        assert made.uid != "mine"
        assert (made.metadata.generation, made.status.shout) == (1, "")

    async def test_ensure_creates_once(self, client: Client) -> None:
        made = await client.ensure(make_greeting())
        assert await client.ensure(make_greeting(text="other")) == made
        several = [client.ensure(make_greeting("many")) for _ in range(5)]
        assert len({entity.uid for entity in await asyncio.gather(*several)}) == 1

    async def test_update_writes_spec_and_metadata_but_no_status(self, client: Client) -> None:
        made = await client.create(make_greeting(labels={"a": "b", "c": "d"}))
        changed = made.with_spec(GreetingSpec(text="yo")).with_metadata(labels={"a": "e"})
        stored = await client.update(changed.with_status(GreetingStatus(shout="no")))
        assert await client.get(Greeting, "hi") == stored
        assert (stored.spec.text, stored.metadata.labels) == ("yo", {"a": "e"})
        assert (stored.metadata.generation, stored.status.shout) == (2, "")
        assert stored.revision > made.revision

    async def test_update_over_somebody_elses_change_is_a_conflict(self, client: Client) -> None:
        made = await client.create(make_greeting())
        theirs = await client.update(made.with_spec(GreetingSpec(text="theirs")))
        with pytest.raises(Conflict):
            await client.update(made.with_spec(GreetingSpec(text="mine")))
        with pytest.raises(Conflict):
            await client.update_status(made.with_status(GreetingStatus(shout="mine")))
        assert await client.get(Greeting, "hi") == theirs

    async def test_a_write_that_changes_nothing_writes_nothing(self, client: Client) -> None:
        made = await client.create(make_greeting())
        assert await client.update(made) == made
        assert await client.update_status(made) == made
        assert await client.patch(Greeting, "hi", {"spec": {"text": "hey"}}) == made
        assert (await client.get(Greeting, "hi")).revision == made.revision

    async def test_what_is_gone_cannot_be_written(self, client: Client) -> None:
        made = await client.create(make_greeting())
        await client.delete(Greeting, "hi")
        with pytest.raises(NotFound):
            await client.update(made.with_spec(GreetingSpec(text="yo")))
        with pytest.raises(NotFound):
            await client.update_status(made.with_status(GreetingStatus(shout="YO")))
        with pytest.raises(NotFound):
            await client.patch(Greeting, "hi", {"spec": {"text": "yo"}})

    async def test_status_and_conditions_are_written_alone(self, client: Client) -> None:
        made = await client.create(make_greeting())
        said = made.with_spec(GreetingSpec(text="no")).with_status(GreetingStatus(shout="HEY"))
        noted = _noted(said)
        stored = await client.update_status(noted)
        assert await client.get(Greeting, "hi") == stored
        assert (stored.spec.text, stored.status.shout) == ("hey", "HEY")
        assert stored.conditions == (READY,)
        assert stored.observed_generation == 1
        assert stored.handled == {"greeter": {"generation": 1}}
        assert stored.metadata.generation == 1
        back = await client.update_status(stored.with_status(GreetingStatus(heard=3)))
        assert (back.status.shout, back.status.heard) == ("", 3)
        assert await client.get(Greeting, "hi") == back

    async def test_a_merge_patch_changes_what_it_names(self, client: Client) -> None:
        await client.create(make_greeting(labels={"a": "b", "c": "d"}, tone="loud"))
        patch = {"spec": {"text": "yo"}, "metadata": {"labels": {"a": None, "e": "f"}}}
        stored = await client.patch(Greeting, "hi", patch)
        assert stored == await client.get(Greeting, "hi")
        assert (stored.spec.text, stored.spec.tone) == ("yo", "loud")
        assert stored.metadata.labels == {"c": "d", "e": "f"}

    async def test_a_json_patch_does_what_it_says(self, client: Client) -> None:
        await client.create(make_greeting())
        good = [
            {"op": "test", "path": "/spec/text", "value": "hey"},
            {"op": "replace", "path": "/spec/text", "value": "yo"},
        ]
        assert (await client.patch(Greeting, "hi", good)).spec.text == "yo"
        with pytest.raises(Conflict):
            await client.patch(Greeting, "hi", good)

    @pytest.mark.parametrize(
        "patch",
        [
            {"status": {"shout": "no"}},
            {"metadata": {"uid": "mine"}},
            [{"op": "replace", "path": "/status", "value": {"shout": "no"}}],
        ],
    )
    async def test_a_patch_changes_no_status_and_no_identity(
        self, client: Client, patch: Any
    ) -> None:
        made = await client.create(make_greeting())
        with pytest.raises(InvalidInput):
            await client.patch(Greeting, "hi", patch)
        assert await client.get(Greeting, "hi") == made

    async def test_applying_makes_a_managers_fields_exactly_these(self, client: Client) -> None:
        wish = Greeting.partial("hi", text="hey", labels={"a": "b", "c": "d"})
        made = await client.apply(wish, manager="ci")
        assert (made.metadata.generation, made.spec.tone) == (1, "plain")
        assert await client.apply(wish, manager="ci") == made
        less = await client.apply(
            Greeting.partial("hi", text="yo", labels={"c": "d"}), manager="ci"
        )
        assert (less.spec.text, less.metadata.labels) == ("yo", {"c": "d"})
        assert await client.get(Greeting, "hi") == less

    async def test_applying_over_another_manager_needs_force(self, client: Client) -> None:
        await client.apply(Greeting.partial("hi", text="hey"), manager="ci")
        theirs = Greeting.partial("hi", text="yo")
        with pytest.raises(Conflict, match="ci"):
            await client.apply(theirs, manager="me")
        assert (await client.apply(theirs, manager="me", force=True)).spec.text == "yo"

    async def test_owners_are_kept_and_added(self, client: Client) -> None:
        room = await client.create(Room.new("hall"))
        other = await client.create(Room.new("attic"))
        made = await client.create(owned_by(make_greeting(), room))
        assert made.metadata.owner_references == owners(room)
        both = await client.update(owned_by(made, room, other))
        assert both.metadata.owner_references == owners(room, other)
        assert (await client.get(Greeting, "hi")) == both

    async def test_without_finalizers_deletion_is_done_at_once(self, client: Client) -> None:
        made = await client.create(make_greeting())
        last = await client.delete(Greeting, "hi")
        assert (last.name, last.uid) == ("hi", made.uid)
        assert await client.get(Greeting, "hi", default=None) is None
        with pytest.raises(NotFound):
            await client.delete(Greeting, "hi")

    async def test_the_last_finalizer_lets_go(self, client: Client) -> None:
        made = await client.create(
            make_greeting().with_metadata(finalizers=("a.dev/one", "a.dev/two"))
        )
        begun = await client.delete(Greeting, "hi")
        assert begun.is_deleting
        assert begun.revision > made.revision
        held = await client.update(begun.with_metadata(finalizers=("a.dev/two",)))
        assert await client.get(Greeting, "hi") == held
        await client.update(held.with_metadata(finalizers=()))
        assert await client.get(Greeting, "hi", default=None) is None

    async def test_no_finalizer_can_be_added_to_what_is_going(self, client: Client) -> None:
        await client.create(make_greeting().with_metadata(finalizers=("a.dev/one",)))
        begun = await client.delete(Greeting, "hi")
        with pytest.raises(Refused):
            await client.update(begun.with_metadata(finalizers=("a.dev/one", "a.dev/two")))

    async def test_only_the_one_that_was_meant_is_deleted(self, client: Client) -> None:
        old = await client.create(make_greeting())
        now = await client.update(old.with_spec(GreetingSpec(text="yo")))
        with pytest.raises(Conflict):
            await client.delete(Greeting, "hi", uid="another")
        with pytest.raises(Conflict):
            await client.delete(Greeting, "hi", revision=old.revision)
        await client.delete(Greeting, "hi", uid=now.uid, revision=now.revision)
        assert await client.get(Greeting, "hi", default=None) is None

    async def test_a_dry_run_changes_nothing(self, client: Client) -> None:
        wish = Greeting.partial("hi", text="yo")
        assert (await client.create(make_greeting(), dry_run=True)).spec.text == "hey"
        assert (await client.apply(wish, manager="ci", dry_run=True)).spec.text == "yo"
        assert await client.get(Greeting, "hi", default=None) is None
        made = await client.create(make_greeting())
        changed = made.with_spec(GreetingSpec(text="yo"))
        assert (await client.update(changed, dry_run=True)).spec.text == "yo"
        patch = {"spec": {"text": "yo"}}
        assert (await client.patch(Greeting, "hi", patch, dry_run=True)).spec.text == "yo"
        await client.delete(Greeting, "hi", dry_run=True)
        assert await client.get(Greeting, "hi") == made


def _noted(greeting: Greeting) -> Greeting:
    return Greeting(
        greeting.metadata,
        greeting.spec,
        greeting.status,
        conditions=(READY,),
        observed_generation=1,
        handled={"greeter": {"generation": 1}},
    )
