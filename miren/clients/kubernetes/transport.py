"""HTTP to the API: requests with an answer each, and streams of lines. Knows no kinds.

Every request has a deadline. What went wrong on the way is Unavailable, or OutcomeUnknown for a
write that may have been carried out. Connections are kept open and used again.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Self
from urllib.parse import urlsplit

import aiohttp
from yarl import URL

from miren.base.errors import (
    InvalidInput,
    MirenError,
    OutcomeUnknown,
    Refused,
    Unavailable,
)
from miren.clients.kubernetes.answers import Answer, error_of
from miren.clients.kubernetes.connections import Pool
from miren.clients.kubernetes.credentials import Credentials

__all__ = ["APPLY", "JSON", "JSON_PATCH", "MERGE_PATCH", "Transport"]

JSON = "application/json"
MERGE_PATCH = "application/merge-patch+json"
JSON_PATCH = "application/json-patch+json"
APPLY = "application/apply-patch+yaml"  # JSON is YAML

_BUFFER = 2**18
_MUCH, _MOST = 2**16, 2**22
_CONNECT = 10.0
_CLOSED = "use the client within `async with`"
_HEADERS = {
    each: f"Accept: {JSON}\r\nContent-Type: {each}\r\n".encode()
    for each in (JSON, MERGE_PATCH, JSON_PATCH, APPLY)
}


class Transport:
    """The way to one API, within `async with`. `timeout` seconds are a request's deadline.

    Requests and watches go by a `session` that is given; without one, requests go by connections
    of our own, which cost less.
    """

    def __init__(
        self,
        credentials: Credentials,
        *,
        session: aiohttp.ClientSession | None = None,
        timeout: float = 30.0,
    ) -> None:
        self._base = credentials.url.rstrip("/")
        if "@" in urlsplit(self._base).netloc:
            # It would stand in errors and logs, too.
            raise InvalidInput("the address of an API holds no user", hint="give a token")
        self._token = credentials.token
        self._ssl: ssl.SSLContext | bool = credentials.ssl or True
        self._given = session
        self._session: aiohttp.ClientSession | None = None
        self._pool: Pool | None = None
        self._context = credentials.ssl
        self._timeout = timeout
        # Only connecting has a limit here: a stream may last, and a request has its deadline.
        self._limits = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT)

    async def __aenter__(self) -> Self:
        self._pool = Pool(self._base, self._context)
        self._session = self._given or aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=("Accept-Encoding", "Content-Type"),
            read_bufsize=_BUFFER,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        session, self._session = self._session, None
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.close()
        if session is not None and session is not self._given:
            await session.close()

    async def request(
        self, method: str, target: str, body: bytes = b"", *, content_type: str = JSON
    ) -> Answer:
        """Return the answer, whatever it says.

        Raises Unavailable, or OutcomeUnknown for a write that may have been carried out.
        """
        if self._given is not None:
            return await self._by_session(method, target, body, content_type)
        if self._pool is None:
            raise RuntimeError(_CLOSED)
        headers = _HEADERS[content_type]
        if self._token is not None:
            headers = b"%bAuthorization: %b\r\n" % (headers, _bearer(self._token).encode())
        return await self._pool.request(method, target, headers, body, timeout=self._timeout)

    async def _by_session(
        self, method: str, target: str, body: bytes, content_type: str
    ) -> Answer:
        writes = method != "GET"
        try:
            async with (
                asyncio.timeout(self._timeout),
                self._open(method, target, body, content_type) as response,
            ):
                return Answer(response.status, await response.read())
        except aiohttp.ClientConnectorError as error:
            raise _unreachable(self._base, error) from error
        except TimeoutError as error:
            kind = OutcomeUnknown if writes else Unavailable
            raise kind(f"{self._base} gave no answer in {self._timeout:g} s") from error
        except (aiohttp.ClientError, OSError) as error:
            raise _broken(self._base, error, writes=writes) from error

    @asynccontextmanager
    async def stream(
        self, target: str, *, about: str, idle: float
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """Give what comes, piece by piece, until the API ends it or is silent for `idle` s.

        Raises what the API's refusal means, Unavailable when the connection breaks.
        """
        try:
            # Once it has begun, `idle` is the deadline.
            async with asyncio.timeout(self._timeout):
                response = await self._open("GET", target, b"", JSON)
                if response.status != 200:
                    async with response:
                        answer = Answer(response.status, await response.read())
                    raise error_of(answer, about=about)
            async with response:
                yield _pieces(response.content, idle)
        except aiohttp.ClientConnectorError as error:
            raise _unreachable(self._base, error) from error
        except TimeoutError as error:
            raise Unavailable(f"{self._base} gave no answer in {self._timeout:g} s") from error
        except (aiohttp.ClientError, OSError) as error:
            raise _broken(self._base, error, writes=False) from error

    def _open(
        self, method: str, target: str, body: bytes, content_type: str
    ) -> aiohttp.client._RequestContextManager:
        if self._session is None:
            raise RuntimeError(_CLOSED)
        return self._session.request(
            method,
            URL(self._base + target, encoded=True),
            data=body or None,
            headers=self._headers(content_type),
            ssl=self._ssl,
            allow_redirects=False,
            timeout=self._limits,
        )

    def _headers(self, content_type: str) -> Mapping[str, str]:
        headers = {"Content-Type": content_type, "Accept": JSON}
        if self._token is not None:
            headers["Authorization"] = _bearer(self._token)
        return headers


def _bearer(token: Callable[[], str]) -> str:
    """Return the header's value; raise Refused for a token that would be more than that."""
    text = token().strip()
    if not text.isascii() or not text.isprintable() or " " in text:
        raise Refused("the token for the API is no token", hint="it is one line of ASCII")
    return f"Bearer {text}"


async def _pieces(content: aiohttp.StreamReader, idle: float) -> AsyncIterator[bytes]:
    while True:
        try:
            async with asyncio.timeout(idle):
                piece = await content.readany()
        except TimeoutError:
            return  # a connection that died in silence looks like this: a new one is cheap
        if not piece:
            return
        if len(piece) >= _MUCH:
            piece = await _with_rest(content, piece)
        yield piece


async def _with_rest(content: aiohttp.StreamReader, piece: bytes) -> bytes:
    """Return a piece with what comes behind it without waiting, where there is a backlog."""
    pieces, size = [piece], len(piece)
    while size < _MOST:
        for _ in range(2):  # the first time the loop only learns that there is more
            await asyncio.sleep(0)
        piece = content.read_nowait()
        if not piece:
            break
        pieces.append(piece)
        size += len(piece)
    return b"".join(pieces)


def _unreachable(base: str, error: aiohttp.ClientConnectorError) -> MirenError:
    return Unavailable(f"{base} cannot be reached: {error}", hint="is this the right address?")


def _broken(base: str, error: Exception, *, writes: bool) -> MirenError:
    kind = OutcomeUnknown if writes else Unavailable
    return kind(f"{base}: the connection broke: {error or type(error).__name__}")
