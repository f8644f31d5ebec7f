"""The status of a new entity: one for all of a kind, unless its defaults are made anew."""

from __future__ import annotations

from itertools import count
from typing import Any

import pytest

from miren.entities.entity import Entity
from miren.entities.kinds import Kinds
from miren.entities.model import Map, Model, field
from miren.entities.store.memory import MemoryStore
from miren.entities.store_client import StoreClient
from miren.entities.validating import blank_status

NUMBERS = count(1)


class PlainSpec(Model):
    size: int = 1


class PlainStatus(Model):
    phase: str = "pending"
    seen: Map[str] = field(default={"a": "b"})


class CountedStatus(Model):
    number: int = field(default_factory=lambda: next(NUMBERS))


class Plain(Entity[PlainSpec, PlainStatus], api="example.dev/v1"):
    """Its status always begins alike."""


class Counted(Entity[PlainSpec, CountedStatus], api="example.dev/v1"):
    """Its status begins anew each time."""


def test_a_status_of_constants_is_one_object() -> None:
    assert blank_status(PlainStatus) is blank_status(PlainStatus)
    assert blank_status(PlainStatus) == PlainStatus()


def test_a_status_that_is_made_anew_is_not() -> None:
    first, second = blank_status(CountedStatus), blank_status(CountedStatus)
    assert isinstance(first, CountedStatus)
    assert isinstance(second, CountedStatus)
    assert first.number != second.number


@pytest.mark.parametrize("kind", [Plain, Counted])
@pytest.mark.parametrize("how", ["create", "apply"])
async def test_a_new_entity_is_stored_with_it(kind: Any, how: str) -> None:
    async with MemoryStore() as store:
        client = StoreClient(store=store, kinds=Kinds([Plain, Counted]))
        made = []
        for name in ("a", "b"):
            if how == "create":
                made.append(await client.create(kind.new(name)))
            else:
                made.append(await client.apply(kind.partial(name), manager="test"))
        assert [await client.get(kind, each.name) for each in made] == made
        # What one of them says later is nothing to the others.
        changed = made[0].with_status(kind.kind.status())
        await client.update_status(changed)
        assert await client.get(kind, "b") == made[1]
        assert (await client.create(kind.new("c"))).to_document()["status"].keys() == (
            made[1].to_document()["status"].keys()
        )
