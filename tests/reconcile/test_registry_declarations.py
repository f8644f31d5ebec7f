"""What a registry is told is checked at the line that tells it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import pytest

from miren.reconcile.context import Context
from miren.reconcile.registry import Registry
from tests.builders import Greeting

Register = Callable[[Registry, Any], object]


async def fine(ctx: Context[Greeting], greeting: Greeting) -> None: ...


async def alone(ctx: Context[Greeting]) -> None: ...


async def three(ctx: Context[Greeting], greeting: Greeting, more: str) -> None: ...


async def generation(ctx: Context[Greeting], greeting: Greeting) -> None: ...


async def yielding(ctx: Context[Greeting], greeting: Greeting) -> Any:
    yield 1


def plain(ctx: Context[Greeting], greeting: Greeting) -> None: ...


def created(registry: Registry, function: Any) -> object:
    return registry.created(Greeting)(function)


@pytest.mark.parametrize(
    ("register", "function", "told"),
    [
        (created, 3, "r.created(Greeting) decorates a function, not 3"),
        (created, alone, "r.created(Greeting): alone must take (ctx, entity)"),
        (created, three, "r.created(Greeting): three must take (ctx, entity)"),
        (created, yielding, "r.created(Greeting): yielding must not yield"),
        (
            created,
            generation,
            "r.created(Greeting): a handler cannot be named 'generation'; give it a `name=`",
        ),
        (
            lambda r, f: r.changed(Greeting)(f),
            alone,
            "r.changed(Greeting): alone must take (ctx, change)",
        ),
        (
            lambda r, f: r.daemon(Greeting)(f),
            plain,
            "r.daemon(Greeting): plain must be `async def`",
        ),
        (
            lambda r, f: (r.created(Greeting)(f), r.every(3, Greeting)(f)),
            fine,
            "r.every(Greeting): there is a 'fine' already; give this one a `name=`",
        ),
        (
            lambda r, f: (r.daemon(Greeting)(f), r.deleted(Greeting, name="fine")(f)),
            fine,
            "r.deleted(Greeting): there is a 'fine' already; give this one a `name=`",
        ),
        (
            lambda r, f: r.created(int)(f),
            fine,
            "a handler is for an entity class, not <class 'int'>",
        ),
        (
            lambda r, f: r.every(0, Greeting)(f),
            fine,
            "r.every: seconds must be more than 0, delays at least 0",
        ),
        (
            lambda r, f: r.daemon(Greeting, grace=-1)(f),
            fine,
            "r.daemon: grace and initial_delay must be at least 0",
        ),
        (
            lambda r, f: r.created(Greeting, timeout=0)(f),
            fine,
            "r.created(Greeting): timeout must be more than 0 seconds",
        ),
        (
            lambda r, f: r.created(Greeting, retries=0)(f),
            fine,
            "r.created(Greeting): retries must be at least 1",
        ),
        (
            lambda r, f: r.created(Greeting, where="loud")(f),
            fine,
            "r.created(Greeting): where is a function of an entity, not 'loud'",
        ),
        (
            lambda r, f: r.changed(Greeting, "spec.text")(f),
            fine,
            "r.changed: select is a function, not 'spec.text'",
        ),
        (
            lambda r, f: r.created(Greeting)(partial(f, 1)),
            three,
            "r.created(Greeting): functools.partial",
        ),
    ],
)
def test_a_wrong_handler_is_told_at_once(register: Register, function: Any, told: str) -> None:
    registry = Registry("r")
    with pytest.raises(TypeError) as caught:
        register(registry, function)
    assert str(caught.value).startswith(told)


def test_an_unknown_argument_is_told_at_once() -> None:
    with pytest.raises(TypeError, match="unexpected keyword argument 'timout'"):
        Registry("r").created(Greeting, timout=3)  # type: ignore[call-arg]  # what is tested


@pytest.mark.parametrize(
    ("name", "options", "told"),
    [
        ("", {}, "a registry's name is one word, not ''"),
        ("a/b", {}, "a registry's name is one word, not 'a/b'"),
        ("a", {"finalizer": "x"}, "registry a: finalizer must be '<domain>/<name>'"),
        ("a", {"concurrency": 0}, "registry a: concurrency must be at least 1"),
    ],
)
def test_a_wrong_registry_is_told_at_once(name: str, options: Any, told: str) -> None:
    with pytest.raises(TypeError) as caught:
        Registry(name, **options)
    assert str(caught.value) == told


def test_decorators_return_the_function_as_it_was() -> None:
    registry = Registry("r")
    assert registry.created(Greeting)(fine) is fine
    assert registry.daemon(Greeting, name="other")(fine) is fine
    named = registry.resumed(Greeting, name="more")(partial(three, more="x"))
    assert isinstance(named, partial)


def test_each_kind_has_one_controller_with_the_registrys_settings() -> None:
    registry = Registry("r", concurrency=7, primary=False, resync=60)
    registry.created(Greeting)(fine)
    registry.deleted(Greeting, name="end")(fine)

    @registry.index(Greeting)
    def by_text(greeting: Greeting) -> Iterable[str]:
        return [greeting.spec.text]

    (controller,) = registry.controllers()
    settings = type(controller).settings
    assert controller.name == "r-greeting"
    assert (settings.concurrency, settings.primary, settings.resync) == (7, False, 60)
    assert settings.finalizer == "miren.dev/r"
    assert registry.controllers() != (controller,), "each engine has its own"
    assert by_text["hey"] == ()
