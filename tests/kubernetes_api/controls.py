"""An API that can be loaded and hurt from another process.

`POST /-/bulk?resource=widgets&count=1000` makes objects of about 1 KiB, `/-/touch` changes the
spec of so many in turn, `/-/delete` takes the first ones away. `/-/compact`, `/-/drop` and
`/-/reset` need nothing said. `GET /-/stats` tells the requests counted, the CPU seconds used and
the revision.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import orjson
from aiohttp import web

from tests.kubernetes_api.objects import Objects
from tests.kubernetes_api.resources import BUILT_IN, Resource
from tests.kubernetes_api.server import KubernetesAPI

_FILLING = "x" * 700


class Controlled(KubernetesAPI):
    """An API that benchmarks can load and hurt."""

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request."""
        if not request.path.startswith("/-/"):
            return await super().handle(request)
        self._control(request.path.removeprefix("/-/"), request.query)
        found: dict[str, Any] = {"requests": self.requests, "cpu": time.process_time()}
        found["revision"] = self.objects.revision
        return web.Response(body=orjson.dumps(found), content_type="application/json")

    def _control(self, word: str, query: Mapping[str, str]) -> None:
        match word:
            case "compact":
                self.compact()
            case "drop":
                self.drop()
            case "reset":
                self.drop()
                self.objects = Objects(set(self.objects.resources.values()) - set(BUILT_IN))
                self.requests.clear()
            case "bulk" | "touch" | "delete":
                work = {"bulk": self.bulk, "touch": self.touch, "delete": self.remove}[word]
                work(self.named(query["resource"]), int(query["count"]))

    def named(self, plural: str) -> Resource:
        """Return a resource by its plural."""
        return next(each for each in self.objects.resources.values() if each.plural == plural)

    def bulk(self, resource: Resource, count: int) -> None:
        """Make objects of about 1 KiB."""
        for number in range(count):
            spec = {"text": f"text {number}", "filling": _FILLING}
            head = {"name": f"{resource.plural}-{number:05}", "labels": {"app": "bench"}}
            self.objects.create(resource, "default", {"metadata": head, "spec": spec})

    def touch(self, resource: Resource, count: int) -> None:
        """Change the spec of one object after the other."""
        found = [key for key, _ in self.objects.all(resource)]
        for number in range(count):
            key = found[number % len(found)]
            old = self.objects.get(resource, *key).document
            wanted = {**old, "spec": {**old["spec"], "text": f"touched {number}"}}
            self.objects.write(resource, key, wanted)

    def remove(self, resource: Resource, count: int) -> None:
        """Delete the first objects."""
        for key, _ in self.objects.all(resource)[:count]:
            self.objects.delete(resource, key, {})
