"""Whether something answers on a sandbox's ports."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable

__all__ = ["Probe", "first_silent_port"]

#: (address, ports) -> the first port that does not answer, or None.
Probe = Callable[[str, Iterable[int]], Awaitable[int | None]]


async def first_silent_port(
    address: str, ports: Iterable[int], *, timeout: float = 1.0
) -> int | None:
    """Return the first port that accepts no TCP connection within `timeout`, None if all do."""
    for port in ports:
        try:
            async with asyncio.timeout(timeout):
                _, writer = await asyncio.open_connection(address, port)
        except (OSError, TimeoutError):
            return port
        writer.close()
    return None
