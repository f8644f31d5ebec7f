"""Random programs of writes against a plain model, with everything that the client promises.

After each step the client and the model hold the same, and a write that changed nothing made no
revision. At the end the store is sound, every selection is what filtering gives, page by page,
and watches replayed are what lists say.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable, Coroutine, Mapping
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from miren.base.errors import Conflict, MirenError
from miren.entities.checking import check
from miren.entities.client import Propagation
from miren.entities.entity import Entity, OwnerReference, Partial
from miren.entities.gen import Project
from miren.entities.kinds import Kinds
from miren.entities.store.api import Store
from miren.entities.store.memory import MemoryStore
from miren.entities.store.sqlite import SQLiteStore
from miren.entities.store_client import StoreClient
from tests.effort import IS_SOAK, tries
from tests.entities.selections import check_selections
from tests.entities.things import (
    Holder,
    Key,
    Plain,
    Record,
    Thing,
    key_of,
    kind_of_error,
    leaves_of,
    unescaped,
)

T = TypeVar("T")
KINDS: Mapping[str, type[Entity[Any, Any]]] = {
    "Thing": Thing,
    "Holder": Holder,
    "Project": Project,
}
NAMES = ("a", "b")
PROJECTS = ("default", "blue")

names = st.sampled_from(NAMES)
projects = st.sampled_from(PROJECTS)
keys = st.tuples(st.sampled_from(["Thing", "Thing", "Holder"]), projects, names)
managers = st.sampled_from(["one", "two"])
finalizers = st.sampled_from([(), (), ("a/a",), ("a/a", "b/b")])
labels = st.fixed_dictionaries(
    {}, optional={name: st.sampled_from(["x", "y"]) for name in ("app", "tier")}
)
env = st.sampled_from([{"A": "1"}, {"A": "2"}, {"B/~": "1"}, {"A": "1", "B/~": "2"}])
THING: Mapping[str, st.SearchStrategy[Any]] = {
    "weight": st.integers(1, 3),
    "code": st.sampled_from(["c1", "c2"]),
    "serial": st.sampled_from(["s1", "s2"]),
    "sender": st.sampled_from(["me", "you"]),
    "restrict": names,
    "unset": names,
    "loose": names,
    "env": env,
}
# Few attributes at a time: where everything changes at once, nearly everything is refused.
things = st.lists(st.sampled_from(sorted(THING)), max_size=3, unique=True).flatmap(
    lambda some: st.fixed_dictionaries({name: THING[name] for name in some})
)
owners = st.sampled_from([None, None, None, 0, 1, 3])
freshness = st.sampled_from([True, True, True, False])
documents = st.builds(
    lambda spec, labels: {"spec": spec, "metadata": {"labels": labels} if labels else {}},
    things,
    labels,
)


class ClientMachine(RuleBasedStateMachine):
    is_persistent: ClassVar[bool]

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.Runner()
        self.stack = AsyncExitStack()
        self.model = Plain()
        self.seen: list[Entity[Any, Any]] = []

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run(asyncio.wait_for(work, 30))

    @initialize()
    def open(self) -> None:
        folder = Path(self.stack.enter_context(tempfile.TemporaryDirectory()))
        opened: Store = SQLiteStore(folder / "db") if self.is_persistent else MemoryStore()
        store = self.run(self.stack.enter_async_context(opened))
        self.client = StoreClient(store=store, kinds=Kinds(KINDS.values()))
        self.start = self.run(self.client.revision())
        made = self.run(self.client.create(Project.new("default")))
        self.model.records["Project", "", "default"] = Record(uid=made.uid)
        blue = ("Project", "", "blue")
        self.create(blue, Project.new("blue"), Record())
        for project in PROJECTS:
            for name in NAMES:
                key = ("Holder", project, name)
                self.create(key, Holder.new(name, project=project), Record())

    # -- writes ----------------------------------------------------------------------------

    @precondition(lambda self: ("Project", "", "blue") not in self.model.records)
    @rule(finalizers=finalizers)
    def create_project(self, finalizers: tuple[str, ...]) -> None:
        made = Project.new("blue").with_metadata(finalizers=finalizers)
        self.create(("Project", "", "blue"), made, Record(finalizers=finalizers))

    @rule(
        key=keys,
        document=documents,
        finalizers=finalizers,
        owner=owners,
    )
    def create_entity(
        self,
        key: Key,
        document: dict[str, Any],
        finalizers: tuple[str, ...],
        owner: int | None,
    ) -> None:
        owners = self.owners(owner) if owner is not None else ()
        entity = self.entity(key, document)
        entity = entity.with_metadata(finalizers=finalizers, owner_references=owners)
        uids = tuple(each.uid for each in owners)
        fields = leaves_of(entity.to_document())
        self.create(key, entity, Record(fields=fields, finalizers=finalizers, owners=uids))

    def create(self, key: Key, entity: Entity[Any, Any], record: Record) -> None:
        made = self.expect(
            self.client.create(entity), lambda: self.model.create(key, record), key=key
        )
        if made is not None:
            self.model.records[key] = replace(self.model.records[key], uid=made.uid)

    @rule(
        which=st.integers(0, 30),
        is_fresh=freshness,
        document=documents,
        finalizers=st.none() | finalizers,
        owner=owners,
        manager=managers,
    )
    def update(
        self,
        which: int,
        is_fresh: bool,
        document: dict[str, Any],
        finalizers: tuple[str, ...] | None,
        owner: int | None,
        manager: str,
    ) -> None:
        base = self.pick(which, is_fresh=is_fresh)
        if base is None:
            return
        key = key_of(base)
        new = base
        if key[0] == "Thing":
            wanted = self.entity(key, document)
            new = base.with_spec(wanted.spec).with_metadata(labels=wanted.metadata.labels)
        if finalizers is not None:
            new = new.with_metadata(finalizers=finalizers)
        if owner is not None and key[0] != "Project":
            new = new.with_metadata(owner_references=self.owners(owner))

        def predict() -> Record:
            self.is_current(base)
            record = self.model.take_over(key, leaves_of(new.to_document()), manager)
            uids = tuple(each.uid for each in new.metadata.owner_references)
            held = new.metadata.finalizers
            return self.model.change(key, replace(record, finalizers=held, owners=uids))

        self.expect(self.client.update(new, manager=manager), predict, key=key)

    @rule(
        which=st.integers(0, 30),
        is_fresh=freshness,
        place=st.sampled_from(["", "here", "there"]),
    )
    def update_status(self, which: int, is_fresh: bool, place: str) -> None:
        base = self.pick(which, is_fresh=is_fresh)
        if not isinstance(base, Thing):
            return
        key = key_of(base)
        new = base.with_status(base.status.model_copy(update={"place": place}))

        def predict() -> Record:
            record = self.is_current(base)
            return self.model.change(key, replace(record, place=place))

        self.expect(self.client.update_status(new), predict, key=key)

    @rule(
        project=projects,
        name=names,
        document=documents,
        manager=managers,
        force=st.booleans(),
    )
    def apply(
        self, project: str, name: str, document: dict[str, Any], manager: str, force: bool
    ) -> None:
        key = ("Thing", project, name)
        metadata = document["metadata"]
        partial: Partial[Entity[Any, Any]] = Thing.partial(  # type: ignore[assignment]  # read only
            name, project=project, labels=metadata.get("labels"), **document["spec"]
        )
        made = self.expect(
            self.client.apply(partial, manager=manager, force=force),
            lambda: self.model.apply(key, leaves_of(document), manager=manager, force=force),
            key=key,
        )
        if made is not None and key in self.model.records:
            self.model.records[key] = replace(self.model.records[key], uid=made.uid)

    @rule(
        project=projects,
        name=names,
        document=documents,
        gone=st.sets(st.sampled_from([*THING, "env/A", "labels"]), max_size=2),
        is_list=st.booleans(),
        manager=managers,
    )
    def patch(
        self,
        project: str,
        name: str,
        document: dict[str, Any],
        gone: set[str],
        is_list: bool,
        manager: str,
    ) -> None:
        key = ("Thing", project, name)
        now = self.model.records.get(key, Record())
        fields = {**now.fields, **leaves_of(document)}
        for each in gone:
            inside = "/metadata/labels/" if each == "labels" else f"/spec/{each}"
            doomed = [f for f in fields if f == inside or f.startswith(inside.rstrip("/") + "/")]
            fields = {f: value for f, value in fields.items() if f not in doomed}
        patch = operations(now, fields, self.model) if is_list else merge_patch(document, gone)

        def predict() -> Record:
            self.model.found(key)
            return self.model.change(key, self.model.take_over(key, fields, manager))

        patching = self.client.patch(Thing, name, patch, project=project, manager=manager)
        self.expect(patching, predict, key=key)

    @rule(
        key=keys | keys | keys | st.just(("Project", "", "blue")), how=st.sampled_from(Propagation)
    )
    def delete(self, key: Key, how: Propagation) -> None:
        kind, project, name = key
        deleting = self.client.delete(KINDS[kind], name, project=project or None, propagation=how)
        self.expect(deleting, lambda: self.model.delete(key, how.value), key=key)

    # -- inside ----------------------------------------------------------------------------

    def expect(
        self,
        work: Coroutine[Any, Any, Entity[Any, Any]],
        predict: Callable[[], Record],
        *,
        key: Key,
    ) -> Entity[Any, Any] | None:
        """Do what the model does too; both end alike, and hold the same afterwards."""
        before, revision = dict(self.model.records), self.run(self.client.revision())
        wanted: Record | MirenError
        try:
            wanted = predict()
        except MirenError as error:
            wanted = error
        done = self.run(outcome(work))
        if isinstance(done, MirenError):
            assert isinstance(wanted, MirenError), (done, wanted)
            assert kind_of_error(done) is kind_of_error(wanted), (done, wanted)
            if isinstance(wanted, Conflict) and "managed" in str(wanted):
                assert sorted(str(done).splitlines()) == str(wanted).splitlines()
            assert self.model.records == before
            assert self.run(self.client.revision()) == revision, "it was refused, and wrote"
            return None
        assert not isinstance(wanted, MirenError), (done, wanted)
        self.assert_is(done, wanted)
        is_changed = self.model.records != before
        assert (self.run(self.client.revision()) != revision) is is_changed
        self.seen.append(done)
        self.assert_same(key)
        return done

    def assert_is(self, entity: Entity[Any, Any], record: Record) -> None:
        metadata, kind = entity.metadata, entity.kind.name
        found = leaves_of(entity.to_document())
        assert found == {
            name: value
            for name, value in self.model.shown(kind, record.fields).items()
            if name != "/spec/env"
        }
        assert metadata.finalizers == record.finalizers
        assert tuple(each.uid for each in metadata.owner_references) == record.owners
        assert entity.is_deleting == record.is_deleting
        assert metadata.generation == record.generation
        assert getattr(entity.status, "place", "") == record.place

    def assert_same(self, key: Key) -> None:
        """Compare what is stored under a key, and who manages what in it."""
        kind, project, name = key
        reading = self.client.get(KINDS[kind], name, project=project or None, default=None)
        stored, record = self.run(reading), self.model.records.get(key)
        assert (stored is None) is (record is None)
        if stored is not None and record is not None:
            assert stored.uid == record.uid or not record.uid
            self.assert_is(stored, record)
            owned = self.run(self.client.managers(KINDS[kind], name, project=project or None))
            assert owned == record.owned

    def is_current(self, base: Entity[Any, Any]) -> Record:
        """Return the record an update is made from; raise Conflict when it is another by now."""
        record = self.model.found(key_of(base))
        newest = [each for each in self.seen if key_of(each) == key_of(base)][-1]
        if newest.revision != base.revision:
            raise Conflict("it has changed")
        return record

    def pick(self, which: int, *, is_fresh: bool) -> Entity[Any, Any] | None:
        kept = self.seen
        if not kept:
            return None
        found = kept[-1 - which % len(kept)]
        if is_fresh:
            return [each for each in kept if key_of(each) == key_of(found)][-1]
        return found

    def owners(self, which: int) -> tuple[OwnerReference, ...]:
        kept = [each for each in self.seen if each.kind.name != "Project"]
        if not kept:
            return ()
        owner = kept[-1 - which % len(kept)]
        return (OwnerReference.of(owner),)

    def entity(self, key: Key, document: Mapping[str, Any]) -> Entity[Any, Any]:
        kind, project, name = key
        if kind == "Holder":
            return Holder.new(name, project=project)
        given = document["metadata"].get("labels")
        return Thing.new(name, project=project, labels=given, **document["spec"])

    # -- at the end ------------------------------------------------------------------------

    def teardown(self) -> None:
        try:
            if hasattr(self, "client"):
                self.run(self.look())
        finally:
            self.run(self.stack.aclose())
            self.loop.close()

    async def look(self) -> None:
        for key in self.model.records:
            kind, project, name = key
            await self.client.get(KINDS[kind], name, project=project or None)
        report = await check(self.client.store, self.client.kinds)
        assert report.is_clean, "\n".join(map(str, report.problems))
        everything = (await self.client.list(Thing)).items
        assert len(everything) == sum(key[0] == "Thing" for key in self.model.records)
        await check_selections(self.client, everything, after=self.start)


async def outcome(work: Coroutine[Any, Any, T]) -> T | MirenError:
    """Return what comes of a call, be it an error."""
    try:
        return await work
    except MirenError as error:
        return error


def merge_patch(document: Mapping[str, Any], gone: set[str]) -> dict[str, Any]:
    """Return the JSON merge patch that sets a document's fields and removes others."""
    spec = {
        name: dict(value) if name == "env" else value for name, value in document["spec"].items()
    }
    metadata = {"labels": dict(document["metadata"].get("labels", {}))}
    for each in sorted(gone):
        if each == "labels":
            metadata["labels"] = None  # type: ignore[assignment]  # null removes
        elif each == "env/A":
            if spec.get("env", {}) is not None:
                spec.setdefault("env", {})["A"] = None
        else:
            spec[each] = None
    return {"spec": spec, "metadata": metadata}


