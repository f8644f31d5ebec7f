"""Predicates: which changes wake a controller, asked before the queue."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from miren.base.errors import InvalidInput
from miren.reconcile.context import Context
from miren.reconcile.controller import Controller, watches
from miren.reconcile.predicates import (
    Predicate,
    annotations_changed,
    generation_changed,
    has_labels,
    holds,
    labels_changed,
    matches,
    on_change,
    revision_changed,
)
from miren.reconcile.registry import Registry
from miren.reconcile.results import Key
from tests.builders import (
    Greeting,
    GreetingStatus,
    Parcel,
    Room,
    make_greeting,
    make_parcel,
    owners,
)
from tests.reconcile.greeters import Greeter, Keeper
from tests.reconcile.virtual import running, virtually

# -- what they say of a change ---------------------------------------------------------------


def says(predicate: Predicate[Any], old: Greeting | None, new: Greeting | None) -> bool:
    return predicate(old, new)


@pytest.mark.parametrize(
    ("predicate", "metadata"),
    [
        (generation_changed, {"generation": 7}),
        (labels_changed, {"labels": {"a": "b"}}),
        (annotations_changed, {"annotations": {"a": "b"}}),
        (revision_changed, {"resource_version": "7"}),
        (on_change("metadata.labels.example.dev/app"), {"labels": {"example.dev/app": "x"}}),
    ],
)
def test_a_predicate_of_changes_sees_what_it_is_about_and_nothing_else(
    predicate: Predicate[Any], metadata: dict[str, object]
) -> None:
    before = make_greeting()
    other = before.with_metadata(owner_references=owners(make_greeting("owner")))
    assert says(predicate, before, before.with_metadata(**metadata))
    assert not says(predicate, before, other)
    assert not says(~predicate, before, before.with_metadata(**metadata))


@pytest.mark.parametrize("predicate", [generation_changed, labels_changed, on_change("spec.text")])
def test_what_is_new_or_gone_has_changed(predicate: Predicate[Any]) -> None:
    assert says(predicate, None, make_greeting())
    assert says(predicate, make_greeting(), None)


def test_a_change_is_looked_for_at_paths_of_either_spelling_and_by_functions() -> None:
    box = make_parcel(wrapping={"paper": "blue"}, env={"A.B": "1"})

    def changed(what: Predicate[Parcel], **spec: Any) -> bool:
        return what(box, make_parcel(**{"wrapping": {"paper": "blue"}, **spec}))

    assert changed(on_change("spec.wrapping.paper"), wrapping={"paper": "red"})
    assert not changed(on_change("spec.wrapping.paper"), weight=2)
    assert changed(on_change("spec.wrapping.paper"), wrapping=None)
    assert changed(on_change("spec.env.A.B"), env={"A.B": "2"})
    assert changed(on_change("spec.code", "spec.weight"), weight=2)
    assert changed(on_change(lambda parcel: parcel.spec.weight), weight=2)
    assert not changed(on_change(lambda parcel: parcel.spec.weight), code="x")
    meta = on_change("metadata.deletionTimestamp", "metadata.owner_references")
    assert meta(box, box.with_metadata(owner_references=owners(box)))


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("spec.txt", "on_change('spec.txt'): GreetingSpec has no 'txt'; did you mean 'text'?"),
        ("spec.text.x", "on_change('spec.text.x'): there is nothing named 'x' in it"),
        ("text", "on_change('text'): a path begins with metadata, spec or status"),
    ],
)
def test_a_path_that_the_kind_does_not_have_is_told_where_it_is_declared(
    path: str, told: str
) -> None:
    with pytest.raises(TypeError) as caught:

        class Wrong(Greeter, when=generation_changed | on_change(path)):
            pass

    assert str(caught.value) == told
    with pytest.raises(TypeError):
        watches(Greeting, when=~on_change(path))
    with pytest.raises(TypeError):

        class Owning(Controller[Room], owns={Greeting: on_change(path)}):
            async def reconcile(self, ctx: Context[Room], entity: Room) -> None: ...

    with pytest.raises(TypeError):
        Registry("rooms").created(Greeting, where=on_change(path))(print_it)


async def print_it(ctx: Context[Greeting], greeting: Greeting) -> None: ...


def test_a_path_into_a_map_or_an_optional_model_is_fine() -> None:
    on_change("spec.env.A", "spec.wrapping.ribbon", "metadata.labels.a", "status.place").check(
        Parcel
    )


def test_on_change_of_nothing_is_a_mistake() -> None:
    with pytest.raises(TypeError, match="needs what it looks at"):
        on_change()


def test_how_an_entity_is_counts_before_and_after() -> None:
    plain, red = make_greeting(), make_greeting(labels={"color": "red"})
    is_red = has_labels({"color": "red"})
    assert says(is_red, None, red)
    assert says(is_red, plain, red)
    assert says(is_red, red, plain), "it has just left"
    assert says(is_red, red, None)
    assert not says(is_red, plain, plain)
    assert says(~is_red, red, plain)
    assert says(~is_red, plain, red), "it has just left those without"
    assert not says(~is_red, red, red)
    assert says(matches("color=red,!size"), None, red)
    assert not says(matches("color,size"), None, red)
    assert says(holds(lambda greeting: greeting.spec.text == "hey"), None, plain)
    with pytest.raises(InvalidInput):
        matches("a==b==c")


def test_a_predicate_is_a_question_and_no_answer() -> None:
    with pytest.raises(TypeError, match=r"combine predicates with & \| ~"):
        _ = generation_changed and labels_changed
    told = repr(generation_changed | ~labels_changed & has_labels({"a": "b"}))
    assert told == "(generation_changed | (~labels_changed & has_labels({'a': 'b'})))"


Tree = tuple[Any, ...]


def trees() -> st.SearchStrategy[Tree]:
    return st.recursive(
        st.tuples(st.just("leaf"), st.integers(0, 2)),
        lambda inner: st.one_of(
            st.tuples(st.just("and"), inner, inner),
            st.tuples(st.just("or"), inner, inner),
            st.tuples(st.just("not"), inner),
        ),
        max_leaves=8,
    )


def build(tree: Tree, leaves: list[Predicate[Any]]) -> Predicate[Any]:
    match tree:
        case ("leaf", number):
            return leaves[number]
        case ("and", one, other):
            return build(one, leaves) & build(other, leaves)
        case ("or", one, other):
            return build(one, leaves) | build(other, leaves)
        case ("not", one):
            return ~build(one, leaves)
        case _:
            raise AssertionError(tree)


def truth(tree: Tree, values: list[bool]) -> bool:
    match tree:
        case ("leaf", number):
            return values[number]
        case ("and", one, other):
            return truth(one, values) and truth(other, values)
        case ("or", one, other):
            return truth(one, values) or truth(other, values)
        case ("not", one):
            return not truth(one, values)
        case _:
            raise AssertionError(tree)


@given(trees(), st.lists(st.booleans(), min_size=3, max_size=3))
def test_combinations_are_those_of_logic(tree: Tree, values: list[bool]) -> None:
    leaves = [Predicate[Any](lambda _old, _new, value=value: value) for value in values]  # type: ignore[misc]  # a default binds the value
    assert build(tree, leaves)(None, None) == truth(tree, values)


# -- in an engine ----------------------------------------------------------------------------


class Wishing(Greeter, when=generation_changed):
    pass


@virtually
async def test_a_controller_is_woken_only_by_what_its_predicate_lets_through() -> None:
    wishing = Wishing()
    async with running(wishing) as engine:
        await engine.client.create(make_greeting())
        await engine.run_until_idle()
        await engine.client.patch(Greeting, "hi", {"metadata": {"labels": {"a": "b"}}})
        found = await engine.client.get(Greeting, "hi")
        await engine.client.update_status(found.with_status(GreetingStatus(heard=5)))
        await engine.run_until_idle()
        assert len(wishing.calls) == 1
        await engine.client.patch(Greeting, "hi", {"spec": {"text": "yo"}})
        await engine.run_until_idle()
        assert wishing.texts == ["hey", "yo"]


@virtually
async def test_what_comes_while_a_key_is_in_work_is_asked_about_too() -> None:
    async def rename(ctx: Context[Greeting], greeting: Greeting) -> None:
        text = "yo" if len(wishing.calls) == 2 else greeting.spec.text
        labels = {"call": str(len(wishing.calls))}
        change = {"metadata": {"labels": labels}, "spec": {"text": text}}
        await ctx.client.patch(Greeting, greeting.name, change)

    class Renaming(Wishing):
        async def act(self, ctx: Context[Greeting], greeting: Greeting) -> None:
            await rename(ctx, greeting)

    wishing = Renaming()
    async with running(wishing) as engine:
        await engine.client.create(make_greeting())
        await engine.run_until_idle()
        assert len(wishing.calls) == 1, "only a label was put on"
        await engine.client.patch(Greeting, "hi", {"spec": {"text": "hello"}})
        await engine.run_until_idle()
        assert wishing.texts == ["hey", "hello", "yo"]


@virtually
async def test_the_begin_of_a_deletion_is_never_held_back() -> None:
    class Careful(Keeper, when=has_labels({"care": "yes"})):
        pass

    careful = Careful()
    async with running(careful) as engine:
        await engine.client.create(make_greeting(labels={"care": "yes"}))
        await engine.client.create(make_greeting("other"))
        await engine.run_until_idle()
        assert [greeting.name for greeting in careful.calls] == ["hi"]
        await engine.client.patch(Greeting, "hi", {"metadata": {"labels": {"care": None}}})
        await engine.run_until_idle()
        assert len(careful.calls) == 2, "it hears that the label is gone"
        await engine.client.delete(Greeting, "hi")
        await engine.run_until_idle()
        assert await engine.client.get(Greeting, "hi", default=None) is None
        assert len(careful.finalized) == 1


@virtually
async def test_a_resync_brings_only_what_the_predicate_is_about() -> None:
    import asyncio

    class Regular(Greeter, when=has_labels({"care": "yes"}), resync=100):
        pass

    regular = Regular()
    async with running(regular) as engine:
        await engine.client.create(make_greeting(labels={"care": "yes"}))
        await engine.client.create(make_greeting("other"))
        await asyncio.sleep(115)
        assert [greeting.name for greeting in regular.calls] == ["hi", "hi"]


@virtually
async def test_watched_and_owned_kinds_have_predicates_of_their_own() -> None:
    class Hotel(Greeter, owns={Room: on_change("spec.size")}):
        @watches(Room, when=labels_changed)
        def rooms(self, room: Room) -> Iterable[Key[Greeting]]:
            return [Key(room.project, "watching")]

    hotel = Hotel()
    async with running(hotel) as engine:
        owner = await engine.client.create(make_greeting("owning"))
        await engine.client.create(make_greeting("watching"))
        room = Room.new("r").with_metadata(owner_references=owners(owner))
        await engine.client.create(room)
        await engine.run_until_idle()

        async def woken_by(change: dict[str, Any]) -> list[str]:
            hotel.calls.clear()
            await engine.client.patch(Room, "r", change)
            await engine.run_until_idle()
            return [greeting.name for greeting in hotel.calls]

        assert await woken_by({"spec": {"size": 2}}) == ["owning"]
        assert await woken_by({"metadata": {"labels": {"a": "b"}}}) == ["watching"]
        assert await woken_by({"metadata": {"annotations": {"a": "b"}}}) == []
        hotel.calls.clear()
        await engine.client.delete(Room, "r")
        await engine.run_until_idle()
        assert sorted(greeting.name for greeting in hotel.calls) == ["owning", "watching"]


@virtually
async def test_a_predicate_that_raises_counts_as_true_and_is_told() -> None:
    def broken(greeting: Greeting) -> bool:
        raise LookupError("no such thing")

    class Guarded(Greeter, when=holds(broken)):
        pass

    guarded = Guarded()
    records: list[logging.LogRecord] = []

    class Keeping(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            records.append(record)

    log, handler = logging.getLogger("miren.controllers.guarded"), Keeping()
    log.addHandler(handler)
    try:
        async with running(guarded) as engine:
            await engine.client.create(make_greeting())
            await engine.run_until_idle()
            assert guarded.texts == ["hey"]
            assert engine.health()[0].last_error == "broken: no such thing"
    finally:
        log.removeHandler(handler)
    assert "predicate failed" in [record.getMessage() for record in records]


def test_a_path_may_lead_into_the_status() -> None:
    before = make_greeting()
    after = before.with_status(GreetingStatus(heard=1))
    assert says(on_change("status.heard"), before, after)
