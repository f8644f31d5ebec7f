"""The messages of one stream, one by one, with heartbeats, a deadline and an end from outside.

The source is an async generator that may wait for long. It is read by a task of its own, because
a wait that is cut short would otherwise be thrown into the generator and end it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from typing import Any

from miren.base.errors import DeadlineExceeded
from miren.rpc.wire import HEARTBEAT

__all__ = ["Feed"]

Message = Mapping[str, Any]


class Feed:
    """Reads `messages` until they or the server (`stopping`) end. Close it to close the source."""

    def __init__(
        self,
        messages: AsyncIterator[Message],
        stopping: asyncio.Event,
        *,
        timeout: float | None = None,
        heartbeat: float = HEARTBEAT,
    ) -> None:
        self._messages = messages
        self._heartbeat = heartbeat
        self._stopping = asyncio.ensure_future(stopping.wait())
        self._coming: asyncio.Future[Message | None] | None = None
        self._clock = asyncio.get_running_loop().time
        self._until = None if timeout is None else self._clock() + timeout

    async def next(self) -> Message | None:
        """Return the next message, `{}` when none came for a while, None at the end.

        Raises what the source raises, and DeadlineExceeded when `timeout` is over.
        """
        if self._coming is None:
            self._coming = asyncio.ensure_future(anext(self._messages, None))
        left = self._heartbeat
        if self._until is not None:
            left = min(left, self._until - self._clock())
        await asyncio.wait(
            (self._coming, self._stopping),
            timeout=max(left, 0.0),
            return_when=asyncio.FIRST_COMPLETED,
        )
        if self._coming.done():
            coming, self._coming = self._coming, None
            return coming.result()
        if self._stopping.done():
            return None
        if self._until is not None and self._clock() >= self._until:
            raise DeadlineExceeded("the stream was given no more time")
        return {}

    async def aclose(self) -> None:
        """Stop reading and close the source, which may be in the middle of an await."""
        self._stopping.cancel()
        if self._coming is not None:
            self._coming.cancel()
            # Nobody is left to be told how the last read ended.
            await asyncio.gather(self._coming, return_exceptions=True)
        if isinstance(self._messages, AsyncGenerator):
            await self._messages.aclose()
