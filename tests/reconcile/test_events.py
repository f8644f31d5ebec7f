"""What a controller tells of an entity, and what the engine adds by itself."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from miren.base.errors import AlreadyExists, Conflict, InvalidInput, Unavailable
from miren.entities.events import EventType
from miren.entities.store.memory import MemoryStore
from miren.reconcile.context import Context
from miren.reconcile.engine import Engine
from miren.reconcile.registry import Registry
from miren.reconcile.results import Permanent, Requeue, Temporary
from miren.reconcile.testing import reconcile_once
from tests.builders import Greeting, make_greeting
from tests.reconcile.greeters import Doing, Greeter
from tests.reconcile.virtual import make_client, running, virtually
from tests.stores import Counting

Told = tuple[str, str, str, int]


async def told(engine: Engine, name: str = "hi") -> list[Told]:
    found = await engine.client.events(Greeting, name)
    return [(event.type, event.reason, event.message, event.count) for event in found]


@contextmanager
def logged(name: str) -> Iterator[list[logging.LogRecord]]:
    """Gather a logger's lines, all of them."""
    lines: list[logging.LogRecord] = []
    handler, logger = logging.Handler(), logging.getLogger(name)
    handler.emit = lines.append  # type: ignore[method-assign,assignment]  # the shortest there is
    level = logger.level
    logger.setLevel(logging.DEBUG)
    logger.addHandler(handler)
    try:
        yield lines
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


@virtually
async def test_what_a_controller_tells_is_written_a_second_later() -> None:
    async def act(ctx: Context[Greeting], greeting: Greeting) -> Requeue | None:
        ctx.event("Heard", "took 2 s")
        ctx.warn("Hoarse")
        return Requeue(0.2) if len(doing.calls) < 3 else None

    doing = Doing(act)
    async with running(doing) as engine:
        await engine.client.create(make_greeting())
        await asyncio.sleep(0.9)
        assert await told(engine) == []
        await asyncio.sleep(0.5)
        assert await told(engine) == [
            ("Normal", "Heard", "took 2 s", 3),
            ("Warning", "Hoarse", "", 3),
        ]
        (heard, _) = await engine.client.events(Greeting, "hi")
        assert heard.source == "doing"


@virtually
async def test_what_was_told_is_there_once_the_engine_is_idle() -> None:
    async def act(ctx: Context[Greeting], greeting: Greeting) -> None:
        ctx.event("Heard")

    async with running(Doing(act)) as engine:
        await engine.client.create(make_greeting())
        await engine.run_until_idle()
        assert await told(engine) == [("Normal", "Heard", "", 1)]


@virtually
async def test_the_last_events_are_written_when_the_engine_stops() -> None:
    async def act(ctx: Context[Greeting], greeting: Greeting) -> None:
        await asyncio.sleep(2)
        ctx.event("Heard")

    async with MemoryStore() as store:
        client = make_client(store)
        engine = Engine(client, [Doing(act)])
        async with engine:
            await client.create(make_greeting())
            await asyncio.sleep(0.5)
        assert await told(engine) == [("Normal", "Heard", "", 1)]


@pytest.mark.parametrize("reason", ["", "heard", "Two words", "Semi-colon", "Ähm", "X" * 129])
async def test_a_reason_is_one_camel_case_word(reason: str) -> None:
    ctx = Context(
        make_greeting(),
        make_client(MemoryStore()),
        manager="m",
        now=lambda: pytest.fail("it must not come so far"),
        log=logging.getLogger("tests"),
    )
    for tell in (ctx.event, ctx.warn):
        with pytest.raises(InvalidInput, match="CamelCase"):
            tell(reason)


@virtually
async def test_a_failed_reconcile_is_a_warning_counted_up() -> None:
    async def act(ctx: Context[Greeting], greeting: Greeting) -> None:
        raise ValueError("no such word")

    async with running(Doing(act)) as engine:
        await engine.client.create(make_greeting())
        await asyncio.sleep(1.5)
        ((type, reason, message, count),) = await told(engine)
        assert (type, reason, message) == ("Warning", "ValueError", "no such word")
        assert 5 < count < 12
        ready = (await engine.client.get(Greeting, "hi")).condition("Ready")
        assert ready is not None
        assert (ready.reason, ready.message) == (reason, message)


