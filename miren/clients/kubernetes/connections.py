"""A pool of kept-open HTTP/1.1 connections for requests with an answer each.

A reconcile is one small PATCH, and there are thousands of them: what a general HTTP client does
around each (cookies, redirects, streams of the body) costs three times what the request itself
does. So requests are put together and answers taken apart here, as far as an API server goes:
bodies by length, in chunks, or until the end. Whoever needs more (a proxy, say) gives the client
an aiohttp session.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from typing import cast
from urllib.parse import urlsplit

from miren.base.errors import MirenError, OutcomeUnknown, Unavailable
from miren.clients.kubernetes.answers import Answer
from miren.clients.kubernetes.parsing import Malformed, Parser

__all__ = ["Pool"]

_OPEN = 64
_CONNECT = 10.0
_IDLE = 50.0  # seconds; servers and what is between let go of idle connections after a minute


class Broken(Exception):
    """The connection ended before the answer did."""


class Connection(asyncio.Protocol):
    """One connection. `exchange` is used by one at a time."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.is_open = True
        self.idle_since = 0.0
        self._loop = loop
        self._parser = Parser()
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[Answer] | None = None

    async def exchange(self, request: bytes, latest: float) -> Answer:
        """Send a request and return its answer, until the loop's time is `latest`.

        Raises TimeoutError, Broken, or Malformed; then, and when it is cancelled, the connection
        is closed.
        """
        if self._transport is None or not self.is_open:
            raise Broken("closed before the request")
        answer: asyncio.Future[Answer] = self._loop.create_future()
        self._answer = answer
        self._transport.write(request)
        timer = self._loop.call_at(latest, self._fail, TimeoutError())
        try:
            return await answer
        finally:
            timer.cancel()
            self._answer = None
            if answer.cancelled() or answer.exception() is not None:
                self.close()

    def close(self) -> None:
        """End the connection at once."""
        self.is_open = False
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio.Protocol."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is one by its methods

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        if self._answer is None or self._answer.done():
            self.close()  # an answer that nobody asked for: nothing here can be trusted
            return
        try:
            answer = self._parser.feed(data)
        except Malformed as error:
            self._fail(error)
            return
        if answer is not None:
            self.is_open = self.is_open and not self._parser.closes
            self._finish(answer)

    def eof_received(self) -> None:
        """See asyncio.Protocol."""
        self.is_open = False
        answer = self._parser.end()
        if answer is not None:
            self._finish(answer)

    def connection_lost(self, error: Exception | None) -> None:
        """See asyncio.Protocol."""
        self.is_open = False
        self._fail(Broken(str(error or "closed by the other side")))

    def _finish(self, answer: Answer) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(answer)

    def _fail(self, error: Exception) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error)


class Pool:
    """The connections to one API. `base` is its URL, `context` how it is trusted."""

    def __init__(self, base: str, context: ssl.SSLContext | None) -> None:
        parts = urlsplit(base)
        self.base = base
        self._secure = parts.scheme == "https"
        self._host = parts.hostname or "localhost"
        self._port = parts.port or (443 if self._secure else 80)
        self._context = context
        self._lines = f" HTTP/1.1\r\nHost: {parts.netloc.rpartition('@')[2]}\r\n".encode()
        self._path = parts.path.rstrip("/").encode()
        self._idle: list[Connection] = []
        self._open = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._is_closed = False

    async def request(
        self, method: str, target: str, headers: bytes, body: bytes, *, timeout: float
    ) -> Answer:
        """Return the answer; `headers` are whole lines. All of it takes `timeout` seconds at most.

        Raises Unavailable, or OutcomeUnknown for anything but a GET that may have been done.
        """
        length = b"Content-Length: %d\r\n\r\n" % len(body)
        path = method.encode() + b" " + self._path + target.encode()
        latest = asyncio.get_running_loop().time() + timeout
        connection = await self._take(latest)
        try:
            return await connection.exchange(
                b"".join((path, self._lines, headers, length, body)), latest
            )
        except TimeoutError as error:
            told = f"{self.base} gave no answer in {timeout:g} s"
            raise self._lost(method, told) from error
        except (Broken, Malformed) as error:
            raise self._lost(method, f"{self.base}: {error}") from error
        finally:
            self._give(connection)

    def close(self) -> None:
        """End what is idle at once, and what is at work when that is done."""
        self._is_closed = True
        while self._idle:
            self._idle.pop().close()

    def _lost(self, method: str, told: str) -> MirenError:
        return Unavailable(told) if method == "GET" else OutcomeUnknown(told)

    async def _take(self, latest: float) -> Connection:
        """Return an open connection: the one used last, a new one, or the next that is free."""
        loop = asyncio.get_running_loop()
        while True:
            while self._idle:
                connection = self._idle.pop()
                if connection.is_open and loop.time() - connection.idle_since < _IDLE:
                    return connection
                connection.close()
                self._open -= 1
            if self._open < _OPEN:
                return await self._connect(loop, latest)
            await self._turn(loop, latest)

    async def _turn(self, loop: asyncio.AbstractEventLoop, latest: float) -> None:
        """Wait until a connection may be free."""
        turn: asyncio.Future[None] = loop.create_future()
        self._waiting.append(turn)
        try:
            async with asyncio.timeout_at(latest):
                await turn
        except BaseException as error:
            if not turn.cancelled():
                self._wake()  # the turn had come already: somebody else takes it
            elif turn in self._waiting:
                self._waiting.remove(turn)
            if isinstance(error, TimeoutError):
                told = f"{self.base} has {_OPEN} requests to answer, and no time for this one"
                raise Unavailable(told) from error
            raise

    async def _connect(self, loop: asyncio.AbstractEventLoop, latest: float) -> Connection:
        self._open += 1
        try:
            if self._secure and self._context is None:
                self._context = ssl.create_default_context()
            async with asyncio.timeout_at(min(latest, loop.time() + _CONNECT)):
                _, connection = await loop.create_connection(
                    lambda: Connection(loop),
                    self._host,
                    self._port,
                    ssl=self._context if self._secure else None,
                )
            if not connection.is_open:
                raise ConnectionResetError("it hung up at once")
        except BaseException as error:
            self._open -= 1
            self._wake()
            if isinstance(error, OSError):  # TimeoutError and what TLS says are such
                told = f"{self.base} cannot be reached: {error or type(error).__name__}"
                raise Unavailable(told, hint="is this the right address?") from error
            raise
        return connection

    def _give(self, connection: Connection) -> None:
        if connection.is_open and not self._is_closed:
            connection.idle_since = asyncio.get_running_loop().time()
            self._idle.append(connection)
        else:
            connection.close()
            self._open -= 1
        self._wake()

    def _wake(self) -> None:
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
