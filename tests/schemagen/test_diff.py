"""What a change of a schema means for stored data: as the diff says, and as the models see it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from miren.base.errors import InvalidInput
from miren.base.yaml import parse
from miren.schemagen.diff import Change, Verdict, compare
from miren.schemagen.loader import load, load_files
from miren.schemagen.model import Schema
from miren.schemagen.places import Places
from tests.effort import tries
from tests.schemagen.conftest import Generated

ROOT = Path(__file__).parents[2]
BASE = """
domain: example.dev
version: v1
components:
  port:
    number: {type: int, required: true, min: 1, max: 65535}
    name: {type: string, default: web}
    kind: {type: enum, choices: [tcp, udp], default: tcp}
  tree:
    label: {type: string}
    inner: {type: tree, many: true}
kinds:
  site:
    $options: {doc: A site., short: st, printcolumns: {Phase: status.phase}}
    title: {type: string, required: true, min_length: 2, max_length: 9, pattern: '[A-Z]\\w+'}
    word: {type: keyword}
    count: {type: int, default: 3, min: 1, max: 9}
    ratio: {type: float, min: 0.5}
    wait: {type: duration, default: 90s, min: 1s, max: 1h}
    size: {type: quantity, min: 1Mi}
    when: {type: time}
    blob: {type: bytes}
    flag: {type: bool, default: false}
    mode: {type: enum, choices: [on, off, auto], default: auto}
    modes: {type: enum, choices: [a, b], many: true}
    names: {type: string, many: true, max_length: 3}
    slug: {type: string, unique: cluster, indexed: true}
    parent: {type: ref, to: site}
    others: {type: ref, to: [site, machine], many: true}
    any: {type: ref}
    label: {type: label}
    labels: {type: label, many: true}
    limits: {type: map, of: {type: int, min: 0}}
    groups: {type: map, of: {type: string, many: true}}
    ports: {type: port, many: true, merge_key: number}
    by_name: {type: map, of: port}
    top: {type: tree}
    extra: {type: json}
    phase: {type: enum, choices: [up, down], status: true}
    seen: {type: int, default: 0, status: true}
  machine:
    $options: {scope: cluster}
    address: {type: string}
