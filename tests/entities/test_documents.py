"""Files of entities: read in any spelling, checked as a whole, every mistake where it stands."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from miren.base.errors import InvalidInput, NotFound, Problem
from miren.entities.documents import Document, files_of, read_documents
from miren.entities.gen import KINDS, Disk, Sandbox
from miren.entities.kinds import Kinds

ALL = Kinds(KINDS)

HELLO = """\
apiVersion: miren.dev/v1alpha1
kind: Sandbox
metadata: {name: hello, project: shop, labels: {app: web}}
spec:
  containers:
    - image: hello
      ports: [8080]
      env: {LOG_LEVEL: info, DB_URL: {secret: blog-db/url}}
      workingDir: /srv
  volumes: [{disk: data, path: /data}]
"""


def read_one(text: str, file: str = "a.yaml") -> Document:
    (document,) = read_documents([(file, text)], ALL)
    return document


def problems_of(*texts: str) -> tuple[Problem, ...]:
    with pytest.raises(InvalidInput) as caught:
        read_documents([(f"f{n}.yaml", text) for n, text in enumerate(texts)], ALL)
    return caught.value.problems


def test_a_document_keeps_what_was_written_and_adds_no_defaults() -> None:
    document = read_one(HELLO)
    assert document.kind is Sandbox.kind
    assert document.document == {
        "apiVersion": "miren.dev/v1alpha1",
        "kind": "Sandbox",
        "metadata": {"name": "hello", "project": "shop", "labels": {"app": "web"}},
        "spec": {
            "containers": [
                {
                    "image": "hello",
                    "ports": [{"port": 8080}],
                    "env": {"LOG_LEVEL": {"value": "info"}, "DB_URL": {"secret": "blog-db/url"}},
                    "workingDir": "/srv",
                }
            ],
            "volumes": [{"disk": "data", "path": "/data"}],
        },
    }
    assert (document.name, document.project) == ("hello", "shop")


def test_both_spellings_of_kinds_and_attributes_give_the_same_document() -> None:
    snake = HELLO.replace("workingDir", "working_dir").replace("apiVersion", "api_version")
    snake = snake.replace("kind: Sandbox", "kind: sandbox")
    assert read_one(snake).document == read_one(HELLO).document
    versions = [read_one(f"kind: {word}\nmetadata: {{name: a}}\nspec: {{app: x}}") for word in (
        "AppVersion", "app_version", "app-version", "appversion"
    )]  # fmt: skip
    assert {version.kind.name for version in versions} == {"AppVersion"}


def test_json_is_read_too() -> None:
    data = {"kind": "Disk", "metadata": {"name": "d"}, "spec": {"size": "2Gi"}}
    assert read_one(json.dumps(data), "d.json").document["spec"] == {"size": "2Gi"}


def test_the_older_envelope_is_read() -> None:
    text = """\
id: app/blog
kind: dev.miren.core/app
version: v1alpha
metadata:
  labels: ["team=web", "tier=front"]
