"""Starts the API and the operators, each in a process of its own, and asks them.

Every wait has a deadline. A process ends when its standard input does.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

_ROOT = Path(__file__).parents[2]
_PATIENCE = 60.0
_PAGE = os.sysconf("SC_PAGE_SIZE")
_TICKS = os.sysconf("SC_CLK_TCK")
_LINE = 2**24  # bytes of the longest answer


class API:
    """The API that both operators work on."""

    def __init__(self, url: str, session: aiohttp.ClientSession) -> None:
        self.url = url
        self._session = session

    async def ask(self, word: str, **query: float) -> Any:
        """Have it do something, see `bench.operators.api`, and return what it tells."""
        asked = {name: str(value) for name, value in query.items()}
        async with self._session.post(f"{self.url}/-/{word}", params=asked) as response:
            response.raise_for_status()
            return await response.json()


class Operator:
    """One operator's process."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def ask(self, do: str, **options: object) -> dict[str, Any]:
        """Send a command, see `bench.operators.protocol`, and return its answer."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": do, **options}).encode() + b"\n")
        return await self.answer()

    async def answer(self) -> dict[str, Any]:
        """Return the next answer."""
        found: dict[str, Any] = json.loads(await _line(self._process))
        return found

    def rss(self) -> int:
        """Return the bytes of memory that it has."""
        pages = Path(f"/proc/{self._process.pid}/statm").read_text().split()[1]
        return int(pages) * _PAGE

    async def settled(self) -> None:
        """Return once it has used next to no CPU for a while."""
        quiet, before = 0, self._cpu()
        async with asyncio.timeout(_PATIENCE):
            while quiet < 4:
                await asyncio.sleep(0.05)
                now = self._cpu()
                quiet = quiet + 1 if now - before < 1.5 / _TICKS else 0
                before = now

    def _cpu(self) -> float:
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS


@asynccontextmanager
async def serving() -> AsyncIterator[API]:
    """Run an API within the context."""
    async with _running(sys.executable, "-m", "bench.operators.api") as process:
        url = (await _line(process)).decode().strip()
        limits = aiohttp.ClientTimeout(total=_PATIENCE)
        async with aiohttp.ClientSession(timeout=limits) as session:
            yield API(url, session)


@asynccontextmanager
async def operating(python: str, module: str) -> AsyncIterator[Operator]:
    """Run an operator's process within the context; it has imported everything, and waits."""
    async with _running(python, "-m", module) as process:
        operator = Operator(process)
        await operator.answer()
        yield operator


@asynccontextmanager
async def _running(*command: str) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        cwd=_ROOT,
        limit=_LINE,
    )
    try:
        yield process
    finally:
        assert process.stdin is not None
        process.stdin.close()
        try:
            await asyncio.wait_for(process.wait(), 5)
        except TimeoutError:
            process.kill()
            await process.wait()


async def _line(process: asyncio.subprocess.Process) -> bytes:
    assert process.stdout is not None
    line = await asyncio.wait_for(process.stdout.readline(), _PATIENCE)
    if not line:
        raise RuntimeError(f"a process of the benchmark ended: {await process.wait()}")
    return line
