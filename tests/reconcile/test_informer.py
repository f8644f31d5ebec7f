from __future__ import annotations

import asyncio
import gc
import itertools
import math
import random
import weakref
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from miren.base.errors import Refused
from miren.entities.client import Selection
from miren.entities.store.memory import MemoryStore
from miren.entities.store_client import StoreClient
from miren.reconcile.informer import Delta, Informer
from miren.reconcile.results import LOW, NORMAL, Key
from tests.builders import Greeting, make_greeting
from tests.reconcile.virtual import make_client, now, settle, virtually
from tests.stores import Faulty


class Following:
    """An informer that runs, the changes it told, and a client on the unbroken store."""

    def __init__(self, store: Faulty, selection: Selection | None) -> None:
        self.store = store
        self.client: StoreClient = make_client(store.inner)
        client = make_client(store)
        self.informer = Informer(client, Greeting, selection, rng=random.Random(0))
        self.told: list[tuple[str, str]] = []
        self.listed: list[str] = []
        self.informer.listen(self._take)

    def take(self) -> list[tuple[str, str]]:
        """Return what was told since the last time."""
        told, self.told = self.told, []
        return told

    async def while_down(self) -> None:
        self.store.go_down()
        await settle()

    async def back_up(self) -> None:
        """Come back, after more than the longest pause between two tries."""
        self.store.is_down = False
        await asyncio.sleep(11)

    def _take(self, change: Delta[Greeting]) -> None:
        match change:
            case Delta(None, Greeting()):
                what = "added"
            case Delta(Greeting(), None):
                what = "deleted"
            case _:
                what = "modified"
        self.told.append((what, change.entity.name))
        if change.listed:
            self.listed.append(change.entity.name)


@asynccontextmanager
async def following(
    *entities: Greeting, selection: Selection | None = None
) -> AsyncIterator[Following]:
    async with Faulty(MemoryStore()) as store:
        follow = Following(store, selection)
        for entity in entities:
            await follow.client.create(entity)
        async with asyncio.TaskGroup() as group:
            task = group.create_task(follow.informer.run())
            await settle()
            follow.take()
            yield follow
            task.cancel()


@virtually
async def test_what_is_there_is_told_first_and_then_every_change() -> None:
    async with Faulty(MemoryStore()) as store:
        follow = Following(store, None)
        await follow.client.create(make_greeting("a"))
        async with asyncio.TaskGroup() as group:
            task = group.create_task(follow.informer.run())
            await follow.informer.is_synced.wait()
            assert follow.take() == [("added", "a")]
            assert follow.listed == ["a"]
            await follow.client.create(make_greeting("b"))
            await follow.client.patch(Greeting, "a", {"spec": {"text": "yo"}})
            await follow.client.delete(Greeting, "b")
            await settle()
            assert follow.take() == [("added", "b"), ("modified", "a"), ("deleted", "b")]
            assert follow.listed == ["a"]
            task.cancel()


@virtually
async def test_changes_between_list_and_watch_are_not_lost() -> None:
    async with following() as follow:
        for number in range(100):
            await follow.client.create(make_greeting(f"g{number}"))
            if number % 10 == 0:
                follow.store.drop_watches()
                await asyncio.sleep(0)
        await asyncio.sleep(30)
        assert len(follow.informer) == 100
        assert sorted(follow.take()) == sorted(("added", f"g{n}") for n in range(100))


@virtually
async def test_the_cache_is_what_the_store_holds() -> None:
    async with following(make_greeting("a")) as follow:
        stored = await follow.client.patch(Greeting, "a", {"spec": {"text": "yo"}})
        await settle()
        assert follow.informer[Key("default", "a")] == stored
        assert follow.informer.revision == stored.revision
        assert follow.informer.get(Key("default", "b")) is None
        assert await follow.informer.is_current()


