"""A client for one-shot commands: blocking, standard library only, over the unix socket.

It speaks plain HTTP/1.1 on a socket of its own per call. Importing it costs a few milliseconds,
where an HTTP library costs more than the whole command.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator, Mapping
from io import BufferedReader
from pathlib import Path
from typing import Any, BinaryIO

from miren.base.errors import InvalidInput, MirenError, OutcomeUnknown, Unavailable
from miren.rpc.wire import TIMEOUT_HEADER, error_from

__all__ = ["Calls"]

#: How much longer than the server's own deadline the client waits for its answer.
_SLACK = 5.0


class Calls:
    """Calls to one server. `address` is `unix:///path/to/socket`."""

    def __init__(self, address: str, *, timeout: float = 30.0) -> None:
        if not address.startswith("unix://"):
            raise InvalidInput(
                f"cannot reach {address!r}", hint="only unix:///path addresses are supported"
            )
        self.path = Path(address.removeprefix("unix://"))
        self._timeout = timeout

    def call(
        self, method: str, request: Mapping[str, Any], *, timeout: float | None = None
    ) -> dict[str, Any]:
        """Call `package.Service/Method` and return its answer; raise what the server raised."""
        allowed = timeout or self._timeout
        with self._open(allowed + _SLACK) as connection:
            body = json.dumps(request).encode()
            _send(connection, method, body, {TIMEOUT_HEADER: str(int(allowed * 1000))})
            answer = _answer(connection)
            return _object(answer.read())

    def upload(
        self, method: str, query: str, source: BinaryIO, size: int, *, timeout: float = 300.0
    ) -> dict[str, Any]:
        """Send a file as the body of a call."""
        with self._open(timeout) as connection:
            headers = {"Content-Type": "application/octet-stream"}
            _head(connection, f"{method}?{query}", size, headers)
            connection.sendfile(source)
            return _object(_answer(connection).read())

    def stream(self, method: str, request: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """Call a streaming method and yield its messages until the server ends it.

        Raises Unavailable when the connection breaks before the end.
        """
        with self._open(self._timeout) as connection:
            _send(connection, method, json.dumps(request).encode(), {})
            answer = _answer(connection)
            connection.settimeout(None)  # a stream may be silent for as long as nothing happens
            try:
                for line in answer:
                    message = _object(line)
                    if "error" in message and len(message) == 1:
                        raise error_from(message["error"])
                    if message:
                        yield message
            except (OSError, ValueError) as error:
                raise Unavailable(f"the server at {self.path} went away: {error}") from error
            if not answer.is_complete:
                raise Unavailable(f"the server at {self.path} went away")

    def _open(self, timeout: float) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(timeout)
        try:
            connection.connect(str(self.path))
        except (FileNotFoundError, ConnectionRefusedError) as error:
            connection.close()
            raise Unavailable(
                f"no server at {self.path}",
                hint="start one with `miren server`, or name another with --server",
            ) from error
        except OSError as error:
            connection.close()
            raise Unavailable(f"cannot reach {self.path}: {error.strerror or error}") from error
        return connection


def _send(connection: socket.socket, method: str, body: bytes, headers: Mapping[str, str]) -> None:
    _head(connection, method, len(body), {"Content-Type": "application/json", **headers})
    connection.sendall(body)


def _head(connection: socket.socket, target: str, size: int, headers: Mapping[str, str]) -> None:
    lines = [f"POST /{target} HTTP/1.1", "Host: miren", f"Content-Length: {size}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    connection.sendall("\r\n".join([*lines, "Connection: close", "", ""]).encode())


class _Answer:
    """The body of a response, chunked (RFC 9112, 7.1) or with a length."""

    def __init__(self, file: BufferedReader, headers: Mapping[str, str]) -> None:
        self._file = file
        self._is_chunked = headers.get("transfer-encoding") == "chunked"
        self._left = int(headers.get("content-length", 0))
        self.is_complete = False

    def read(self) -> bytes:
        """Return all of it."""
        if self._is_chunked:
            return b"".join(self._chunks())
        return self._file.read(self._left)

    def __iter__(self) -> Iterator[bytes]:
        """Yield it line by line as it comes."""
        rest = b""
        for chunk in self._chunks():
            *lines, rest = (rest + chunk).split(b"\n")
            yield from (line for line in lines if line)
        if rest:
            yield rest

    def _chunks(self) -> Iterator[bytes]:
        while size_line := self._file.readline():
            size = int(size_line.split(b";")[0], 16)
            if size == 0:
                self.is_complete = True
                return
            data = self._file.read(size)
            self._file.readline()
            if len(data) == size:
                yield data


def _answer(connection: socket.socket) -> _Answer:
    """Read the head of the response; raise the error it carries, if it carries one."""
    file = connection.makefile("rb")
    try:
        status = file.readline().split()
        headers: dict[str, str] = {}
        while (line := file.readline().strip()) != b"":
            name, _, value = line.decode("latin-1").partition(":")
            headers[name.lower()] = value.strip().lower()
    except TimeoutError as error:
        raise OutcomeUnknown(
            "the server did not answer in time; what was asked may still happen",
            hint="look with `miren get` before you try again",
        ) from error
    except OSError as error:
        raise _lost() from error
    if len(status) < 2:
        raise _lost()
    answer = _Answer(file, headers)
    if status[1] != b"200":
        body = answer.read()
        try:
            raise error_from(_object(body))
        except ValueError:
            raise MirenError(f"the server answered HTTP {status[1].decode()}") from None
    return answer


def _lost() -> OutcomeUnknown:
    return OutcomeUnknown(
        "the server went away before it answered; what was asked may have happened",
        hint="look with `miren get` before you try again",
    )


def _object(body: bytes) -> dict[str, Any]:
    value = json.loads(body)
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")
    return value
