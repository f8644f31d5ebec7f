"""HTTP/1.1 responses read from a blocking file: as much of RFC 9112 as our server speaks."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from io import BufferedReader
from typing import Any

from miren.base.errors import MirenError
from miren.rpc.wire import error_from

__all__ = ["Answer", "read_answer"]


class Answer:
    """The body of a response, chunked (RFC 9112, 7.1) or with a length.

    Reading raises ConnectionError when it ends too early, ValueError when it is malformed.
    """

    def __init__(self, file: BufferedReader, headers: Mapping[str, str]) -> None:
        self._file = file
        self._is_chunked = headers.get("transfer-encoding") == "chunked"
        self._length = int(headers.get("content-length", 0))

    def message(self) -> dict[str, Any]:
        """Return the body, a JSON object."""
        value = json.loads(b"".join(self._blocks()))
        if not isinstance(value, dict):
            raise ValueError("the answer is not a JSON object")  # noqa: TRY004  # as bad JSON
        return value

    def lines(self) -> Iterator[bytes]:
        """Yield the body line by line as it comes."""
        rest = b""
        for block in self._blocks():
            *lines, rest = (rest + block).split(b"\n")
            yield from (line for line in lines if line)
        if rest:
            yield rest

    def _blocks(self) -> Iterator[bytes]:
        if not self._is_chunked:
            yield self._exactly(self._length)
            return
        while size := int(self._file.readline().split(b";")[0] or b"-1", 16):
            if size < 0:
                raise ConnectionError("the connection was closed")
            yield self._exactly(size)
            self._file.readline()

    def _exactly(self, size: int) -> bytes:
        data = self._file.read(size)
        if len(data) < size:
            raise ConnectionError("the connection was closed")
        return data


def read_answer(file: BufferedReader) -> Answer:
    """Read the head of the response; raise the error it carries, if it carries one."""
    status = file.readline().split()
    headers: dict[str, str] = {}
    while line := file.readline().rstrip(b"\n"):
        if line == b"\r":
            break
        name, _, value = line.decode("latin-1").partition(":")
        headers[name.lower()] = value.strip().lower()
    if len(status) < 2 or line != b"\r":
        raise ConnectionError("the connection was closed")
    answer = Answer(file, headers)
    if status[1] == b"200":
        return answer
    if headers.get("content-type", "").startswith("application/json"):
        raise error_from(answer.message())
    raise MirenError(f"the server answered HTTP {status[1].decode('latin-1')}")