@virtually
async def test_listing_again_tells_exactly_what_changed_unseen() -> None:
    entities = [make_greeting(f"g{number}") for number in range(10)]
    async with following(*entities) as follow:
        follow.listed.clear()
        await follow.while_down()
        await follow.client.delete(Greeting, "g3")
        await follow.client.delete(Greeting, "g7")
        await follow.client.patch(Greeting, "g5", {"spec": {"text": "yo"}})
        await follow.client.create(make_greeting("new"))
        await follow.client.store.compact(await follow.client.revision())
        assert follow.take() == []
        await follow.back_up()
        assert sorted(follow.take()) == [
            ("added", "new"),
            ("deleted", "g3"),
            ("deleted", "g7"),
            ("modified", "g5"),
        ]
        assert follow.listed == [], "somebody waits for what changed while it was away"


@virtually
async def test_created_anew_unseen_is_a_delete_and_an_add() -> None:
    async with following(make_greeting("a")) as follow:
        await follow.while_down()
        await follow.client.delete(Greeting, "a")
        await follow.client.create(make_greeting("a"))
        await follow.back_up()
        assert follow.take() == [("deleted", "a"), ("added", "a")]


@virtually
async def test_a_dropped_watch_with_history_intact_tells_nothing_twice() -> None:
    async with following(make_greeting("a"), make_greeting("b")) as follow:
        follow.store.drop_watches()
        await asyncio.sleep(1)
        assert follow.take() == []
        await follow.client.delete(Greeting, "a")
        await settle()
        assert follow.take() == [("deleted", "a")]


@virtually
async def test_a_store_that_is_long_down_is_asked_ever_less_often() -> None:
    async with following() as follow:
        await follow.while_down()
        await asyncio.sleep(600)
        asked = follow.store.refused
        pauses = [after - before for before, after in itertools.pairwise(asked)]
        assert len(asked) < 90
        assert max(pauses) <= 10
        assert pauses[-1] > 5


class Forbidding(Faulty):
    """Answers everything with a refusal for as long as `forbids`."""

    forbids = True

    async def before(self, call: str) -> None:
        if self.forbids:
            raise Refused(f"you may not {call}")


@virtually
async def test_what_may_not_be_read_is_asked_for_again_and_ends_nothing() -> None:
    async with MemoryStore() as inner:
        store = Forbidding(inner)
        informer = Informer(make_client(store), Greeting, rng=random.Random(0))
        following = asyncio.create_task(informer.run())
        await asyncio.sleep(30)
        assert not following.done()
        assert not informer.is_synced.is_set()
        store.forbids = False
        await asyncio.sleep(15)
        assert informer.is_synced.is_set()
        following.cancel()


@virtually
async def test_a_selection_follows_only_what_is_in_it() -> None:
    web = {"app": "web"}
    async with following(
        make_greeting("a", labels=web), make_greeting("b"), selection=Selection(labels=web)
    ) as follow:
        assert [key.name for key in follow.informer.entities()] == ["a"]
        await follow.client.patch(Greeting, "b", {"metadata": {"labels": web}})
        await follow.client.patch(Greeting, "a", {"metadata": {"labels": None}})
        await settle()
        assert follow.take() == [("added", "b"), ("deleted", "a")]


@virtually
async def test_waiting_for_a_revision_ends_when_it_is_seen_or_in_time() -> None:
    async with following() as follow:
        made = await follow.client.create(make_greeting("a"))
        assert await follow.informer.wait_for(made.revision, timeout=5)
        assert follow.informer.revision >= made.revision
        before = now()
        assert not await follow.informer.wait_for(made.revision + 100, timeout=5)
        assert now() - before == 5


@virtually
async def test_a_change_says_at_which_revision_it_was_found() -> None:
    async with following(make_greeting("a"), make_greeting("b")) as follow:
        changes: list[Delta[Greeting]] = []
        follow.informer.listen(changes.append)
        made = await follow.client.create(make_greeting("c"))
        await follow.client.delete(Greeting, "c")
        await settle()
        assert [change.revision for change in changes] == [made.revision, made.revision + 1]
        await follow.while_down()
        changes.clear()
        await follow.client.delete(Greeting, "a")
        for number in range(5):
            await follow.client.create(make_greeting(f"d{number}"))
        at = await follow.client.revision()
        await follow.client.store.compact(at)
        await follow.back_up()
        gone = [change for change in changes if change.new is None]
        assert [(change.entity.name, change.revision) for change in gone] == [("a", at)]
        assert follow.informer.relists == 1


