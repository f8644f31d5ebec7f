"""The JSON Schema of a kind agrees with what reading a document says."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from miren.base.errors import InvalidInput
from miren.base.yaml import parse
from miren.entities.entity import Entity
from miren.entities.gen import KINDS, App, Disk, Sandbox
from miren.entities.jsonschema import json_schema
from miren.entities.kinds import Kind, Kinds
from miren.entities.model import Labels, Map, Model, field

GOOD = """
apiVersion: miren.dev/v1alpha1
kind: Sandbox
metadata: {name: hello, labels: {app: web}}
spec:
  containers:
    - image: hello
      ports: [8080, {port: 53, protocol: udp}]
      env: {LOG_LEVEL: info, DB_URL: {secret: blog-db/url}}
      memory: 64Mi
      cpu: 0.5
  volumes: [{disk: data, path: /data}]
  gracePeriod: 1m30s
---
kind: App
metadata: {name: blog, project: shop}
spec: {image: blog, services: [{command: [serve], scale: 2, ports: [80]}]}
---
kind: Disk
metadata: {name: data}
"""


@pytest.mark.parametrize("kind", [entity.kind for entity in KINDS], ids=str)
def test_every_kind_has_a_valid_schema(kind: Kind) -> None:
    schema = json_schema(kind)
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert "status" not in schema["properties"]


@pytest.mark.parametrize("document", [each.value for each in parse(GOOD, "good").documents])
def test_documents_that_can_be_applied_are_valid(document: dict[str, Any]) -> None:
    kind = Kinds(KINDS).of_document(None, document["kind"])
    jsonschema.validate(document, json_schema(kind), cls=jsonschema.Draft202012Validator)
    kind.entity.from_document(document)


@pytest.mark.parametrize(
    ("kind", "spec", "path"),
    [
        (Disk.kind, {"size": "10GB"}, ["spec", "size"]),
        (Disk.kind, {"siz": "1Gi"}, ["spec"]),
        (App.kind, {"services": [{"scale": -1}]}, ["spec", "services", 0, "scale"]),
        (Sandbox.kind, {"containers": []}, ["spec", "containers"]),
        (Sandbox.kind, {"containers": [{"image": "x", "ports": ["80"]}]}, None),
        (
            Sandbox.kind,
            {"containers": [{"image": "x"}], "gracePeriod": "1w"},
            ["spec", "gracePeriod"],
        ),
    ],
)
def test_documents_that_cannot_be_applied_are_not(
    kind: Kind, spec: dict[str, Any], path: list[str | int] | None
) -> None:
    document = {"kind": kind.name, "metadata": {"name": "a"}, "spec": spec}
    (error,) = jsonschema.Draft202012Validator(json_schema(kind)).iter_errors(document)
    assert path is None or list(error.absolute_path) == path
    with pytest.raises(InvalidInput):
        kind.entity.from_document(document)


def test_a_status_and_unknown_parts_are_not_valid() -> None:
    validator = jsonschema.Draft202012Validator(json_schema(Disk.kind))
    document = {"kind": "Disk", "metadata": {"name": "a"}}
    assert validator.is_valid(document)
    assert not validator.is_valid({**document, "status": {"phase": "ready"}})
    assert not validator.is_valid({**document, "kind": "App"})


EXAMPLES = Path(__file__).parents[2] / "examples"
FILES = sorted(EXAMPLES.rglob("*.y*ml"))


def kinds_of(path: Path, patch: pytest.MonkeyPatch) -> Kinds:
    """Return our kinds and those of packages that the example brings along."""
    root = EXAMPLES / path.relative_to(EXAMPLES).parts[0]
    patch.syspath_prepend(root)
    found = list(KINDS)
    for package in sorted(root.glob("*/gen/__init__.py")):
        found += importlib.import_module(f"{package.parent.parent.name}.gen").KINDS
    return Kinds(found)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(EXAMPLES)))
def test_every_example_is_valid(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parsed = parse(path.read_text(encoding="utf-8"), path.name)
    assert parsed.documents
    assert not parsed.problems
    kinds = kinds_of(path, monkeypatch)
    for located in parsed.documents:
        document: Any = located.value
        if "kind" not in document:
            continue  # no entity
        kind = kinds.of_document(document.get("apiVersion"), document["kind"])
        jsonschema.validate(document, json_schema(kind), cls=jsonschema.Draft202012Validator)


class Tree(Model, shorthand="name"):
    name: str
    branches: tuple[Tree, ...] = ()
    by_name: Map[Map[tuple[Tree, ...]]] = field(default={})


class GardenSpec(Model):
    tree: Tree | None = None
    labels: Labels = field(default={})
    from_: str = "x"


class GardenStatus(Model):
    pass


class Garden(Entity[GardenSpec, GardenStatus], api="example.dev/v1"):
    """Holds trees."""


@pytest.mark.parametrize(
    ("spec", "is_valid"),
    [
        ({"tree": {"name": "a", "branches": ["b", {"name": "c"}]}}, True),
        ({"tree": "a"}, True),
        ({"tree": {"name": "a", "byName": {"b": {"c": ["d"]}}}}, True),
        ({"tree": {"name": "a", "byName": {"b": {"c": [1]}}}}, False),
        ({"tree": {"name": "a", "branches": [{"name": "c", "branches": [{}]}]}}, False),
        ({"labels": {"a": "b"}, "from": "y"}, True),
        ({"labels": ["a=b"]}, True),
        ({"labels": ["a"]}, False),
        ({"labels": {"a": 1}}, False),
    ],
)
def test_models_that_hold_themselves_maps_and_labels_are_described(
    spec: dict[str, Any], *, is_valid: bool
) -> None:
    document = {"kind": "Garden", "metadata": {"name": "a"}, "spec": spec}
    schema = json_schema(Garden.kind)
    jsonschema.Draft202012Validator.check_schema(schema)
    assert jsonschema.Draft202012Validator(schema).is_valid(document) is is_valid
    if is_valid:
        Garden.from_document(document)
    else:
        with pytest.raises(InvalidInput):
            Garden.from_document(document)


def test_a_schema_has_the_names_of_the_wire_only() -> None:
    properties = json_schema(Garden.kind)["properties"]["spec"]["properties"]
    assert set(properties) == {"tree", "labels", "from"}