ERRORS: list[tuple[Exception, list[tuple[str, str]]]] = [
    (Temporary("no room yet", reason="Waiting", after=1e5), []),
    (Conflict("somebody was faster"), []),
    (
        Permanent("no image", reason="NoImage", hint="give one"),
        [("NoImage", "no image; give one")],
    ),
    (Permanent("odd", reason="not a word"), [("not a word", "odd")]),
    (AlreadyExists("taken"), [("AlreadyExists", "taken")]),
    (Unavailable("no runtime"), [("Unavailable", "no runtime")]),
    (TimeoutError(), [("DeadlineExceeded", "the reconcile took too long and was stopped")]),
]


@pytest.mark.parametrize(("error", "expected"), ERRORS, ids=lambda value: type(value).__name__)
def test_only_what_somebody_should_look_at_is_a_warning(
    error: Exception, expected: list[tuple[str, str]]
) -> None:
    async def act(ctx: Context[Greeting], greeting: Greeting) -> None:
        raise error

    @virtually
    async def test() -> None:
        async with running(Doing(act)) as engine:
            await engine.client.create(make_greeting())
            await asyncio.sleep(1.5)
            found = await engine.client.events(Greeting, "hi")
            assert {event.type for event in found} <= {EventType.WARNING}
            assert [(event.reason, event.message) for event in found] == expected

    test()


@virtually
async def test_success_is_no_event_and_no_write() -> None:
    store = Counting(MemoryStore())
    async with running(Greeter(), store=store) as engine:
        await engine.client.create(make_greeting())
        await asyncio.sleep(10)
        assert await told(engine) == []
        assert store.calls["lease"] == 0


@virtually
async def test_handlers_of_a_registry_tell_too_and_their_failures_are_warnings() -> None:
    registry = Registry("polite")

    @registry.created(Greeting)
    async def greet(ctx: Context[Greeting], greeting: Greeting) -> None:
        ctx.event("Greeted")

    @registry.created(Greeting)
    async def bow(ctx: Context[Greeting], greeting: Greeting) -> None:
        raise Permanent("too stiff", reason="Stiff")

    async with running(registry) as engine:
        await engine.client.create(make_greeting())
        await engine.run_until_idle()
        assert {("Normal", "Greeted"), ("Warning", "Stiff")} == {
            each[:2] for each in await told(engine)
        }


async def test_a_unit_test_sees_the_events() -> None:
    async def act(ctx: Context[Greeting], greeting: Greeting) -> None:
        ctx.event("Heard", "clearly")
        raise Permanent("no image", reason="NoImage")

    out = await reconcile_once(Doing(act), make_greeting())
    assert [(event.reason, event.message) for event in out.events] == [
        ("Heard", "clearly"),
        ("NoImage", "no image"),
    ]


@virtually
async def test_lines_of_a_reconcile_carry_its_id_and_key() -> None:
    async def act(ctx: Context[Greeting], greeting: Greeting) -> Requeue | None:
        ctx.log.info("heard", extra={"loud": True})
        ctx.log.info("heard again")
        if len(doing.calls) == 2:
            raise ValueError("no such word")
        return Requeue(0.1) if len(doing.calls) == 1 else None

    doing = Doing(act)
    with logged("miren.controllers.doing") as lines:
        async with running(doing) as engine:
            await engine.client.create(make_greeting())
            await asyncio.sleep(1)
    fields = [vars(line) for line in lines]
    assert {each["key"] for each in fields} == {"default/hi"}
    assert fields[0]["entity"] == "greeting/hi"
    assert fields[0]["loud"] is True
    ids = [each["reconcile"] for each in fields]
    first, second, third = ids[0], ids[2], ids[5]
    assert ids == [first, first, second, second, second, third, third]
    assert lines[4].getMessage() == "reconcile failed"
    assert len({first, second, third}) == 3
    assert all(len(id) == 8 for id in ids)


@virtually
async def test_the_same_chance_gives_reconciles_the_same_ids() -> None:
    async def ids() -> list[str]:
        seen: list[str] = []

        async def act(ctx: Context[Greeting], greeting: Greeting) -> Requeue | None:
            seen.append(ctx.id)
            return Requeue(1) if len(seen) < 5 else None

        async with running(Doing(act)) as engine:
            await engine.client.create(make_greeting())
            await asyncio.sleep(20)
        return seen

    assert await ids() == await ids()
