"""`miren.logs.v1.Logs`: what sandboxes said, from their log files."""

from __future__ import annotations

import asyncio
import codecs
import os
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from miren.controllers.sandbox.plan import log_path
from miren.entities.client import Client
from miren.entities.gen import Sandbox
from miren.rpc.server import Call, Method, Stream
from miren.server.services import requests
from miren.server.services.entities import actor_of

__all__ = ["LogService"]

Message = Mapping[str, Any]

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

    async def read(self, call: Call, request: Message) -> AsyncIterator[Message]:
        """Yield a sandbox's output as pieces of text.

        With `follow` also what comes, until the sandbox is gone.
        """
        actor_of(call, owner=self._owner)
        follow, tail = requests.flag(request, "follow"), requests.count(request, "tail")
        project = requests.project(request) or "default"
        sandbox = await self._client.get(Sandbox, requests.text(request, "name"), project=project)
        path = log_path(self._logs, sandbox)
        if follow:
            await self._appears(path, sandbox)
        if not await asyncio.to_thread(path.exists):
            return
        file = await asyncio.to_thread(path.open, "rb")
        with file:
            if tail is not None:
                await asyncio.to_thread(_seek_tail, file, tail)
            async for text in self._texts(file, sandbox if follow else None):
                yield {"text": text}

    async def _appears(self, path: Path, sandbox: Sandbox) -> None:
        """Return when the log is there or the sandbox is gone."""
        while not await asyncio.to_thread(path.exists):
            if await self._is_gone(sandbox):
                return
            await asyncio.sleep(_POLL)

    async def _texts(self, file: BinaryIO, followed: Sandbox | None) -> AsyncIterator[str]:
        """Yield the rest of a file, and what is added as long as the sandbox is there."""
        # A character may be cut by the end of a block.
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        is_last = followed is None
        while True:
            block = await asyncio.to_thread(file.read, _BLOCK)
            if text := decoder.decode(block, final=not block and is_last):
                yield text
            if block:
                continue
            if is_last:
                return
            # What it said last may come before its end is seen: read once more after that.
            is_last = followed is not None and await self._is_gone(followed)
            if not is_last:
                await asyncio.sleep(_POLL)

    async def _is_gone(self, sandbox: Sandbox) -> bool:
        found = await self._client.get(
            Sandbox, sandbox.name, project=sandbox.project, default=None
        )
        return found is None or found.uid != sandbox.uid


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
