"""CRDs become schemas and schemas CRDs; what the language cannot express is refused by name."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from miren.base.errors import InvalidInput, NotFound
from miren.base.yaml import parse
from miren.entities.documents import files_of, read_documents
from miren.entities.gen import KINDS
from miren.entities.kinds import Kinds
from miren.schemagen.crd import QUANTITY, as_search, as_whole, normalised
from miren.schemagen.crd_export import export_crds
from miren.schemagen.crd_import import import_crds
from miren.schemagen.loader import load, load_files
from tests.effort import tries
from tests.schemagen.conftest import Generated

CERTIFICATES = Path(__file__).with_name("certificates.crd.yaml")
ROOT = Path(__file__).parents[2]
OURS = sorted((ROOT / "miren/entities/schema").glob("*.yml"))


def there_and_back(*crds: dict[str, Any]) -> list[dict[str, Any]]:
    imported = import_crds([("crd.yaml", yaml.safe_dump_all(crds))])
    return export_crds(load((each.file, each.text) for each in imported))


def crd(spec: dict[str, Any], status: dict[str, Any] | None = None, **parts: Any) -> Any:
    """Return a small CRD whose spec and status have these properties."""
    properties: dict[str, Any] = {"spec": {"type": "object", "properties": spec}}
    if status is not None:
        properties["status"] = {"type": "object", "properties": status}
    version = {
        "name": "v1",
        "served": True,
        "storage": True,
        "subresources": {"status": {}},
        "schema": {"openAPIV3Schema": {"type": "object", "properties": properties}},
    }
    version |= parts.pop("version", {})
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "things.example.dev"},
        "spec": {
            "group": "example.dev",
            "names": {"kind": "Thing", "plural": "things", **parts.pop("names", {})},
            "scope": "Namespaced",
            "versions": [version],
            **parts,
        },
    }


def refused(text: str) -> list[tuple[str, int, str]]:
    """Return path, line and message of everything that an import refuses."""
    with pytest.raises(InvalidInput) as caught:
        import_crds([("crd.yaml", text)])
    assert all(problem.position for problem in caught.value.problems)
    return [
        (problem.dotted(), problem.position.line if problem.position else 0, problem.message)
        for problem in caught.value.problems
    ]


# -- there and back ----------------------------------------------------------------------------


def test_a_realistic_crd_comes_back_as_it_was() -> None:
    given_ = yaml.safe_load(CERTIFICATES.read_text())
    (back,) = there_and_back(given_)
    assert normalised(back) == normalised(given_)


def test_an_imported_crd_makes_working_python(generated: Generated) -> None:
    imported = import_crds([("crd.yaml", CERTIFICATES.read_text())])
    assert [(each.domain, each.version) for each in imported] == [
        ("trust.example.dev", "v1beta1"),
        ("trust.example.dev", "v1"),
    ]
    kinds = generated(**{each.version: each.text for each in imported})
    certificate = kinds.Certificate.new(
        "web",
        secret_name="web-tls",
        issuer_ref={"name": "ca"},
        email_sans=["a@example.dev"],
        resources={"limits": {"cpu": "500m"}},
        solvers=[{"name": "dns", "zones": [{"zone": "my.example", "weights": {"a": 1}}]}],
    )
    spec = certificate.to_document()["spec"]
    assert spec["emailSANs"] == ["a@example.dev"]
    assert (spec["duration"], spec["isCA"], spec["usages"]) == (
        "2160h",
        False,
        ["digital signature"],
    )
    assert certificate.kind.words() == ("certificate", "certificates", "cert", "certs")
    with pytest.raises(InvalidInput, match="privateKey"):
        kinds.Certificate.new(
            "a",
            secret_name="s",
            issuer_ref={"name": "ca"},
            solvers=[{"name": "a"}],
            private_key={"size": 1},
        )


@pytest.mark.parametrize(
    "node",
    [
        {"type": "string", "pattern": "^a|b$"},
        {"type": "string", "pattern": "^(?:a|b)$", "minLength": 1},
        {"type": "string", "pattern": r"^a\$"},
        {"type": "string", "pattern": "[|]"},
        {"type": "integer", "format": "int32"},
        {"type": "integer", "format": "int32", "maximum": 5},
        {"type": "integer", "minimum": -(2**40)},
        {"type": "string", "format": "date-time", "default": "2024-01-01T00:00:00Z"},
        {"type": "string", "format": "password"},
        {"type": "boolean", "default": True, "description": "Two\nlines.", "example": False},
        {"type": "object", "additionalProperties": True, "maxProperties": 3},
        {"type": "object", "additionalProperties": {"type": "array", "items": {"type": "string"}}},
        {"x-kubernetes-preserve-unknown-fields": True, "default": {"a": [1]}},
        {
            "type": "object",
            "default": {},
            "properties": {"a": {"type": "integer", "default": 3}},
        },
        {
            "type": "object",
            "required": ["fooBAR"],
            "properties": {"fooBAR": {"type": "string"}, "from": {"type": "string"}},
        },
    ],
)
def test_each_kind_of_node_comes_back_as_it_was(node: dict[str, Any]) -> None:
    given_ = crd({"it": node}, {"seen": {"type": "integer"}})
    (back,) = there_and_back(given_)
    assert normalised(back) == normalised(given_)
    (again,) = there_and_back(back)
    assert again == back


def test_several_kinds_of_one_version_share_a_file() -> None:
    other = crd({"a": {"type": "string"}}, names={"kind": "Other", "plural": "others"})
    (imported,) = import_crds(
        [("a.yaml", yaml.safe_dump(crd({"a": {"type": "string"}}))), ("b.yaml", yaml.dump(other))]
    )
    assert list(imported.kinds) == ["Thing", "Other"]


NAMES = st.sampled_from(["a", "fooBar", "dnsNames", "isCA", "emailSANs", "from", "x1", "labels"])


@st.composite
def numbers(draw: st.DrawFn) -> dict[str, Any]:
    bounds = sorted(draw(st.lists(st.integers(-9, 9), min_size=2, max_size=2)))
    node: dict[str, Any] = draw(
        st.sampled_from(
            [
                {"type": "integer"},
                {"type": "integer", "format": "int32"},
                {"type": "integer", "format": "int64"},
                {"type": "number", "format": "double"},
            ]
        )
    )
    given_ = zip(("minimum", "maximum"), bounds, strict=True)
    return {**node, **{key: value for key, value in given_ if draw(st.booleans())}}


@st.composite
def objects(draw: st.DrawFn, inner: st.SearchStrategy[dict[str, Any]]) -> dict[str, Any]:
    properties = draw(st.dictionaries(NAMES, inner, min_size=1, max_size=4))
    required = [name for name in properties if draw(st.booleans())]
    node: dict[str, Any] = {"type": "object", "properties": properties}
    return {**node, "required": required} if required else node


SCALARS: st.SearchStrategy[dict[str, Any]] = st.one_of(
    numbers(),
    st.sampled_from(
        [
            {"type": "string"},
            {"type": "string", "minLength": 1, "maxLength": 9, "description": "Some text."},
            {"type": "string", "enum": ["a", "b-c"]},
            {"type": "string", "pattern": "a|b"},
            {"type": "string", "format": "date-time"},
            {"type": "string", "format": "byte"},
            {"type": "boolean"},
            {
                "x-kubernetes-int-or-string": True,
                "anyOf": [{"type": "integer"}, {"type": "string"}],
                "pattern": QUANTITY,
            },
        ]
    ),
)
#: A list holds no texts with lengths of their own.
ELEMENTS = SCALARS.filter(lambda node: "minLength" not in node)
NODES = st.recursive(
    st.one_of(SCALARS, ELEMENTS.map(lambda node: {"type": "array", "items": node})),
    lambda inner: st.one_of(
        objects(inner),
        objects(inner).map(lambda node: {"type": "array", "items": node, "maxItems": 5}),
        inner.map(lambda node: {"type": "object", "additionalProperties": node}),
    ),
    max_leaves=8,
)


@given(spec=st.dictionaries(NAMES, NODES, min_size=1, max_size=3))
@settings(deadline=None, max_examples=tries(30, soak=500))
def test_any_crd_of_what_the_language_has_comes_back_as_it_was(spec: dict[str, Any]) -> None:
    given_ = crd(spec)
    (back,) = there_and_back(given_)
    assert normalised(back) == normalised(given_)


TEXTS = st.text(alphabet="ab1", max_size=3)


@given(
    body=st.recursive(
        st.sampled_from(["a", "b", "[ab|$]", r"\$", r"\\", "a*", "^", "$"]),
        lambda inner: st.one_of(
            st.tuples(inner, inner).map("".join),
            st.tuples(inner, inner).map("|".join),
            inner.map(lambda text: f"(?:{text})"),
        ),
        max_leaves=5,
    ),
    text=TEXTS,
)
@settings(deadline=None, max_examples=tries(50, soak=3000))
def test_patterns_mean_the_same_searched_for_and_matched(body: str, text: str) -> None:
    import re

    whole = as_whole(body)
    assert bool(re.fullmatch(whole, text)) == bool(re.search(body, text))
    assert bool(re.search(as_search(whole), text)) == bool(re.search(body, text))
    assert bool(re.search(as_search(body), text)) == bool(re.fullmatch(body, text))


# -- what is refused ---------------------------------------------------------------------------

REFUSED = """\
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: things.example.dev}
spec:
  group: example.dev
  names: {kind: Thing, plural: things, categories: [all]}
  scope: Cluster
  conversion: {strategy: Webhook}
  versions:
    - name: v1
      served: true
      storage: true
      deprecated: true
      subresources: {status: {}, scale: {}}
      additionalPrinterColumns:
        - {name: Ready, type: string, jsonPath: '.status.list[?(@.type=="A")].b'}
        - {name: Far, type: string, jsonPath: .spec.one, priority: 1}
      schema:
        openAPIV3Schema:
          type: object
          x-kubernetes-validations: [{rule: "true"}]
          properties:
            data: {type: object}
            spec:
              type: object
              properties:
                one: {type: string, oneOf: [{pattern: a}]}
                two: {type: number, exclusiveMinimum: true, minimum: 1, multipleOf: 2}
                three: {type: array, uniqueItems: true, items: {type: string, minLength: 1}}
                four: {type: array, items: {type: array, items: {type: string}}}
                five: {type: object}
                six: {x-kubernetes-int-or-string: true}
                seven: {type: string, format: uri}
                eight: {type: string, nullable: true, default: a}
                nine: {type: array, minItems: 1, items: {type: string}}
                ten:
                  type: object
                  properties:
                    in: {allOf: [], not: {}}
                a.b: {type: string}
                shared: {type: string}
                keyed:
                  type: array
                  x-kubernetes-list-type: map
                  x-kubernetes-list-map-keys: [a, b]
                  items: {type: object, properties: {a: {type: string}, b: {type: string}}}
                set: {type: array, x-kubernetes-list-type: set, items: {type: string}}
            status:
              type: object
              required: [shared]
              properties:
                shared: {type: string}
                conditions: {type: string}