def operations(now: Record, fields: Mapping[str, object], model: Plain) -> list[dict[str, Any]]:
    """Return the JSON Patch that makes an entity's fields these."""
    spec: dict[str, Any] = {}
    labels: dict[str, Any] = {}
    for name, value in model.shown("Thing", fields).items():
        part, _, rest = name.removeprefix("/").partition("/")
        if part == "metadata":
            labels[rest.removeprefix("labels/")] = value
        elif rest.startswith("env/"):
            spec.setdefault("env", {})[unescaped(rest.removeprefix("env/"))] = value
        else:
            spec[rest] = value
    return [
        {"op": "test", "path": "/kind", "value": "Thing"},
        {"op": "replace", "path": "/spec", "value": spec},
        {"op": "add", "path": "/metadata/labels", "value": labels},
    ]


class MemoryMachine(ClientMachine):
    is_persistent = False


class SQLiteMachine(ClientMachine):
    is_persistent = True


# Making a program shorter takes longer than a test may: only the long run does it.
_SETTINGS = settings(
    deadline=None,
    phases=list(Phase) if IS_SOAK else [Phase.explicit, Phase.generate],
    stateful_step_count=40,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)

TestMemoryMachine = MemoryMachine.TestCase
TestMemoryMachine.settings = settings(_SETTINGS, max_examples=tries(60, soak=2000))
TestSQLiteMachine = SQLiteMachine.TestCase
TestSQLiteMachine.settings = settings(_SETTINGS, max_examples=tries(10, soak=300))
