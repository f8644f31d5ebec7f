"""HTTP itself: paths, bodies, deadlines, and every field of a wrong type."""

from __future__ import annotations

import json
import socket
import stat
from typing import Any

import pytest

from tests.servers import ENTITIES, Server, disk, wait_until


def post(server: Server, method: str, body: bytes, **headers: str) -> tuple[int, dict[str, Any]]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    answer = server.http("POST", f"/{ENTITIES}/{method}", body, named)
    return answer.status, answer.json


def test_health_is_a_plain_get(server: Server) -> None:
    answer = server.http("GET", "/healthz")
    assert (answer.status, answer.body) == (200, b"ok\n")


def test_only_the_owner_can_open_the_socket(server: Server) -> None:
    mode = server.socket.stat().st_mode
    assert stat.S_ISSOCK(mode)
    assert stat.S_IMODE(mode) == 0o600
    assert stat.S_IMODE(server.socket.parent.stat().st_mode) == 0o700


@pytest.mark.parametrize(
    ("verb", "target"),
    [
        ("POST", f"/{ENTITIES}/Nothing"),
        ("POST", "/miren.nothing.v1.Nothing/Get"),
        ("POST", "/nothing"),
        ("POST", "/a/b/c"),
        ("GET", f"/{ENTITIES}/List"),
        ("GET", "/"),
    ],
)
def test_what_is_no_method_is_unimplemented(server: Server, verb: str, target: str) -> None:
    answer = server.http(verb, target, b"{}")
    assert (answer.status, answer.json["code"]) == (501, "unimplemented")


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"[]",
        b"null",
        b'"text"',
        b'{"kind": NaN}',
        b'{"kind": "\\ud800"}',
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"a":' * 5_000 + b"1" + b"}" * 5_000,
    ],
)
def test_what_is_no_json_object_is_refused(server: Server, body: bytes) -> None:
    status, error = post(server, "Get", body)
    assert (status, error["code"]) == (400, "invalid_argument")


def test_a_request_that_is_too_large_is_refused_before_it_is_read(server: Server) -> None:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(10)
        connection.connect(str(server.socket))
        head = f"POST /{ENTITIES}/Create HTTP/1.1\r\nHost: x\r\nContent-Length: 999999999\r\n\r\n"
        connection.sendall(head.encode())
        assert connection.recv(100).startswith(b"HTTP/1.1 400 ")


def test_a_request_of_unknown_length_is_refused_when_it_becomes_too_large(server: Server) -> None:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(10)
        connection.connect(str(server.socket))
        head = f"POST /{ENTITIES}/Create HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        connection.sendall(head.encode())
        block = b"100000\r\n" + b" " * 0x100000 + b"\r\n"
        for _ in range(9):
            connection.sendall(block)
        assert connection.recv(100).startswith(b"HTTP/1.1 400 ")


def test_a_call_that_takes_longer_than_the_caller_allows_ends(server: Server) -> None:
    message = {"kind": "disk", "name": "never", "for": "phase=ready", "timeoutSeconds": 60}
    body = json.dumps(message).encode()
    status, error = post(server, "Wait", body, Connect_Timeout_Ms="100")
    assert (status, error["code"]) == (504, "deadline_exceeded")


@pytest.mark.parametrize("text", ["soon", "-1", "1.5", "99999999999"])
def test_a_timeout_is_a_number_of_milliseconds(server: Server, text: str) -> None:
    status, error = post(server, "Kinds", b"{}", Connect_Timeout_Ms=text)
    assert (status, error["code"]) == (400, "invalid_argument")


