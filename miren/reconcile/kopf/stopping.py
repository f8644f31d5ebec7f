"""How a daemon is told that it is to end: `stopped`, which it looks at or waits for."""

from __future__ import annotations

import asyncio
import threading

__all__ = ["Stopped", "StoppedInThread"]


class _Flag:
    """What both have: it is true, and stays so, once it was set."""

    _event: asyncio.Event | threading.Event

    def __bool__(self) -> bool:
        return self._event.is_set()

    def is_set(self) -> bool:
        """Return whether it is to end."""
        return self._event.is_set()

    def set(self) -> None:
        """Tell it to end."""
        self._event.set()


class Stopped(_Flag):
    """For coroutines: `while not stopped: await stopped.wait(10)`."""

    def __init__(self) -> None:
        self._event: asyncio.Event = asyncio.Event()

    async def wait(self, timeout: float | None = None) -> bool:
        """Wait until it is to end, or for `timeout` seconds; return which."""
        try:
            async with asyncio.timeout(timeout):
                await self._event.wait()
        except TimeoutError:
            pass  # it goes on: that is the answer
        return self._event.is_set()


class StoppedInThread(_Flag):
    """For functions in threads: `while not stopped: stopped.wait(10)`."""

    def __init__(self) -> None:
        self._event: threading.Event = threading.Event()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it is to end, or for `timeout` seconds; return which."""
        return self._event.wait(timeout)
