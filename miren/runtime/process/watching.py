"""Learn the moment a process ends, whoever its parent is: pidfd_open(2) and the event loop.

A pidfd becomes readable when its process ends and, unlike a pid, never means another one. No
thread waits, and no child watcher is needed: a process that is our child is reaped on the way.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from contextlib import suppress

from miren.runtime.process.records import ProcessIdentity

__all__ = ["Watching", "wait_for_end"]


class Watching:
    """Calls back once, in the loop, when each watched process has ended."""

    def __init__(self) -> None:
        self._watched: dict[ProcessIdentity, int] = {}

    def watch(self, process: ProcessIdentity, ended: Callable[[], None]) -> None:
        """Call `ended` once, soon if it has ended already; a second watch of it is ignored."""
        if process in self._watched:
            return
        loop = asyncio.get_running_loop()
        descriptor = _open(process)
        if descriptor is None:
            loop.call_soon(ended)
            return
        self._watched[process] = descriptor
        loop.add_reader(descriptor, self._readable, process, ended)

    def close(self) -> None:
        """Watch nothing any more; the processes go on."""
        for descriptor in self._watched.values():
            asyncio.get_running_loop().remove_reader(descriptor)
            os.close(descriptor)
        self._watched.clear()

    def _readable(self, process: ProcessIdentity, ended: Callable[[], None]) -> None:
        descriptor = self._watched.pop(process)
        asyncio.get_running_loop().remove_reader(descriptor)
        _reap(descriptor)
        os.close(descriptor)
        ended()


async def wait_for_end(process: ProcessIdentity, *, timeout: float) -> bool:
    """Return True once it has ended, False if it has not within `timeout` seconds."""
    watching = Watching()
    ended = asyncio.Event()
    watching.watch(process, ended.set)
    try:
        async with asyncio.timeout(timeout):
            await ended.wait()
    except TimeoutError:
        return False
    finally:
        watching.close()
    return True


def _open(process: ProcessIdentity) -> int | None:
    try:
        descriptor = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return None
    # Asked after the pid was pinned: this answer is about the process behind the descriptor.
    if not process.exists():
        os.close(descriptor)
        return None
    return descriptor


def _reap(descriptor: int) -> None:
    """Wait for the ended process if it is our child, so that it leaves no zombie."""
    with suppress(ChildProcessError):
        os.waitid(os.P_PIDFD, descriptor, os.WEXITED | os.WNOHANG)
