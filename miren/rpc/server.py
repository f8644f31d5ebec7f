"""Serves services on a unix socket with aiohttp.

A service is a mapping from method names to handlers. A unary handler returns an object, a
streaming one yields objects; both get the request and the call. Errors of our tree travel with
their code; anything else is logged here and told to the client only as "internal".
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
import struct
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from aiohttp import web

from miren.base.errors import DeadlineExceeded, InvalidInput, MirenError, Unimplemented
from miren.rpc.wire import HTTP_STATUS, TIMEOUT_HEADER, error_to

__all__ = ["Call", "RpcServer", "Stream", "Unary", "Upload"]

log = logging.getLogger(__name__)

Message = Mapping[str, Any]

_LARGEST_REQUEST = 8 * 1024 * 1024
_LARGEST_UPLOAD = 8 * 1024 * 1024 * 1024
_DEFAULT_DEADLINE = 60.0
#: Longest a silent stream stays without a byte, so that both ends notice a dead peer.
_HEARTBEAT = 15.0
_UNIX_PATH_MAX = 107


@dataclass(frozen=True, slots=True)
class Call:
    """Who calls, as the kernel says: the peer's user id on the unix socket."""

    uid: int
    query: Mapping[str, str]
    body: AsyncIterator[bytes] | None = None


@dataclass(frozen=True, slots=True)
class Unary:
    """A method with one request and one answer."""

    handler: Callable[[Call, Message], Awaitable[Message]]


@dataclass(frozen=True, slots=True)
class Stream:
    """A method that answers with messages until it ends or the client goes."""

    handler: Callable[[Call, Message], AsyncIterator[Message]]


@dataclass(frozen=True, slots=True)
class Upload:
    """A method whose request is a file, `call.body`, and whose answer is one object."""

    handler: Callable[[Call], Awaitable[Message]]


Method = Unary | Stream | Upload


class RpcServer:
    """Serves `methods` (by `package.Service/Method`) at `path`, mode 0600, until it is left.

    Leaving it ends streams and lets unary calls finish for `grace` seconds.
    """

    def __init__(self, path: Path, methods: Mapping[str, Method], *, grace: float = 5.0) -> None:
        if len(os.fsencode(path)) > _UNIX_PATH_MAX:
            raise InvalidInput(
                f"{path} is {len(os.fsencode(path))} bytes long; a unix socket's path "
                f"has at most {_UNIX_PATH_MAX}",
                hint="set a shorter run_dir",
            )
        self._path = path
        self._methods = methods
        self._stopping = asyncio.Event()
        app = web.Application(client_max_size=_LARGEST_UPLOAD)
        app.router.add_post("/{service}/{method}", self._serve)
        app.router.add_get("/healthz", self._health)
        self._runner = web.AppRunner(
            app,
            handler_cancellation=True,  # a client that leaves ends its handler
            shutdown_timeout=grace,
            access_log=None,
        )

    async def __aenter__(self) -> Self:
        await self._runner.setup()
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._path.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        before = os.umask(0o177)  # the socket is born 0600: there is no moment of 0755
        try:
            listener.bind(str(self._path))
        finally:
            os.umask(before)
        await web.SockSite(self._runner, listener).start()
        return self

    async def __aexit__(self, *_exc: object) -> None:
        self._stopping.set()
        await self._runner.cleanup()
        self._path.unlink(missing_ok=True)

    async def _health(self, _request: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        name = f"{request.match_info['service']}/{request.match_info['method']}"
        try:
            match self._methods.get(name):
                case Unary(handler):
                    message = await _message(request)
                    async with asyncio.timeout(_deadline(request)):
                        return _json(await handler(_call(request), message))
                case Upload(handler=upload):
                    async with asyncio.timeout(_deadline(request, default=600.0)):
                        return _json(await upload(_call(request)))
                case Stream(handler=stream):
                    message = await _message(request)
                    return await self._stream(request, stream(_call(request), message))
            raise Unimplemented(f"no method {name}")
        except TimeoutError:
            return _refusal(DeadlineExceeded(f"{name} took too long"))
        except MirenError as error:
            return _refusal(error)
        except Exception as error:
            log.exception("call failed", extra={"method": name})
            return _refusal(MirenError(f"internal error in {name}: {type(error).__name__}"))

    async def _stream(
        self, request: web.Request, messages: AsyncIterator[Message]
    ) -> web.StreamResponse:
        """Send messages as lines. The first is awaited before the status line is sent."""
        response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
        response.enable_chunked_encoding()
        async with aclosing(_Feed(messages, self._stopping)) as feed:
            message = await feed.next()
            await response.prepare(request)
            try:
                while message is not None:
                    await response.write(_line(message))
                    message = await feed.next()
            except MirenError as error:
                await response.write(_line({"error": error_to(error)}))
            await response.write_eof()
        return response


class _Feed:
    """Messages one by one, with an empty one as heartbeat, until they or the server end."""

    def __init__(self, messages: AsyncIterator[Message], stopping: asyncio.Event) -> None:
        self._messages = messages
        self._stopping = asyncio.ensure_future(stopping.wait())
        self._coming: asyncio.Future[Message | None] | None = None

    async def next(self) -> Message | None:
        """Return the next message, `{}` when none came for a while, None at the end."""
        if self._coming is None:
            self._coming = asyncio.ensure_future(anext(self._messages, None))
        await asyncio.wait(
            (self._coming, self._stopping),
            timeout=_HEARTBEAT,
            return_when=asyncio.FIRST_COMPLETED,
        )
        if self._coming.done():
            coming, self._coming = self._coming, None
            return coming.result()
        return None if self._stopping.done() else {}

    async def aclose(self) -> None:
        """Stop reading and close the source, which may be in the middle of an await."""
        self._stopping.cancel()
        if self._coming is not None:
            self._coming.cancel()
            await asyncio.wait((self._coming,))
        if isinstance(self._messages, AsyncGenerator):
            await self._messages.aclose()


def _call(request: web.Request) -> Call:
    transport = request.transport
    peer = transport.get_extra_info("socket") if transport is not None else None
    uid = -1
    if peer is not None and peer.family == socket.AF_UNIX:
        size = struct.calcsize("3i")
        _pid, uid, _gid = struct.unpack(
            "3i", peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
        )
    return Call(uid, request.query, request.content.iter_chunked(1 << 20))


async def _message(request: web.Request) -> dict[str, Any]:
    if (request.content_length or 0) > _LARGEST_REQUEST:
        raise InvalidInput(f"a request has at most {_LARGEST_REQUEST >> 20} MiB")
    body = await request.read()
    try:
        message = json.loads(body or b"{}")
    except ValueError as error:
        raise InvalidInput(f"the request is not JSON: {error}") from None
    if not isinstance(message, dict):
        raise InvalidInput("the request must be a JSON object")
    return message


def _deadline(request: web.Request, default: float = _DEFAULT_DEADLINE) -> float:
    text = request.headers.get(TIMEOUT_HEADER)
    if text is None:
        return default
    if not text.isdecimal():
        raise InvalidInput(f"{TIMEOUT_HEADER} must be milliseconds, not {text!r}")
    return int(text) / 1000


def _line(message: Message) -> bytes:
    return json.dumps(message, separators=(",", ":")).encode() + b"\n"


def _json(message: Message) -> web.Response:
    return web.json_response(dict(message))


def _refusal(error: MirenError) -> web.Response:
    return web.json_response(error_to(error), status=HTTP_STATUS.get(error.code, 500))
