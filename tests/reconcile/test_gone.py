"""Controllers that look at what goes, and controllers across all kinds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from miren.entities.entity import Entity
from miren.entities.store.memory import MemoryStore
from miren.reconcile.context import Context
from miren.reconcile.controller import Controller, Watch, watches
from miren.reconcile.engine import Engine
from miren.reconcile.results import Key, Permanent
from tests.builders import Greeting, Room, make_greeting
from tests.reconcile.greeters import Greeter
from tests.reconcile.virtual import date, running, virtually

KEEP = "example.dev/keep"


class Mourner(Controller[Room]):
    """Looks at the hall whenever a greeting has gone, and at nothing else."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.calls = 0

    @watches(Greeting, gone=True)
    def left(self, gone: Greeting) -> Iterator[Key[Room]]:
        self.told.append(gone.spec.text)
        yield Key("default", "hall")

    async def reconcile(self, ctx: Context[Room], entity: Room) -> None:
        self.calls += 1


@virtually
async def test_who_watches_what_goes_is_told_the_last_that_was_seen_of_it() -> None:
    mourner = Mourner()
    async with running(mourner) as engine:
        await engine.client.create(Room.new("hall"))
        await engine.client.create(make_greeting())
        await engine.run_until_idle()
        await engine.client.patch(Greeting, "hi", {"spec": {"text": "last"}})
        await engine.run_until_idle()
        assert (mourner.told, mourner.calls) == ([], 1)
        await engine.client.delete(Greeting, "hi")
        await engine.run_until_idle()
        assert (mourner.told, mourner.calls) == (["last"], 2)


class Witness(Controller[Greeting], until_gone=True, primary=False):
    """Writes down what it is called for."""

    def __init__(self) -> None:
        self.seen: list[tuple[bool, tuple[str, ...]]] = []

    async def reconcile(self, ctx: Context[Greeting], entity: Greeting) -> None:
        self.seen.append((entity.is_deleting, entity.metadata.finalizers))


@virtually
async def test_until_gone_means_being_called_while_others_hold_the_entity() -> None:
    witness = Witness()
    async with running(witness) as engine:
        await engine.client.create(make_greeting().with_metadata(finalizers=(KEEP,)))
        await engine.run_until_idle()
        held = await engine.client.delete(Greeting, "hi")
        await engine.run_until_idle()
        assert witness.seen == [(False, (KEEP,)), (True, (KEEP,))]
        assert await engine.client.get(Greeting, "hi") == held, "it is not its to let go"
        await engine.client.update(held.with_metadata(finalizers=()))
        await engine.run_until_idle()
        assert len(witness.seen) == 2


def test_a_finalizer_and_until_gone_exclude_each_other() -> None:
    with pytest.raises(TypeError, match="a finalizer and until_gone exclude each other"):

        class Bad(Controller[Greeting], until_gone=True, finalizer="example.dev/bad"):
            async def finalize(self, ctx: Context[Greeting], entity: Greeting) -> None:
                raise NotImplementedError


class Second(Controller[Greeting], primary=False):
    """Beside another controller of the kind; always fails."""

    async def reconcile(self, ctx: Context[Greeting], entity: Greeting) -> None:
        raise Permanent("not in the mood")


@virtually
async def test_errors_of_a_second_controller_are_not_the_ready_condition() -> None:
    async with running(Greeter(), Second()) as engine:
        await engine.client.create(make_greeting())
        await engine.run_until_idle()
        ready = (await engine.client.get(Greeting, "hi")).condition("Ready")
        assert ready is not None
        assert ready.status == "True"
        (health,) = (each for each in engine.health() if each.name == "second")
        assert "not in the mood" in str(health.last_error)


class Counter(Controller[Room], primary=False):
    """Counts what goes, of kinds that it is given."""

    def __init__(self, kinds: Sequence[type[Entity[Any, Any]]]) -> None:
        self.kinds = kinds
        self.gone: list[str] = []

    def watching(self) -> Sequence[Watch]:
        return [Watch(kind, "count", gone=True) for kind in self.kinds]

    def count(self, gone: Entity[Any, Any]) -> Iterator[Key[Room]]:
        self.gone.append(str(gone))
        return iter(())

    async def reconcile(self, ctx: Context[Room], entity: Room) -> None:
        pass


@virtually
async def test_a_controller_across_is_given_the_kinds_of_all_others() -> None:
    made: list[Counter] = []

    def across(kinds: Sequence[type[Entity[Any, Any]]]) -> list[Counter]:
        made.append(Counter(kinds))
        return made

    engine = Engine(MemoryStore(), [Greeter()], across=across, now=date)
    (counter,) = made
    assert counter.kinds == (Greeting,)
    assert set(engine.kinds) == {Greeting, Room}
    async with engine:
        await engine.client.create(make_greeting())
        await engine.client.create(Room.new("hall"))
        await engine.run_until_idle()
        await engine.client.delete(Greeting, "hi")
        await engine.run_until_idle()
        assert counter.gone == ["greeting/hi"]