KIND: dict[str, Any] = {"kind": "disk", "name": "x"}
WRONG: list[tuple[str, dict[str, Any], str]] = [
    ("Get", {}, "kind"),
    ("Get", {"kind": 1}, "kind"),
    ("Get", {"kind": "disk"}, "name"),
    ("Get", {**KIND, "name": ["x"]}, "name"),
    ("Get", {**KIND, "project": 3}, "project"),
    ("Get", {**KIND, "project": "No Such"}, "project"),
    ("List", {"kind": "disk", "table": "yes"}, "table"),
    ("List", {"kind": "disk", "limit": "3"}, "limit"),
    ("List", {"kind": "disk", "limit": -1}, "limit"),
    ("List", {"kind": "disk", "limit": True}, "limit"),
    ("List", {"kind": "disk", "labels": ["a=b"]}, "labels"),
    ("List", {"kind": "disk", "labels": {"a": 1}}, "labels"),
    ("List", {"kind": "disk", "fields": {"spec.nope": "1"}}, "spec.nope"),
    ("List", {"kind": "disk", "allProjects": 1}, "allProjects"),
    ("Watch", {"kind": "disk", "after": 7}, "after"),
    ("Watch", {"kind": "disk", "after": "x"}, "after"),
    ("Watch", {"kind": "disk", "after": "9" * 40}, "after"),
    ("Watch", {"kind": "disk", "after": "999999"}, "revision"),
    ("Watch", {"kind": "disk", "name": 5}, "name"),
    ("Create", {}, "entity"),
    ("Create", {"entity": []}, "entity"),
    ("Create", {"entity": {"kind": "Nope", "metadata": {"name": "x"}}}, "Nope"),
    ("Create", {"entity": {"kind": 5, "metadata": {"name": "x"}}}, "kind"),
    ("Create", {"entity": {"kind": "Disk", "apiVersion": 5}}, "apiVersion"),
    ("Create", {"entity": {"kind": "Disk", "apiVersion": "miren.dev/v9"}}, "metadata"),
    ("Create", {"entity": {"kind": "Disk", "metadata": []}}, "metadata"),
    ("Create", {"entity": {"kind": "Disk", "metadata": {}}}, "name"),
    ("Create", {"entity": {"kind": "Disk", "metadata": {"name": "Bad Name"}}}, "metadata.name"),
    ("Create", {"entity": {**disk("x"), "spec": []}}, "spec"),
    ("Create", {"entity": {**disk("x"), "status": "ready"}}, "status"),
    ("Create", {"entity": {**disk("x"), "sepc": {}}}, "sepc"),
    ("Create", {"entity": disk("x"), "dryRun": "yes"}, "dryRun"),
    ("Update", {"entity": disk("x", resourceVersion="old")}, "resourceVersion"),
    ("Apply", {"document": "x"}, "document"),
    ("Apply", {"document": {"kind": "Disk"}}, "name"),
    ("Apply", {"document": disk("x", lables={})}, "lables"),
    ("Apply", {"document": {**disk("x"), "spec": "x"}}, "spec"),
    ("Apply", {"document": {**disk("x"), "status": {"phase": "ready"}}}, "status"),
    ("Apply", {"document": disk("x"), "manager": 5}, "manager"),
    ("Apply", {"document": disk("x"), "force": 1}, "force"),
    ("Patch", {**KIND}, "patch"),
    ("Patch", {**KIND, "patch": {"spec": 5}}, "spec"),
    ("Patch", {**KIND, "patch": {"metadata": None}}, "metadata"),
    ("Patch", {**KIND, "patch": [5]}, "patch"),
    ("Patch", {**KIND, "patch": {}, "dryRun": 1}, "dryRun"),
    ("Delete", {**KIND, "uid": 5}, "uid"),
    ("Wait", {**KIND}, "for"),
    ("Wait", {**KIND, "for": "wonder"}, "wonder"),
    ("Wait", {**KIND, "for": "phase=redy"}, "redy"),
    ("Wait", {**KIND, "for": "condition=Ready=Maybe"}, "Maybe"),
    ("Wait", {**KIND, "for": "delete", "timeoutSeconds": "5"}, "timeoutSeconds"),
    ("Wait", {**KIND, "for": "delete", "timeoutSeconds": 0}, "timeoutSeconds"),
    ("Wait", {**KIND, "for": "delete", "timeoutSeconds": True}, "timeoutSeconds"),
    ("Wait", {**KIND, "for": "delete", "timeoutSeconds": 1e9}, "timeoutSeconds"),
]


@pytest.mark.parametrize(("method", "message", "named"), WRONG)
def test_a_wrong_field_is_named(
    server: Server, method: str, message: dict[str, Any], named: str
) -> None:
    status, error = post(server, method, json.dumps(message).encode())
    assert status in (400, 404), error
    assert error["code"] in ("invalid_argument", "not_found"), error
    assert named in error["message"]


def test_what_was_refused_was_no_surprise_to_the_server(server: Server) -> None:
    post(server, "Create", b'{"entity": 5}')
    assert "call failed" not in server.log


def test_a_call_whose_client_leaves_is_given_up(server: Server) -> None:
    wait_until(lambda: server.connections() == 0)
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(server.socket))
        body = b'{"kind":"disk","name":"never","for":"phase=ready","timeoutSeconds":60}'
        head = f"POST /{ENTITIES}/Wait HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
        connection.sendall(head.encode() + body)
        wait_until(lambda: server.connections() == 1)
    wait_until(lambda: server.connections() == 0)
