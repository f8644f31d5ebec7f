"""`miren schema`: every action as people call it, with its exit codes."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest
import yaml

from miren.cli.schema_topics import subjects_of
from miren.entities.explaining import Subject, explanation, find, subject_of
from miren.schemagen.crd import normalised
from miren.schemagen.loader import load_files
from tests.schemagen.test_crd import CERTIFICATES, REFUSED
from tests.schemagen.test_generated_code import EVERYTHING
from tests.servers import call_main

SITE = """\
domain: example.dev
version: v1
components:
  port:
    number: {type: int, required: true, max: 65535, doc: The number.}
kinds:
  site:
    $options: {doc: A site., short: st}
    title: {type: string, required: true, doc: What it is called.}
    ports: {type: port, many: true, merge_key: number}
    phase: {type: enum, choices: [up, down], status: true}
"""

FURTHER = """\
domain: example.dev
version: v1
components:
  tree:
    label: {type: string, default: x}
    inner: {type: tree, many: true, merge_key: label}
kinds:
  site:
    from: {type: string, doc: A keyword of Python.}
    address: {type: string, attr: hostURL}
    password: {type: secret, min_length: 8, pattern: '[a-z]+'}
    tokens: {type: map, of: secret}
    parent: {type: ref, to: site, on_delete: restrict, tags: [up, all]}
    groups: {type: map, of: {type: map, of: {type: int, many: true, min: 0}}}
    top: {type: tree, default: {label: root, inner: [{label: leaf}]}}
    trees: {type: map, of: {type: tree, many: true}}
    heartbeat: {type: time, session: true}
    identity: {type: string, status: true, bind_to: metadata.uid}
