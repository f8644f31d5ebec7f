"""A client for one-shot commands: blocking, standard library only, over the unix socket.

It speaks plain HTTP/1.1 on a socket of its own per call. Importing it costs a few milliseconds,
where an HTTP library costs more than the whole command.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from io import BufferedReader
from pathlib import Path
from typing import Any, BinaryIO

from miren.base.errors import InvalidInput, OutcomeUnknown, Unavailable
from miren.rpc.answers import read_answer
from miren.rpc.wire import HEARTBEAT, TIMEOUT_HEADER, error_from

__all__ = ["Calls"]

#: A stream without even a heartbeat for this long has lost its server.
_SILENCE = 4 * HEARTBEAT


class Calls:
    """Calls to one server. `address` is `unix:///path/to/socket`.

    Every call raises Unavailable when the server surely did nothing, OutcomeUnknown when it
    went away after it was asked, and else what the server raised.
    """

    def __init__(self, address: str, *, timeout: float = 30.0, slack: float = 5.0) -> None:
        if not address.startswith("unix:///"):
            raise InvalidInput(
                f"cannot reach {address!r}", hint="only unix:///path addresses are supported"
            )
        self.path = Path(address.removeprefix("unix://"))
        self._timeout = timeout
        self._slack = slack  # how much longer than the server's own deadline we wait

    def call(
        self, method: str, request: Mapping[str, Any], *, timeout: float | None = None
    ) -> dict[str, Any]:
        """Call `package.Service/Method` and return its answer."""
        allowed = self._timeout if timeout is None else timeout
        headers = {TIMEOUT_HEADER: str(int(allowed * 1000))}
        with self._open(allowed + self._slack) as (connection, file), _under_way():
            _ask(connection, method, request, headers)
            return read_answer(file).message()

    def upload(
        self, method: str, query: str, source: BinaryIO, size: int, *, timeout: float = 300.0
    ) -> dict[str, Any]:
        """Send a file as the body of a call."""
        headers = {"Content-Type": "application/octet-stream"}
        with self._open(timeout) as (connection, file), _under_way():
            with suppress(ConnectionError):  # as in _ask
                connection.sendall(_head(f"{method}?{query}", size, headers))
                connection.sendfile(source)
            return read_answer(file).message()

    def stream(self, method: str, request: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """Call a streaming method and yield its messages until the server ends it.

        Raises Unavailable when the connection breaks, or is silent for long, before the end.
        """
        with self._open(self._timeout + self._slack) as (connection, file):
            try:
                with _under_way():
                    _ask(connection, method, request, {})
                    answer = read_answer(file)
            except OutcomeUnknown as error:
                # A stream only tells: one that never began has done nothing.
                raise Unavailable(f"the server at {self.path} went away") from error
            connection.settimeout(_SILENCE)
            try:
                for line in answer.lines():
                    message = json.loads(line)
                    if "error" in message and len(message) == 1:
                        raise error_from(message["error"])
                    if message:
                        yield message
            except (OSError, ValueError) as error:
                raise Unavailable(f"the server at {self.path} went away: {error}") from error

    @contextmanager
    def _open(self, timeout: float) -> Iterator[tuple[socket.socket, BufferedReader]]:
        """Yield a connection and what comes from it as a file."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(timeout)
            try:
                connection.connect(str(self.path))
            except (FileNotFoundError, ConnectionRefusedError) as error:
                raise Unavailable(
                    f"no server at {self.path}",
                    hint="start one with `miren server`, or name another with --server",
                ) from error
            except OSError as error:
                reason = error.strerror or error
                raise Unavailable(f"cannot reach {self.path}: {reason}") from error
            with connection.makefile("rb") as file:
                yield connection, file


def _ask(
    connection: socket.socket, method: str, request: Mapping[str, Any], headers: Mapping[str, str]
) -> None:
    body = json.dumps(request).encode()
    head = _head(method, len(body), {"Content-Type": "application/json", **headers})
    with suppress(ConnectionError):  # it may have refused without reading on: then it says why
        connection.sendall(head + body)


def _head(target: str, size: int, headers: Mapping[str, str]) -> bytes:
    lines = [f"POST /{target} HTTP/1.1", "Host: miren", f"Content-Length: {size}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "Connection: close", "", ""]).encode()


@contextmanager
def _under_way() -> Iterator[None]:
    """Say what a broken or silent connection means once a request has been sent."""
    try:
        yield
    except TimeoutError as error:
        raise OutcomeUnknown(
            "the server did not answer in time; what was asked may still happen",
            hint="look with `miren get` before you try again",
        ) from error
    except (OSError, ValueError) as error:
        raise OutcomeUnknown(
            "the server went away before it answered; what was asked may have happened",
            hint="look with `miren get` before you try again",
        ) from error
