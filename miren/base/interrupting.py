"""A block that is left as soon as an event says so, which is no error."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

__all__ = ["until"]


@asynccontextmanager
async def until(event: asyncio.Event) -> AsyncIterator[None]:
    """Run the body, and cancel it as soon as `event` is set; the block then ends quietly.

    A body that ends by itself, or raises, is left alone.
    """
    scope = asyncio.timeout(None)
    try:
        async with scope:
            # In no TaskGroup: that would wrap what the body raises into a group.
            watching = asyncio.create_task(_watch(event, scope))
            try:
                yield
            finally:
                watching.cancel()
    except TimeoutError:
        if not scope.expired():
            raise  # the body's own


async def _watch(event: asyncio.Event, scope: asyncio.Timeout) -> None:
    await event.wait()
    scope.reschedule(asyncio.get_running_loop().time())
