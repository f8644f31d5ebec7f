"""A watch as tests read it: what does not come in time is an error."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Generic, TypeVar

from miren.entities.client import Bookmark, Client, Event, Selection
from miren.entities.entity import Entity

E = TypeVar("E", bound=Entity[Any, Any])


class Watching(Generic[E]):
    """Reads a watch; each event comes `within` seconds."""

    def __init__(self, events: AsyncIterator[Event[E]], *, within: float) -> None:
        self._events = events
        self._within = within

    async def any(self) -> Event[E]:
        """Return the next event, a bookmark too."""
        return await asyncio.wait_for(anext(self._events), self._within)

    async def next(self) -> Any:
        """Return the next event that is no bookmark."""
        while isinstance(event := await self.any(), Bookmark):
            pass
        return event

    async def bookmark(self) -> int:
        """Return the revision of the next bookmark."""
        while not isinstance(event := await self.any(), Bookmark):
            pass
        return event.revision

    async def until(self, revision: int) -> list[Event[E]]:
        """Return everything up to a revision but bookmarks."""
        found: list[Event[E]] = []
        while True:
            event = await self.any()
            if not isinstance(event, Bookmark):
                found.append(event)
            if event.revision >= revision:
                return found


@asynccontextmanager
async def watching(
    client: Client,
    kind: type[E],
    selection: Selection = Selection(),  # noqa: B008  # frozen: one for all is right
    *,
    after: int | None = None,
    within: float = 10,
) -> AsyncIterator[Watching[E]]:
    """Watch from now on, or from a revision."""
    start = await client.revision() if after is None else after
    async with client.watch(kind, selection, after=start) as events:
        yield Watching(events, within=within)
