"""Several versions and domains in one run, names that are taken, and the same bytes each time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from miren.base.errors import InvalidInput
from miren.entities.attributes import attributes
from miren.entities.kinds import Kinds
from miren.entities.model import wire_name
from miren.schemagen.language import LANGUAGE
from miren.schemagen.loader import load
from miren.schemagen.main import main
from miren.schemagen.names import camel, version_order
from tests.schemagen.conftest import Generated
from tests.schemagen.test_generated_code import EVERYTHING
from tests.schemagen.test_nested_values import NESTED

OLD = """
domain: shop.dev
version: v1alpha
components: {port: {number: {type: int}}}
kinds:
  order:
    $options: {short: o}
    buyer: {type: ref, to: buyer}
    port: {type: port}
  buyer: {name: {type: string}}
  gone: {order: {type: ref, to: order}}
"""

NEW = """
domain: shop.dev
version: v1beta2
components: {port: {$options: {shorthand: number}, number: {type: int}}}
conversions: {v1alpha: {buyer: [{move: [spec.name, spec.full_name]}]}}
kinds:
  order:
    $options: {short: o}
    buyer: {type: ref, to: buyer}
    port: {type: port}
  buyer: {full_name: {type: string}}
"""

ELSEWHERE = """
domain: bank.dev
version: v1
kinds:
  account: {order: {type: ref, to: order}, port: {type: port}}
"""


def test_versions_of_a_domain_stand_side_by_side(generated: Generated, tmp_path: Path) -> None:
    kinds = generated(shop_v1alpha=OLD, shop_v1beta2=NEW, bank=ELSEWHERE)
    assert kinds.Order.kind.api_version == "shop.dev/v1beta2"
    assert kinds.ShopV1alphaOrder.kind.api_version == "shop.dev/v1alpha"
    assert kinds.ShopV1alphaOrder.kind.name == "Order"
    assert kinds.Gone.kind.api_version == "shop.dev/v1alpha"
    assert {(kind.kind.version, kind.kind.name) for kind in kinds.KINDS} == {
        ("v1alpha", "Order"),
        ("v1alpha", "Buyer"),
        ("v1alpha", "Gone"),
        ("v1beta2", "Order"),
        ("v1beta2", "Buyer"),
        ("v1", "Account"),
    }
    assert kinds.Account.new("a", port=80).spec.port.number == 80
    old = (tmp_path / kinds.__name__ / "shop_v1alpha.py").read_text(encoding="utf-8")
    assert 'Ref["Buyer"]' in old
    assert "import Buyer" not in old
    assert "Order" in (tmp_path / kinds.__name__ / "bank.py").read_text(encoding="utf-8")


def test_conversions_are_passed_on_as_they_are() -> None:
    (schema,) = load([("shop.yml", NEW)])
    (step,) = schema.conversions["v1alpha"]["buyer"]
    assert step == {"move": ["spec.name", "spec.full_name"]}


def test_versions_are_ordered_as_kubernetes_does() -> None:
    ordered = ["v1alpha", "v1alpha1", "v1alpha2", "v3alpha1", "v1beta1", "v2beta1", "v1", "v2"]
    keys = [version_order(version) for version in ordered]
    assert keys == sorted(set(keys))
    assert sorted(["v10", "v2", "v11beta2"], key=version_order) == ["v11beta2", "v2", "v10"]


def test_one_kind_twice_in_one_version_is_refused() -> None:
    with pytest.raises(InvalidInput, match="kind Order is defined twice"):
        load([("a.yml", OLD), ("b.yml", OLD)])


def test_a_word_that_means_something_in_two_other_domains_is_refused() -> None:
    third = "domain: other.dev\nversion: v1\nkinds: {order: {a: {type: int}}}"
    with pytest.raises(
        InvalidInput, match=r"'order' is in several domains: other\.dev, shop\.dev"
    ):
        load([("a.yml", OLD), ("b.yml", third), ("c.yml", ELSEWHERE)])


TAKEN = """
domain: names.dev
version: v1
components:
  mapping: {ref: {type: string}}
  thing_spec: {x: {type: int}}
  thing_kind_item: {x: {type: int}}
kinds:
  entity: {model: {type: string}, map: {type: mapping}}
  any: {a: {type: ref, to: entity}}
  'none': {a: {type: int}}
  column: {column: {type: enum, choices: [a]}}
  thing:
    spec: {type: thing_spec}
    status: {type: enum, choices: [a, b]}
    kind: {type: int, many: true, min: 1}
  thing_status: {a: {type: string}}
  import: {class: {type: ref, to: thing_status}, field: {type: int, min: 1}, after: {type: int}}
"""


def test_kinds_keep_names_that_classes_cannot_have(generated: Generated) -> None:
    kinds = generated(names=TAKEN)
    assert [entity.kind.name for entity in kinds.KINDS] == [
        "Entity",
        "Any",
        "None",
        "Column",
        "Thing",
        "ThingStatus",
        "Import",
    ]
    entity = kinds.EntityKind.new("a", model="m", map={"ref": "r"})
    assert entity.to_document()["kind"] == "Entity"
    assert entity.kind.plural == "entities"
    assert Kinds(kinds.KINDS).of_document(None, "entity") is entity.kind
    known = next(a for a in attributes(kinds.AnyKind.kind) if a.dotted == "spec.a")
    assert known.options.to == ("Entity",)
    thing = kinds.Thing.new("a", spec={"x": 1}, status="b", kind=[1])
    assert thing.to_document()["spec"] == {"spec": {"x": 1}, "status": "b", "kind": [1]}
    assert kinds.NoneKind.new("a", a=1).kind.name == "None"
    assert kinds.Import.new("a", class_="x", field_=2).to_document()["spec"] == {
        "class": "x",
        "field": 2,
    }


@given(st.from_regex(r"[a-z][a-z0-9]{0,4}(_[a-z0-9]{1,4}){0,3}", fullmatch=True))
def test_the_generator_and_the_models_agree_on_wire_names(name: str) -> None:
    assert camel(name) == wire_name(name) == wire_name(f"{name}_")


SCHEMAS = {"everything": EVERYTHING, "nested": NESTED, "names": TAKEN, "shop": NEW}


def test_every_run_writes_the_same_bytes_whatever_the_hash_seed(tmp_path: Path) -> None:
    for name, text in SCHEMAS.items():
        (tmp_path / f"{name}.yml").write_text(text, encoding="utf-8")
    language = Path(__file__).parent / "language"
    runs = [
        subprocess.Popen(
            [
                *(sys.executable, "-m", "miren.schemagen", "generate", tmp_path, language),
                *("--out", tmp_path / seed),
            ],
            env={**os.environ, "PYTHONHASHSEED": seed},
            stdout=subprocess.DEVNULL,
        )
        for seed in ("0", "1", "4711")
    ]
    assert [run.wait(timeout=50) for run in runs] == [0, 0, 0]
    one, *others = [
        {path.name: path.read_bytes() for path in (tmp_path / seed).iterdir()}
        for seed in ("0", "1", "4711")
    ]
    assert len(one) == len(SCHEMAS) + 5
    assert all(other == one for other in others)


def test_the_language_is_printed_as_a_json_schema(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["language"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == LANGUAGE
    jsonschema.Draft202012Validator.check_schema(printed)
    keys = printed["$defs"]["attribute"]["properties"]
    assert all(each.get("description") for each in keys.values())