@virtually
async def test_a_first_list_can_wait_and_what_was_missed_cannot() -> None:
    async with Faulty(MemoryStore()) as store:
        follow = Following(store, None)
        changes: list[Delta[Greeting]] = []
        follow.informer.listen(changes.append)
        await follow.client.create(make_greeting("a"))
        async with asyncio.TaskGroup() as group:
            task = group.create_task(follow.informer.run())
            await settle()
            assert [change.priority for change in changes] == [LOW]
            await follow.while_down()
            await follow.client.create(make_greeting("b"))
            await follow.client.store.compact(await follow.client.revision())
            await follow.back_up()
            assert [change.priority for change in changes] == [LOW, NORMAL]
            task.cancel()


@virtually
async def test_lag_is_the_time_since_it_was_last_known_to_be_current() -> None:
    async with Faulty(MemoryStore()) as store:
        follow = Following(store, None)
        assert follow.informer.lag == math.inf
        async with asyncio.TaskGroup() as group:
            task = group.create_task(follow.informer.run())
            await settle()
            assert follow.informer.lag < 0.1
            followed = [follow.informer.is_following]
            await follow.while_down()
            await asyncio.sleep(20)
            assert follow.informer.lag >= 20
            assert [*followed, follow.informer.is_following] == [True, False]
            await follow.back_up()
            assert follow.informer.lag < 11
            await follow.client.create(make_greeting("a"))
            await settle()
            assert follow.informer.lag < 0.1
            task.cancel()


@virtually
async def test_what_is_no_longer_current_is_not_kept() -> None:
    async with following(make_greeting("a")) as follow:
        first = weakref.ref(follow.informer[Key("default", "a")])
        assert first() is not None
        await follow.client.patch(Greeting, "a", {"spec": {"text": "yo"}})
        await settle()
        await follow.client.patch(Greeting, "a", {"spec": {"text": "ho"}})
        await settle()
        gc.collect()
        assert first() is None


@virtually
async def test_a_filtered_cache_soon_shows_what_was_written_outside_of_it() -> None:
    selection = Selection(labels={"app": "web"})
    async with following(selection=selection) as follow:
        made = await follow.client.create(make_greeting("a"))
        assert await follow.informer.wait_for(made.revision, timeout=0.1)
        assert len(follow.informer) == 0


@virtually
async def test_an_index_whose_function_changes_its_mind_keeps_nothing_behind() -> None:
    values = ["x"]
    async with Faulty(MemoryStore()) as store:
        follow = Following(store, None)
        index = follow.informer.index(lambda _greeting: values)
        async with asyncio.TaskGroup() as group:
            task = group.create_task(follow.informer.run())
            await follow.client.create(make_greeting("a"))
            await settle()
            values[:] = ["y", "y", "z"]
            await follow.client.patch(Greeting, "a", {"spec": {"text": "yo"}})
            await settle()
            assert index["x"] == ()
            assert [greeting.spec.text for greeting in index["y"]] == ["yo"]
            values[:] = []
            await follow.client.patch(Greeting, "a", {"spec": {"text": "ho"}})
            await settle()
            assert len(index) == 0
            values[:] = ["w"]
            await follow.client.delete(Greeting, "a")
            await settle()
            assert len(index) == 0
            task.cancel()


@virtually
async def test_an_index_follows_the_values() -> None:
    async with Faulty(MemoryStore()) as store:
        follow = Following(store, None)
        by_tone = follow.informer.index(lambda greeting: [greeting.spec.tone])
        async with asyncio.TaskGroup() as group:
            task = group.create_task(follow.informer.run())
            await follow.client.create(make_greeting("a", tone="loud"))
            await follow.client.create(make_greeting("b", tone="loud"))
            await settle()
            assert [greeting.name for greeting in by_tone["loud"]] == ["a", "b"]
            await follow.client.patch(Greeting, "a", {"spec": {"tone": "soft"}})
            await follow.client.delete(Greeting, "b")
            await settle()
            assert by_tone["loud"] == ()
            assert [greeting.name for greeting in by_tone["soft"]] == ["a"]
            assert len(by_tone) == 1, "no value is kept that nobody has"
            task.cancel()
