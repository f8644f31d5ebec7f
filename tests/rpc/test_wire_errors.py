"""Errors keep their class, code, words and details on their way over the wire."""

from __future__ import annotations

import json
from typing import Any

import pytest

from miren.base import errors
from miren.base.errors import Compacted, InvalidInput, MirenError, Position, Problem
from miren.rpc.wire import HTTP_STATUS, error_from, error_to

CLASSES = [
    kind
    for name in errors.__all__
    if isinstance(kind := getattr(errors, name), type) and issubclass(kind, MirenError)
]


def travelled(error: MirenError) -> MirenError:
    return error_from(json.loads(json.dumps(error_to(error))))


def test_there_are_errors_to_test() -> None:
    assert len(CLASSES) >= 16


@pytest.mark.parametrize("kind", [kind for kind in CLASSES if kind is not Compacted])
def test_every_error_arrives_as_it_was_sent(kind: type[MirenError]) -> None:
    sent = kind("it failed", hint="do this", entity="sandbox/web")
    got = travelled(sent)
    assert type(got) is kind
    assert (got.message, got.hint, got.entity) == ("it failed", "do this", "sandbox/web")
    assert got.code == sent.code
    assert sent.code in HTTP_STATUS


def test_a_compacted_revision_arrives_with_the_oldest_one() -> None:
    got = travelled(Compacted("revision 3 is gone", oldest=7))
    assert isinstance(got, Compacted)
    assert got.oldest == 7
    assert got.hint


def test_every_problem_of_an_input_arrives() -> None:
    sent = InvalidInput(
        [
            Problem("unknown attribute 'prot'", ("spec", "ports", 0, "prot"), hint="port?"),
            Problem("must be a text", ("metadata", "name")),
        ],
        hint="look",
        entity="sandbox/web",
    )
    got = travelled(sent)
    assert isinstance(got, InvalidInput)
    assert got.problems == sent.problems
    assert got.message == sent.message
    assert (got.hint, got.entity) == ("look", "sandbox/web")


def test_places_in_somebodys_files_do_not_travel() -> None:
    place = Position("/home/ann/secret.yaml", 3, 5, "password: x")
    sent = InvalidInput([Problem("bad", ("spec",), position=place)])
    assert "password" not in json.dumps(error_to(sent)["details"])


@pytest.mark.parametrize("code", sorted(HTTP_STATUS))
def test_an_error_without_details_is_known_by_its_code(code: str) -> None:
    got = error_from({"code": code, "message": "no"})
    assert got.message == "no"
    known = {kind.code for kind in CLASSES}
    if code in known:
        assert got.code == code


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"code": 5},
        {"code": "nonsense", "message": None},
        {"code": "not_found", "details": []},
        {"code": "not_found", "details": "text"},
        {"code": "not_found", "details": ["text"]},
        {"code": "not_found", "details": [{"type": "Position"}]},
        {"code": "invalid_argument", "message": "m", "details": [{"type": "Unheard"}]},
    ],
)
def test_what_another_server_sends_becomes_an_error_too(body: dict[str, Any]) -> None:
    assert isinstance(error_from(body), MirenError)
