"""`miren.logs.v1.Logs`: what sandboxes said, from their log files."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from miren.base.errors import InvalidInput
from miren.controllers.sandbox.plan import log_path
from miren.entities.client import Client
from miren.entities.gen import Sandbox
from miren.rpc.server import Call, Method, Stream
from miren.server.services.entities import actor_of

__all__ = ["LogService"]

_BLOCK = 64 * 1024
_POLL = 0.1


class LogService:
    """Reads the log files under `logs`."""

    def __init__(self, client: Client, logs: Path, *, owner: int) -> None:
        self._client = client
        self._logs = logs
        self._owner = owner

    def methods(self) -> Mapping[str, Method]:
        """Return the methods by their full names."""
        return {"miren.logs.v1.Logs/Read": Stream(self.read)}

    async def read(
        self, call: Call, request: Mapping[str, Any]
    ) -> AsyncIterator[Mapping[str, Any]]:
        """Yield a sandbox's output as pieces of text, with `follow` also what comes."""
        actor_of(call, owner=self._owner)
        tail = request.get("tail", -1)
        if not isinstance(tail, int):
            raise InvalidInput("tail must be a number of lines")
        project = str(request.get("project") or "default")
        sandbox = await self._client.get(Sandbox, str(request.get("name")), project=project)
        path = log_path(self._logs, sandbox)
        while not await asyncio.to_thread(path.exists):
            if not request.get("follow"):
                return
            await asyncio.sleep(_POLL)
        file = await asyncio.to_thread(path.open, "rb")
        with file:
            if tail >= 0:
                await asyncio.to_thread(_seek_tail, file, tail)
            while True:
                block = await asyncio.to_thread(file.read, _BLOCK)
                if block:
                    yield {"text": block.decode("utf-8", "replace")}
                elif request.get("follow"):
                    await asyncio.sleep(_POLL)
                else:
                    return


def _seek_tail(file: BinaryIO, lines: int) -> None:
    """Put the position before the last `lines` lines, reading backwards in blocks."""
    end = position = file.seek(0, os.SEEK_END)
    found, rest = 0, b""
    while position > 0 and found <= lines:
        position = max(0, position - _BLOCK)
        file.seek(position)
        rest = file.read(min(_BLOCK, end - position)) + rest
        end = position
        found = rest.rstrip(b"\n").count(b"\n") + 1
    keep = rest.splitlines(keepends=True)[-lines:] if lines else []
    file.seek(-sum(map(len, keep)), os.SEEK_END)
