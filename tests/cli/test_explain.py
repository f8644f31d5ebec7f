"""`miren explain` and `miren api-resources` on the command line."""

from __future__ import annotations

import pytest

from miren.entities.gen import KINDS
from tests.cli.test_lightness import imported
from tests.servers import Server, call_main


def test_a_kind_is_explained_without_a_server() -> None:
    done = call_main("explain", "sb")
    assert (done.code, done.err) == (0, "")
    assert done.lines[0].split() == ["KIND:", "Sandbox"]
    assert "  metadata <Metadata>" in done.lines


@pytest.mark.parametrize(
    "path",
    [
        "sandbox.spec.containers.ports",
        "sandboxes.spec.container.port",
        "sandbox.miren.dev.spec.containers.ports",
    ],
)
def test_a_path_is_explained_whatever_its_spelling(path: str) -> None:
    done = call_main("explain", path)
    assert done.code == 0
    assert "FIELD:    sandbox.spec.containers.ports <[]Port>" in done.lines
    assert "  port <int> -required-" in done.lines


def test_recursive_shows_all_that_is_inside() -> None:
    done = call_main("explain", "app", "--recursive")
    assert done.code == 0
    assert "      ports <[]Port>" in done.lines
    assert "        protocol <enum>" in done.lines


@pytest.mark.parametrize(
    ("path", "code", "message", "hint"),
    [
        ("sandbx", 3, "no kind 'sandbx'", "did you mean 'sandbox'?"),
        ("sandbox.spec.contaners", 3, "no 'contaners'", "did you mean 'containers'?"),
        ("sandbox.containers", 3, "no 'containers'", "did you mean 'sandbox.spec.containers'?"),
        ("sandbox..spec", 2, "is no path", "write it as"),
    ],
)
def test_what_is_not_there_is_told_with_what_was_meant(
    path: str, code: int, message: str, hint: str
) -> None:
    done = call_main("explain", path)
    assert (done.code, done.out) == (code, "")
    assert message in done.err
    assert hint in done.err


def test_explaining_imports_little_more_than_the_models() -> None:
    code, modules = imported("explain", "sandbox.spec")
    assert code == 0
    assert modules & {"aiohttp", "apsw", "asyncio", "grpc", "http", "jsonschema", "yaml"} == set()


def test_kinds_are_listed_with_their_names(server: Server) -> None:
    done = server.cli("api-resources")
    assert done.code == 0
    head, *rows = done.lines
    assert head.split() == ["NAME", "SHORT", "APIVERSION", "PROJECTED", "KIND"]
    assert len(rows) == len(KINDS)
    assert rows == sorted(rows)
    cells = {row.split()[-1]: row.split() for row in rows}
    assert cells["Sandbox"] == ["sandboxes", "sb", "miren.dev/v1alpha1", "true", "Sandbox"]
    assert cells["Node"][-2:] == ["false", "Node"]


def test_kinds_are_listed_with_their_meaning_or_by_name_alone(server: Server) -> None:
    wide = server.cli("api-resources", "-o", "wide")
    assert wide.lines[0].split()[-1] == "MEANING"
    assert any(
        line.endswith("Storage that outlives the sandboxes which use it.") for line in wide.lines
    )
    names = server.cli("api-resources", "-o", "name").lines
    assert "disks.miren.dev" in names
    assert sorted(names) == names
    assert server.cli("get", names[names.index("disks.miren.dev")]).code == 0
