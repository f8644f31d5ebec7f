"""The API over HTTP."""

from __future__ import annotations

import asyncio
import json
import ssl
from base64 import b64decode, b64encode
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import orjson
from aiohttp import web

from tests.kubernetes_api.discovery import discovered
from tests.kubernetes_api.feeds import Feed
from tests.kubernetes_api.objects import Key, Objects, Stored
from tests.kubernetes_api.patching import merged, operated
from tests.kubernetes_api.refusals import Refusal
from tests.kubernetes_api.resources import Place, Resource, place_of
from tests.kubernetes_api.selectors import selects

_JSON = "application/json"


class KubernetesAPI:
    """Serves objects. What tests may do to it: `compact`, `drop`, and planned refusals.

    `requests` counts what was asked, by verb and plural (`patch greetings/status`). `planned`
    holds codes with which the next writes are refused, undone. `token` is what all must show.
    """

    def __init__(
        self,
        resources: Iterable[Resource] = (),
        *,
        namespaces: Iterable[str] = ("default",),
        bookmarks: float = 1.0,
        token: str | None = None,
    ) -> None:
        self.objects = Objects(resources, namespaces=namespaces)
        self.requests: Counter[str] = Counter()
        self.planned: list[int] = []
        self.is_away = False  # every connection is broken at once
        self.gone_at_once = False  # 410 is the answer to an old watch, not its first event
        self.bookmarks = bookmarks  # seconds of silence before one
        self._token = token
        self._feeds: set[Feed] = set()
        self._pages: dict[str, tuple[int, list[tuple[Key, Stored]]]] = {}

    def compact(self) -> None:
        """Forget history, and the pages of lists that have begun."""
        self.objects.compact()
        self._pages.clear()

    def drop(self) -> None:
        """Break every watch."""
        for feed in self._feeds:
            feed.drop()

    # -- requests ----------------------------------------------------------------------------

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request."""
        try:
            return await self._answer(request)
        except Refusal as refusal:
            return _response(orjson.dumps(refusal.status()), refusal.code)

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        if self.is_away:
            assert request.transport is not None
            request.transport.abort()
            raise Refusal(503, "nobody hears this")
        if self._token and request.headers.get("Authorization") != f"Bearer {self._token}":
            raise Refusal(401, "Unauthorized")
        path = request.path
        place = place_of(path)
        resource = None if place is None else self.objects.resource_at(place)
        if place is not None and resource is not None and _has(resource, place.subresource):
            return await self._carry_out(request, resource, place)
        found = discovered(path, self.objects.resources.values())
        if found is not None:
            return _response(orjson.dumps(found))
        if "/authorization.k8s.io/" in path:
            return _allowed(await _body(request))
        return web.Response(status=404, text="404 page not found\n")

    async def _carry_out(
        self, request: web.BaseRequest, resource: Resource, place: Place
    ) -> web.StreamResponse:
        query: Mapping[str, str] = request.query if request.query_string else {}
        if request.method == "GET":
            if place.name is not None:
                self.requests[f"get {place.plural}"] += 1
                return _response(self._one(resource, place).body)
            if query.get("watch") in ("1", "true", "True"):
                self.requests[f"watch {place.plural}"] += 1
                return await self._watch(request, resource, place, query)
            self.requests[f"list {place.plural}"] += 1
            return _response(self._list(resource, place, query))
        sub = f"/{place.subresource}" if place.subresource else ""
        self.requests[f"{request.method.lower()} {place.plural}{sub}"] += 1
        body = await _body(request)
        if self.planned:
            raise Refusal(self.planned.pop(0), "not now")
        match request.method:
            case "POST" if place.name is None:
                made = self._create(resource, place, body, query)
                return _response(made.body or orjson.dumps(made.document), 201)
            case "PUT" if place.name is not None:
                return self._write(resource, place, _loaded(body), query)
            case "PATCH" if place.name is not None:
                return self._patch(request, resource, place, body, query)
            case "DELETE" if place.name is not None:
                return self._delete(resource, place, body, query)
        raise Refusal(405, "the server does not allow this method on the requested resource")

    # -- reading -------------------------------------------------------------------------------

    def _one(self, resource: Resource, place: Place) -> Stored:
        assert place.name is not None
        return self.objects.get(resource, _namespace(resource, place), place.name)

    def _list(self, resource: Resource, place: Place, query: Mapping[str, str]) -> bytes:
        limit = int(query.get("limit") or 0)
        if query.get("continue"):
            token, at = json.loads(b64decode(query["continue"]))
            if token not in self._pages:
                raise Refusal(410, "The provided continue parameter is too old")
            revision, found = self._pages[token]
        else:
            test = selects(
                resource, query.get("labelSelector", ""), query.get("fieldSelector", "")
            )
            found = self.objects.all(resource, place.namespace)
            found = [each for each in found if test is None or test(each[1].document)]
            revision, at, token = self.objects.revision, 0, str(len(self._pages))
        page = found[at : at + limit] if limit else found[at:]
        metadata: dict[str, Any] = {"resourceVersion": str(revision)}
        if limit and at + limit < len(found):
            self._pages[token] = (revision, found)
            rest = json.dumps([token, at + limit]).encode()
            metadata |= {"continue": b64encode(rest).decode()}
        head = {"kind": f"{resource.kind}List", "apiVersion": resource.api_version}
        start = orjson.dumps({**head, "metadata": metadata})[:-1]
        return b'%b,"items":[%b]}' % (start, b",".join(stored.body for _, stored in page))

    async def _watch(
        self,
        request: web.BaseRequest,
        resource: Resource,
        place: Place,
        query: Mapping[str, str],
    ) -> web.StreamResponse:
        test = selects(resource, query.get("labelSelector", ""), query.get("fieldSelector", ""))
        feed = Feed(self.objects, resource, place.namespace, test)
        response = web.StreamResponse(headers={"Content-Type": _JSON})
        try:
            feed.begin(int(query.get("resourceVersion") or 0))
        except Refusal as refusal:
            if self.gone_at_once:
                raise
            # As the real one: the watch begins well, and its first event is the error.
            await response.prepare(request)
            gone = {"type": "ERROR", "object": refusal.status()}
            await response.write(orjson.dumps(gone) + b"\n")
            return response
        await response.prepare(request)
        self._feeds.add(feed)
        bookmarks = query.get("allowWatchBookmarks") in ("1", "true", "True")
        try:
            async with asyncio.timeout(float(query.get("timeoutSeconds") or 1800)):
                await self._tell(feed, response, self.bookmarks if bookmarks else 1e6)
            if feed.is_dropped and request.transport is not None:
                request.transport.abort()
        except (TimeoutError, ConnectionError):
            pass  # how a watch ends
        finally:
            self._feeds.discard(feed)
            feed.end()
        return response

    async def _tell(self, feed: Feed, response: web.StreamResponse, patience: float) -> None:
        while not feed.is_dropped:
            lines = await feed.lines(patience)
            if lines and not feed.is_dropped:
                await response.write(lines)

    # -- writing -------------------------------------------------------------------------------

    def _create(
        self, resource: Resource, place: Place, body: bytes, query: Mapping[str, str]
    ) -> Stored:
        namespace = _namespace(resource, place)
        return self.objects.create(
            resource,
            namespace,
            _loaded(body),
            manager=query.get("fieldManager", "unknown"),
            dry_run="dryRun" in query,
        )

    def _write(
        self, resource: Resource, place: Place, wanted: Any, query: Mapping[str, str]
    ) -> web.Response:
        assert place.name is not None
        stored = self.objects.write(
            resource,
            (_namespace(resource, place), place.name),
            wanted,
            status=place.subresource == "status",
            manager=query.get("fieldManager", "unknown"),
            dry_run="dryRun" in query,
        )
        return _response(stored.body or orjson.dumps(stored.document))

    def _patch(
        self,
        request: web.BaseRequest,
        resource: Resource,
        place: Place,
        body: bytes,
        query: Mapping[str, str],
    ) -> web.Response:
        patch = _loaded(body)
        match request.headers.get("Content-Type", "").partition(";")[0]:
            case "application/merge-patch+json" | "application/strategic-merge-patch+json":
                if not isinstance(patch, dict):
                    raise Refusal(400, "json: cannot unmarshal array into Go value of type map")
                wanted = merged(self._one(resource, place).document, patch)
            case "application/json-patch+json":
                wanted = operated(self._one(resource, place).document, patch)
            case "application/apply-patch+yaml":
                return self._apply(resource, place, patch, query)
            case _:
                raise Refusal(415, "the body of the request was in an unknown format")
        return self._write(resource, place, wanted, query)

    def _apply(
        self, resource: Resource, place: Place, wanted: Any, query: Mapping[str, str]
    ) -> web.Response:
        if not query.get("fieldManager"):
            raise Refusal(422, "fieldManager: Required value: is required for apply patch")
        assert place.name is not None
        stored = self.objects.apply(
            resource,
            (_namespace(resource, place), place.name),
            wanted,
            manager=query["fieldManager"],
            force=query.get("force") == "true",
            dry_run="dryRun" in query,
        )
        return _response(stored.body or orjson.dumps(stored.document))

    def _delete(
        self, resource: Resource, place: Place, body: bytes, query: Mapping[str, str]
    ) -> web.Response:
        assert place.name is not None
        options = _loaded(body) if body else {}
        dry_run = bool(options.get("dryRun")) or "dryRun" in query
        key = (_namespace(resource, place), place.name)
        stored, is_gone = self.objects.delete(resource, key, options, dry_run=dry_run)
        if not is_gone:
            return _response(stored.body or orjson.dumps(stored.document))
        details = {**resource.details(place.name), "uid": stored.document["metadata"]["uid"]}
        head = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}
        return _response(orjson.dumps({**head, "details": details}))


@asynccontextmanager
async def serving(
    api: KubernetesAPI, *, port: int = 0, context: ssl.SSLContext | None = None
) -> AsyncIterator[str]:
    """Serve within the context; give the URL. Nobody is waited for at the end."""
    server = web.Server(api.handle, access_log=None)
    runner = web.ServerRunner(server, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port, ssl_context=context).start()
        host, bound = runner.addresses[0][:2]
        yield f"{'https' if context else 'http'}://{host}:{bound}"
    finally:
        api.drop()
        await runner.cleanup()


def _has(resource: Resource, subresource: str) -> bool:
    if subresource == "status":
        return resource.has_status
    return subresource in ("", "finalize")


def _namespace(resource: Resource, place: Place) -> str:
    if not resource.namespaced:
        return ""
    return place.namespace or "default"


def _response(body: bytes, code: int = 200) -> web.Response:
    return web.Response(body=body, status=code, content_type=_JSON)


def _loaded(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Refusal(400, f"the body is no JSON: {error}") from error


async def _body(request: web.BaseRequest) -> bytes:
    return await request.read()


def _allowed(body: bytes) -> web.Response:
    review = _loaded(body)
    return _response(orjson.dumps({**review, "status": {"allowed": True}}), 201)
