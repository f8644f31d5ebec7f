"""What an HTTP request says, checked: its message, its deadline, who sent it."""

from __future__ import annotations

import socket
import struct
from collections.abc import AsyncIterator
from typing import Any

import orjson
from aiohttp import web

from miren.base.errors import InvalidInput
from miren.base.nesting import MAX_DEPTH, is_deeper
from miren.rpc.wire import TIMEOUT_HEADER

__all__ = ["body_of", "deadline_of", "message_of", "uid_of"]

_LARGEST_MESSAGE = 8 * 1024 * 1024
_LARGEST_UPLOAD = 8 * 1024 * 1024 * 1024
_DEEPEST = MAX_DEPTH + 4  # a document lies inside the request
_BLOCK = 1024 * 1024
_MOST_DIGITS = 10  # of a timeout, as the Connect protocol says


async def message_of(request: web.Request) -> dict[str, Any]:
    """Return the JSON object in the body; nothing at all is an empty one."""
    body = b"".join([block async for block in _blocks(request, _LARGEST_MESSAGE)])
    try:
        # Stricter than the standard library: no NaN, no half characters, bounded nesting.
        message = orjson.loads(body or b"{}")
    except orjson.JSONDecodeError as error:
        raise InvalidInput(f"the request is not JSON: {error}") from None
    if not isinstance(message, dict):
        raise InvalidInput("the request must be a JSON object")
    if body.count(b"[") + body.count(b"{") > _DEEPEST and is_deeper(message, _DEEPEST):
        raise InvalidInput(f"the request is nested more than {_DEEPEST} levels deep")
    return message


def body_of(request: web.Request) -> AsyncIterator[bytes]:
    """Yield the body of an upload as it comes; raise InvalidInput when it is too large."""
    return _blocks(request, _LARGEST_UPLOAD)


def deadline_of(request: web.Request, default: float | None) -> float | None:
    """Return the seconds that the caller gives the call."""
    text = request.headers.get(TIMEOUT_HEADER)
    if text is None:
        return default
    if not text.isdecimal() or len(text) > _MOST_DIGITS:
        raise InvalidInput(f"{TIMEOUT_HEADER} must be milliseconds, not {text!r}")
    return int(text) / 1000


def uid_of(request: web.Request) -> int:
    """Return the user id of the process at the other end of the unix socket, or -1."""
    transport = request.transport
    peer = transport.get_extra_info("socket") if transport is not None else None
    if peer is None or peer.family != socket.AF_UNIX:
        return -1
    size = struct.calcsize("3i")
    credentials = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
    _pid, uid, _gid = struct.unpack("3i", credentials)
    return int(uid)


async def _blocks(request: web.Request, most: int) -> AsyncIterator[bytes]:
    # A length can be left out, so what comes is counted too.
    count = request.content_length or 0
    if count <= most:
        count = 0
        async for block in request.content.iter_chunked(_BLOCK):
            count += len(block)
            if count > most:
                break
            yield block
    if count > most:
        raise InvalidInput(f"a request has at most {most >> 20} MiB")
