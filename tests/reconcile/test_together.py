from __future__ import annotations

from typing import Any

import pytest

from miren.base.errors import InvalidInput
from miren.entities.entity import Entity
from miren.entities.store.memory import MemoryStore
from miren.reconcile.context import Context
from miren.reconcile.engine import Engine
from miren.reconcile.registry import Registry
from tests.builders import Greeting, Room
from tests.reconcile.greeters import Greeter, Keeper


class Second(Greeter, primary=False):
    pass


class Gentle(Keeper, primary=False):
    """Has the finalizer of its base."""


class Gloomy(Greeter):
    async def act(self, ctx: Context[Greeting], greeting: Greeting) -> None:
        ctx.not_ready("Gloomy")


def handling(kind: type[Entity[Any, Any]]) -> Registry:
    registry = Registry("r", primary=False)

    @registry.created(kind)
    async def born(ctx: Context[Any], entity: Any) -> None: ...

    return registry


def test_two_controllers_of_one_name_would_forget_what_the_other_handled() -> None:
    with pytest.raises(InvalidInput, match="two controllers named 'r-greeting'"):
        Engine(MemoryStore(), [handling(Greeting), handling(Greeting)])
    Engine(MemoryStore(), [handling(Greeting), handling(Room)])


def test_two_primary_controllers_would_contradict_each_other_for_ever() -> None:
    with pytest.raises(InvalidInput, match="greeter and gloomy are both the primary controller"):
        Engine(MemoryStore(), [Greeter(), Gloomy()])
    Engine(MemoryStore(), [Greeter(), Second()])


def test_two_controllers_of_one_finalizer_would_let_go_what_the_other_holds() -> None:
    with pytest.raises(InvalidInput, match="keeper and gentle have the same finalizer"):
        Engine(MemoryStore(), [Keeper(), Gentle()])
