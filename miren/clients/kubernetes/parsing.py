"""HTTP/1.1 answers out of bytes, without I/O."""

from __future__ import annotations

import re

from miren.clients.kubernetes.answers import Answer

__all__ = ["Malformed", "Parser"]

_MOST = 65536  # bytes of a head, of the size of a chunk, of a trailer
_DIGITS = 18  # of a length
_SIZE = re.compile(rb"[0-9a-f]{1,16}", re.IGNORECASE)


class Malformed(Exception):
    """What came is no HTTP/1.1 answer."""


class Parser:
    """Takes one answer after the other apart. `closes`: the last one is the connection's last."""

    def __init__(self) -> None:
        self.closes = False
        self._bytes = bytearray()
        self._code = 0  # of the answer whose body is being read, 0 in its head
        self._length: int | None = None  # of the body; None: in chunks, or until the end
        self._chunks: list[bytes] | None = None

    def feed(self, data: bytes) -> Answer | None:
        """Take bytes; return the answer once it is whole. Raises Malformed."""
        self._bytes += data
        if not self._code and not self._head():
            return None
        if self._length is not None:
            if len(self._bytes) < self._length:
                return None
            body = bytes(self._bytes[: self._length])
            del self._bytes[: self._length]
            return self._done(body)
        if self._chunks is not None:
            return self._done(b"".join(self._chunks)) if self._all_chunks(self._chunks) else None
        return None

    def end(self) -> Answer | None:
        """Take the end of the connection; return the answer that it completes."""
        if self._code and self._length is None and self._chunks is None:
            body = bytes(self._bytes)
            self._bytes.clear()
            return self._done(body)
        return None

    def _done(self, body: bytes) -> Answer:
        answer = Answer(self._code, body)
        self._code = 0
        # Nobody has asked for more: it would be taken for the answer to the next request.
        self.closes = self.closes or bool(self._bytes)
        return answer

    def _head(self) -> bool:
        """Read a head; return whether it has come."""
        while True:
            end = self._bytes.find(b"\r\n\r\n")
            if end < 0:
                if len(self._bytes) > _MOST:
                    raise Malformed("the head of the answer has no end")
                return False
            head = bytes(self._bytes[: end + 2]).lower()
            del self._bytes[: end + 4]
            if head[:7] != b"http/1." or not head[9:12].isdigit():
                raise Malformed(f"no HTTP: {head[:40]!r}")
            code = int(head[9:12])
            if code >= 200:  # what comes before is no answer yet
                break
        self._code = code
        self.closes = _value(head, b"connection") == b"close" or head[7:8] == b"0"
        self._chunks, self._length = None, None
        if code in (204, 304):
            self._length = 0
        elif _value(head, b"transfer-encoding") == b"chunked":
            self._chunks = []
        else:
            self._length = _length_in(head)
            self.closes = self.closes or self._length is None
        return True

    def _all_chunks(self, chunks: list[bytes]) -> bool:
        """Move what has come to `chunks`; return whether that is all."""
        held, at = self._bytes, 0
        while (line := held.find(b"\r\n", at)) >= 0:
            text = held[at:line].partition(b";")[0].strip()
            if not _SIZE.fullmatch(text):
                raise Malformed(f"no size of a chunk: {bytes(text)[:40]!r}")
            size = int(text, 16)
            if size == 0:
                del held[:at]
                return self._trailer(line - at)
            end = line + 2 + size
            if len(held) < end + 2:
                break
            if held[end : end + 2] != b"\r\n":
                raise Malformed("a chunk is longer than its size")
            chunks.append(bytes(held[line + 2 : end]))
            at = end + 2
        del held[:at]
        if line < 0 and len(held) > _MOST:
            raise Malformed("the size of a chunk has no end")
        return False

    def _trailer(self, line: int) -> bool:
        """Pass over what may come after the last chunk, whose line ends at `line`."""
        if self._bytes[line : line + 4] == b"\r\n\r\n":
            end = line + 4
        else:
            end = self._bytes.find(b"\r\n\r\n", line + 2) + 4
            if end < 4:
                if len(self._bytes) > _MOST:
                    raise Malformed("the trailer of the answer has no end")
                return False
        del self._bytes[:end]
        return True


def _length_in(head: bytes) -> int | None:
    text = _value(head, b"content-length")
    if text is None:
        return None
    if not text.isdigit() or len(text) > _DIGITS:
        raise Malformed(f"no content length: {text[:40]!r}")
    return int(text)


def _value(head: bytes, name: bytes) -> bytes | None:
    """Return the value of a header, the first one of that name."""
    start = b"\r\n%b:" % name
    at = head.find(start)
    return None if at < 0 else head[at + len(start) : head.index(b"\r\n", at + 2)].strip()
