"""References that are unset before their target goes, and such that do not let it go."""

from __future__ import annotations

import asyncio

import pytest

from miren.base.errors import Conflict, Refused
from miren.controllers.remains import DELETABLE
from miren.entities.client import Propagation
from miren.entities.deleting import UNSET
from tests.builders import owned_by
from tests.controllers.relations import (
    Bird,
    Leaf,
    Place,
    Stubborn,
    Tree,
    garden,
    grow,
    names,
    settle,
)
from tests.reconcile.virtual import virtually


@virtually
async def test_a_dependent_that_others_need_stays_and_says_so() -> None:
    async with garden() as (client, _):
        await grow(client, Leaf.new("a"), Tree.new("b"))
        await client.create(Bird.new("owl", food="b"))
        await client.delete(Leaf, "a")
        await settle()
        told = (await client.get(Tree, "b")).condition(DELETABLE)
        assert told is not None
        assert (told.status, told.reason) == ("False", "InUse")
        assert told.message == "tree/b is in use by bird/owl"
        assert (await client.get(Tree, "b")).condition("Ready") is None, (
            "that is for others to say"
        )
        await client.delete(Bird, "owl")
        await asyncio.sleep(400)
        assert await names(client) == []


@virtually
async def test_what_could_not_go_and_then_need_not_says_so() -> None:
    async with garden() as (client, _):
        _, b = await grow(client, Leaf.new("a"), Tree.new("b"))
        await client.create(Bird.new("owl", food="b"))
        await client.delete(Leaf, "a")
        await settle()
        new = await client.create(Leaf.new("new"))
        b = await client.get(Tree, "b")
        await client.update(owned_by(b, new))
        await settle()
        told = (await client.get(Tree, "b")).condition(DELETABLE)
        assert told is not None
        assert told.status == "True"


@virtually
async def test_foreground_says_what_refuses_to_go() -> None:
    async with garden() as (client, _):
        await grow(client, Leaf.new("a"), Tree.new("b"))
        await client.create(Bird.new("owl", food="b"))
        await client.delete(Leaf, "a", propagation=Propagation.FOREGROUND)
        await settle()
        told = (await client.get(Leaf, "a")).condition(DELETABLE)
        assert told is not None
        assert told.message == "waits for tree/b (tree/b is in use by bird/owl)"
        await client.patch(Bird, "owl", {"spec": {"food": None}})
        await settle()
        assert await names(client) == []


@virtually
async def test_references_that_are_unset_go_before_the_target() -> None:
    async with garden() as (client, engine):
        for name in ("oak", "elm"):
            await client.create(Tree.new(name))
        owl = await client.create(
            Bird.new(
                "owl",
                home="oak",
                likes=["elm", "oak"],
                by_day={"mon": "oak", "tue": "elm"},
                places=[{"tree": "oak", "note": "high"}, {"tree": "elm"}],
                egg="oak",
                sits_on="tree/oak",
                sees=["tree/oak"],
            )
        )
        stay = {"flies_to": "oak"}
        await client.update_status(owl.with_status(owl.status.model_copy(update=stay)))
        await engine.run_until_idle()
        held = await client.delete(Tree, "oak")
        assert held.metadata.finalizers == (UNSET,)
        await engine.run_until_idle()
        await settle()
        assert await names(client) == ["tree/elm"]
        owl = await client.get(Bird, "owl")
        assert owl.spec.home is None
        assert owl.spec.likes == ("elm",)
        assert owl.spec.by_day == {"tue": "elm"}
        assert owl.spec.places == (Place(note="high"), Place.model_validate({"tree": "elm"}))
        assert owl.spec.egg == "oak", "what only reads like a reference is none"
        assert (owl.spec.sits_on, owl.spec.sees) == ("tree/oak", ("tree/oak",))
        assert owl.status.flies_to is None


@virtually
async def test_a_reference_that_cannot_be_unset_is_told_of() -> None:
    async with garden() as (client, _):
        await client.create(Tree.new("oak"))
        await client.create(Stubborn.new("mule", tree="oak"))
        await client.delete(Tree, "oak")
        await settle()
        oak = await client.get(Tree, "oak")
        told = oak.condition(DELETABLE)
        assert told is not None
        assert told.reason == "ReferencesLeft"
        assert told.message.startswith("still referred to: ")
        assert "spec.tree" in told.message
        await client.delete(Stubborn, "mule")
        await settle()
        assert await names(client) == []


@virtually
async def test_the_errors_of_a_collector_are_in_its_own_health() -> None:
    async with garden() as (client, engine):
        await grow(client, Leaf.new("a"), Tree.new("b"))
        await client.create(Bird.new("owl", food="b"))
        await client.delete(Leaf, "a")
        await settle()
        (health,) = (each for each in engine.health() if each.name == "garbage-tree")
        assert "in use by bird/owl" in str(health.last_error)
        with pytest.raises(Refused):
            await client.delete(Tree, "b")
        with pytest.raises(Conflict):
            await client.delete(Tree, "b", uid="other")
