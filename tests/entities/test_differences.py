"""What differs between two versions of a spec: what JSON says differs, read as documents are."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import model_validator

from miren.entities.differences import difference
from miren.entities.model import Map, Model, field
from miren.entities.secrets import REVEALING


class Color(StrEnum):
    GREY = "grey"
    RED = "red"


class Part(Model):
    name: str
    size: int = 1


class Spec(Model):
    text: str = "x"
    count: int = 1
    ratio: float = 1.5
    color: Color = Color.GREY
    note: str | None = None
    env: Map[str] = field(default={})
    parts: tuple[Part, ...] = ()


class Doubled(Model):
    count: int = 1
    double: int = 2

    @model_validator(mode="before")
    @classmethod
    def _filled(cls, value: Any) -> Any:
        return {**value, "double": 2 * value.get("count", 1)}


def plain(model: Model) -> dict[str, Any]:
    return model.model_dump(mode="json", exclude_none=True, context=REVEALING)


TEXTS = st.text("ab", max_size=2)
SPECS = st.builds(
    Spec,
    text=TEXTS,
    count=st.integers(0, 2),
    ratio=st.sampled_from([0.5, 1.0, 2.0]),
    color=st.sampled_from(Color),
    note=st.none() | TEXTS,
    env=st.dictionaries(TEXTS, TEXTS, max_size=2),
    parts=st.lists(st.builds(Part, name=TEXTS, size=st.integers(0, 1)), max_size=2).map(tuple),
)


@given(SPECS, SPECS)
def test_before_and_after_are_exactly_what_differs(old: Spec, new: Spec) -> None:
    known, wanted = plain(old), plain(new)
    found = difference(old, new, known, part="spec")
    names = {name for name in known | wanted if known.get(name) != wanted.get(name)}
    assert found.before == {name: known[name] for name in names & known.keys()}
    assert found.after == {name: wanted[name] for name in names & wanted.keys()}
    assert found.whole == wanted
    assert found.model == new
    assert found.is_none is (not names)
    assert known == plain(old)


@given(SPECS, SPECS)
def test_what_does_not_differ_is_the_very_same_object(old: Spec, new: Spec) -> None:
    model = difference(old, new, plain(old), part="spec").model
    for name, value in old.__dict__.items():
        if value == new.__dict__[name]:
            assert model.__dict__[name] is value


@pytest.mark.parametrize(
    "changes",
    [{"color": "grey"}, {"env": {"a": "b"}}, {"parts": [Part(name="p")]}, {"ratio": 1.5}],
)
def test_what_is_written_alike_does_not_differ(changes: dict[str, object]) -> None:
    old = Spec(env={"a": "b"}, parts=(Part(name="p"),))
    found = difference(old, old.model_copy(update=changes), plain(old), part="spec")
    assert (found.is_none, found.model) == (True, old)
    assert found.model is old


@pytest.mark.parametrize("changes", [{"note": 1}, {"env": {"a": 1}}, {"text": True}])
def test_what_is_of_another_type_is_told(changes: dict[str, object]) -> None:
    old = Spec()
    found = difference(old, old.model_copy(update=changes), plain(old), part="spec")
    assert [problem.path[:2] for problem in found.problems] == [("spec", *changes)]


def test_a_number_is_written_as_its_attribute_has_it() -> None:
    old = Spec()
    found = difference(old, old.model_copy(update={"ratio": 2}), plain(old), part="spec")
    assert (found.after, type(found.after["ratio"])) == ({"ratio": 2.0}, float)
    assert type(found.model.__dict__["ratio"]) is float


@pytest.mark.parametrize(("value", "differs"), [("x", False), ("y", True)])
def test_a_default_that_came_after_the_entity_was_written_is_no_difference(
    value: str, differs: bool
) -> None:
    old = Spec()
    known = plain(old)
    del known["text"]
    new = Spec(text=value)
    assert difference(old, new, known, part="spec").is_none is not differs


@pytest.mark.parametrize("changes", [{"nothing": 1}, {"nothing": None}])
def test_an_attribute_that_is_none_is_told(changes: dict[str, object]) -> None:
    old = Spec()
    found = difference(old, old.model_copy(update=changes), plain(old), part="spec")
    assert [(each.message, each.path) for each in found.problems] == [
        ("unknown attribute 'nothing'", ("spec", "nothing"))
    ]


def test_an_attribute_that_was_never_set_is_told() -> None:
    old = Spec()
    new = Spec.model_construct(_fields_set=set())
    del new.__dict__["count"]
    found = difference(old, new, plain(old), part="spec")
    assert [each.path for each in found.problems] == [("spec", "count")]


def test_what_a_validator_changes_beside_it_differs_too() -> None:
    old = Doubled()
    found = difference(old, old.model_copy(update={"count": 4}), plain(old), part="spec")
    assert found.after == {"count": 4, "double": 8}
    assert found.whole == plain(found.model) == {"count": 4, "double": 8}
