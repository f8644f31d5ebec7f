"""The one-shot client against servers that misbehave."""

from __future__ import annotations

import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from miren.base.errors import InvalidInput, MirenError, NotFound, OutcomeUnknown, Unavailable
from miren.rpc.calls import Calls

Serve = Callable[[socket.socket], None]


@contextmanager
def serving(serve: Serve) -> Iterator[Calls]:
    """Yield calls to a server that handles one connection with `serve`, then closes it."""
    with tempfile.TemporaryDirectory(prefix="mv") as folder, socket.socket(socket.AF_UNIX) as one:
        path = Path(folder) / "s"
        one.bind(str(path))
        one.listen()
        one.settimeout(10)

        def accept() -> None:
            connection, _ = one.accept()
            with connection:
                serve(connection)

        thread = threading.Thread(target=accept)
        thread.start()
        yield Calls(f"unix://{path}", timeout=5)
        thread.join(timeout=10)


def answering(*parts: bytes) -> Serve:
    def serve(connection: socket.socket) -> None:
        connection.recv(65536)
        for part in parts:
            connection.sendall(part)

    return serve


def ok(body: bytes, length: int | None = None) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (length or len(body), body)


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def test_no_server_is_unavailable_and_says_how_to_start_one(tmp_path: Path) -> None:
    with pytest.raises(Unavailable) as caught:
        Calls(f"unix://{tmp_path}/none").call("a.A/B", {})
    assert "miren server" in str(caught.value.hint)


@pytest.mark.parametrize("address", ["https://host:1", "unix:relative", "unix://relative", "/x"])
def test_an_address_is_a_unix_socket(address: str) -> None:
    with pytest.raises(InvalidInput):
        Calls(address)


def test_an_answer_is_read_whole_in_any_pieces() -> None:
    with serving(
        answering(b"HTTP/1.1 200 OK\r\nContent-", b"Length: 8\r\n\r\n{", b'"a": 1}')
    ) as calls:
        assert calls.call("a.A/B", {}) == {"a": 1}
    with serving(answering(CHUNKED, b'4\r\n{"a"\r\n', b"4;x=y\r\n: 1}\r\n0\r\n\r\n")) as calls:
        assert calls.call("a.A/B", {}) == {"a": 1}


@pytest.mark.parametrize(
    "parts",
    [
        [],
        [b"HTTP/1.1 200 OK\r\nContent-Le"],
        [ok(b'{"a"', length=80)],
        [CHUNKED, b'40\r\n{"a"'],
        [CHUNKED, b'3\r\n{"a\r\n'],
        [ok(b"not json")],
        [ok(b"[]")],
        [b"garbage\r\n\r\n"],
    ],
)
def test_a_server_that_goes_away_leaves_the_outcome_unknown(parts: list[bytes]) -> None:
    with serving(answering(*parts)) as calls, pytest.raises(OutcomeUnknown):
        calls.call("a.A/B", {})


def test_a_server_that_says_nothing_leaves_the_outcome_unknown() -> None:
    done = threading.Event()

    def serve(_connection: socket.socket) -> None:
        done.wait(5)

    with serving(serve) as calls:
        hasty = Calls(f"unix://{calls.path}", slack=0.1)
        with pytest.raises(OutcomeUnknown) as caught:
            hasty.call("a.A/B", {}, timeout=0.1)
        done.set()
    assert "in time" in caught.value.message


def test_an_error_is_raised_even_when_the_server_did_not_read_the_request() -> None:
    refusal = b'{"code": "not_found", "message": "no", "details": []}'
    head = b"HTTP/1.1 404 Not Found\r\nContent-Type: application/json; charset=utf-8\r\n"
    sent = head + b"Content-Length: %d\r\n\r\n" % len(refusal) + refusal

    def serve(connection: socket.socket) -> None:
        connection.recv(10)
        connection.sendall(sent)
        connection.shutdown(socket.SHUT_RD)

    with serving(serve) as calls, pytest.raises(NotFound):
        calls.call("a.A/B", {"text": "x" * 5_000_000})


def test_an_error_that_is_no_json_is_told_with_its_status() -> None:
    answer = b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 4\r\n\r\noops"
    with serving(answering(answer)) as calls, pytest.raises(MirenError, match="HTTP 502"):
        calls.call("a.A/B", {})


def test_a_stream_yields_its_lines_without_heartbeats() -> None:
    body = b'{"n": 1}\n{}\n{"n"', b': 2}\n{"n": 3}\n'
    chunks = [b"%x\r\n%s\r\n" % (len(part), part) for part in body]
    with serving(answering(CHUNKED, *chunks, b"0\r\n\r\n")) as calls:
        assert [message["n"] for message in calls.stream("a.A/B", {})] == [1, 2, 3]


def test_a_stream_that_breaks_is_no_stream_that_ends() -> None:
    line = b'{"n": 1}\n'
    with serving(answering(CHUNKED, b"%x\r\n%s\r\n" % (len(line), line))) as calls:
        stream = calls.stream("a.A/B", {})
        assert next(stream) == {"n": 1}
        with pytest.raises(Unavailable):
            next(stream)


@pytest.mark.parametrize("parts", [[], [b"HTTP/1.1 200 OK\r\nTransf"]])
def test_a_stream_that_never_began_has_done_nothing(parts: list[bytes]) -> None:
    with serving(answering(*parts)) as calls, pytest.raises(Unavailable):
        next(calls.stream("a.A/B", {}))


def test_a_stream_ends_with_the_error_in_its_last_line() -> None:
    line = b'{"error": {"code": "not_found", "message": "gone"}}\n'
    parts = (CHUNKED, b"%x\r\n%s\r\n0\r\n\r\n" % (len(line), line))
    with serving(answering(*parts)) as calls, pytest.raises(NotFound, match="gone"):
        next(calls.stream("a.A/B", {}))
