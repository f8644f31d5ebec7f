"""What a controller's class line says is checked when the class is made."""

from __future__ import annotations

from collections.abc import Iterable
from types import FunctionType
from typing import Any, Generic, TypeVar

import pytest

from miren.entities.entity import Entity
from miren.reconcile.context import Context
from miren.reconcile.controller import Controller, index, watches
from miren.reconcile.results import Key
from tests.builders import Greeting, Room
from tests.reconcile.greeters import Greeter, Keeper

E = TypeVar("E", bound=Entity[Any, Any])


def declare(line: str, body: str = "") -> type[Controller[Greeting]]:
    """Make the class `class Bad(<line>)` with this body; types are not checked here."""
    indented = "\n".join(f"    {text}" for text in body.splitlines()) or "    pass"
    names: dict[str, Any] = {"Controller": Controller, "Greeting": Greeting}
    exec(f"class Bad({line}):\n{indented}", names)
    made: type[Controller[Greeting]] = names["Bad"]
    return made


@pytest.mark.parametrize(
    ("line", "body", "told"),
    [
        ("Controller", "", "class Bad must derive from Controller[<Kind>]"),
        ("Controller[int]", "", "Bad: Controller[<class 'int'>] needs an entity class"),
        (
            "Controller[Greeting]",
            "def reconcile(self, ctx, entity): ...",
            "Bad.reconcile must be `async def`",
        ),
        (
            "Controller[Greeting]",
            "async def reconcile(self, entity): ...",
            "Bad.reconcile must take (self, ctx, entity)",
        ),
        (
            "Controller[Greeting]",
            "async def finalize(self, ctx, entity): ...",
            'Bad: `finalizer="<domain>/<name>"` and `async def finalize` go together',
        ),
        (
            "Controller[Greeting], finalizer='example.dev/bad'",
            "",
            'Bad: `finalizer="<domain>/<name>"` and `async def finalize` go together',
        ),
        (
            "Controller[Greeting], finalizer='bad'",
            "async def finalize(self, ctx, entity): ...",
            "Bad: finalizer must be '<domain>/<name>'",
        ),
        (
            "Controller[Greeting], concurrency=0",
            "",
            "Bad: concurrency must be at least 1",
        ),
        ("Controller[Greeting], timeout=0", "", "Bad: timeout must be more than 0 seconds"),
        ("Controller[Greeting], resync=-1", "", "Bad: resync must be more than 0 seconds"),
        ("Controller[Greeting], owns=[int]", "", "Bad: owns=[int] needs entity classes"),
    ],
)
def test_a_wrong_declaration_is_told_at_once(line: str, body: str, told: str) -> None:
    with pytest.raises(TypeError) as caught:
        declare(line, body)
    assert str(caught.value) == told


def test_a_generic_controller_may_stand_between() -> None:
    class Between(Controller[E], Generic[E], concurrency=3):
        async def reconcile(self, ctx: Context[E], entity: E) -> None: ...

    class Concrete(Between[Greeting]):
        pass

    assert Concrete.kind is Greeting
    assert Concrete.settings.concurrency == 3


def test_settings_are_inherited_and_overridden_one_by_one() -> None:
    class Faster(Keeper, concurrency=16):
        pass

    assert Faster.settings.concurrency == 16
    assert Faster.settings.finalizer == "example.dev/keeper"
    assert Keeper.settings.concurrency == 4
    assert Faster.kind is Greeting
    assert Faster().name == "faster"


def test_an_overriding_method_is_declared_once() -> None:
    class First(Greeter):
        @index
        def by_tone(self, greeting: Greeting) -> Iterable[str]:
            return [greeting.spec.tone]

        @watches(Room)
        def rooms(self, room: Room) -> Iterable[Key[Greeting]]:
            return [Key(room.project, room.name)]

    class Second(First):
        @index
        def by_tone(self, greeting: Greeting) -> Iterable[str]:
            return [greeting.spec.tone.upper()]

        @watches(Room)
        def rooms(self, room: Room) -> Iterable[Key[Greeting]]:
            return []

    assert [watch.method for watch in Second.watched] == ["rooms"]
    assert len(Second.indexes) == 1
    assert isinstance(Second.indexes[0].values, FunctionType)
    assert Second.indexes[0].values.__qualname__.endswith("Second.by_tone")
    assert Second().by_tone["loud"] == (), "outside an engine an index is empty"
