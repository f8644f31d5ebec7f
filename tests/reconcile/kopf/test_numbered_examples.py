"""What kopf's numbered examples are about, one by one, with handlers of our own."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from miren.entities.entity import Entity
from miren.entities.store.memory import MemoryStore
from miren.reconcile import kopf
from tests.reconcile.virtual import now, running, settle, virtually

Told = list[Any]

#: A kind that has no models yet.
Example = kopf.kind(
    "KopfExample",
    api="kopf.dev/v1",
    spec=["duration", "field", "items"],
    status=["create_fn", "made", "ticks", "asked"],
    short=["kex"],
)
Child = kopf.kind("KopfChild", api="kopf.dev/v1", plural="kopfchildren", spec=["of"])
NAME = ("kopf.dev", "v1", "kopfexamples")


def example(name: str = "one", **spec: Any) -> Entity[Any, Any]:
    return Example.new(name, **spec)


def status(entity: Entity[Any, Any]) -> dict[str, Any]:
    """Return what handlers said, without what the engine keeps."""
    found: dict[str, Any] = entity.status.model_dump(mode="json", exclude_none=True)
    return found


@virtually
async def test_01_a_handler_is_called_once_and_its_result_is_kept() -> None:
    mine = kopf.OperatorRegistry()
    told: Told = []

    @kopf.on.create(*NAME, registry=mine)
    def create_fn(spec: Any, name: str, namespace: str, **kwargs: Any) -> dict[str, Any]:
        told.append((name, namespace, spec["duration"], kwargs["reason"], kwargs["retry"]))
        return {"message": f"took {spec.get('duration')}"}

    async with running(*kopf.controllers([Example], registry=mine)) as engine:
        await engine.client.create(example(duration="1m"))
        await engine.run_until_idle()
        await engine.client.patch(Example, "one", {"spec": {"duration": "2m"}})
        await engine.run_until_idle()
        assert told == [("one", "default", "1m", "create", 0)]
        found = await engine.client.get(Example, "one")
        assert status(found) == {"create_fn": {"message": "took 1m"}}


@virtually
async def test_02_children_are_adopted_and_go_with_their_owner() -> None:
    mine = kopf.OperatorRegistry()

    @kopf.on.create("kopfexamples", registry=mine)
    async def create_fn(ctx: Any, body: kopf.Body, patch: kopf.Patch, **_: Any) -> None:
        document = {"spec": {"of": body.meta.name}}
        kopf.adopt(document)
        child = await ctx.client.create(Child.from_document(document))
        patch.status["made"] = child.name

    async with running(*kopf.controllers([Example, Child], registry=mine)) as engine:
        labels = {"app": "web"}
        owner = await engine.client.create(Example.new("one", labels=labels))
        await engine.run_until_idle()
        child = await engine.client.get(Child, "one")
        assert [each.uid for each in child.metadata.owner_references] == [owner.uid]
        assert (child.spec.of, child.project) == ("one", "default")
        assert child.metadata.labels == labels
        assert status(await engine.client.get(Example, "one")) == {"made": "one"}


@virtually
async def test_03_temporary_errors_are_tried_again_and_permanent_ones_are_the_end() -> None:
    mine = kopf.OperatorRegistry()
    told: Told = []

    @kopf.on.create("kopfexamples", registry=mine, retries=3, backoff=5)
    def breaks(retry: int, **_: Any) -> None:
        told.append(("breaks", retry, round(now())))
        raise ValueError("it is broken")

    @kopf.on.create("kopfexamples", registry=mine)
    async def waits(retry: int, runtime: Any, **_: Any) -> None:
        told.append(("waits", retry, round(runtime.total_seconds())))
        if retry < 2:
            raise kopf.TemporaryError("not yet", delay=7)

    @kopf.on.create("kopfexamples", registry=mine)
    async def cannot(**_: Any) -> None:
        told.append(("cannot",))
        raise kopf.PermanentError("never")

    @kopf.on.create("kopfexamples", registry=mine, errors=kopf.ErrorsMode.IGNORED)
    async def does_not_matter(**_: Any) -> None:
        told.append(("does_not_matter",))
        raise ValueError("who cares")

    @kopf.on.create("kopfexamples", registry=mine, timeout=10, backoff=4)
    async def too_late(**_: Any) -> None:
        told.append(("too_late",))
        raise ValueError("again")

    async with running(*kopf.controllers([Example], registry=mine)) as engine:
        await engine.client.create(example())
        await asyncio.sleep(300)
        said = {name: [each for each in told if each[0] == name] for name, *_ in told}
        assert said["breaks"] == [("breaks", 0, 0), ("breaks", 1, 5), ("breaks", 2, 10)]
        assert said["waits"] == [("waits", 0, 0), ("waits", 1, 7), ("waits", 2, 14)]
        assert said["cannot"] == [("cannot",)]
        assert said["does_not_matter"] == [("does_not_matter",)]
        assert said["too_late"] == [("too_late",)] * 3
        ready = (await engine.client.get(Example, "one")).condition("Ready")
        assert ready is not None
        assert ready.status == "False"


@virtually
async def test_04_events_are_told_of_the_entity_that_is_handled() -> None:
    mine = kopf.OperatorRegistry()

    @kopf.on.create("kopfexamples", registry=mine)
    def create_fn(body: kopf.Body, **_: Any) -> None:
        kopf.info(body, reason="Looked", message="at it")
        kopf.event(body, type="Warning", reason="Odd", message="it is")
        try:
            raise ValueError("like so")
        except ValueError as error:
            kopf.exception(body, exc=error, message="broke")
        with pytest.raises(ValueError, match="of no other"):
            kopf.warn({"metadata": {"uid": "?"}}, reason="Other")

    async with running(*kopf.controllers([Example], registry=mine)) as engine:
        created = await engine.client.create(example())
        await engine.run_until_idle()
        found = await engine.client.events(Example, created.name)
        assert sorted((each.type, each.reason, each.message) for each in found) == [
            ("Normal", "Looked", "at it"),
            ("Warning", "Odd", "it is"),
            ("Warning", "ValueError", "broke like so"),
        ]
    with pytest.raises(RuntimeError, match="for handlers"):
        kopf.info({}, reason="Nobody")


@virtually
async def test_05_handlers_of_all_occasions_are_told_what_is_different() -> None:
    mine = kopf.OperatorRegistry()
    told: Told = []

    @kopf.on.resume("kopfexamples", registry=mine)
    @kopf.on.create("kopfexamples", registry=mine)
    async def known(reason: str, **_: Any) -> None:
        told.append(reason)

    @kopf.on.update("kopfexamples", registry=mine)
    async def update_fn(old: Any, new: Any, diff: Any, reason: str, **_: Any) -> None:
        told.append((reason, old["spec"], new["spec"], [tuple(each) for each in diff]))

    @kopf.on.field("kopfexamples", field="spec.field", registry=mine)
    async def field_fn(old: Any, new: Any, reason: str, **_: Any) -> None:
        told.append((reason, old, new))

    @kopf.on.delete("kopfexamples", registry=mine)
    async def delete_fn(reason: str, body: kopf.Body, **_: Any) -> None:
        told.append((reason, "deletionTimestamp" in body.meta))

    async with running(*kopf.controllers([Example], registry=mine)) as engine:
        await engine.client.create(example(field="a"))
        await engine.run_until_idle()
        assert told == ["create", ("create", None, "a")]
        told.clear()
        patch = {"spec": {"field": "b"}, "metadata": {"labels": {"x": "y"}}}
        await engine.client.patch(Example, "one", patch)
        await engine.run_until_idle()
        changes = [
            ("add", ("metadata",), None, {"labels": {"x": "y"}}),
            ("change", ("spec", "field"), "a", "b"),
        ]
        ((reason, old, new, differences), field) = told
        assert (reason, old, new) == ("update", {"field": "a"}, {"field": "b"})
        assert sorted(differences) == changes
        assert field == ("update", "a", "b")
        told.clear()
        await engine.client.delete(Example, "one")
        await engine.run_until_idle()
        assert told == [("delete", True)]
        assert await engine.client.get(Example, "one", default=None) is None


@virtually
async def test_05_what_was_there_before_is_resumed() -> None:
    mine, store = kopf.OperatorRegistry(), MemoryStore()
    told: Told = []

    @kopf.on.resume("kopfexamples", registry=mine)
    @kopf.on.create("kopfexamples", registry=mine)
    async def known(reason: str, **_: Any) -> None:
        told.append(reason)

    for _ in range(2):
        async with running(*kopf.controllers([Example], registry=mine), store=store) as engine:
            if not told:
                await engine.client.create(example())
            await engine.run_until_idle()
    assert told == ["create", "resume"]


@virtually
async def test_11_filters_say_what_a_handler_is_for() -> None:
    mine = kopf.OperatorRegistry()
    told: Told = []

    def say(*args: Any, **options: Any) -> None:
        name = options["id"]

        @kopf.on.create(*args, registry=mine, **options)
        async def handler(**_: Any) -> None:
            told.append(name)

    def is_long(value: str | None, **_: Any) -> bool:
        return value is not None and len(value) > 3

    def has_field(spec: Any, **_: Any) -> bool:
        return "field" in spec

    say("kopfexamples", id="label", labels={"app": "web"})
    say("kopfexamples", id="other", labels={"app": "db"})
    say("kopfexamples", id="present", labels={"app": kopf.PRESENT, "none": kopf.ABSENT})
    say("kopfexamples", id="absent", labels={"app": kopf.ABSENT})
    say("kopfexamples", id="long", annotations={"note": is_long})
    say("kopfexamples", id="when", when=has_field)
    say("kopfexamples", id="not", when=kopf.not_(has_field))
    say("kopfexamples", id="all", when=kopf.all_([has_field, kopf.none_([kopf.not_(has_field)])]))
    say("kopfexamples", id="any", when=kopf.any_([kopf.not_(has_field), has_field]))
    say("kopfexamples", id="named", field="spec.field")
    say("kopfexamples", id="missing", field="spec.duration")
    say("kopfexamples", id="valued", field="spec.field", value="a")
    say("kopfexamples", id="elsewhere", field="spec.field", value="b")

    async with running(*kopf.controllers([Example], registry=mine)) as engine:
        labels, annotations = {"app": "web"}, {"note": "a note"}
        made = Example.new("one", field="a", labels=labels, annotations=annotations)
        await engine.client.create(made)
        await engine.run_until_idle()
    assert told == [
        "label", "present", "long", "when", "all", "any", "named", "valued",
    ]  # fmt: skip


@virtually
async def test_11_updates_are_filtered_by_what_was_and_what_is() -> None:
    mine = kopf.OperatorRegistry()
    told: Told = []

    @kopf.on.update("kopfexamples", field="spec.field", old="a", new="b", registry=mine)
    async def from_a_to_b(**_: Any) -> None:
        told.append("from a to b")

    @kopf.on.update("kopfexamples", field="spec.field", value="a", registry=mine)
    async def with_a(old: str, new: str, **_: Any) -> None:
        told.append((old, new))

    @kopf.on.update("kopfexamples", labels={"watch": "yes"}, registry=mine)
    async def watched(**_: Any) -> None:
        told.append("watched")

    async with running(*kopf.controllers([Example], registry=mine)) as engine:
        await engine.client.create(example(field="a"))
        for field in ("b", "c"):
            await engine.run_until_idle()
            await engine.client.patch(Example, "one", {"spec": {"field": field}})
        await engine.run_until_idle()
        assert told == ["from a to b", ("a", "b")]
        await engine.client.patch(Example, "one", {"metadata": {"labels": {"watch": "yes"}}})
        await engine.run_until_idle()
        assert told[2:] == ["watched"], "that it fits now is an update too"


@virtually
async def test_13_hooks_run_before_all_else_and_after_it() -> None:
    mine = kopf.OperatorRegistry()
    told: Told = []

    @kopf.on.startup(registry=mine)
    async def begin(memo: kopf.Memo, **_: Any) -> None:
        memo.lines = told
        told.append("startup")

    @kopf.on.cleanup(registry=mine)
    def end(**_: Any) -> None:
        told.append("cleanup")

    @kopf.on.create("kopfexamples", registry=mine)
    @kopf.on.create("kopfchildren", registry=mine)
    async def create_fn(memo: kopf.Memo, name: str, **_: Any) -> None:
        memo.lines.append(name)
        memo.mine = name

    async with running(*kopf.controllers([Example, Child], registry=mine)) as engine:
        await engine.client.create(example())
        await engine.run_until_idle()
        await engine.client.create(Child.new("two"))
        await engine.run_until_idle()
    assert told == ["startup", "one", "two", "cleanup"]


@virtually
async def test_14_daemons_run_beside_an_entity_until_they_are_told_to_stop() -> None:
    mine = kopf.OperatorRegistry()
    told: Told = []

    @kopf.daemon("kopfexamples", registry=mine)
    async def polls(stopped: Any, patch: kopf.Patch, name: str, **_: Any) -> None:
        while not stopped:
            told.append(("polls", round(now())))
            await stopped.wait(10)
        told.append(("ended", round(now())))
        patch.status["ticks"] = len(told)

    @kopf.daemon("kopfexamples", cancellation_backoff=2, registry=mine)
    async def does_not_look(**_: Any) -> None:
        try:
            await asyncio.sleep(1000)
        finally:
            told.append(("cancelled", round(now())))

    async with running(*kopf.controllers([Example], registry=mine)) as engine:
        await engine.client.create(Example.new("one", field="a"))
        await asyncio.sleep(25)
        await engine.client.delete(Example, "one")
        await asyncio.sleep(5)
    assert told == [
        ("polls", 0), ("polls", 10), ("polls", 20), ("ended", 25), ("cancelled", 27),
    ]  # fmt: skip


@virtually
async def test_14_a_daemon_that_breaks_is_started_again_and_its_filters_are_followed() -> None:
    mine = kopf.OperatorRegistry()
    told: Told = []

    @kopf.daemon("kopfexamples", retries=3, backoff=5, registry=mine, labels={"run": "yes"})
    async def breaks(retry: int, **_: Any) -> None:
        told.append((retry, round(now())))
        raise ValueError("broken")

    async with running(*kopf.controllers([Example], registry=mine)) as engine:
        await engine.client.create(example())
        await asyncio.sleep(100)
        assert told == []
        await engine.client.patch(Example, "one", {"metadata": {"labels": {"run": "yes"}}})
        await asyncio.sleep(100)
    assert told == [(0, 100), (1, 105), (2, 110)]


@virtually
async def test_15_timers_come_again_and_again() -> None:
    mine = kopf.OperatorRegistry()
    told: Told = []

    @kopf.timer("kopfexamples", interval=10, initial_delay=3, registry=mine)
    async def ticks(patch: kopf.Patch, status: Any, memo: kopf.Memo, **_: Any) -> None:
        memo.count = memo.get("count", 0) + 1
        told.append((round(now()), status.get("ticks")))
        patch.status["ticks"] = memo.count

    @kopf.timer("kopfexamples", interval=10, idle=15, registry=mine)
    async def quiet(**_: Any) -> None:
        told.append(("quiet", round(now())))

    async with running(*kopf.controllers([Example], registry=mine)) as engine:
        await engine.client.create(example())
        await asyncio.sleep(24)
        assert told == [(3, None), (13, 1), ("quiet", 15), (23, 2)]
        told.clear()
        await engine.client.patch(Example, "one", {"spec": {"field": "a"}})
        await asyncio.sleep(14)
        assert told == [(33, 3)], "it was not idle for long enough"


@virtually
async def test_16_indexes_are_given_to_handlers_of_all_kinds() -> None:
    mine = kopf.OperatorRegistry()
    told: Told = []

    @kopf.index("kopfchildren", registry=mine)
    def by_owner(spec: Any, name: str, **_: Any) -> dict[tuple[str, str], str]:
        return {("of", spec["of"]): name}

    @kopf.index("kopfchildren", registry=mine, labels={"app": "web"})
    def web(name: str, **_: Any) -> str:
        return name

    @kopf.timer("kopfexamples", interval=10, registry=mine)
    async def looks(by_owner: Any, web: Any, **_: Any) -> None:
        found = sorted(by_owner.get(("of", "one"), ()))
        told.append((found, sorted(by_owner), sorted(web.get(None, []))))

    async with running(*kopf.controllers([Example, Child], registry=mine)) as engine:
        for name, of in (("a", "one"), ("b", "one"), ("c", "two")):
            labels = {"app": "web"} if name == "c" else {}
            await engine.client.create(Child.new(name, of=of, labels=labels))
        await engine.run_until_idle()
        await engine.client.create(example())
        await asyncio.sleep(5)
        assert told == [(["a", "b"], [("of", "one"), ("of", "two")], ["c"])]
        await engine.client.patch(Child, "a", {"spec": {"of": "three"}})
        await engine.client.delete(Child, "c")
        await asyncio.sleep(10)
        assert told[1:] == [(["b"], [("of", "one"), ("of", "three")], [])]


@virtually
async def test_events_say_what_there_is_now_and_what_has_gone() -> None:
    mine = kopf.OperatorRegistry()
    told: Told = []

    @kopf.on.event("kopfexamples", registry=mine)
    async def event_fn(event: Any, spec: Any, **_: Any) -> None:
        told.append((event["type"], spec.get("field")))
        raise ValueError("of no consequence")

    @kopf.timer("kopfexamples", interval=10, registry=mine)
    async def ticks(**_: Any) -> None: ...

    async with running(*kopf.controllers([Example], registry=mine)) as engine:
        await engine.client.create(example(field="a"))
        await asyncio.sleep(35)
        assert told == [(None, "a")], "that a timer calls is no event"
        await engine.client.patch(Example, "one", {"spec": {"field": "b"}})
        await engine.run_until_idle()
        await engine.client.delete(Example, "one")
        await settle()
        await engine.run_until_idle()
        assert engine.health()[0].errors == 0
    assert told == [(None, "a"), ("MODIFIED", "b"), ("DELETED", "b")]


@virtually
async def test_a_handler_changes_the_spec_and_metadata_by_a_patch() -> None:
    mine = kopf.OperatorRegistry()

    @kopf.on.create("kex", registry=mine)
    def create_fn(patch: kopf.Patch, **_: Any) -> None:
        patch.spec["field"] = None
        patch.spec["duration"] = 5
        patch.meta.labels["seen"] = "yes"
        patch.status["made"] = {"by": "me"}

    async with running(*kopf.controllers([Example], registry=mine)) as engine:
        await engine.client.create(example(field="a", items=[1]))
        await engine.run_until_idle()
        found = await engine.client.get(Example, "one")
        document = found.to_document()
        assert document["spec"] == {"duration": 5, "items": [1]}
        assert found.metadata.labels == {"seen": "yes"}
        assert status(found) == {"made": {"by": "me"}}
