"""The gRPC connection to containerd: calls by name, deadlines, errors of ours.

Nothing outside this package sees a protobuf message or a grpc type. The connection comes back
by itself when containerd does.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import grpc
import grpc.aio

from miren.base.errors import (
    AlreadyExists,
    DeadlineExceeded,
    MirenError,
    NotFound,
    RuntimeFailure,
    Unavailable,
)
from miren.runtime.containerd.messages import message

__all__ = [
    "NAMESPACE",
    "Connection",
    "errors_of",
    "in_few_words",
]

NAMESPACE = "miren"

_OPTIONS = [
    # A stopped containerd is back within a second; grpc would wait up to two minutes to look.
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 500),
    # One answer lists every container with its spec.
    ("grpc.max_receive_message_length", -1),
    # Without it the socket's path is sent as the authority, percent signs and all.
    ("grpc.default_authority", "localhost"),
    # Channels to one address otherwise share their connection, and its back-off.
    ("grpc.use_local_subchannel_pool", 1),
]

_ERRORS: Mapping[grpc.StatusCode, type[MirenError]] = {
    grpc.StatusCode.NOT_FOUND: NotFound,
    grpc.StatusCode.ALREADY_EXISTS: AlreadyExists,
    grpc.StatusCode.UNAVAILABLE: Unavailable,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineExceeded,
}


class Connection:
    """Calls to one containerd in one of its namespaces. `timeout` in seconds is per call."""

    def __init__(self, socket: Path, *, timeout: float = 30.0) -> None:
        self._channel = grpc.aio.insecure_channel(f"unix://{socket}", options=_OPTIONS)
        self._timeout = timeout

    async def close(self) -> None:
        """Close it; calls under way end with Unavailable."""
        await self._channel.close(None)

    async def call(
        self,
        method: str,
        request: tuple[str, Mapping[str, object]],
        answer: str,
        *,
        timeout: float | None = None,
        lease: str | None = None,
    ) -> Any:
        """Call `containerd.services.<method>` and return its answer.

        `request` is a message's name and fields. With `lease`, what the call makes is kept
        until that lease ends. Raises the error that the status code stands for.
        """
        name, fields = request
        seconds = timeout or self._timeout
        call = self._channel.unary_unary(
            _path(method), message(name).SerializeToString, message(answer).FromString
        )
        try:
            with errors_of(method):
                async with asyncio.timeout(seconds):
                    # containerd is told a later end: what it answers when its own comes first
                    # is an error like any other, UNKNOWN, and cannot be told from one.
                    return await call(
                        message(name)(**fields), timeout=seconds + 1, metadata=_metadata(lease)
                    )
        except TimeoutError as error:
            raise DeadlineExceeded(f"{_short(method)}: no answer within {seconds:g} s") from error

    async def find(
        self,
        method: str,
        request: tuple[str, Mapping[str, object]],
        answer: str,
        *,
        timeout: float | None = None,
    ) -> Any | None:
        """Do as `call`, and return None where that would raise NotFound."""
        try:
            return await self.call(method, request, answer, timeout=timeout)
        except NotFound:
            return None

    @asynccontextmanager
    async def stream(
        self,
        method: str,
        request: tuple[str, Mapping[str, object]],
        answer: str,
        *,
        timeout: float | None,
    ) -> AsyncIterator[AsyncIterator[Any]]:
        """Call a method that answers with many messages, and end the call on leaving.

        The request is sent on entering. The iterator raises the call's error.
        """
        name, fields = request
        call = self._channel.unary_stream(
            _path(method), message(name).SerializeToString, message(answer).FromString
        )
        answers = call(message(name)(**fields), timeout=timeout, metadata=_metadata(None))
        try:
            yield _checked(answers, method)
        finally:
            answers.cancel()

    def duplex(self, method: str, request: str, answer: str, *, lease: str) -> Any:
        """Open a call on which both sides send messages; the caller handles its errors."""
        call: Any = self._channel.stream_stream(
            _path(method), message(request).SerializeToString, message(answer).FromString
        )
        return call(timeout=600.0, metadata=_metadata(lease))


async def _checked(answers: Any, method: str) -> AsyncIterator[Any]:
    with errors_of(method):
        async for answer in answers:
            yield answer


@contextmanager
def errors_of(method: str) -> Iterator[None]:
    """Turn grpc's errors raised inside into ours."""
    try:
        yield
    except grpc.aio.AioRpcError as error:
        kind = _ERRORS.get(error.code(), RuntimeFailure)
        said = error.details() or error.code().name
        raise kind(f"{_short(method)}: {in_few_words(said)}") from error
    except grpc.aio.UsageError as error:
        raise Unavailable(f"{_short(method)}: {error}") from error


#: What each layer between containerd and the sandbox puts before the words of the next one.
_WRAPPINGS = (
    "failed to create shim task",
    "OCI runtime create failed",
    "OCI runtime start failed",
    "creating container",
    "starting container",
    "starting root container",
    "starting sandbox",
)


def in_few_words(said: str) -> str:
    """Return an error of containerd without the wrappings of the layers it came through."""
    parts = said.split(": ")
    while len(parts) > 1 and parts[0] in _WRAPPINGS:
        del parts[0]
    if len(parts) > 1 and parts[-1] == "unknown":
        del parts[-1]
    return ": ".join(parts)


def _short(method: str) -> str:
    return f"containerd {method.rpartition('.')[2]}"


def _path(method: str) -> str:
    return f"/containerd.services.{method}"


def _metadata(lease: str | None) -> tuple[tuple[str, str], ...]:
    base = (("containerd-namespace", NAMESPACE),)
    return (*base, ("containerd-lease", lease)) if lease else base
