"""The Kubernetes API of the benchmark: the tests' own, made to write fast and to tell the time.

`POST /-/load?count=1000` makes so many objects anew. `/-/storm?count=10000` writes to them in
turn, as fast as it can; `/-/paced?count=60&rate=20` does so many a second, in the background. Each
write gives the spec the next number, and `/-/times` tells when each number was written.
`/-/written?count=1000` answers when so many objects have a status, and tells since when. `/-/lose`
takes away the first objects unseen: all watches break, and their history is gone.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Mapping
from typing import Any

import orjson
import uvloop
from aiohttp import web

from bench.operators.gadgets import Gadget, spec
from tests.kubernetes_api.controls import Controlled
from tests.kubernetes_api.objects import Change, Stored
from tests.kubernetes_api.resources import Resource
from tests.kubernetes_api.server import serving

#: Without the subresource kopf needs one PATCH for an object, with it two: this is its best case.
RESOURCE = Resource.of(Gadget, has_status=False)
_SLICE = 100


class TimedAPI(Controlled):
    """An API that knows when it wrote what."""

    def __init__(self) -> None:
        super().__init__([RESOURCE], bookmarks=5.0)
        self._background: set[asyncio.Task[None]] = set()
        self._begin()

    def _begin(self) -> None:
        self._times = [time.monotonic()]  # by number; 0 is the first load
        self._order: list[tuple[str, str]] = []
        self._written = 0
        self._written_at = 0.0
        self._news = asyncio.Event()

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request."""
        if not request.path.startswith("/-/"):
            return await super().handle(request)
        found = await self._timed(request.path.removeprefix("/-/"), request.query)
        return web.Response(body=orjson.dumps(found), content_type="application/json")

    async def _timed(self, word: str, query: Mapping[str, str]) -> Any:
        count = int(query.get("count", 0))
        match word:
            case "load":
                self._load(count)
            case "storm":
                await self._storm(count)
            case "paced":
                task = asyncio.create_task(self._paced(count, float(query["rate"])))
                self._background.add(task)
                task.add_done_callback(self._background.discard)
            case "lose":
                self._control("delete", {"resource": RESOURCE.plural, "count": str(count)})
                self.compact()
                self.drop()
            case "written":
                while self._written < count:
                    self._news.clear()
                    await self._news.wait()
                return {"at": self._written_at}
            case "times":
                return self._times
        return {"requests": self.requests, "cpu": time.process_time()}

    def _load(self, count: int) -> None:
        self._control("reset", {})
        self._begin()
        for number in range(count):
            head = {"name": f"gadget-{number:05}", "labels": {"app": "bench", "tier": "front"}}
            self.objects.create(RESOURCE, "default", {"metadata": head, "spec": spec(0)})
        self.compact()
        self._order = [key for key, _ in self.objects.all(RESOURCE)]
        self.objects.follow(RESOURCE, self._note)

    def _note(self, change: Change) -> None:
        old, new = change.old, change.new
        if new is None or old is None or "status" not in new.document:
            return
        if "status" not in old.document:
            self._written += 1
            self._written_at = time.monotonic()
            self._news.set()

    async def _storm(self, count: int) -> None:
        for done in range(count):
            if done % _SLICE == 0:
                await asyncio.sleep(0)
            self._write_next()

    async def _paced(self, count: int, rate: float) -> None:
        for _ in range(count):
            self._write_next()
            await asyncio.sleep(1 / rate)

    def _write_next(self) -> None:
        """Change one spec; without what a request costs, so that the writing limits nothing."""
        number = len(self._times)
        key = self._order[(number - 1) % len(self._order)]
        old = self.objects.get(RESOURCE, *key)
        metadata = old.document["metadata"]
        head = {**metadata, "generation": metadata["generation"] + 1}
        body = {**old.document["spec"], "number": number}
        new = Stored({**old.document, "metadata": head, "spec": body}, b"", old.managers)
        self._times.append(time.monotonic())
        self.objects._commit(RESOURCE, key, old, new)  # noqa: SLF001


async def main() -> None:
    """Serve until the input ends; the URL is the first line of the output."""
    async with serving(TimedAPI()) as url:
        sys.stdout.write(url + "\n")
        sys.stdout.flush()
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    uvloop.run(main())
