"""The way to one server: calls with an answer each, and streams of messages. Knows no entities.

It tells what went wrong on the way in the words of a store: Unavailable when surely nothing was
done, and for what only reads; OutcomeUnknown when a write was sent and no answer came. It also
knows which store the server last answered from: requests name it, so that nothing that was read
from one store is ever written into, or followed in, another.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from io import BytesIO
from typing import Any, Self

import aiohttp
import orjson

from miren.base.errors import (
    DeadlineExceeded,
    InvalidInput,
    MirenError,
    OutcomeUnknown,
    StoreReset,
    Unavailable,
)
from miren.rpc.wire import HEARTBEAT, TIMEOUT_HEADER, error_from

__all__ = ["Link", "Message"]

Message = Mapping[str, Any]

#: A stream without even a heartbeat for this long has lost its server.
_SILENCE = 4 * HEARTBEAT
_CONNECT = 10.0
_SLACK = 5.0  # how much longer than the server's own deadline we wait
_AT_ONCE = 100  # calls; each has a connection, of which a process has no end either
_PIECE = 2**20
_SCHEME = "unix://"


class Link:
    """Connections to the server at `address`, `unix:///path/to/socket`, within `async with`.

    `timeout` seconds are the deadline of a call. `store` is the uuid of the store that answered
    last, empty while that is unknown.
    """

    def __init__(self, address: str, *, timeout: float = 30.0) -> None:
        if not address.startswith(f"{_SCHEME}/"):
            raise InvalidInput(
                f"cannot reach {address!r}", hint="only unix:///path addresses are supported"
            )
        self.store = ""
        self._path = address.removeprefix(_SCHEME)
        self._timeout = timeout
        self._session: aiohttp.ClientSession | None = None
        self._turns = asyncio.Semaphore(_AT_ONCE)

    async def __aenter__(self) -> Self:
        self._turns = asyncio.Semaphore(_AT_ONCE)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.UnixConnector(self._path, limit=0),
            cookie_jar=aiohttp.DummyCookieJar(),
            read_bufsize=2**18,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def read(self, method: str, request: Message, *, rests: bool = False) -> Message:
        """Return the answer of a call that changes nothing; raise Unavailable without one.

        One that `rests` on what was read before raises StoreReset from another store.
        """
        try:
            return await self._call(method, request, store=self.store if rests else "")
        except (OutcomeUnknown, DeadlineExceeded) as error:
            raise Unavailable(error.message) from error

    async def write(self, method: str, request: Message) -> Message:
        """Return the answer of a call; raise OutcomeUnknown when it was sent and none came."""
        try:
            return await self._call(method, request, store=self.store)
        except DeadlineExceeded as error:
            raise OutcomeUnknown(error.message, hint="read, then decide") from error

    @asynccontextmanager
    async def stream(
        self, method: str, request: Message, *, store: str
    ) -> AsyncIterator[AsyncIterator[Message]]:
        """Give the messages of a stream that rests on `store`, whose first one names that.

        Heartbeats are left out. Raises Unavailable when the connection breaks, or is silent for
        long. It ends where the server ends it.
        """
        limits = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT, sock_read=_SILENCE)
        try:
            with self._told():
                async with self._post(method, {**request, "store": store}, {}, limits) as response:
                    if response.status != 200:
                        raise _refusal(response.status, await response.read())
                    yield self._messages(response.content)
        except OutcomeUnknown as error:  # a stream only tells: one that broke has done nothing
            raise Unavailable(error.message) from error

    async def _call(self, method: str, request: Message, *, store: str) -> Message:
        async with self._turn() as left:
            headers = {TIMEOUT_HEADER: str(int(left * 1000))}
            limits = aiohttp.ClientTimeout(total=left + _SLACK, sock_connect=_CONNECT)
            body = {**request, "store": store}
            with self._told():
                async with self._post(method, body, headers, limits) as response:
                    content = await response.read()
                    if response.status != 200:
                        raise _refusal(response.status, content)
                return self._heard(_object(content))

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[float]:
        """Wait until few enough calls are under way, and give the seconds left for this one."""
        clock = asyncio.get_running_loop().time
        latest = clock() + self._timeout
        try:
            async with asyncio.timeout_at(latest):
                await self._turns.acquire()
        except TimeoutError as error:
            told = f"the server at {self._path} has {_AT_ONCE} calls to answer before this one"
            raise Unavailable(told) from error
        try:
            yield max(latest - clock(), 0.001)
        finally:
            self._turns.release()

    def _post(
        self,
        method: str,
        body: Message,
        headers: Mapping[str, str],
        limits: aiohttp.ClientTimeout,
    ) -> aiohttp.client._RequestContextManager:
        if self._session is None:
            raise RuntimeError("use the client within `async with`")
        return self._session.post(
            f"http://server/{method}",
            data=_body(body),
            headers={"Content-Type": "application/json", **headers},
            timeout=limits,
            allow_redirects=False,
        )

    async def _messages(self, content: aiohttp.StreamReader) -> AsyncIterator[Message]:
        begun = b""
        async for piece in content.iter_any():
            *lines, begun = (begun + piece).split(b"\n")
            for line in lines:
                message = _object(line) if line else {}
                if "error" in message and len(message) == 1:
                    raise error_from(message["error"])
                if message:
                    yield self._heard(message)

    def _heard(self, message: Message) -> Message:
        self.store = message.get("store", self.store)
        return message

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Say what went wrong once a request is on its way."""
        try:
            yield
        except StoreReset:
            self.store = ""
            raise
        except aiohttp.ClientConnectorError as error:
            raise Unavailable(
                f"no server at {self._path}: {error.os_error.strerror or error}",
                hint="is it running? is this the right address?",
            ) from error
        except TimeoutError as error:
            raise OutcomeUnknown(f"the server at {self._path} did not answer in time") from error
        except (aiohttp.ClientError, OSError) as error:
            why = str(error) or type(error).__name__
            raise OutcomeUnknown(f"the server at {self._path} went away: {why}") from error
        except ValueError as error:
            raise OutcomeUnknown(f"what answers at {self._path} is no server: {error}") from error


def _refusal(status: int, content: bytes) -> MirenError:
    try:
        return error_from(_object(content))
    except ValueError:
        return MirenError(f"the server answered HTTP {status}")


def _object(content: bytes) -> dict[str, Any]:
    value = orjson.loads(content)
    if not isinstance(value, dict):
        raise ValueError("the server's answer is not a JSON object")  # noqa: TRY004  # as bad JSON
    return value


def _body(message: Message) -> bytes | BytesIO:
    try:
        encoded = orjson.dumps(message)
    except TypeError as error:  # a number that JSON's readers cannot hold, half a character
        raise InvalidInput(f"this cannot be sent: {error}") from None
    # In one piece aiohttp warns of what takes the loop long to write.
    return encoded if len(encoded) <= _PIECE else BytesIO(encoded)
