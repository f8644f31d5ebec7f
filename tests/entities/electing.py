"""Candidates that stand in an election in the background."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from miren.entities.client import Client
from miren.entities.elections import Candidate, Leadership

__all__ = ["Standing", "candidates", "eventually", "standing"]

_SECONDS = 20.0


async def eventually(holds: Callable[[], Awaitable[bool]]) -> None:
    """Return once `holds`; asks again and again, for twenty seconds at most."""
    async with asyncio.timeout(_SECONDS):
        while not await holds():  # noqa: ASYNC110  # other processes set no event
            await asyncio.sleep(0.01)


class Standing:
    """Somebody who stands in an election in the background."""

    def __init__(self, client: Client, name: str, holder: str, ttl: float) -> None:
        self.leadership: Leadership | None = None
        self.leads = asyncio.Event()
        self.leave = asyncio.Event()
        self._client = client
        self._about = (name, holder, ttl)

    async def run(self) -> None:
        name, holder, ttl = self._about
        async with self._client.elect(name, holder=holder, ttl=ttl) as leadership:
            self.leadership = leadership
            self.leads.set()
            await self.leave.wait()

    async def led(self) -> Leadership:
        async with asyncio.timeout(_SECONDS):
            await self.leads.wait()
        assert self.leadership is not None
        return self.leadership


@asynccontextmanager
async def standing(
    client: Client, *holders: str, name: str = "shop", ttl: float = 30.0
) -> AsyncIterator[list[Standing]]:
    """Let these stand, one after the other."""
    async with asyncio.TaskGroup() as group:
        everybody: list[Standing] = []
        tasks = []
        for holder in holders:
            everybody.append(Standing(client, name, holder, ttl))
            tasks.append(group.create_task(everybody[-1].run()))

            async def stands(count: int = len(everybody)) -> bool:
                return len(await candidates(client, name)) == count

            await eventually(stands)
        yield everybody
        for task in tasks:
            task.cancel()


async def candidates(client: Client, name: str) -> tuple[Candidate, ...]:
    """Return who stands now."""
    async with client.candidates(name) as changes:
        return await anext(changes)