"""


def test_everything_that_cannot_be_expressed_is_refused_at_once_with_its_place() -> None:
    root = "spec.versions[0].schema.openAPIV3Schema"
    spec = f"{root}.properties.spec.properties"
    found = {path: (line, message) for path, line, message in refused(REFUSED)}
    lines = REFUSED.splitlines()
    expected = {
        "spec.names.categories": "categories",
        "spec.conversion": "conversion",
        "spec.versions[0].deprecated": "deprecated",
        "spec.versions[0].subresources.scale": "scale",
        "spec.versions[0].additionalPrinterColumns[0].jsonPath": "plain path",
        "spec.versions[0].additionalPrinterColumns[1].priority": "priority",
        f"{root}.x-kubernetes-validations": "x-kubernetes-validations",
        f"{root}.properties.data": "'data'",
        f"{spec}.one.oneOf": "alternatives",
        f"{spec}.two.exclusiveMinimum": "inclusive",
        f"{spec}.two.multipleOf": "steps",
        f"{spec}.three.uniqueItems": "sets",
        f"{spec}.three.items.minLength": "minLength",
        f"{spec}.four.items": "a list of lists",
        f"{spec}.five": "without properties",
        f"{spec}.six.x-kubernetes-int-or-string": "no quantity",
        f"{spec}.seven.format": "uri",
        f"{spec}.eight.nullable": "null",
        f"{spec}.nine.minItems": "left out",
        f"{spec}.ten.properties.in": "without a type",
        f"{spec}.a.b": "no name",
        f"{spec}.keyed.x-kubernetes-list-map-keys": "merge key",
        f"{spec}.set.x-kubernetes-list-type": "set",
        f"{root}.properties.status.required": "status is required",
        f"{root}.properties.status.properties.shared": "in spec and in status",
        f"{root}.properties.status.properties.conditions": "reserved",
    }
    assert set(found) == set(expected)
    for path, word in expected.items():
        line, message = found[path]
        assert word in message, path
        if "[" not in path[-4:]:
            assert path.rpartition(".")[2] in lines[line - 1], path


def test_a_stored_version_that_is_not_the_newest_is_refused() -> None:
    document = crd({"a": {"type": "string"}})
    older = {**document["spec"]["versions"][0], "name": "v1beta1", "storage": True}
    document["spec"]["versions"] = [
        older,
        {**document["spec"]["versions"][0], "storage": False},
    ]
    messages = [message for _, _, message in refused(yaml.safe_dump(document))]
    assert messages == ["the newest version, v1, is the stored one"] * 2


@pytest.mark.parametrize("text", ["", "kind: ConfigMap\n", "a: [\n", "kind: X\n---\nkind: Y\n"])
def test_what_is_no_crd_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        import_crds([("crd.yaml", text)])


WHOLE = [yaml.safe_load(text) for text in (CERTIFICATES.read_text(), REFUSED)]
JUNK = st.sampled_from([None, 0, -1, 2.5, True, "", "x", [], ["a"], {}, {"a": 1}, {"type": "x"}])


@given(data=st.data())
@settings(deadline=None, max_examples=tries(50, soak=2000))
def test_whatever_stands_in_a_crd_is_imported_or_refused(data: st.DataObject) -> None:
    whole = copy.deepcopy(data.draw(st.sampled_from(WHOLE)))
    part: Any = whole
    for _ in range(data.draw(st.integers(0, 12))):
        keys = list(part) if isinstance(part, dict) else list(range(len(part)))
        step = data.draw(st.sampled_from(keys))
        if not isinstance(part[step], dict | list) or not part[step]:
            break
        part = part[step]
    keys = list(part) if isinstance(part, dict) else list(range(len(part)))
    part[data.draw(st.sampled_from(keys))] = data.draw(JUNK)
    try:
        imported = import_crds([("crd.yaml", yaml.safe_dump(whole))])
    except InvalidInput:
        return
    assert load((each.file, each.text) for each in imported)


# -- our own kinds -----------------------------------------------------------------------------


def nodes(node: Any, path: str = "") -> Any:
    yield path, node
    for name, inner in node.get("properties", {}).items():
        yield from nodes(inner, f"{path}.{name}")
    for key in ("items", "additionalProperties"):
        if key in node:
            yield from nodes(node[key], f"{path}.{key}")


@pytest.fixture(scope="module")
def exported() -> dict[str, dict[str, Any]]:
    return {each["spec"]["names"]["kind"]: each for each in export_crds(load_files(OURS))}


def test_every_kind_is_exported_as_a_structural_schema(
    exported: dict[str, dict[str, Any]],
) -> None:
    assert set(exported) == {entity.kind.name for entity in KINDS}
    for entity in KINDS:
        spec = exported[entity.kind.name]["spec"]
        assert exported[entity.kind.name]["metadata"]["name"] == f"{entity.kind.plural}.miren.dev"
        assert spec["scope"] == ("Cluster" if entity.kind.scope == "cluster" else "Namespaced")
        (version,) = spec["versions"]
        for path, node in nodes(version["schema"]["openAPIV3Schema"]):
            is_any = node.get("x-kubernetes-preserve-unknown-fields")
            assert "type" in node or is_any or node.get("x-kubernetes-int-or-string"), path
            for key in node.get("x-kubernetes-list-map-keys", ()):
                inside = node["items"]
                assert key in inside.get("required", ()) or "default" in inside["properties"][key]


def test_our_examples_are_valid_under_the_exported_schemas(
    exported: dict[str, dict[str, Any]],
) -> None:
    paths = sorted((ROOT / "examples").glob("*/*.yaml"))
    # A package's kinds are its own.
    files = [str(path) for path in paths if not (path.parent / "pyproject.toml").exists()]
    documents = read_documents(files_of(files), Kinds(KINDS))
    assert documents
    for each in documents:
        entity = each.kind.entity.from_document(each.document)
        (version,) = exported[each.kind.name]["spec"]["versions"]
        schema = version["schema"]["openAPIV3Schema"]
        jsonschema.validate(entity.to_document(), schema, cls=jsonschema.Draft4Validator)
        wrong = entity.to_document()
        wrong["spec"] = 7
        assert not jsonschema.Draft4Validator(schema).is_valid(wrong)


def test_one_kind_can_be_exported_alone() -> None:
    schemas = load_files(OURS)
    (found,) = export_crds(schemas, kind="app-version")
    assert found["spec"]["names"]["shortNames"] == ["av"]
    with pytest.raises(NotFound) as caught:
        export_crds(schemas, kind="Dsik")
    assert caught.value.hint == "did you mean 'Disk'?"


def test_all_versions_of_a_kind_are_one_crd_that_stores_the_newest() -> None:
    text = "domain: a.dev\nversion: {}\nkinds: {{thing: {{a: {{type: int}}}}}}\n"
    names = ("v1beta1", "v1", "v1alpha2")
    (found,) = export_crds(load((f"{name}.yml", text.format(name)) for name in names))
    versions = [(each["name"], each["storage"]) for each in found["spec"]["versions"]]
    assert versions == [("v1alpha2", False), ("v1beta1", False), ("v1", True)]


def test_what_no_crd_can_say_is_refused_on_export() -> None:
    text = """
domain: a.dev
version: v1
components:
  part: {name: {type: string}}
  node: {inner: {type: node}}
kinds:
  thing: {parts: {type: part, many: true, merge_key: name}, top: {type: node}}
"""
    with pytest.raises(InvalidInput) as caught:
        export_crds(load([("a.yml", text)]))
    messages = [problem.message for problem in caught.value.problems]
    assert [("merge_key" in one, "holds itself" in one) for one in messages] == [
        (True, False),
        (False, True),
    ]


def test_a_list_that_may_not_be_empty_must_be_there() -> None:
    text = (
        "domain: a.dev\nversion: v1\nkinds: {thing: {a: {type: int, many: true, min_length: 1}}}"
    )
    (found,) = export_crds(load([("a.yml", text)]))
    root = found["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    assert root["properties"]["spec"]["required"] == ["a"]


def test_positions_count_documents_in_one_file() -> None:
    text = CERTIFICATES.read_text() + "---\n" + REFUSED
    assert len(parse(text, "a").documents) == 2
    before = len(CERTIFICATES.read_text().splitlines()) + 1
    alone = {path: line for path, line, _ in refused(REFUSED)}
    assert {path: line - before for path, line, _ in refused(text)} == alone
