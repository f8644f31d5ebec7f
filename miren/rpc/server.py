"""Serves services on a unix socket with aiohttp.

A service is a mapping from method names to handlers. A unary handler returns an object, a
streaming one yields objects; both get the request and the call. Errors of our tree travel with
their code; anything else is logged here and told to the client only as "internal".
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self

import orjson
from aiohttp import ClientConnectionResetError, web

from miren.base.errors import (
    DeadlineExceeded,
    InvalidInput,
    MirenError,
    OutcomeUnknown,
    Refused,
    Unavailable,
    Unimplemented,
)
from miren.rpc.feeding import Feed
from miren.rpc.requests import body_of, deadline_of, message_of, uid_of
from miren.rpc.wire import HEARTBEAT, HTTP_STATUS, error_to

__all__ = ["Call", "Page", "RpcServer", "Stream", "Text", "Unary", "Upload"]

log = logging.getLogger(__name__)

Message = Mapping[str, Any]

_DEADLINE = 60.0
_UPLOAD_DEADLINE = 600.0
_UNIX_PATH_MAX = 107
#: Connections that wait to be accepted. One more fails at once, it does not wait (unix(7)).
_BACKLOG = 1024


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


@dataclass(frozen=True, slots=True)
class Text:
    """What a page answers."""

    body: str
    status: int = 200
    type: str = "text/plain; charset=utf-8"


#: Answers GET, given the query, for callers that speak no RPC: probes, say, or Prometheus.
Page = Callable[[Mapping[str, str]], Awaitable[Text]]


class RpcServer:
    """Serves `methods` (by `package.Service/Method`) at `path`, mode 0600, until it is left.

    `pages` are answered to GET, by path; unless one of them does, `/healthz` says "ok".

    Entering raises Refused when another server listens there. Leaving ends streams, and lets
    calls in work finish for `grace` seconds; after that they are told that nobody knows how
    they ended.
    """

    def __init__(
        self,
        path: Path,
        methods: Mapping[str, Method],
        *,
        pages: Mapping[str, Page] = MappingProxyType({}),
        grace: float = 1.5,
        heartbeat: float = HEARTBEAT,
    ) -> None:
        if len(os.fsencode(path)) > _UNIX_PATH_MAX:
            raise InvalidInput(
                f"{path} is {len(os.fsencode(path))} bytes long; a unix socket's path "
                f"has at most {_UNIX_PATH_MAX}",
                hint="set a shorter run_dir",
            )
        self._path = path
        self._methods = methods
        self._grace = grace
        self._heartbeat = heartbeat
        self._stopping = asyncio.Event()
        self._in_work: set[asyncio.Timeout] = set()
        app = web.Application()
        for page, handler in {"/healthz": _ok, **pages}.items():
            app.router.add_get(page, partial(self._show, handler))
        app.router.add_post("/{service}/{method}", self._serve)
        app.router.add_route("*", "/{rest:.*}", self._refuse)
        self._runner = web.AppRunner(
            app,
            handler_cancellation=True,  # a client that leaves ends its handler
            shutdown_timeout=grace + 0.5,  # past the deadlines set in __aexit__
            access_log=None,
        )

    async def __aenter__(self) -> Self:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        _refuse_taken(self._path)
        await self._runner.setup()
        self._path.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        before = os.umask(0o177)  # the socket is born 0600: there is no moment of 0755
        try:
            listener.bind(str(self._path))
        finally:
            os.umask(before)
        await web.SockSite(self._runner, listener, backlog=_BACKLOG).start()
        return self

    async def __aexit__(self, *_exc: object) -> None:
        self._stopping.set()
        latest = asyncio.get_running_loop().time() + self._grace
        for deadline in self._in_work:
            if deadline.expired():
                continue
            when = deadline.when()
            deadline.reschedule(latest if when is None else min(when, latest))
        await self._runner.cleanup()
        self._path.unlink(missing_ok=True)

    async def _show(self, page: Page, request: web.Request) -> web.Response:
        try:
            async with self._deadline(request, request.path, _DEADLINE):
                text = await page(request.query)
        except MirenError as error:
            return _refusal(error)
        except Exception as error:
            return _refusal(_internal(request.path, error))
        return web.Response(
            body=text.body.encode(), status=text.status, headers={"Content-Type": text.type}
        )

    async def _refuse(self, request: web.Request) -> web.Response:
        hint = "a call is POST /<package.Service>/<Method>"
        return _refusal(Unimplemented(f"nothing at {request.method} {request.path}", hint=hint))

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        name = f"{request.match_info['service']}/{request.match_info['method']}"
        try:
            if self._stopping.is_set():
                raise Unavailable("the server is stopping")
            match self._methods.get(name):
                case Unary(handler):
                    async with self._deadline(request, name, _DEADLINE):
                        message = await message_of(request)
                        return _json(await handler(_call(request), message))
                case Upload(handler=upload):
                    async with self._deadline(request, name, _UPLOAD_DEADLINE):
                        return _json(await upload(_call(request)))
                case Stream(handler=stream):
                    async with self._deadline(request, name, _DEADLINE):
                        message = await message_of(request)
                    return await self._stream(request, name, stream(_call(request), message))
            raise Unimplemented(f"no method {name}")
        except MirenError as error:
            return _refusal(error)
        except Exception as error:
            return _refusal(_internal(name, error))

    async def _stream(
        self, request: web.Request, name: str, messages: AsyncIterator[Message]
    ) -> web.StreamResponse:
        """Send messages as lines. The first is awaited before the status line is sent."""
        response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
        response.enable_chunked_encoding()
        timeout = deadline_of(request, None)
        feeding = Feed(messages, self._stopping, timeout=timeout, heartbeat=self._heartbeat)
        async with aclosing(feeding) as feed:
            message = await feed.next()
            try:
                await response.prepare(request)
                await _copy(message, feed, response, name)
                await response.write_eof()
            except ClientConnectionResetError:
                log.debug("client left", extra={"method": name})
        return response

    @asynccontextmanager
    async def _deadline(
        self, request: web.Request, name: str, default: float
    ) -> AsyncIterator[None]:
        """Bound the body by the caller's deadline, and by ours once the server stops."""
        deadline = asyncio.timeout(deadline_of(request, default))
        self._in_work.add(deadline)
        try:
            async with deadline:
                yield
        except TimeoutError:
            if not deadline.expired():
                raise  # the handler's own, which it should have explained
            if self._stopping.is_set():
                raise OutcomeUnknown(f"the server stopped before {name} was done") from None
            raise DeadlineExceeded(f"{name} took too long") from None
        finally:
            self._in_work.discard(deadline)


