"""Hand hints about containers to whoever listens right now.

A hint only says "look again", so a listener that does not keep up loses hints, never memory.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from miren.runtime.api import ContainerId, RuntimeEvent

__all__ = ["Hints"]

_PENDING = 1024


class Hints:
    """One sender, any number of listeners, all in one event loop."""

    def __init__(self) -> None:
        self._listeners: set[asyncio.Queue[RuntimeEvent]] = set()

    def send(self, id: ContainerId) -> None:
        """Hint to everybody who listens that this container changed."""
        for queue in self._listeners:
            if not queue.full():
                queue.put_nowait(RuntimeEvent(id))

    @asynccontextmanager
    async def listen(self) -> AsyncIterator[AsyncIterator[RuntimeEvent]]:
        """Deliver what is sent while the context is open."""
        queue: asyncio.Queue[RuntimeEvent] = asyncio.Queue(_PENDING)
        self._listeners.add(queue)
        try:
            yield _drain(queue)
        finally:
            self._listeners.discard(queue)


async def _drain(queue: asyncio.Queue[RuntimeEvent]) -> AsyncIterator[RuntimeEvent]:
    while True:
        yield await queue.get()
