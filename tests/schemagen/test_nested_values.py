"""Maps of anything, components that hold themselves, defaults of any depth, and secrets."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from miren.base.errors import InvalidInput
from miren.entities.attributes import attributes, values_at
from miren.entities.keyed_lists import keyed, listed
from miren.entities.kinds import Column
from miren.entities.model import Options
from miren.entities.reading import expand
from miren.entities.secrets import MASK, SecretText
from tests.schemagen.conftest import Generated
from tests.schemagen.typechecking import assert_formatted, type_errors

NESTED = """
domain: example.dev
version: v1
components:
  port:
    $options: {shorthand: number}
    number: {type: int, required: true, min: 1, indexed: true}
    protocol: {type: enum, choices: [tcp, udp], default: tcp}
    owner: {type: ref, to: thing}
  tree:
    name: {type: string, required: true}
    branches: {type: tree, many: true, merge_key: name}
    by_name: {type: map, of: tree}
    leaf: {type: leaf}
  leaf:
    tree: {type: tree}
    size: {type: int, default: 1}
kinds:
  thing:
    $options: {printcolumns: {Ports: spec.ports_by_name.number}}
    words: {type: map, of: {type: string, many: true, pattern: '[a-z]+', min_length: 1}}
    grid: {type: map, of: {type: map, of: {type: int, min: 0}}}
    deep:
      type: map
      of: {type: map, of: {type: port, many: true, max_length: 2}}
    moods: {type: map, of: {type: enum, choices: [good, bad], many: true}}
    groups: {type: map, of: {type: label, many: true}}
    extras: {type: json, many: true}
    ports_by_name: {type: map, of: port}
    friends: {type: map, of: {type: ref, to: thing, on_delete: unset, tags: [social]}}
    limits: {type: map, of: int, indexed: true}
    tree: {type: tree}
    port: {type: port, default: {number: 80, protocol: udp}}
    main: {type: port, default: 8080}
    ports: {type: port, many: true, merge_key: number, default: [1, {number: 2}]}
    table:
      type: map
      of: {type: port, many: true}
      default: {web: [80, {number: 443}], none: []}
    settings:
      type: json
      default: {a: [1, 2.5, null, true, "x = y"], "long key | with a bar": {b: {}}}
    flags: {type: json, default: [1]}
    password: {type: secret, min_length: 3, required: true}
    tokens: {type: secret, many: true}
    env: {type: map, of: {type: secret, pattern: '[a-z]+'}}
    boss: {type: ref, to: thing, on_delete: restrict}
    an_attribute_with_quite_a_long_name_of_its_own:
      type: map
      of: {type: map, of: {type: map, of: {type: enum, many: true, choices: [one, two]}}}
    an_attribute_with_quite_a_long_default:
      type: map
      of: {type: port, many: true}
      default: {"key = 'v' and more, so that nothing of it fits in a line": [{number: 8080}]}
      example: {"a key": ["a value that is long", "another value that is long", {"and": "so on"}]}
  other:
    another_attribute_with_quite_a_long_name_of_its_own:
      required: true
      type: map
      of: {type: map, of: {type: map, of: {type: enum, many: true, choices: [one, two]}}}
