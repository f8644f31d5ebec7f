"""What a hostile client sends is refused with words: never a crash, never something stored."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.servers import ENTITIES, Answer, Server, disk

NAMES = ["../x", "a/b", "a%2Fb", "a\0b", "a\nb", "\u202ea", "-", "_", ".", "A", "é", "a" * 254]


def revision(server: Server) -> str:
    return str(server.ok("List", kind="disk")["revision"])


def post(server: Server, method: str, body: bytes) -> Answer:
    return server.http("POST", f"/{ENTITIES}/{method}", body)


def nested(levels: int, *, inside: str) -> bytes:
    return inside.replace("@", "[" * levels + "]" * levels).encode()


APPLY = json.dumps({"document": disk("deep", annotations="@")}).replace('"@"', "@")
MAPS = '{"document": ' + '{"a":' * 10_000 + "1" + "}" * 10_001


@pytest.mark.parametrize("levels", [70, 500, 1_000, 10_000, 1_000_000])
def test_json_that_is_nested_too_deep_is_refused(server: Server, levels: int) -> None:
    for inside in (APPLY, '{"kind": @}', "@", '{"kind": "disk", "labels": @}'):
        answer = post(server, "Apply", nested(levels, inside=inside))
        assert (answer.status, answer.json["code"]) == (400, "invalid_argument"), answer.body
    assert server.call("List", kind="disk").status == 200


def test_mappings_that_are_nested_too_deep_are_refused(server: Server) -> None:
    answer = post(server, "Apply", MAPS.encode())
    assert (answer.status, answer.json["code"]) == (400, "invalid_argument")
    deep = {"a": 1}
    for _ in range(100):
        deep = {"a": deep}  # type: ignore[dict-item]  # as deep as it gets
    answer = server.call("Apply", document=deep)
    assert answer.json["message"] == "the request is nested more than 68 levels deep"


def test_a_request_that_is_too_large_is_refused(server: Server) -> None:
    answer = server.call("Apply", document=disk("big", annotations={"a": "x" * (9 << 20)}))
    assert (answer.status, answer.json["code"]) == (400, "invalid_argument")
    assert answer.json["message"] == "a request has at most 8 MiB"


@pytest.mark.parametrize("body", [b"\xff", b'"', b"[]", b"{", b'{"a": NaN}', b'{"a": "\\ud800"}'])
def test_what_is_no_json_is_refused(server: Server, body: bytes) -> None:
    answer = post(server, "Apply", body)
    assert (answer.status, answer.json["code"]) == (400, "invalid_argument")


@pytest.mark.parametrize("name", NAMES)
def test_hostile_names_are_refused_and_told_in_print(server: Server, name: str) -> None:
    before = revision(server)
    documents: list[dict[str, Any]] = [
        disk(name),
        disk("d", project=name),
        disk("d", labels={name: "x"}) if name not in ("A", "a/b") else disk(name),
        disk("d", annotations={name: "x"}) if name not in ("A", "a/b") else disk(name),
    ]
    for document in documents:
        for method, attribute in (("Create", "entity"), ("Apply", "document")):
            answer = server.call(method, ENTITIES, **{attribute: document})
            assert (answer.status, answer.json["code"]) == (400, "invalid_argument")
            problems = answer.json["details"][0]["problems"]
            assert [problem["path"][0] for problem in problems] == ["metadata"]
    assert revision(server) == before


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_found_under_a_hostile_name(server: Server, name: str) -> None:
    for method in ("Get", "Delete"):
        answer = server.call(method, kind="disk", name=name)
        assert answer.json["code"] in ("not_found", "invalid_argument")
    answer = server.call("Get", kind="disk", name="d", project=name)
    assert answer.json["code"] == "invalid_argument"
    answer = server.call("Get", kind=name, name="d")
    assert answer.json["code"] in ("not_found", "invalid_argument")
    done = server.cli("get", "disk", "--", name) if "\0" not in name else None
    if done is not None:
        assert done.code != 0
        assert done.err.replace("\n", "").isprintable(), done.err


@pytest.mark.parametrize("token", ["x", "é", "\0", "e30", "A" * 5_000, 1, ["x"], {}])
def test_hostile_tokens_are_refused(server: Server, token: object) -> None:
    answer = server.call("List", kind="disk", token=token)
    assert (answer.status, answer.json["code"]) == (400, "invalid_argument")


@pytest.mark.parametrize("limit", [-1, 1.5, "1", True])
def test_hostile_limits_are_refused(server: Server, limit: object) -> None:
    answer = server.call("List", kind="disk", limit=limit)
    assert (answer.status, answer.json["code"]) == (400, "invalid_argument")


@pytest.mark.parametrize("selector", ["\0", "a=b=c", "a in (b", "a in b)", "(" * 5_000, "!", "a,"])
def test_hostile_selectors_are_refused_or_match_nothing(server: Server, selector: str) -> None:
    answer = server.call("List", kind="disk", labels=selector)
    assert answer.status == 400 or answer.json["items"] == []
    answer = server.call("List", kind="disk", fields={"status.phase": selector})
    assert answer.status == 400 or answer.json["items"] == []


def test_an_enum_tells_its_choices_and_quotes_nothing_raw(server: Server) -> None:
    document = disk("d")
    document["spec"]["size"] = "\x1b[2J"
    answer = server.call("Create", entity=document)
    assert answer.json["code"] == "invalid_argument"
    assert answer.json["details"][0]["problems"][0]["path"] == ["spec", "size"]


def test_a_bomb_of_aliases_is_refused_by_the_command(server: Server) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [
        f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 10)}]" for level in range(1, 9)
    ]
    done = server.cli("apply", "-f", "-", stdin="\n".join(lines))
    assert done.code == 2
    assert "more than 100000 values" in done.err