async def _copy(
    message: Message | None, feed: Feed, response: web.StreamResponse, name: str
) -> None:
    """Write messages as lines; an error is the last one, since the status line is gone."""
    try:
        while message is not None:
            await response.write(_line(message))
            message = await feed.next()
    except ClientConnectionResetError:
        raise
    except MirenError as error:
        await response.write(_line({"error": error_to(error)}))
    except Exception as error:
        await response.write(_line({"error": error_to(_internal(name, error))}))


async def _ok(_query: Mapping[str, str]) -> Text:
    return Text("ok\n")


def _line(message: Message) -> bytes:
    return orjson.dumps(message) + b"\n"


def _internal(name: str, error: Exception) -> MirenError:
    log.error("call failed", extra={"method": name}, exc_info=error)
    return MirenError(f"internal error in {name}: {type(error).__name__}")


def _refuse_taken(path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(path))
        except (FileNotFoundError, ConnectionRefusedError):
            return
        except TimeoutError:
            pass  # somebody listens, and is busy
    raise Refused(
        f"another server listens at {path}", hint="stop it, or give this one another run_dir"
    )


def _call(request: web.Request) -> Call:
    return Call(uid_of(request), request.query, body_of(request))


def _json(message: Message, status: int = 200) -> web.Response:
    body = orjson.dumps(message)
    return web.Response(body=body, status=status, content_type="application/json")


def _refusal(error: MirenError) -> web.Response:
    return _json(error_to(error), status=HTTP_STATUS.get(error.code, 500))