"""


def test_maps_hold_lists_maps_and_components(generated: Generated) -> None:
    thing = generated(nested=NESTED).Thing.new(
        "a",
        password="abc",
        words={"a": ["x", "y"]},
        grid={"a": {"b": 1}},
        deep={"a": {"b": [80, {"number": 81}]}},
        moods={"a": ["good"]},
        groups={"a": {"k": "v"}},
        extras=[{"a": [1]}, "x", None],
    )
    spec = thing.spec
    assert spec.words == {"a": ("x", "y")}
    assert spec.grid == {"a": {"b": 1}}
    assert [port.number for port in spec.deep["a"]["b"]] == [80, 81]
    assert str(spec.moods["a"][0]) == "good"
    assert spec.groups == {"a": {"k": "v"}}
    assert spec.extras == ({"a": (1,)}, "x", None)
    assert hash(spec) == hash(spec.model_copy())


@pytest.mark.parametrize(
    ("attribute", "value", "message"),
    [
        ("words", {"a": ["X"]}, "must match"),
        ("words", {"a": []}, "at least 1"),
        ("words", {"a": "x"}, "must be a list"),
        ("grid", {"a": {"b": -1}}, "at least 0"),
        ("deep", {"a": {"b": [1, 2, 3]}}, "more than 2"),
        ("deep", {"a": {"b": [0]}}, "at least 1"),
        ("deep", {"a": {"b": [{"number": 1, "protocl": "udp"}]}}, "did you mean 'protocol'"),
        ("moods", {"a": ["god"]}, "did you mean 'good'"),
        ("tree", {"name": "a", "branches": [{"nam": "b"}]}, "did you mean 'name'"),
        ("password", "ab", "at least 3"),
        ("env", {"a": "ABC"}, "must match"),
    ],
)
def test_what_is_inside_is_checked(
    generated: Generated, attribute: str, value: object, message: str
) -> None:
    with pytest.raises(InvalidInput, match=message) as caught:
        generated(nested=NESTED).Thing.new("a", **{"password": "abc", attribute: value})
    assert "ABC" not in str(caught.value)


def test_a_component_may_hold_itself(generated: Generated) -> None:
    kinds = generated(nested=NESTED)
    module = sys.modules[f"{kinds.__name__}.nested"]
    assert module.Tree.__pydantic_complete__
    assert module.Leaf.__pydantic_complete__
    tree = {
        "name": "a",
        "branches": [{"name": "b", "branches": [{"name": "c"}]}],
        "by_name": {"d": {"name": "d", "leaf": {"tree": {"name": "e"}}}},
    }
    thing = kinds.Thing.new("a", password="abc", tree=tree)
    assert thing.spec.tree.branches[0].branches[0].name == "c"
    assert thing.spec.tree.by_name["d"].leaf.tree.name == "e"
    assert kinds.Thing.from_document(thing.to_document()).spec.tree == thing.spec.tree

    model = kinds.Thing.kind.spec
    document = {"tree": expand(model, {"tree": tree})["tree"]}  # type: ignore[index]  # a mapping
    as_maps = keyed(model, document)
    assert as_maps["tree"]["branches"]["b"]["branches"]["c"]["name"] == "c"
    assert listed(model, as_maps) == document


def test_attributes_inside_maps_are_indexed_and_refer(generated: Generated) -> None:
    kinds = generated(nested=NESTED)
    known = {attribute.dotted: attribute for attribute in attributes(kinds.Thing.kind)}
    thing = kinds.Thing.new(
        "a",
        password="abc",
        ports_by_name={"a": {"number": 80, "owner": "x"}, "b": 81},
        friends={"best": "y"},
        limits={"cpu": 3},
    )
    document = thing.to_document()

    def values(dotted: str) -> list[str]:
        return list(values_at(document, known[dotted].path))

    assert known["spec.portsByName.number"].options.indexed
    assert values("spec.portsByName.number") == ["80", "81"]
    assert values("spec.portsByName.owner") == ["x"]
    assert known["spec.portsByName.owner"].options.to == ("Thing",)
    assert values("spec.friends") == ["y"]
    assert known["spec.friends"].options == Options(
        to=("Thing",), on_delete="unset", tags=("social",)
    )
    assert values("spec.limits") == ["3"]
    assert known["spec.boss"].options.on_delete == "restrict"
    (column,) = kinds.Thing.kind.columns
    assert column == Column("Ports", "spec.portsByName.*.number")
    assert list(values_at(document, tuple(column.path.split(".")))) == ["80", "81"]


def test_defaults_reach_any_depth(generated: Generated) -> None:
    spec = generated(nested=NESTED).Thing.new("a", password="abc").spec
    assert (spec.port.number, str(spec.port.protocol)) == (80, "udp")
    assert spec.main.number == 8080
    assert [port.number for port in spec.ports] == [1, 2]
    assert [port.number for port in spec.table["web"]] == [80, 443]
    assert spec.table["none"] == ()
    assert spec.settings == {
        "a": (1, 2.5, None, True, "x = y"),
        "long key | with a bar": {"b": {}},
    }
    assert spec.flags == (1,)
    with pytest.raises(TypeError, match="immutable"):
        spec.settings["a"] = 1


def test_secrets_are_given_as_text_and_never_shown(generated: Generated) -> None:
    kinds = generated(nested=NESTED)
    thing = kinds.Thing.new(
        "a", password="hunter", tokens=["t1", SecretText("t2")], env={"x": "abc"}
    )
    assert isinstance(thing.spec.password, SecretText)
    assert thing.spec.tokens[1].reveal() == "t2"
    assert thing.spec.env["x"].reveal() == "abc"
    assert thing.to_document()["spec"]["password"] == MASK
    assert "hunter" not in repr(thing)
    secrets = [a.path for a in attributes(kinds.Thing.kind) if a.options.secret]
    assert secrets == [("spec", "password"), ("spec", "tokens"), ("spec", "env", "*")]


def test_what_is_generated_is_formatted_and_typed(generated: Generated, tmp_path: Path) -> None:
    name = generated(nested=NESTED).__name__
    user = tmp_path / "user.py"
    user.write_text(
        f"from {name}.nested import Port, Thing, Tree\n"
        "from miren.entities.secrets import SecretText\n"
        "tree = Tree(name='a', branches=(Tree(name='b'),))\n"
        "thing = Thing.new('a', password='abc', tree=tree, deep={'a': {'b': [80]}})\n"
        "number: int = thing.spec.deep['a']['b'][0].number\n"
        "secret: SecretText = thing.spec.password\n"
        "Thing.new('a', password='abc', deep={'a': [80]})  # wrong\n",
        encoding="utf-8",
    )
    assert_formatted(tmp_path, name)
    errors = type_errors(tmp_path, "user.py", name)
    assert [line.split(":")[:2] for line in errors] == [["user.py", "7"]], errors