"""
PARSED: Any = parse(BASE, "site.yml").documents[0].value
STORED: dict[str, Any] = {
    "title": "Hello",
    "word": "x",
    "count": 5,
    "ratio": 2,
    "size": "1Gi",
    "when": "2024-01-01T00:00:00Z",
    "blob": "//4=",
    "mode": "on",
    "modes": ["a", "b"],
    "names": ["a b", "c"],
    "slug": "hello",
    "parent": "home",
    "others": ["site/home", "machine/m"],
    "any": "p/x",
    "label": "a=b c",
    "labels": {"a": "b"},
    "limits": {"cpu": 5},
    "groups": {"all": ["a", "b"]},
    "ports": [{"number": 80}, {"number": 53, "kind": "udp"}],
    "by_name": {"web": {"number": 80}},
    "top": {"label": "a", "inner": [{"label": "b"}]},
    "extra": {"a": [1]},
}

Mutation = Callable[[dict[str, Any]], None]


@cache
def schema(text: str, name: str = "site.yml") -> tuple[Schema, ...]:
    return load([(name, text)])


def written(*mutations: Mutation) -> str:
    """Return the base schema with these changes."""
    data = copy.deepcopy(PARSED)
    for mutate in mutations:
        mutate(data)
    return yaml.safe_dump(data, sort_keys=False)


def diff(*mutations: Mutation) -> tuple[Change, ...]:
    return compare(schema(BASE), schema(written(*mutations)))


def at(path: str, **changes: Any) -> Mutation:
    """Return a mutation of the attribute at `site.title` or `port.number`; None removes a key."""
    owner, name = path.split(".")

    def mutate(data: dict[str, Any]) -> None:
        part = data["kinds"] if owner in data["kinds"] else data["components"]
        attribute = part[owner].setdefault(name, {})
        for key, value in changes.items():
            if value is None:
                attribute.pop(key, None)
            else:
                attribute[key] = value

    return mutate


def without(path: str) -> Mutation:
    owner, name = path.split(".")

    def mutate(data: dict[str, Any]) -> None:
        part = data["kinds"] if owner in data["kinds"] else data["components"]
        del part[owner][name]

    return mutate


def option(kind: str, **changes: Any) -> Mutation:
    return lambda data: data["kinds"][kind].setdefault("$options", {}).update(changes)


# -- nothing, and compatible changes -----------------------------------------------------------


@pytest.mark.parametrize("text", [BASE, written()])
def test_a_schema_does_not_differ_from_itself(text: str) -> None:
    assert compare(schema(BASE), schema(text, "other.yml")) == ()


def test_our_schemas_do_not_differ_from_themselves() -> None:
    ours = load_files(sorted((ROOT / "miren/entities/schema").glob("*.yml")))
    assert compare(ours, ours) == ()
    assert compare(ours, tuple(reversed(ours))) == ()


COMPATIBLE: tuple[Mutation, ...] = (
    at("site.fresh", type="string"),
    at("site.fresh_list", type="port", many=True, merge_key="number"),
    at("site.title", required=None, min_length=1, max_length=12, pattern=None),
    at("site.title", doc="Other words."),
    at("site.title", immutable=True, indexed=True),
    at("site.word", type="string"),
    at("site.word", default="w"),
    at("site.count", min=0, max=None, default=7),
    at("site.count", type="float"),
    at("site.count", type="quantity"),
    at("site.ratio", type="quantity"),
    at("site.wait", max="2h"),
    at("site.wait", type="string", min=None, max=None),
    at("site.size", type="keyword", min=None),
    at("site.when", type="string"),
    at("site.blob", type="string"),
    at("site.blob", type="json"),
    at("site.mode", choices=["on", "off", "auto", "never"]),
    at("site.mode", type="string", choices=None),
    at("site.modes", type="string", choices=None),
    at("site.names", max_length=5),
    at("site.slug", unique="project"),
    at("site.slug", unique=None, indexed=None),
    at("site.parent", to=["site", "machine"]),
    at("site.others", to=None),
    at("site.any", type="string"),
    at("site.label", type="string"),
    at("site.labels", type="map", of="string", many=None),
    at("site.limits", of={"type": "float"}),
    at("site.groups", type="json", of=None),
    at("site.top", type="json"),
    at("port.number", min=0),
    at("port.comment", type="string", default="none"),
    at("tree.more", type="int"),
    at("site.phase", choices=["up", "down", "lost"]),
    option("site", short=["si"], plural="sites", doc="Other."),
    option("site", printcolumns={"Title": "spec.title"}),
    lambda data: data["kinds"].update(other={"a": {"type": "int"}}),
    lambda data: data.update(aliases=["old.dev"]),
)


def test_labels_are_a_map_of_texts() -> None:
    assert diff(at("site.labels", type="map", of="string", many=None)) == ()


@given(chosen=st.lists(st.sampled_from(range(len(COMPATIBLE))), max_size=8, unique=True))
@settings(deadline=None, max_examples=tries(30, soak=500))
def test_compatible_changes_are_never_called_breaking(chosen: list[int]) -> None:
    try:
        new = schema(written(*(COMPATIBLE[number] for number in chosen)))
    except InvalidInput:
        return  # these two contradict each other
    breaking = [c for c in compare(schema(BASE), new) if c.verdict is Verdict.BREAKING]
    assert breaking == []


def documents(kinds: Any, spec: dict[str, Any]) -> dict[str, Any]:
    """Return what the store has of an entity with this spec."""
    entity = kinds.Site.from_document({"metadata": {"name": "a"}, "spec": spec})
    document: dict[str, Any] = entity.to_document()
    return document


def test_what_is_compatible_can_be_read_by_the_new_models(generated: Generated) -> None:
    stored = documents(generated(base=BASE), STORED)
    for mutate in COMPATIBLE:
        text = written(mutate)
        changes = compare(schema(BASE), schema(text))
        assert Verdict.BREAKING not in {change.verdict for change in changes}
        new = generated(base=text)
        found = new.Site.from_document(copy.deepcopy(stored))
        assert new.Site.from_stored(stored, revision=1).spec == found.spec


#: Values of every type, as they may be stored.
SAMPLES: dict[str, tuple[Any, ...]] = {
    "string": ("", "a b", "1", "é\n"),
    "keyword": ("x", "a/b", "10"),
    "label": ("a=b c", "a="),
    "int": (0, -3, 2**53),
    "float": (0.5, 2, -1e-7, 1e20),
    "bool": (True, False),
    "bytes": ("", "//4="),
    "time": ("2024-01-01T00:00:00Z", "2024-01-01T00:00:00.5+01:00"),
    "duration": ("0s", "1h30m", "7d"),
    "quantity": ("0", "500m", "10Gi", 3, 0.25),
    "enum": ("a", "b c"),
    "ref": ("web", "shop/web"),
    "json": (None, 1, {"a": [1]}, "x"),
}
TYPES = tuple(SAMPLES)


def all_of(type_: str, name: str) -> str:
    """Return a kind with an attribute for each sample, all of this type."""
    options = {"type": type_, **({"choices": ["a", "b c"]} if type_ == "enum" else {})}
    attributes = {f"{name}{number}": options for number in range(len(SAMPLES[name]))}
    return yaml.safe_dump({"domain": "a.dev", "version": "v1", "kinds": {"site": {**attributes}}})


@pytest.mark.parametrize("old", TYPES)
def test_a_type_that_is_called_wider_takes_everything_of_the_other(
    old: str, generated: Generated
) -> None:
    spec = {f"{old}{number}": value for number, value in enumerate(SAMPLES[old])}
    stored = documents(generated(base=all_of(old, old)), spec)
    wider = []
    for new in TYPES:
        changes = compare(schema(all_of(old, old)), schema(all_of(new, old)))
        if Verdict.BREAKING not in {change.verdict for change in changes}:
            wider.append(new)
            kinds = generated(base=all_of(new, old))
            kinds.Site.from_document(stored)
            kinds.Site.from_stored(stored, revision=1)
    assert {old, "json"} <= set(wider)


@pytest.mark.parametrize(
    ("mutation", "path", "message"),
    [
        (at("site.count", default=4), "site.spec.count", "default changed from 3 to 4"),
        (at("site.flag", default=True), "site.spec.flag", "default changed from false to true"),
        (at("site.word", indexed=True), "site.spec.word", "indexed added"),
        (at("site.slug", indexed=None), "site.spec.slug", "indexed removed"),
        (at("site.parent", owner=True), "site.spec.parent", "owner added"),
        (at("site.parent", on_delete="restrict"), "site.spec.parent", "on delete restrict added"),
        (option("site", plural="siten"), "site", "plural changed from none to siten"),
    ],
)
def test_what_behaves_otherwise_is_a_caution(mutation: Mutation, path: str, message: str) -> None:
    (change,) = diff(mutation)
    assert (change.path, change.verdict, change.message) == (path, Verdict.CAUTION, message)


# -- breaking changes --------------------------------------------------------------------------

#: A change, where it is seen, what is said, and what may be stored that the new models refuse:
#: None where it is no single document that breaks.
BREAKING: tuple[tuple[Mutation, str, str, dict[str, Any] | None], ...] = (
    (without("site.word"), "spec.word", "attribute removed", {"word": "x"}),
    (at("site.word", type="int"), "spec.word", "type changed from keyword to int", {"word": "x"}),
    (at("site.ratio", type="int", min=None), "spec.ratio", "float to int", {"ratio": 0.5}),
    (at("site.names", many=None, max_length=None), "spec.names", "[]string", {"names": ["a"]}),
    (at("site.word", many=True), "spec.word", "[]keyword", {"word": "x"}),
    (at("site.limits", type="int", of=None, min=0), "spec.limits", "map", {"limits": {"a": 1}}),
    (
        at("site.limits", of={"type": "bool"}),
        "spec.limits",
        "map[string]bool",
        {"limits": {"a": 1}},
    ),
    (at("site.groups", of={"type": "string"}), "spec.groups", "type", {"groups": {"a": ["b"]}}),
    (at("site.mode", choices=["on", "auto"]), "spec.mode", "choice off removed", {"mode": "off"}),
    (at("site.modes", choices=["a"]), "spec.modes", "choice b removed", {"modes": ["b"]}),
    (at("site.count", min=2), "spec.count", "min raised from 1 to 2", {"count": 1}),
    (at("site.count", max=8), "spec.count", "max lowered from 9 to 8", {"count": 9}),
    (at("site.ratio", max=1), "spec.ratio", "max 1.0 added", {"ratio": 1.5}),
    (at("site.wait", min="2s"), "spec.wait", "min raised from 1s to 2s", {"wait": "1s"}),
    (at("site.size", max="1Gi"), "spec.size", "max 1Gi added", {"size": "2Gi"}),
    (at("site.limits", of={"type": "int", "min": 1}), "spec.limits", "min", {"limits": {"a": 0}}),
    (at("site.title", min_length=3), "spec.title", "min_length raised", {"title": "Ab"}),
    (at("site.names", max_length=2), "spec.names", "max_length", {"names": ["a", "b", "c"]}),
    (at("site.title", pattern="[A-Z]+"), "spec.title", "pattern changed", {"title": "Hello"}),
    (at("site.names", pattern="a+"), "spec.names", "pattern a+ added", {"names": ["b"]}),
    (at("site.names", type="keyword"), "spec.names", "type changed", {"names": ["a b"]}),
    (at("site.word", required=True), "spec.word", "became required", {}),
    (at("site.new", type="int", required=True), "spec.new", "required attribute added", {}),
    (at("site.new", type="int", many=True, min_length=1), "spec.new", "required", {}),
    (at("port.new", type="int", required=True), "spec.ports.new", "", {"ports": [{"number": 1}]}),
    (at("port.number", max=99), "spec.byName.number", "max", {"by_name": {"a": {"number": 100}}}),
    (
        at("port.kind", choices=["tcp"]),
        "spec.ports.kind",
        "udp",
        {"ports": [{"number": 1, "kind": "udp"}]},
    ),
    (without("tree.label"), "spec.top.label", "removed", {"top": {"inner": [{"label": "a"}]}}),
    (at("site.seen", status=None), "status.seen", "moved to the spec", None),
    (at("site.word", status=True), "spec.word", "moved to the status", {"word": "x"}),
    (at("site.word", attr="other"), "spec.word", "attribute removed", None),
    (at("site.ports", merge_key="name"), "spec.ports", "merge key changed", None),
    (at("site.word", unique="cluster"), "spec.word", "unique cluster added", None),
    (at("site.parent", to="machine"), "spec.parent", "to changed", None),
    (at("site.any", to="machine"), "spec.any", "from anything to Machine", None),
    (option("site", scope="cluster"), "", "scope changed", None),
)


def moved_path(path: str) -> str:
    return f"site.{path}" if path else "site"


@pytest.mark.parametrize(
    ("mutation", "path", "message"),
    [row[:3] for row in BREAKING],
    ids=[f"{row[1]} {row[2]}" for row in BREAKING],
)
def test_what_breaks_stored_data_is_said(mutation: Mutation, path: str, message: str) -> None:
    found = [change for change in diff(mutation) if change.verdict is Verdict.BREAKING]
    assert found
    told = [change for change in found if change.path == moved_path(path)]
    assert len(told) == 1
    assert message in told[0].message


def test_the_new_models_refuse_what_the_old_ones_stored(generated: Generated) -> None:
    old = generated(base=BASE)
    refused = 0
    for mutation, path, message, spec in BREAKING:
        if spec is None:
            continue
        stored = documents(old, {"title": "Hello", **spec})
        new = generated(base=written(mutation))
        try:
            new.Site.from_document(stored)
        except InvalidInput:
            refused += 1
        else:
            pytest.fail(f"{path}: {message}: {stored} was taken")
    assert refused >= 25


def test_a_kind_that_is_gone_breaks_and_one_that_has_come_does_not() -> None:
    def gone(data: dict[str, Any]) -> None:
        data["kinds"]["engine"] = data["kinds"].pop("machine")
        data["kinds"]["site"]["others"]["to"] = "site"

    found = {(change.path, change.verdict): change.message for change in diff(gone)}
    assert found["machine", Verdict.BREAKING] == "kind removed"
    assert found["engine", Verdict.COMPATIBLE] == "kind added"
    assert found["site.spec.others", Verdict.BREAKING].startswith("to changed")


# -- versions, hints and places ----------------------------------------------------------------


def named(version: str, **aliases: Any) -> Mutation:
    return lambda data: data.update(version=version, **aliases)


def test_a_version_under_another_name_breaks_unless_it_is_still_read() -> None:
    told = "version changed from v1 to v2"
    assert {(c.path, c.verdict, c.message) for c in diff(named("v2"))} == {
        ("site", Verdict.BREAKING, told),
        ("machine", Verdict.BREAKING, told),
    }
    changes = diff(named("v2", aliases=["example.dev/v1"]))
    assert [c.verdict for c in changes if c.message == told] == [Verdict.CAUTION] * 2
    assert Verdict.BREAKING not in {c.verdict for c in changes}


def test_versions_side_by_side_are_compared_each_with_itself() -> None:
    both = load([("a1.yml", BASE), ("a2.yml", written(named("v2"), without("site.word")))])
    assert {c.message for c in compare(schema(BASE), both)} == {"version v2 added"}
    assert {(c.message, c.verdict) for c in compare(both, schema(BASE))} == {
        ("version v2 removed", Verdict.BREAKING)
    }


def test_a_renamed_attribute_is_told_with_what_it_may_have_become() -> None:
    changes = diff(without("site.word"), at("site.wort", type="keyword"))
    (gone,) = [change for change in changes if change.verdict is Verdict.BREAKING]
    assert gone.hint == "was it renamed to 'wort'?"
    changes = diff(at("site.word", attr="Word"))
    (gone,) = [change for change in changes if change.verdict is Verdict.BREAKING]
    assert gone.hint == "documents call it 'Word' now"


def test_a_change_of_a_component_is_told_wherever_kinds_hold_it() -> None:
    paths = [change.path for change in diff(at("port.number", max=99))]
    assert paths == ["site.spec.ports.number", "site.spec.byName.number"]


def test_a_change_is_placed_in_the_file_that_says_it(tmp_path: Path) -> None:
    old, new = tmp_path / "old.yml", tmp_path / "new.yml"
    old.write_text(BASE)
    new.write_text(BASE.replace("max: 65535", "max: 99").replace("    word:", "    wort:"))
    one, other = load_files([old]), load_files([new])
    sides = {"old": Places([old], one), "new": Places([new], other)}
    found = {}
    for change in compare(one, other):
        position = sides[change.side].position(change.origin)
        assert position is not None
        found[change.path] = (Path(position.file).name, position.text.strip()[:7])
    assert found == {
        "site.spec.word": ("old.yml", "word: {"),
        "site.spec.wort": ("new.yml", "wort: {"),
        "site.spec.ports.number": ("new.yml", "number:"),
        "site.spec.byName.number": ("new.yml", "number:"),
    }
