"""A kind written in Python and the same kind from schema.yml are one to everything else."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any

import jsonschema
import pytest

from miren.base.errors import InvalidInput
from miren.base.quantities import Duration, Quantity
from miren.entities.attributes import attributes
from miren.entities.entity import Entity
from miren.entities.jsonschema import json_schema
from miren.entities.keyed_lists import keyed
from miren.entities.kinds import Column
from miren.entities.model import Base64, Json, Labels, Map, Model, Ref, field, renamed, wire_names
from miren.entities.reading import expand
from miren.entities.secrets import SecretText
from miren.schemagen.main import generate

Kind = type[Entity[Any, Any]]

SCHEMA = """
domain: example.dev
version: v1
components:
  port:
    $options: {doc: A port., shorthand: number}
    number: {type: int, required: true, min: 1, max: 65535, indexed: true}
    protocol: {type: enum, choices: [tcp, udp], default: tcp, doc: What is spoken.}
  tree:
    $options: {doc: A tree.}
    name: {type: string, required: true}
    branches: {type: tree, many: true, merge_key: name}
kinds:
  shop:
    $options:
      doc: Sells things.
      short: sh
      printcolumns: {Size: spec.size, State: status.state}
    title: {type: string, required: true, min_length: 2, doc: What it is called., example: Fish}
    image: {type: string, attr: container_image, immutable: true}
    from: {type: keyword}
    size: {type: quantity, default: 1Gi, min: 1Mi}
    wait: {type: duration, default: 90s}
    ratio: {type: float, default: 0.5, max: 1}
    since: {type: time}
    blob: {type: bytes}
    slug: {type: string, unique: project}
    tags: {type: label, many: true, indexed: true}
    ports: {type: port, many: true, merge_key: number, default: [80]}
    by_name: {type: map, of: {type: map, of: {type: int, many: true, min: 0}}}
    owner: {type: ref, to: shop, owner: true, indexed: true, tags: family}
    friends: {type: map, of: {type: ref, to: shop, on_delete: unset}}
    tree: {type: tree}
    extra: {type: json, default: {a: [1]}}
    password: {type: secret, min_length: 3}
    tokens: {type: secret, many: true}
    state: {type: enum, choices: [open, closed], session: true, indexed: true}
    uid: {type: string, bind_to: metadata.uid}
