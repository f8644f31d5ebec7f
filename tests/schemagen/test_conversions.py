"""`conversions:` in a schema file becomes a converter, or is told to be wrong where it stands."""

from __future__ import annotations

import pytest

from miren.base.errors import InvalidInput
from miren.entities.kinds import Kinds
from miren.schemagen.loader import load
from tests.schemagen.conftest import Generated

OLD = """
domain: example.dev
version: v1alpha1
components:
  port: {port: {type: int, required: true}, protocol: {type: string}}
kinds:
  big_box:
    size_gb: {type: int, required: true}
    timeout_seconds: {type: int}
    tier: {type: enum, choices: [cheap, dear], default: cheap}
    odd: {type: string, attr: x-odd}
    nick: {type: string}
    ports: {type: port, many: true, merge_key: port}
    disks: {type: map, of: port}
    place: {type: string, status: true}
"""

NEW = """
domain: example.dev
version: v1
components:
  limits: {size: {type: quantity, required: true}}
  port: {number: {type: int, required: true}, protocol: {type: string}}
kinds:
  big_box:
    limits: {type: limits, required: true}
    timeout: {type: duration}
    tier: {type: enum, choices: [standard, dear], default: standard}
    even: {type: string}
    color: {type: string}
    endpoints: {type: port, many: true, merge_key: number}
    disks: {type: map, of: port}
    phase: {type: string, status: true}
conversions:
  v1alpha1:
    big_box:
      - {move: [spec.size_gb, spec.limits.size], unit: Gi}
      - {move: [spec.timeout_seconds, spec.timeout], unit: s}
      - {map: spec.tier, values: {cheap: standard}}
      - {move: [spec.odd, spec.even]}
      - {remove: spec.nick}
      - {add: spec.color}
      - {move: [spec.ports, spec.endpoints]}
      - {move: ["spec.endpoints[].port", "spec.endpoints[].number"]}
      - {move: ["spec.disks[].port", "spec.disks[].number"]}
      - {move: [status.place, status.phase]}
"""


def test_a_generated_kind_converts_what_older_versions_wrote(generated: Generated) -> None:
    package = generated(old=OLD, new=NEW)
    kinds = Kinds(package.KINDS)
    older = {
        "spec": {
            "sizeGb": 3,
            "timeoutSeconds": 90,
            "tier": "cheap",
            "x-odd": "1",
            "nick": "joe",
            "ports": [{"port": 80}],
            "disks": {"a": {"port": 1}},
        },
        "status": {"place": "home"},
    }
    there = kinds.conversion(
        kinds.of_document("example.dev/v1alpha1", "BigBox"), package.BigBox.kind
    )
    newer = there.convert(older)
    assert newer["spec"] == {
        "limits": {"size": "3Gi"},
        "timeout": "1m30s",
        "tier": "standard",
        "even": "1",
        "endpoints": [{"number": 80}],
        "disks": {"a": {"number": 1}},
    }
    assert newer["status"] == {"phase": "home"}
    assert there.inverse().convert(newer)["spec"] == older["spec"]


def test_a_version_can_be_generated_without_the_older_one(generated: Generated) -> None:
    package = generated(new=NEW)
    (converter,) = package.BigBox.kind.converts.values()
    assert converter.convert({"spec": {"sizeGb": 1}}) == {"spec": {"limits": {"size": "1Gi"}}}


# The sign ^ stands before the place where the problem must be shown.
WRONG = {
    "old path": (
        "{move: [^spec.size, spec.limits.size]}",
        "no 'spec.size' in the older",
        "sizeGb",
    ),
    "new path": ("{move: [spec.size_gb, ^spec.limits.sise]}", "no 'spec.limits.sise'", "'size'"),
    "no part": ("{add: ^color}", "no path 'color'", "spec. or status."),
    "into a scalar": ("{move: [spec.size_gb, ^spec.timeout.size]}", "is no component", ""),
    "list without mark": ("{add: ^spec.endpoints.number}", "does not fit", "endpoints[]"),
    "mark without list": ("{add: ^'spec.limits[].size'}", "does not fit", "limits"),
    "another element": (
        "{move: [spec.size_gb, ^'spec.endpoints[].number']}",
        "not of the same element",
        "",
    ),
    "one path": ("{move: ^spec.size_gb}", "move takes two paths", ""),
    "no text": ("{map: ^1, unit: Gi}", "must be a path", ""),
    "unknown key": ("{add: spec.color, vlaues: ^{}}", "unknown key 'vlaues'", "'values'"),
    "two verbs": ("^{add: spec.color, remove: spec.nick}", "a step has one of", ""),
    "map of nothing": ("^{map: spec.tier}", "say `values`", ""),
    "values of no mapping": ("{map: spec.tier, values: ^[cheap]}", "mapping of texts", ""),
    "values alike": (
        "{map: ^spec.tier, values: {a: standard, b: standard}}",
        "two values become one",
        "",
    ),
    "values no choice": ("{map: ^spec.tier, values: {cheap: fine}}", "'fine' is none of", ""),
    "unit of a text": ("{map: ^spec.even, unit: Gi}", "makes quantities or durations", ""),
    "no unit": ("{move: [spec.size_gb, ^spec.limits.size], unit: Gb}", "'Gb' is no unit", "Gi"),
    "unit of no number": (
        "{move: [spec.nick, ^spec.limits.size], unit: Gi}",
        "only whole numbers",
        "",
    ),
    "removed in a list": ("{remove: ^'spec.ports[].protocol'}", "cannot be kept aside", ""),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_said_where_it_stands(name: str) -> None:
    step, message, hint = WRONG[name]
    head, _ = NEW.split("      - {move: [spec.size_gb")
    marked = f"{head}      - {step}\n"
    line = next(n for n, text in enumerate(marked.splitlines(), 1) if "^" in text)
    column = marked.splitlines()[line - 1].index("^") + 1
    with pytest.raises(InvalidInput) as caught:
        load([("old.yml", OLD), ("new.yml", marked.replace("^", ""))])
    found = [
        (p.position.file, p.position.line, p.position.column, p.message, p.hint or "")
        for p in caught.value.problems
        if p.position is not None
    ]
    assert any(at == ("new.yml", line, column) for *at_, _, _ in found for at in [tuple(at_)]), (
        found
    )
    assert any(message in m and hint in h for *_, m, h in found), found


def test_kinds_and_versions_that_are_not_there_are_told() -> None:
    head, _ = NEW.split("  v1alpha1:\n")
    for section, message in (
        ("  v1alpha1: {bigbos: []}\n", "no kind 'bigbos' in this file"),
        ("  v1: {big_box: []}\n", "v1 is this version"),
    ):
        with pytest.raises(InvalidInput) as caught:
            load([("new.yml", head + section)])
        assert any(message in problem.message for problem in caught.value.problems)
