"""How an operator's process is told what to do, and what it remembers of its handler's calls.

Runs in kopf's environment too, so it imports nothing but the standard library. A command is a JSON
object a line on the standard input, and each has one answer, a line on the standard output:

    {"do": "start", "url": "http://127.0.0.1:8001", "mode": "status"}
    {"do": "until", "objects": 1000, "number": 7}    once so many were handled at 7 or later
    {"do": "stats"}                                  and the calls are forgotten

It ends, without any ceremony, when its input does.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

#: Runs an operator on the API of this URL. In the mode "status" its handler writes one to each new
#: object, in "indexed" too, with three indexes; in "events" it is told of all, and writes nothing.
Operate = Callable[[str, str, "Calls"], Awaitable[None]]


class Calls:
    """What the handler was called for. The same, and as cheap, on both sides."""

    def __init__(self) -> None:
        self.keeps_times = False
        self.calls = 0
        self.deletes = 0
        self.seen: list[tuple[float, int, str]] = []
        self._latest: dict[str, int] = {}
        self._reached = 0
        self._floor = 0
        self._wanted = 0
        self._done: asyncio.Future[None] | None = None

    def called(self, name: str, number: int) -> None:
        """Note a call for an object whose spec says `number`."""
        self.calls += 1
        if self.keeps_times:
            self.seen.append((time.monotonic(), number, name))
        before = self._latest.get(name, -1)
        self._latest[name] = number
        if before < self._floor <= number:
            self._reached += 1
            if self._reached == self._wanted and self._done is not None:
                self._done.set_result(None)

    async def until(self, objects: int, number: int) -> None:
        """Return once so many objects were handled at `number` or later."""
        self._floor, self._wanted = number, objects
        self._reached = sum(latest >= number for latest in self._latest.values())
        if self._reached < objects:
            self._done = asyncio.get_running_loop().create_future()
            await self._done
            self._done = None

    def stats(self) -> dict[str, Any]:
        """Return what was noted, and the CPU seconds so far; the calls are forgotten."""
        found = {"calls": self.calls, "deletes": self.deletes, "seen": self.seen}
        self.calls, self.deletes, self.seen = 0, 0, []
        return {**found, "cpu": time.process_time()}


async def serve(operate: Operate) -> None:
    """Do what is asked until the input ends."""
    calls, tasks = Calls(), set()
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    gc.collect()  # what the imports left behind is no part of the work
    _answer({})
    while line := await reader.readline():
        match json.loads(line):
            case {"do": "start", "url": url, "mode": mode}:
                calls.keeps_times = mode == "events"
                task = asyncio.ensure_future(operate(url, mode, calls))
                task.add_done_callback(_end)
                tasks.add(task)
                _answer({"at": time.monotonic()})
            case {"do": "until", "objects": objects, "number": number}:
                await calls.until(objects, number)
                _answer({"at": time.monotonic()})
            case {"do": "stats"}:
                _answer(calls.stats())
    os._exit(0)


def _end(task: asyncio.Future[None]) -> None:
    """An operator that ended by itself has failed: say why, and end."""
    sys.stderr.write(f"the operator ended: {task.exception()!r}\n")
    os._exit(1)


def _answer(found: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(found) + "\n")
    sys.stdout.flush()