spec: {image: blog}
"""
    assert read_one(text).document == {
        "apiVersion": "miren.dev/v1alpha1",
        "kind": "App",
        "metadata": {"name": "blog", "labels": {"team": "web", "tier": "front"}},
        "spec": {"image": "blog"},
    }


def test_an_unknown_version_of_an_older_domain_is_refused() -> None:
    (problem,) = problems_of("kind: dev.miren.core/app\nversion: v9\nmetadata: {name: x}\n")
    assert "no kind 'app' in apiVersion 'dev.miren.core/v9'" in problem.message


# The sign ^ stands before the place where the problem must be shown.
WRONG = {
    "unknown kind": ("kind: ^Sanbox\nmetadata: {name: a}", "unknown kind 'Sanbox'", "'Sandbox'"),
    "unknown api": (
        "kind: Disk\napiVersion: ^miren.dev/v2\nmetadata: {name: a}",
        "no kind 'Disk' in apiVersion 'miren.dev/v2'",
        "'miren.dev/v1alpha1'",
    ),
    "no kind": ("^metadata: {name: a}", "kind is missing", ""),
    "kind is no text": ("kind: ^5\nmetadata: {name: a}", "kind must be a text", ""),
    "unknown part": ("kind: Disk\nmetadata: {name: a}\n^spc: {}", "unknown attribute", "'spec'"),
    "no mapping": ("^- kind", "an entity is a mapping", ""),
    "spec no mapping": ("kind: Disk\nmetadata: {name: a}\nspec: ^5", "must be a mapping", ""),
    "no name": ("kind: Disk\nmetadata: ^{labels: {}}", "'name' is missing", ""),
    "name no text": ("kind: Disk\nmetadata: {name: ^5}", "valid string", "quotes"),
    "bad name": ("kind: Disk\nmetadata: {name: ^A_b}", "must match", ""),
    "unknown metadata": ("kind: Disk\nmetadata: {name: a, ^lables: {}}", "unknown", "'labels'"),
    "labels no texts": ("kind: Disk\nmetadata: {name: a, labels: {x: ^1}}", "string", "quotes"),
    "labels no pairs": ("kind: Disk\nmetadata: {name: a, labels: ^[a]}", "", ""),
    "unknown attribute": (
        "kind: Disk\nmetadata: {name: a}\nspec:\n  ^siz: 1Gi",
        "unknown attribute 'siz'",
        "'size'",
    ),
    "deep unknown attribute": (
        "kind: Sandbox\nmetadata: {name: a}\nspec:\n  containers:\n"
        "  - image: x\n    ports:\n    - port: 1\n      ^protocl: tcp",
        "unknown attribute 'protocl'",
        "'protocol'",
    ),
    "unknown in a map": (
        "kind: App\nmetadata: {name: a}\nspec: {env: {A: {^secre: a/b}}}",
        "unknown attribute 'secre'",
        "'secret'",
    ),
    "wrong type": (
        "kind: Sandbox\nmetadata: {name: a}\nspec: {containers: [{image: x, ports: [^x]}]}",
        "valid integer",
        "",
    ),
    "missing": (
        "kind: Sandbox\nmetadata: {name: a}\nspec: {containers: [^{name: x}]}",
        "required attribute 'image' is missing",
        "",
    ),
    "missing spec": ("^kind: Sandbox\nmetadata: {name: a}", "'containers' is missing", ""),
    "enum": (
        "kind: Disk\nmetadata: {name: a}\nspec: {filesystem: ^ext5}",
        "must be one of 'ext4', 'xfs' or 'btrfs'",
        "'ext4'",
    ),
    "quantity": ("kind: Disk\nmetadata: {name: a}\nspec: {size: ^10GB}", "not a quantity", ""),
    "status": (
        "kind: Disk\nmetadata: {name: a}\n^status: {phase: ready}",
        "status cannot be applied",
        "remove it",
    ),
    "project of a node": (
        "kind: Node\nmetadata: {name: a, ^project: b}",
        "a Node belongs to no project",
        "",
    ),
    "twice": (
        "kind: Disk\nmetadata: {name: a}\n---\nkind: disk\nmetadata: {name: ^a}",
        "disk/a is given twice",
        "f0.yaml:1",
    ),
    "duplicate key": (
        "kind: Disk\nmetadata: {name: a}\nspec:\n  size: 1Gi\n  ^size: 2Gi",
        "duplicate key 'size'",
        "",
    ),
    "broken": ("kind: Disk\nmetadata: {name: a^:", "broken YAML", ""),
}


@pytest.mark.parametrize(("text", "message", "hint"), WRONG.values(), ids=WRONG)
def test_a_mistake_is_shown_where_it_stands(text: str, message: str, hint: str) -> None:
    before = text[: text.index("^")].split("\n")
    (problem,) = problems_of(text.replace("^", "", 1))
    assert message in problem.message
    assert hint in (problem.hint or "")
    at = problem.position
    assert at is not None
    assert (at.file, at.line) == ("f0.yaml", len(before))
    if message != "broken YAML":
        assert at.column == len(before[-1]) + 1


def test_every_mistake_of_every_file_is_shown_with_a_caret() -> None:
    with pytest.raises(InvalidInput) as caught:
        read_documents(
            [
                ("one.yaml", "kind: Disk\nmetadata: {name: a}\nspec: {siz: 1}\n---\na: [\n"),
                ("two.yaml", "kind: Sandbx\nmetadata: {name: A}\n"),
            ],
            ALL,
        )
    assert str(caught.value) == (
        "one.yaml:3:8: error: unknown attribute 'siz' (at spec.siz)\n"
        "    3 | spec: {siz: 1}\n"
        "      |        ^\n"
        "      = help: did you mean 'size'?\n"
        "one.yaml:5:5: error: broken YAML: while parsing a flow node, "
        "did not find expected node content\n"
        "    5 | a: [\n"
        "      |     ^\n"
        "two.yaml:1:7: error: unknown kind 'Sandbx' (at kind)\n"
        "    1 | kind: Sandbx\n"
        "      |       ^\n"
        "      = help: did you mean 'Sandbox'?\n"
        "two.yaml:2:18: error: must match [a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?"
        " (at metadata.name)\n"
        "    2 | metadata: {name: A}\n"
        "      |                  ^"
    )


def test_the_same_name_in_another_project_or_kind_is_another_entity() -> None:
    documents = read_documents(
        [
            (
                "a.yaml",
                "kind: Disk\nmetadata: {name: a}\n---\n"
                "kind: Disk\nmetadata: {name: a, project: b}\n---\n"
                "kind: App\nmetadata: {name: a}\n",
            )
        ],
        ALL,
    )
    assert [(each.kind.name, each.project) for each in documents] == [
        ("Disk", ""),
        ("Disk", "b"),
        ("App", ""),
    ]


def test_an_error_found_later_is_given_its_place() -> None:
    document = read_one("kind: Disk\nmetadata:\n  name: a\nspec:\n  size: 1Gi\n")
    error = document.locate(InvalidInput([Problem("shrinks", ("spec", "size"))], entity="disk/a"))
    assert str(error).startswith("a.yaml:5:9: error: shrinks")
    assert error.entity == "disk/a"


def test_a_document_that_is_read_makes_an_entity() -> None:
    document = read_one("kind: Disk\nmetadata: {name: a}\nspec: {size: 512Mi}\n")
    disk = Disk.from_document(document.document)
    assert disk.spec.size == 2**29


def test_files_are_those_of_the_folder_in_order_and_not_below(tmp_path: Path) -> None:
    for name in ("b.yml", "a.yaml", "c.json", "d.txt"):
        (tmp_path / name).write_text(name, encoding="utf-8")
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "e.yaml").write_text("e", encoding="utf-8")
    found = [text for _, text in files_of([tmp_path, tmp_path / "d.txt"])]
    assert found == ["a.yaml", "b.yml", "c.json", "d.txt"]


def test_a_dash_is_the_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("kind: Disk\n"))
    assert list(files_of(["-"])) == [("<stdin>", "kind: Disk\n")]


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"no\.yaml"):
        list(files_of([tmp_path / "no.yaml"]))
    with pytest.raises(NotFound, match=r"\*\.yaml"):
        list(files_of([tmp_path]))
    latin = tmp_path / "latin.yaml"
    latin.write_bytes("name: ü".encode("latin-1"))
    with pytest.raises(InvalidInput, match="not UTF-8"):
        list(files_of([latin]))
