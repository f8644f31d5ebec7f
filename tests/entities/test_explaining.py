"""Explaining a kind: every attribute is found, in any spelling, and all is told of it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from enum import StrEnum
from pathlib import Path

import pytest

from miren.base.errors import NotFound
from miren.base.quantities import Duration, Quantity
from miren.cli.schema_topics import subjects_of
from miren.entities.entity import Entity
from miren.entities.explaining import Subject, explanation, find, subject_of
from miren.entities.gen import KINDS, App, Sandbox
from miren.entities.kinds import Scope
from miren.entities.model import Json, Map, Model, Ref, field
from miren.schemagen.loader import load_files

ROOT = Path(__file__).parents[2]


class Mood(StrEnum):
    GOOD = "good"
    BAD = "bad"


class Branch(Model, shorthand="label"):
    """A part of a tree."""

    label: str = field(doc="What it is called.")
    inner: tuple[Branch, ...] = ()


class TreeSpec(Model):
    size: Quantity = field(default=Quantity("1Gi"), min=Quantity("1Mi"), doc="How big it is.")
    wait: Duration | None = field(default=None, max=Duration.parse("1h"))
    count: int = field(default=0, min=0, max=9, indexed=True, immutable=True)
    word: str = field(pattern="[a-z]+", min_length=1, max_length=5, unique="project", example="x")
    mood: Mood = Mood.GOOD
    moods: tuple[Mood, ...] = ()
    branches: tuple[Branch, ...] = field(default=(), merge_key="label", doc="What grows on it.")
    by_name: Map[Branch] = field(default={})
    groups: Map[tuple[str, ...]] = field(default={})
    anything: Json = None
    owner_app: Ref[App] | None = field(default=None, to=("App",), owner=True)
    birthday: datetime | None = None


class TreeStatus(Model):
    height: float = field(default=0.5, doc="In metres.")


class Tree(Entity[TreeSpec, TreeStatus], api="wood.dev/v1", short=("tr",), scope=Scope.CLUSTER):
    """Something that grows."""


TREE = subject_of(Tree.kind)
SANDBOX = subject_of(Sandbox.kind)


def told(subject: Subject, path: str, *, recursive: bool = False) -> list[str]:
    text = explanation(subject, path.split(".") if path else [], recursive=recursive)
    return [line.strip() for line in text.splitlines()]


def test_a_kind_is_told_with_its_names_and_the_parts_of_its_documents() -> None:
    lines = told(TREE, "")
    assert lines[:7] == [
        "KIND:     Tree",
        "VERSION:  wood.dev/v1",
        "NAMES:    tree, trees, tr",
        "SCOPE:    cluster",
        "",
        "DESCRIPTION:",
        "Something that grows.",
    ]
    for part in ("apiVersion <string>", "metadata <Metadata>", "spec <Spec>", "status <Status>"):
        assert part in lines


@pytest.mark.parametrize(
    ("path", "field_", "constraints"),
    [
        ("size", "<quantity>", ["at least 1Mi", "default 1Gi"]),
        ("wait", "<duration>", ["at most 1h"]),
        ("count", "<int>", ["0 to 9", "default 0", "immutable", "indexed"]),
        (
            "word",
            "<string> -required-",
            ["1 to 5 long", "matches `[a-z]+`", "unique in the project", "such as x"],
        ),
        ("mood", "<enum>", ["one of good, bad", "default good"]),
        ("moods", "<[]enum>", ["one of good, bad"]),
        ("branches", "<[]Branch>", ["merged by label", "a bare value is its label"]),
        ("byName", "<map[string]Branch>", ["a bare value is its label"]),
        ("groups", "<map[string][]string>", []),
        ("anything", "<json>", []),
        ("ownerApp", "<ref>", ["refers to App", "its target owns this entity"]),
        ("birthday", "<time>", []),
    ],
)
def test_an_attribute_is_told_with_its_type_and_constraints(
    path: str, field_: str, constraints: list[str]
) -> None:
    lines = told(TREE, f"spec.{path}")
    assert lines[2] == f"FIELD:    tree.spec.{path} {field_}"
    start = lines.index("CONSTRAINTS:") + 1 if constraints else 0
    assert lines[start : start + len(constraints)] == constraints
    assert ("CONSTRAINTS:" in lines) == bool(constraints)


@pytest.mark.parametrize(
    "path",
    [
        "spec.containers.ports.port",
        "spec.container.port.port",
        "Spec.CONTAINERS.Port.port",
        "spec.contain-ers.po_rts.port",
    ],
)
def test_steps_may_be_singular_plural_and_in_any_spelling(path: str) -> None:
    assert told(SANDBOX, path) == told(SANDBOX, "spec.containers.ports.port")


def test_a_plural_step_means_an_attribute_in_the_singular() -> None:
    assert told(SANDBOX, "spec.nodes") == told(SANDBOX, "spec.node")
    assert told(SANDBOX, "spec.restart_policies") == told(SANDBOX, "spec.restartPolicy")


def test_the_exact_name_wins_over_another_number_of_it() -> None:
    class PairSpec(Model):
        names: tuple[str, ...] = ()
        name: str = ""

    class PairStatus(Model):
        pass

    class Pair(Entity[PairSpec, PairStatus], api="wood.dev/v1"):
        pass

    subject = subject_of(Pair.kind)
    for name in ("name", "names"):
        assert find(subject, ["spec", name])[-1].name == name


@pytest.mark.parametrize(
    ("path", "message", "hint"),
    [
        ("spec.contaners", "no 'contaners' in sandbox.spec", "did you mean 'containers'?"),
        ("container", "no 'container' in sandbox", "did you mean 'sandbox.spec.containers'?"),
        ("protocol", "no 'protocol'", "did you mean 'sandbox.spec.containers.ports.protocol'?"),
        ("spec.node.x", "no 'x' in sandbox.spec.node", "nothing is inside a value of type string"),
        ("metadata.zzz", "no 'zzz'", "it has name, project, "),
    ],
)
def test_a_step_that_leads_nowhere_says_what_was_meant(path: str, message: str, hint: str) -> None:
    with pytest.raises(NotFound) as caught:
        explanation(SANDBOX, path.split("."))
    assert message in caught.value.message
    assert hint in str(caught.value.hint)


def test_metadata_status_and_conditions_are_explained_too() -> None:
    assert "FIELD:    sandbox.metadata.name <string> -required-" in told(SANDBOX, "metadata.name")
    status = told(SANDBOX, "status")
    for name in ("phase <enum>", "conditions <[]Condition>", "observedGeneration <int>"):
        assert name in status
    condition = told(SANDBOX, "status.condition.status")
    assert "one of True, False, Unknown" in condition
    for topic in find(SANDBOX, ["metadata"])[-1].open():
        assert topic.doc, topic.name


def test_an_outline_shows_all_that_is_inside_and_ends_where_components_hold_themselves() -> None:
    text = explanation(TREE, ["spec"], recursive=True)
    assert "  branches <[]Branch>\n    label <string> -required-\n    inner <[]Branch>\n" in text
    assert text.count("inner <[]Branch>") == 2  # in branches, and in byName
    deep = explanation(TREE, ["spec", "branches", "inner", "inner", "inner", "label"])
    assert "tree.spec.branches.inner.inner.inner.label <string>" in deep


def paths(subject: Subject, way: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    yield way
    found = find(subject, way)
    inside = found[-1].open() if found else subject.topics
    for topic in inside:
        if len(way) < 7:
            yield from paths(subject, (*way, topic.name))


@pytest.mark.parametrize("name", [entity.kind.name for entity in KINDS])
def test_a_kind_and_its_schema_file_are_explained_alike(name: str) -> None:
    schemas = load_files(sorted((ROOT / "miren/entities/schema").glob("*.yml")))
    from_file = {subject.kind: subject for subject in subjects_of(schemas)}[name]
    installed = subject_of({entity.kind.name: entity.kind for entity in KINDS}[name])
    for way in paths(installed):
        assert explanation(installed, way) == explanation(from_file, way)
    whole = explanation(from_file, [], recursive=True)
    assert explanation(installed, [], recursive=True) == whole