"""


class PortProtocol(StrEnum):
    """What is spoken."""

    TCP = "tcp"
    UDP = "udp"


class Port(Model, shorthand="number"):
    """A port."""

    number: int = field(min=1, max=65535, indexed=True)
    protocol: PortProtocol = field(default=PortProtocol.TCP, doc="What is spoken.")


class Tree(Model):
    """A tree."""

    name: str
    branches: tuple[Tree, ...] = field(default=(), merge_key="name")


Number = Annotated[int, field(min=0)]


class ShopSpec(Model, alias_generator=renamed({"image": "container_image"})):
    """What the user wants of a Shop."""

    title: str = field(min_length=2, example="Fish", doc="What it is called.")
    image: str | None = field(default=None, immutable=True)
    from_: str | None = field(default=None, pattern=r"\S+")
    size: Quantity = field(default=Quantity("1Gi"), min=Quantity("1Mi"))
    wait: Duration = field(default=Duration.parse("90s"))
    ratio: float = field(default=0.5, max=1.0)
    since: datetime | None = None
    blob: Base64 | None = None
    slug: str | None = field(default=None, unique="project")
    tags: Labels = field(default={}, indexed=True)
    ports: tuple[Port, ...] = field(default=(Port(number=80),), merge_key="number")
    by_name: Map[Map[tuple[Number, ...]]] = field(default={})
    owner: Ref[Shop] | None = field(
        default=None, indexed=True, owner=True, to=("Shop",), tags=("family",)
    )
    friends: Map[Ref[Shop]] = field(default={}, on_delete="unset", to=("Shop",))
    tree: Tree | None = None
    extra: Json = field(default={"a": [1]})
    password: SecretText | None = field(default=None, min_length=3, secret=True)
    tokens: tuple[SecretText, ...] = field(default=(), secret=True)


class ShopState(StrEnum):
    """The choices of state."""

    OPEN = "open"
    CLOSED = "closed"


class ShopStatus(Model):
    """What controllers saw of a Shop."""

    state: ShopState | None = field(default=None, indexed=True, session=True)
    uid: str | None = field(default=None, bind_to="metadata.uid")


class Shop(
    Entity[ShopSpec, ShopStatus],
    api="example.dev/v1",
    short=("sh",),
    columns=(Column("Size", "spec.size"), Column("State", "status.state")),
):
    """Sells things."""


ShopSpec.model_rebuild()


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kind]:
    folder = tmp_path_factory.mktemp("front")
    (folder / "shops.yml").write_text(SCHEMA, encoding="utf-8")
    generate([folder / "shops.yml"], folder / "kinds_from_a_schema")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        yield importlib.import_module("kinds_from_a_schema").Shop
    for name in [name for name in sys.modules if name.startswith("kinds_from_a_schema")]:
        del sys.modules[name]


@pytest.fixture(params=["in Python", "from a schema"])
def shop(request: pytest.FixtureRequest, generated: Kind) -> Kind:
    return Shop if request.param == "in Python" else generated


def problems_of(kind: Kind, spec: dict[str, Any]) -> list[tuple[str, str, str | None]]:
    with pytest.raises(InvalidInput) as caught:
        kind.from_document({"metadata": {"name": "a"}, "spec": spec})
    return [(p.dotted(), p.message, p.hint) for p in caught.value.problems]


FULL: dict[str, Any] = {
    "title": "Fish",
    "image": "i",
    "from_": "f",
    "size": "2Gi",
    "wait": "2m",
    "ratio": 1,
    "since": "2024-01-01T00:00:00Z",
    "blob": b"hi",
    "slug": "s",
    "tags": ["a=b"],
    "ports": [80, {"number": 81, "protocol": "udp"}],
    "by_name": {"a": {"b": [1]}},
    "owner": "b",
    "friends": {"best": "c"},
    "tree": {"name": "r", "branches": [{"name": "s"}]},
    "extra": [1, {"b": None}],
    "password": "abc",
    "tokens": ["t"],
}

WRONG: list[dict[str, Any]] = [
    {},
    {"title": "F"},
    {"title": "Fish", "titel": "Fish"},
    {"title": "Fish", "container_image": 5, "from": "a b", "size": "1", "ratio": 2},
    {"title": "Fish", "ports": [{"number": 0}, {"protocol": "tpc"}, {"numbr": 1}]},
    {"title": "Fish", "byName": {"a": {"b": [1, -1, "x"]}}},
    {"title": "Fish", "owner": "a b", "friends": {"a": ""}},
    {"title": "Fish", "tree": {"name": "a", "branches": [{"nam": "b"}]}},
    {"title": "Fish", "password": "ab", "tokens": "t", "blob": "?", "since": "x"},
]


def test_both_have_the_same_attributes_with_the_same_options(generated: Kind) -> None:
    assert attributes(Shop.kind) == attributes(generated.kind)
    assert len(attributes(Shop.kind)) > 10
    for one, other in (
        (Shop.kind.spec, generated.kind.spec),
        (Shop.kind.status, generated.kind.status),
    ):
        assert wire_names(one) == wire_names(other)


def test_both_have_the_same_names_and_columns(generated: Kind) -> None:
    for name in ("api_version", "name", "plural", "short", "scope", "columns", "doc", "aliases"):
        assert getattr(Shop.kind, name) == getattr(generated.kind, name), name


def test_both_have_the_same_json_schema(generated: Kind) -> None:
    assert json_schema(Shop.kind) == json_schema(generated.kind)


@pytest.mark.parametrize("spec", WRONG, ids=lambda spec: ",".join(spec) or "nothing")
def test_both_find_the_same_problems(generated: Kind, spec: dict[str, Any]) -> None:
    assert problems_of(Shop, spec) == problems_of(generated, spec) != []


def test_both_make_the_same_documents(generated: Kind) -> None:
    one, other = Shop.new("a", project="p", **FULL), generated.new("a", project="p", **FULL)
    assert one.to_document() == other.to_document()
    assert Shop.partial("a", **FULL).document == generated.partial("a", **FULL).document
    assert (
        Shop.new("a", title="Fish").to_document() == generated.new("a", title="Fish").to_document()
    )


def test_both_read_and_merge_alike(generated: Kind) -> None:
    spec = {"ports": [80, {"number": 81}], "tree": FULL["tree"], "by_name": FULL["by_name"]}
    one, other = (
        keyed(kind.kind.spec, expand(kind.kind.spec, spec)) for kind in (Shop, generated)
    )
    assert one == other
    assert one["ports"]["81"] == {"number": 81}


def test_it_reads_what_it_writes(shop: Kind) -> None:
    entity = shop.new("a", **FULL)
    document = entity.to_document()
    again = shop.from_document(document)
    assert again.to_document() == document
    assert document["spec"]["container_image"] == "i"
    assert document["spec"]["from"] == "f"


def test_defaults_are_there_and_are_not_sent(shop: Kind) -> None:
    spec = shop.new("a", title="Fish").spec
    assert (spec.size, spec.ratio, spec.extra) == (2**30, 0.5, {"a": (1,)})
    assert [port.number for port in spec.ports] == [80]
    assert shop.partial("a", title="Fish").document["spec"] == {"title": "Fish"}


def test_its_json_schema_takes_what_it_takes(shop: Kind) -> None:
    schema = json_schema(shop.kind)
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    document = shop.new("a", **FULL).to_document()
    assert list(validator.iter_errors(document)) == []
    properties = schema["properties"]["spec"]["properties"]
    assert set(properties) == set(wire_names(shop.kind.spec).values())
    assert properties["title"]["examples"] == ["Fish"]
    secrets = [properties["password"]["anyOf"][0], properties["tokens"]["items"]]
    for secret in secrets:
        assert (secret["type"], secret["writeOnly"]) == ("string", True)
    wrong = [spec for spec in WRONG if not {"password", "owner"} & set(spec)]
    for spec in wrong:
        with_spec = {"kind": "Shop", "metadata": {"name": "a"}, "spec": spec}
        assert not validator.is_valid(with_spec), spec
