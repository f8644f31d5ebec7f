"""Blocks that end with an event, which is no error, and tasks that end with a block."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

__all__ = ["beside", "until"]


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


@asynccontextmanager
async def beside(work: Coroutine[Any, Any, None], *, name: str) -> AsyncIterator[None]:
    """Run `work` as a task called `name` while the body runs; it has ended when the block has.

    What breaks there never cancels the body, as in a TaskGroup it would: work that may break says
    so in another way.
    """
    task = asyncio.create_task(work, name=name)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])