"""


@pytest.fixture
def site(tmp_path: Path) -> Path:
    path = tmp_path / "site.yml"
    path.write_text(SITE, encoding="utf-8")
    return path


def changed(site: Path, old: str, new: str) -> Path:
    path = site.parent / "new" / "site.yml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(SITE.replace(old, new), encoding="utf-8")
    return path


# -- generate and check ------------------------------------------------------------------------


def test_what_was_generated_is_fresh_until_the_schema_changes(site: Path, tmp_path: Path) -> None:
    words: list[str | Path] = [site, "--out", tmp_path / "kinds", "--docs", tmp_path / "site.md"]
    done = call_main("schema", "generate", *words)
    assert done.code == 0
    assert {Path(line).name for line in done.lines} == {"__init__.py", "site.py", "site.md"}
    assert call_main("schema", "check", *words).code == 0
    site.write_text(SITE.replace("What it is called", "Its name"), encoding="utf-8")
    done = call_main("schema", "check", *words)
    assert done.code == 1
    assert len(done.lines) == 2


def test_the_language_is_printed_as_a_json_schema() -> None:
    done = call_main("schema", "language")
    assert done.code == 0
    assert json.loads(done.out)["title"] == "A Miren schema file"


# -- diff --------------------------------------------------------------------------------------


def test_equal_schemas_have_no_differences(site: Path) -> None:
    done = call_main("schema", "diff", site, site)
    assert (done.code, done.out) == (0, "nothing changed\n")
    assert json.loads(call_main("schema", "diff", site, site, "-o", "json").out) == []


def test_what_breaks_stored_data_is_an_exit_code_of_1(site: Path) -> None:
    new = changed(site, "max: 65535", "max: 99")
    done = call_main("schema", "diff", site, new)
    assert done.code == 1
    assert done.lines == [
        f"breaking    site.spec.ports.number: max lowered from 65535 to 99  ({new}:5:5)",
        "1 breaking",
    ]


def test_what_does_not_is_an_exit_code_of_0(site: Path) -> None:
    new = changed(site, "[up, down]", "[up, down, lost]")
    done = call_main("schema", "diff", site.parent / "site.yml", new.parent)
    assert done.code == 0
    assert done.lines[-1] == "1 compatible"


def test_a_diff_in_json_names_path_verdict_and_place(site: Path) -> None:
    new = changed(site, "    title:", "    titel:")
    done = call_main("schema", "diff", site, new, "-o", "json")
    assert done.code == 1
    gone, come = json.loads(done.out)
    assert gone == {
        "path": "site.spec.title",
        "verdict": "breaking",
        "message": "attribute removed",
        "hint": "was it renamed to 'titel'?",
        "file": str(site),
        "line": 9,
        "column": 5,
    }
    assert (come["path"], come["verdict"]) == ("site.spec.titel", "breaking")


@pytest.mark.parametrize("text", ["domain: x\n", "a: [", ""])
def test_a_diff_with_what_is_no_schema_is_an_exit_code_of_2(site: Path, text: str) -> None:
    bad = site.parent / "bad.yml"
    bad.write_text(text, encoding="utf-8")
    done = call_main("schema", "diff", site, bad)
    assert done.code == 2
    assert "bad.yml" in done.err
    assert call_main("schema", "diff", site, site.parent / "none.yml").code == 2


# -- explain and docs --------------------------------------------------------------------------


def test_a_schema_file_is_explained_before_it_is_installed(site: Path) -> None:
    done = call_main("schema", "explain", "sites.spec.port", "--file", site)
    assert done.code == 0
    assert "FIELD:    site.spec.ports <[]Port>" in done.lines
    assert "  number <int> -required-" in done.lines
    done = call_main("schema", "explain", "st", "--recursive", "--file", site)
    assert "      number <int> -required-" in done.lines


@pytest.mark.parametrize(
    ("path", "hint"),
    [("sight", "did you mean 'site'?"), ("site.spec.titel", "did you mean 'title'?")],
)
def test_what_a_schema_file_does_not_have_is_an_exit_code_of_3(
    site: Path, path: str, hint: str
) -> None:
    done = call_main("schema", "explain", path, "--file", site)
    assert done.code == 3
    assert hint in done.err


@pytest.mark.parametrize("text", [EVERYTHING, FURTHER], ids=["everything", "further"])
def test_everything_the_language_can_say_is_explained_alike_once_it_is_installed(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "everything.yml"
    source.write_text(text, encoding="utf-8")
    package = f"explained_{tmp_path.name}"
    assert call_main("schema", "generate", source, "--out", tmp_path / package).code == 0
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    try:
        kinds: ModuleType = importlib.import_module(package)
        for subject in subjects_of(load_files([source])):
            installed = subject_of(getattr(kinds, subject.kind).kind)
            check_alike(installed, subject, ())
    finally:
        for name in [name for name in sys.modules if name.partition(".")[0] == package]:
            del sys.modules[name]


def check_alike(one: Subject, other: Subject, way: tuple[str, ...]) -> None:
    assert explanation(one, way) == explanation(other, way)
    found = find(one, way)
    for topic in found[-1].open() if found else one.topics:
        if len(way) < 6:
            check_alike(one, other, (*way, topic.name))


def test_a_reference_is_printed_or_written(site: Path, tmp_path: Path) -> None:
    printed = call_main("schema", "docs", site)
    assert printed.code == 0
    assert "## Site" in printed.lines
    out = tmp_path / "docs" / "site.md"
    assert call_main("schema", "docs", site, "--out", out).lines == [str(out)]
    assert out.read_text(encoding="utf-8") == printed.out


# -- CRDs --------------------------------------------------------------------------------------


def test_crds_become_schemas_and_schemas_crds(tmp_path: Path) -> None:
    folder = tmp_path / "schema"
    done = call_main("schema", "import", "--crd", CERTIFICATES, "--out", folder)
    assert done.code == 0
    assert [Path(line).name for line in done.lines] == [
        "trust_example_dev_v1beta1.yml",
        "trust_example_dev_v1.yml",
    ]
    done = call_main("schema", "export", "--crd", folder, "--kind", "certificate")
    assert done.code == 0
    back = yaml.safe_load(done.out)
    assert normalised(back) == normalised(yaml.safe_load(CERTIFICATES.read_text("utf-8")))


def test_several_versions_do_not_fit_in_one_file(tmp_path: Path) -> None:
    for out in ([], ["--out", str(tmp_path / "one.yml")]):
        done = call_main("schema", "import", "--crd", CERTIFICATES, *out)
        assert done.code == 2
        assert "give a folder" in done.err


def test_a_schema_comes_back_from_the_crd_it_was_exported_to(site: Path, tmp_path: Path) -> None:
    crd, back = tmp_path / "crd.yaml", tmp_path / "back" / "site.yml"
    assert call_main("schema", "export", "--crd", site, "--out", crd).code == 0
    assert call_main("schema", "import", "--crd", crd, "--out", back).code == 0
    done = call_main("schema", "diff", site, back)
    assert done.code == 0
    assert done.lines[-1] != "nothing changed"  # what only one side says, such as the plural


def test_a_crd_that_cannot_be_expressed_is_an_exit_code_of_2(tmp_path: Path) -> None:
    path, out = tmp_path / "crd.yaml", tmp_path / "out.yml"
    path.write_text(REFUSED, encoding="utf-8")
    done = call_main("schema", "import", "--crd", path, "--out", out)
    assert done.code == 2
    assert f"{path}:28:" in done.err
    assert "oneOf cannot be expressed" in done.err
    assert not out.exists()


@pytest.mark.parametrize(
    "words",
    ["schema", "schema frobnicate", "schema import x.yaml", "schema diff a.yml", "schema docs"],
)
def test_bad_usage_is_an_exit_code_of_2(words: str) -> None:
    assert call_main(*words.split()).code == 2
