"""Models: frozen to the bottom, strict about types, generous about spelling."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from miren.base.errors import InvalidInput
from miren.base.quantities import Duration, Quantity
from miren.entities.attributes import attributes, values_at
from miren.entities.entity import Entity
from miren.entities.model import (
    Base64,
    Json,
    Labels,
    Map,
    Model,
    Options,
    Ref,
    field,
    renamed,
    wire_names,
)
from miren.entities.reading import expand, read
from miren.entities.secrets import SecretText


class Port(Model, shorthand="port"):
    port: int = field(min=1)
    target_port: int | None = None


class Spec(Model):
    long_name: str = "x"
    ports: tuple[Port, ...] = ()
    main: Port | None = None
    by_name: Map[Port] = field(default={})
    maybe: Map[Port] | None = None
    labels: Labels = field(default={})
    extra: Json = None
    data: Base64 | None = None
    size: Quantity | None = field(default=None, min=Quantity("1Ki"), max=Quantity("1Mi"))
    wait: Duration | None = field(default=None, min=Duration.parse("1s"))


def problem_of(value: object) -> tuple[str, str]:
    with pytest.raises(InvalidInput) as caught:
        read(Spec, value)
    (problem,) = caught.value.problems
    return problem.dotted(), problem.message


def test_both_spellings_are_read_and_camel_case_is_written() -> None:
    assert read(Spec, {"long_name": "a"}) == read(Spec, {"longName": "a"}) == Spec(long_name="a")
    assert Spec(long_name="a").model_dump(mode="json", exclude_unset=True) == {"longName": "a"}


def test_a_scalar_stands_for_a_component_with_a_shorthand_wherever_one_may_stand() -> None:
    spec = read(Spec, {"ports": [80], "main": 1, "byName": {"a": 2}, "maybe": {"b": 3}})
    assert spec.ports == (Port(port=80),)
    assert spec.main == Port(port=1)
    assert spec.by_name == {"a": Port(port=2)}
    assert spec.maybe == {"b": Port(port=3)}


def test_expanding_twice_changes_nothing_more() -> None:
    once = expand(
        Spec, {"ports": [80, {"target_port": 1}], "by_name": {"a_b": 2}, "labels": ["a=b"]}
    )
    assert once == {
        "ports": [{"port": 80}, {"targetPort": 1}],
        "byName": {"a_b": {"port": 2}},
        "labels": {"a": "b"},
    }
    assert expand(Spec, once) == once


@pytest.mark.parametrize(
    ("value", "path", "message"),
    [
        ({"long_name": 5}, "longName", "must be a valid string"),
        ({"ports": ["80"]}, "ports[0].port", "must be a valid integer"),
        ({"ports": [0]}, "ports[0].port", "must be at least 1"),
        ({"ports": 80}, "ports", "must be a list"),
        ({"by_name": {"a": {"port": 1, "x": 1}}}, "byName.a.x", "unknown attribute 'x'"),
        ({"labels": ["a"]}, "labels", "must be a mapping"),
        ({"size": "1"}, "size", "must be at least 1Ki"),
        ({"size": "1Gi"}, "size", "must be at most 1Mi"),
        ({"wait": "1ms"}, "wait", "must be at least 1s"),
        ({"wait": 5}, "wait", "5 is not a duration like 250ms, 30s, 15m or 1h30m"),
    ],
)
def test_what_is_wrong_is_said_with_its_path(value: object, path: str, message: str) -> None:
    assert problem_of(value) == (path, message)


def test_nothing_inside_a_model_can_be_changed() -> None:
    spec = read(Spec, {"byName": {"a": 1}, "labels": {"a": "b"}, "extra": {"a": [{"b": 1}]}})
    with pytest.raises(ValueError, match="frozen"):
        spec.long_name = "y"  # type: ignore[misc]  # frozen, as mypy says too
    for frozen in (spec.by_name, spec.labels, spec.extra):
        with pytest.raises(TypeError, match="immutable"):
            frozen["a"] = 1  # type: ignore[index]  # that is the point
    assert spec.extra == {"a": ({"b": 1},)}
    assert hash(spec) == hash(spec.model_copy())


@given(st.binary())
def test_bytes_travel_as_base64(data: bytes) -> None:
    spec = Spec(data=data)
    assert read(Spec, spec.model_dump(mode="json", exclude_unset=True)) == spec


@given(
    st.builds(
        Spec,
        long_name=st.text("ab"),
        ports=st.lists(st.builds(Port, port=st.integers(1, 9))).map(tuple),
        labels=st.dictionaries(st.text("ab", min_size=1), st.text("ab")),
        size=st.none() | st.integers(2**10, 2**20).map(Quantity),
    )
)
def test_reading_what_was_written_gives_the_same(spec: Spec) -> None:
    assert read(Spec, spec.model_dump(mode="json", exclude_none=True)) == spec


def test_a_reference_names_a_project_or_leaves_it_open() -> None:
    assert (Ref[object]("shop/web").project, Ref[object]("shop/web").name) == ("shop", "web")
    assert (Ref[object]("web").project, Ref[object]("web").name) == (None, "web")


def test_a_shorthand_does_not_pass_to_models_below() -> None:
    class Other(Model):
        port: int

    class Below(Port):
        more: int = 0

    assert Other.__shorthand__ is None
    assert Below.__shorthand__ == "port"
    assert read(Below, {"port": 1}).more == 0
    assert Decimal(1) == Quantity("1")


class Renamed(Model, alias_generator=renamed({"image": "container_image", "log_level": "Level"})):
    image: str = "x"
    log_level: str = ""
    from_: str = ""
    model_dump_: int = 0


def test_the_name_on_the_wire_is_the_alias() -> None:
    assert wire_names(Renamed) == {
        "image": "container_image",
        "log_level": "Level",
        "from_": "from",
        "model_dump_": "modelDump",
    }
    value = Renamed(image="i", from_="f").model_dump(mode="json", exclude_unset=True)
    assert value == {"container_image": "i", "from": "f"}


@pytest.mark.parametrize("spelling", ["log_level", "logLevel", "Level"])
def test_input_takes_the_wire_name_the_python_name_and_its_camel_case(spelling: str) -> None:
    assert read(Renamed, {spelling: "info"}).log_level == "info"


@pytest.mark.parametrize("spelling", ["Image", "containerImage", "loglevel", "from__"])
def test_input_takes_no_other_spelling(spelling: str) -> None:
    with pytest.raises(InvalidInput, match="unknown attribute"):
        read(Renamed, {spelling: "x"})


class Leaf(Model):
    size: int = field(default=1, indexed=True, immutable=True)


class DeepSpec(Model):
    leaves: Map[Map[tuple[Leaf, ...]]] = field(default={}, immutable=True, indexed=True)
    names: Map[str] = field(default={}, indexed=True, immutable=True)
    labels: Labels = field(default={}, indexed=True, immutable=True)


class DeepStatus(Model):
    pass


class Deep(Entity[DeepSpec, DeepStatus], api="example.dev/v1"):
    pass


def test_options_of_a_map_are_for_the_whole_or_for_each_value() -> None:
    found = {known.path: known.options for known in attributes(Deep.kind)}
    assert found == {
        ("spec", "leaves"): Options(immutable=True),
        ("spec", "leaves", "*", "*"): Options(indexed=True),
        ("spec", "leaves", "*", "*", "size"): Options(indexed=True, immutable=True),
        ("spec", "names"): Options(immutable=True),
        ("spec", "names", "*"): Options(indexed=True),
        ("spec", "labels"): Options(immutable=True),
        ("spec", "labels", "*="): Options(indexed=True),
    }
    dotted = {known.dotted for known in attributes(Deep.kind)}
    assert dotted == {"spec.leaves", "spec.leaves.size", "spec.names", "spec.labels"}


def test_values_are_found_in_lists_maps_and_labels() -> None:
    document = {
        "leaves": {"a": {"b": [{"size": 1}, {"size": 2}]}, "c": {"d": [{"size": 3}]}},
        "labels": {"a": "b", "c": "d"},
        "key": {"z": True, "a": 1},
        "none": None,
    }
    assert list(values_at(document, ("leaves", "*", "*", "size"))) == ["1", "2", "3"]
    assert list(values_at(document, ("labels", "*="))) == ["a=b", "c=d"]
    assert list(values_at(document, ("key",))) == ["a=1,z=true"]
    assert list(values_at(document, ("none", "*"))) == []


class Tree(Model):
    branches: tuple[Tree, ...] = field(default=(), merge_key="name")
    name: str = ""
    leaf: Leaf | None = None


class GardenSpec(Model):
    tree: Tree | None = None


class Garden(Entity[GardenSpec, DeepStatus], api="example.dev/v1"):
    pass


def test_options_inside_a_model_that_holds_itself_are_refused() -> None:
    with pytest.raises(TypeError, match="Tree holds itself: size inside it has no options"):
        attributes(Garden.kind)


def test_options_that_would_have_no_effect_are_refused() -> None:
    class Leased(Model):
        owner: str = field(default="", session=True)

    class Tagged(Model):
        owner: str = field(default="", tags=("x",))

    class Shown(Model):
        password: SecretText | None = field(default=None, secret=True, indexed=True)

    class Nothing(Model):
        pass

    class InSpec(Entity[Leased, Nothing], api="example.dev/v1"):
        pass

    class NoRef(Entity[Tagged, Nothing], api="example.dev/v1"):
        pass

    class Secretive(Entity[Shown, Nothing], api="example.dev/v1"):
        pass

    class InStatus(Entity[Nothing, Leased], api="example.dev/v1"):
        pass

    for kind, message in (
        (InSpec.kind, "InSpec, spec.owner: session and bind_to are for attributes of a status"),
        (NoRef.kind, "tags and on_delete are for references"),
        (Secretive.kind, "a secret cannot be indexed"),
    ):
        with pytest.raises(TypeError, match=message):
            attributes(kind)
    assert [known.dotted for known in attributes(InStatus.kind)] == ["status.owner"]
