"""What kopf's decorators take and refuse, and what they leave behind."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any

import pytest

from miren.reconcile import kopf
from miren.reconcile.kopf.compiling import _Attending
from miren.reconcile.kopf.declared import default
from miren.reconcile.kopf.kinds import kind_of
from miren.reconcile.kopf.views import diff
from miren.reconcile.testing import reconcile_once
from tests.builders import Greeting, make_greeting
from tests.reconcile.virtual import running, virtually

Told = list[Any]

Fig = kopf.kind("Fig", api="a.dev/v1", spec=["size", "some_name"], status=["grow"], short=["f"])
OtherFig = kopf.kind("Fig", api="b.dev/v1", spec=["size"])


@pytest.fixture
def mine() -> kopf.OperatorRegistry:
    return kopf.OperatorRegistry()


@pytest.fixture
def clean_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(default(), "declared", [])


@pytest.mark.parametrize(
    "resource",
    [
        ("a.dev", "v1", "figs"),
        ("a.dev/v1", "figs"),
        ("a.dev", "figs"),
        ("figs.a.dev",),
        ("figs.v1.a.dev",),
        ("Fig.a.dev",),
        (Fig,),
    ],
)
def test_a_resource_is_named_as_in_kopf(resource: tuple[Any, ...]) -> None:
    assert kind_of(resource, [OtherFig, Fig]) is Fig


@pytest.mark.parametrize("word", ["figs", "fig", "Fig"])
def test_a_name_without_a_group_must_be_of_one_kind(word: str) -> None:
    assert kind_of((word,), [Fig]) is Fig
    with pytest.raises(TypeError, match=r"several of the kinds.*figs.a.dev, figs.b.dev"):
        kind_of((word,), [Fig, OtherFig])


def test_a_resource_that_was_not_given_is_refused(mine: kopf.OperatorRegistry) -> None:
    @kopf.on.create("dates", registry=mine)
    async def create_fn(**_: Any) -> None: ...

    with pytest.raises(TypeError, match=r"'dates' is none of the kinds.*figs\.a\.dev"):
        kopf.controllers([Fig], registry=mine)


def test_what_could_only_fail_later_is_refused_where_it_is_declared(
    clean_default: None,
) -> None:
    with pytest.raises(TypeError, match="no settings here"):

        @kopf.on.startup()
        def configure(settings: Any, **_: Any) -> None: ...

    with pytest.raises(TypeError, match="needs the name"):
        kopf.on.create()
    with pytest.raises(TypeError, match="positional-only"):

        @kopf.on.create("figs")
        def create_fn(spec: Any, /, **_: Any) -> None: ...

    assert default().declared == []


def test_indexes_are_plain_functions_of_different_names(mine: kopf.OperatorRegistry) -> None:
    @kopf.index("figs", registry=mine)
    async def by_size(**_: Any) -> None: ...

    with pytest.raises(TypeError, match="must not be async"):
        kopf.controllers([Fig], registry=mine)
    mine.declared.clear()
    for _ in range(2):

        @kopf.index("figs", registry=mine, id="one")
        def sizes(**_: Any) -> None: ...

    with pytest.raises(TypeError, match="already"):
        kopf.controllers([Fig], registry=mine)


async def test_handlers_are_declared_in_the_default_registry(clean_default: None) -> None:
    @kopf.on.create("greetings")
    async def shout(spec: Any, patch: kopf.Patch) -> None:
        patch.status["shout"] = spec["text"].upper()

    (controller,) = kopf.controllers([Greeting])
    out = await reconcile_once(controller, make_greeting())
    assert out.entity.status.shout == "HEY", "and a kind with models is handled too"
    assert controller.name == "kopf-greeting"


async def test_a_result_without_a_place_is_told(
    mine: kopf.OperatorRegistry, caplog: pytest.LogCaptureFixture
) -> None:
    @kopf.on.create("figs", registry=mine)
    async def unknown(**_: Any) -> str:
        return "result"

    @kopf.on.create("figs", registry=mine, id="grow")
    async def known(**_: Any) -> str:
        return "result"

    (controller,) = kopf.controllers([Fig], registry=mine)
    out = await reconcile_once(controller, Fig.new("one"))
    assert out.error is None
    assert out.entity.to_document()["status"]["grow"] == "result"
    (told,) = [each for each in caplog.records if "no attribute" in each.message]
    assert told.__dict__["id"] == "unknown"


async def test_a_patch_of_what_the_status_does_not_have_is_an_error(
    mine: kopf.OperatorRegistry,
) -> None:
    @kopf.on.create("figs", registry=mine)
    async def grow(patch: kopf.Patch, **_: Any) -> None:
        patch.status["other"] = 1

    (controller,) = kopf.controllers([Fig], registry=mine)
    out = await reconcile_once(controller, Fig.new("one"))
    assert "unknown attribute 'other'" in str(out.error)


def test_names_of_a_free_kind_are_the_same_on_the_wire() -> None:
    fig = Fig.new("one", some_name={"inner_name": [1]})
    assert fig.to_document()["spec"] == {"some_name": {"inner_name": [1]}}
    assert Fig.from_document(fig.to_document()) == fig


@virtually
async def test_nothing_is_kept_of_what_has_gone() -> None:
    mine = kopf.OperatorRegistry()

    @kopf.on.event("figs", registry=mine)
    async def event_fn(memo: kopf.Memo, **_: Any) -> None:
        memo.seen = True

    @kopf.on.create("figs", registry=mine)
    async def create_fn(memo: kopf.Memo, **_: Any) -> None:
        assert memo.seen
        raise kopf.TemporaryError("later", delay=1000)

    controllers = kopf.controllers([Fig], registry=mine)
    async with running(*controllers) as engine:
        for _ in range(3):
            await engine.client.create(Fig.new("one"))
            await engine.run_until_idle()
            await engine.client.delete(Fig, "one")
            await engine.run_until_idle()
        (controller,) = controllers
        assert isinstance(controller, _Attending)
        assert controller.memories._known == {}


@virtually
async def test_time_begins_anew_with_a_new_spec() -> None:
    mine = kopf.OperatorRegistry()
    told: Told = []

    @kopf.on.update("figs", registry=mine, timeout=10, backoff=6)
    async def grow(spec: Any, retry: int, **_: Any) -> None:
        told.append((spec["size"], retry))
        if spec["size"] < 3:
            raise ValueError("too small")

    async with running(*kopf.controllers([Fig], registry=mine)) as engine:
        await engine.client.create(Fig.new("one", size=0))
        await engine.run_until_idle()
        await engine.client.patch(Fig, "one", {"spec": {"size": 1}})
        await asyncio.sleep(7)
        await engine.client.patch(Fig, "one", {"spec": {"size": 2}})
        await asyncio.sleep(60)
        await engine.client.patch(Fig, "one", {"spec": {"size": 3}})
        await asyncio.sleep(60)
    assert told == [(1, 0), (1, 1), (2, 0), (2, 1), (3, 0)]


async def test_what_a_startup_handler_raises_stops_the_engine() -> None:
    mine = kopf.OperatorRegistry()

    @kopf.on.startup(registry=mine)
    async def begin(**_: Any) -> None:
        raise ValueError("not today")

    @kopf.on.create("figs", registry=mine)
    async def create_fn(**_: Any) -> None: ...

    with pytest.raises(ExceptionGroup) as caught:
        async with running(*kopf.controllers([Fig], registry=mine)) as engine:
            await engine.client.wait(Fig, "never", lambda fig: fig is not None, timeout=30)
    assert caught.group_contains(ValueError, match="not today")


async def test_a_daemon_in_a_thread_is_told_to_stop() -> None:
    mine = kopf.OperatorRegistry()
    told: Told = []

    @kopf.daemon("figs", registry=mine)
    def polls(stopped: Any, patch: kopf.Patch, **_: Any) -> None:
        begun = time.monotonic()
        told.append("begun")
        assert stopped.wait(30)
        told.append(time.monotonic() - begun < 20)
        patch.status["grow"] = "stopped"

    async with running(*kopf.controllers([Fig], registry=mine)) as engine:
        await engine.client.create(Fig.new("one"))
        async with asyncio.timeout(10):
            while not told:  # noqa: ASYNC110  # a thread tells it
                await asyncio.sleep(0.01)
    assert told == ["begun", True]


async def test_a_thread_that_is_late_is_waited_for_and_then_told_that_it_was() -> None:
    mine = kopf.OperatorRegistry()
    told: Told = []
    busy: list[int] = []

    @kopf.on.create("figs", registry=mine, timeout=0.1, retries=2)
    def sleeps(retry: int, **_: Any) -> None:
        busy.append(1)
        told.append((retry, len(busy)))
        time.sleep(0.3)
        busy.pop()

    async with running(*kopf.controllers([Fig], registry=mine)) as engine:
        await engine.client.create(Fig.new("one"))
        found = await engine.client.wait(
            Fig, "one", lambda fig: fig is not None and fig.conditions != (), timeout=20
        )
        assert found is not None
        (ready,) = found.conditions
        assert ready.reason == "DeadlineExceeded"
        await engine.run_until_idle()
    assert told == [(0, 1)], "all of its time was over"


def test_differences_are_told_as_kopf_tells_them() -> None:
    old = {"a": 1, "b": {"c": [1], "d": 2}, "e": 3}
    new = {"a": 1, "b": {"c": [2], "d": 2, "f": {"g": 1}}, "h": 4}
    assert [tuple(each) for each in diff(old, new)] == [
        ("change", ("b", "c"), [1], [2]),
        ("add", ("b", "f"), None, {"g": 1}),
        ("remove", ("e",), 3, None),
        ("add", ("h",), None, 4),
    ]


def test_sync_handlers_are_warned_of(
    mine: kopf.OperatorRegistry, caplog: pytest.LogCaptureFixture
) -> None:
    @kopf.on.create("figs", registry=mine)
    def create_fn(**_: Any) -> None: ...

    with caplog.at_level(logging.WARNING, "miren.kopf"):
        kopf.controllers([Fig], registry=mine)
    assert "thread" in caplog.text
