"""`miren patch`: merge patches and JSON Patches, as JSON or YAML."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from tests.servers import Done, Server, disk


@pytest.fixture
def patch(server: Server) -> Callable[..., Done]:
    server.ok("Apply", document=disk("p"), force=True)
    return partial(server.cli, "patch", "disk", "p")


def size(server: Server) -> str:
    return str(server.ok("Get", kind="disk", name="p")["entity"]["spec"]["size"])


def test_a_merge_patch_is_json_or_yaml(server: Server, patch: Callable[..., Done]) -> None:
    assert patch("-p", '{"spec": {"size": "2Gi"}}').out == "disk/p patched\n"
    assert patch("-p", "spec: {size: 2Gi}").out == "disk/p patched (no change)\n"
    assert size(server) == "2Gi"
    shown = patch("--patch", "metadata: {labels: {a: b}}", "-o", "json")
    assert json.loads(shown.out)["metadata"]["labels"] == {"a": "b"}


def test_a_json_patch_tests_what_it_rests_on(
    server: Server, patch: Callable[..., Done], tmp_path: Path
) -> None:
    file = tmp_path / "patch.yaml"
    file.write_text("- {op: test, path: /spec/size, value: 1Gi}\n- {op: remove, path: /spec/x}\n")
    missing = patch("--type=json", "--patch-file", file)
    assert missing.code == 2
    assert missing.err == "error: operation 1: remove /spec/x: nothing is there\n"
    file.write_text(
        file.read_text().replace("remove, path: /spec/x", "replace, path: /spec/size, value: 3Gi")
    )
    assert patch("--type=json", "--patch-file", file).code == 0
    assert size(server) == "3Gi"
    stale = patch("--type=json", "--patch-file", file)
    assert stale.code == 4
    assert "the test of /spec/size does not hold" in stale.err


def test_a_dry_run_stores_nothing(server: Server, patch: Callable[..., Done]) -> None:
    done = patch("-p", "spec: {size: 9Gi}", "--dry-run=server")
    assert done.out == "disk/p patched (dry run)\n"
    assert size(server) != "9Gi"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "give the patch with -p"),
        (["-p", "{}", "--patch-file", "x"], "in one of them"),
        (["-p", "[]"], "say --type=json"),
        (["-p", "{}", "--type=json"], "say --type=merge"),
        (["-p", "{a: b"], "broken YAML"),
        (["-p", "x"], "is a mapping"),
        (["-p", "status: {phase: failed}"], "written by controllers"),
        (["-p", "spec: {sizee: 1Gi}"], "did you mean 'size'?"),
        (["-p", "{}", "--type=strategic"], "'strategic'"),
    ],
)
def test_what_is_no_patch_is_refused(
    patch: Callable[..., Done], words: list[str], told: str
) -> None:
    done = patch(*words)
    assert done.code == 2
    assert told in done.err


def test_a_missing_entity_does_not_keep_the_others(
    server: Server, patch: Callable[..., Done]
) -> None:
    done = patch("nobody", "-p", "spec: {size: 8Gi}")
    assert (done.code, done.out) == (3, "disk/p patched\n")
