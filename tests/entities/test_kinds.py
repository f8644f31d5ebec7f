"""Kinds in several versions: which one is meant, which one is stored, how to get there."""

from __future__ import annotations

import random
from typing import Any

import pytest

from miren.base.errors import InvalidInput, NotFound
from miren.entities.conversions import Added, Converter, Move, Removed
from miren.entities.entity import Entity
from miren.entities.kinds import Kinds
from miren.entities.model import Model, field
from miren.entities.secrets import SecretText
from tests.builders import Greeting
from tests.entities.widgets import v1, v1alpha1, v1beta1

ALL = (v1alpha1.Widget, v1beta1.Widget, v1.Widget)
ALPHA, BETA, STABLE = (widget.kind for widget in ALL)


class Empty(Model):
    pass


def kind(api: str, spec: type[Model] = Empty, **converts: Converter) -> type[Entity[Any, Any]]:
    class Thing(Entity[spec, Empty], api=f"example.dev/{api}", converts=converts):  # type: ignore[valid-type]
        pass

    return Thing


def test_the_newest_version_is_stored_whatever_comes_first() -> None:
    assert all(Kinds([*ALL[::-1], Greeting]).stored(each) is STABLE for each in (ALPHA, BETA))
    assert Kinds(ALL[:2]).stored(ALPHA) is BETA
    assert Kinds([Greeting]).stored(ALPHA) is ALPHA  # of an unknown kind it is itself


def test_versions_are_as_old_as_kubernetes_says() -> None:
    names = ["v10", "v2", "v1", "v2beta1", "v1beta10", "v1beta2", "v1beta", "v2alpha1", "v1alpha"]
    found = [kind(name, v0=Converter()) for name in names]
    random.Random(1).shuffle(found)
    known = Kinds([kind("v0alpha1", v0=Converter()), kind("v0"), *found])
    ordered = [each.version for each in known.versions(found[0].kind)]
    assert [name for name in ordered if name not in ("v0", "v0alpha1")] == names


def test_a_word_means_the_newest_version_unless_it_says_another() -> None:
    known = Kinds([*ALL, Greeting])
    for word in ("widget", "widgets", "wg", "widget.example.dev", "Widget.v1.example.dev"):
        assert known.resolve(word) is STABLE
    assert known.resolve("widgets.v1alpha1.example.dev") is ALPHA
    with pytest.raises(NotFound):
        known.resolve("widget.v2.example.dev")


def test_a_document_is_read_in_the_version_it_says() -> None:
    known = Kinds(ALL)
    assert known.of_document("example.dev/v1alpha1", "Widget") is ALPHA
    assert known.of_document("example.dev", "widget") is STABLE
    assert known.of_document(None, "Widget") is STABLE
    with pytest.raises(InvalidInput, match=r"no kind 'Widget' in apiVersion 'example.dev/v7'"):
        known.of_document("example.dev/v7", "Widget")


def test_all_versions_are_there_to_be_shown() -> None:
    assert set(Kinds(ALL)) == {ALPHA, BETA, STABLE}


def test_the_same_version_twice_is_an_error() -> None:
    with pytest.raises(InvalidInput, match="defined twice"):
        Kinds([kind("v1"), kind("v1")])


def test_conversions_follow_the_chain_in_both_directions() -> None:
    known = Kinds(ALL)
    older = {"spec": {"sizeGb": 3, "tier": "dear", "nick": "x"}}
    there = known.conversion(ALPHA, STABLE).convert(older)
    assert there["spec"] == {"limits": {"size": "3Gi"}, "class": "fast"}
    assert known.conversion(STABLE, ALPHA).convert(there)["spec"] == older["spec"]
    assert known.conversion(BETA, BETA).steps == ()


def test_versions_that_nothing_connects_are_an_error_that_says_what_is_missing() -> None:
    with pytest.raises(InvalidInput, match=r"nothing converts example.dev/v1alpha1") as error:
        Kinds([v1alpha1.Widget, v1.Widget])
    assert "converts={'v1alpha1'" in (error.value.hint or "")


class Ports(Model):
    port: int


class Old(Model):
    name: str = ""
    ports: tuple[Ports, ...] = ()


class Hidden(Model):
    password: SecretText | None = None


def test_a_secret_is_never_put_into_an_annotation() -> None:
    class Safe(Model):
        hidden: Hidden = Hidden()

    with pytest.raises(InvalidInput, match="it holds a secret"):
        Kinds([kind("v1", Safe), kind("v2", v1=Converter(Removed("spec.hidden")))])


class New(Model):
    title: str = ""
    owner: str = field()
    ports: tuple[Ports, ...] = ()


@pytest.mark.parametrize(
    ("converter", "told"),
    [
        (Converter(), "spec.title is only in v2: say Added('spec.title')"),
        (Converter(), "spec.name is only in v1: say Removed('spec.name')"),
        (Converter(Move("spec.naem", "spec.title")), "there is no spec.naem"),
        (Converter(Move("spec.ports[].prot", "spec.ports[].p")), "no spec.ports[].prot"),
        (
            Converter(Removed("spec.name"), Added("spec.owner")),
            "spec.owner is only in v2, and req",
        ),
        (Converter(Added("spec.nothing")), "there is no spec.nothing in v2"),
    ],
)
def test_a_converter_that_forgets_an_attribute_is_found_before_any_entity(
    converter: Converter, told: str
) -> None:
    with pytest.raises(InvalidInput) as error:
        Kinds([kind("v1", Old), kind("v2", New, v1=converter)])
    assert told in str(error.value)
