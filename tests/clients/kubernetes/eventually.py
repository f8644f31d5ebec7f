"""Waiting for something to be so, in real time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

PATIENCE = 20.0


async def eventually(holds: Callable[[], object]) -> None:
    """Return once it holds; fail when it takes too long."""
    async with asyncio.timeout(PATIENCE):
        while not holds():  # noqa: ASYNC110  # what it waits for is no event
            await asyncio.sleep(0.005)
