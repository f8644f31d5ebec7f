"""Watches: the lines of one, and when they are written."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import orjson

from tests.kubernetes_api.objects import Change, Objects, Stored
from tests.kubernetes_api.resources import Resource
from tests.kubernetes_api.selectors import Test


class Feed:
    """What one watch has yet to be told."""

    def __init__(
        self, objects: Objects, resource: Resource, namespace: str | None, selects: Test | None
    ) -> None:
        self.is_dropped = False
        self._objects = objects
        self._resource = resource
        self._namespace = namespace
        self._selects = selects
        self._lines: list[bytes] = []
        self._news = asyncio.Event()
        self._stop: Callable[[], None] | None = None

    def begin(self, revision: int) -> None:
        """Start after a revision; 0 is any: with all that is there."""
        if revision:
            for change in self._objects.since(self._resource, revision):
                self.take(change)
        else:
            for _, stored in self._objects.all(self._resource, self._namespace):
                self._add("ADDED", stored if self._matches(stored) else None)
        self._stop = self._objects.follow(self._resource, self.take)

    def end(self) -> None:
        """Follow no more."""
        if self._stop is not None:
            self._stop()

    def drop(self) -> None:
        """Break the connection."""
        self.is_dropped = True
        self._news.set()

    async def lines(self, patience: float) -> bytes:
        """Return what there is to tell, or after `patience` seconds a bookmark."""
        try:
            async with asyncio.timeout(patience):
                await self._news.wait()
        except TimeoutError:
            return self._bookmark()
        self._news.clear()
        lines, self._lines = b"".join(self._lines), []
        return lines

    def take(self, change: Change) -> None:
        """Tell a change, as it is to this selection."""
        was, now = self._matches(change.old), self._matches(change.new)
        if now:
            self._add("MODIFIED" if was else "ADDED", change.new)
        elif was:
            # What left the selection is told as deleted, as it was before.
            assert change.old is not None
            self._add("DELETED", change.old if change.new is None else _moved(change))

    def _matches(self, stored: Stored | None) -> bool:
        if stored is None:
            return False
        namespace = stored.document["metadata"].get("namespace")
        if self._namespace not in (None, namespace):
            return False
        return self._selects is None or self._selects(stored.document)

    def _add(self, type: str, stored: Stored | None) -> None:
        if stored is not None:
            self._lines.append(b'{"type":"%b","object":%b}\n' % (type.encode(), stored.body))
            self._news.set()

    def _bookmark(self) -> bytes:
        about = {
            "kind": self._resource.kind,
            "apiVersion": self._resource.api_version,
            "metadata": {"resourceVersion": str(self._objects.revision)},
        }
        return orjson.dumps({"type": "BOOKMARK", "object": about}) + b"\n"


def _moved(change: Change) -> Stored:
    assert change.old is not None
    head = {**change.old.document["metadata"], "resourceVersion": str(change.revision)}
    document = {**change.old.document, "metadata": head}
    return Stored(document, orjson.dumps(document))
