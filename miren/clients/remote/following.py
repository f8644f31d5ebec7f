"""Streams that outlive their connections, and servers.

A server may be killed, and come back with the same store: whoever follows it goes on from where
it was, and sees neither gap nor repeat. Only a server that stays away is told to the reader, and
another store, in which nothing can be gone on with.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncGenerator, Callable
from typing import Any, Generic, TypeVar

from miren.base.backoff import Backoff
from miren.base.errors import StoreReset, Unavailable
from miren.clients.remote.documents import event_of
from miren.clients.remote.link import Link, Message
from miren.entities.client import Bookmark, Event
from miren.entities.entity import Entity

__all__ = ["EntityWatch", "follow"]

E = TypeVar("E", bound=Entity[Any, Any])

log = logging.getLogger(__name__)

_AGAIN = Backoff(first=0.05, cap=1.0)


async def follow(
    link: Link,
    method: str,
    request: Callable[[], Message],
    *,
    store: str,
    patience: float,
    rng: random.Random,
) -> AsyncGenerator[Message, None]:
    """Yield a stream's messages, over as many connections as it takes; it never ends by itself.

    Each connection asks what `request` returns then. It rests on `store`, or where that is
    unknown (empty) on the first that answers. Raises Unavailable when the server was away for
    `patience` seconds, StoreReset, and what the server raises.
    """
    clock = asyncio.get_running_loop().time
    away_since, failures = clock(), 0
    while True:
        error = Unavailable("the server ended the stream")
        try:
            async with link.stream(method, request(), store=store) as messages:
                async for message in messages:
                    if "store" in message:
                        store = _same(store, message["store"])
                        continue
                    failures = 0
                    yield message
        except Unavailable as broken:
            error = broken
        if failures == 0:
            away_since = clock()
        if clock() - away_since >= patience:
            raise error
        if not failures:
            log.info("trying again", extra={"method": method, "why": error.message})
        failures += 1
        await asyncio.sleep(_AGAIN.delay(failures, rng))


def _same(known: str, now: str) -> str:
    if known not in ("", now):
        raise StoreReset(f"the store is {now}, and was {known}")
    return now


class EntityWatch(Generic[E]):
    """The changes of a selection later than revision `after`; `request` selects."""

    def __init__(
        self, link: Link, kind: type[E], request: Message, *, after: int, patience: float
    ) -> None:
        self._link = link
        self._kind = kind
        self._request = request
        self._patience = patience
        # The store that `after` is of: whoever watches has just heard of it.
        self._store = link.store
        self._revision = after
        self._delivered = 0  # events of that very revision
        self._passing = 0  # of them, those that come again

    async def events(self, rng: random.Random) -> AsyncGenerator[Event[E], None]:
        """Yield them; raises as `follow` does, and Compacted."""
        messages = follow(
            self._link,
            "miren.entities.v1.Entities/Watch",
            self._from_here,
            store=self._store,
            patience=self._patience,
            rng=rng,
        )
        try:
            async for message in messages:
                event = event_of(self._kind, message)
                if self._is_new(event):
                    yield event
        finally:
            await messages.aclose()

    def _from_here(self) -> Message:
        # One revision may change many entities, and the connection may break in between: then
        # it is asked for again, and what has been delivered of it is passed over.
        self._passing = self._delivered
        after = self._revision - 1 if self._delivered else self._revision
        return {**self._request, "after": str(after)}

    def _is_new(self, event: Event[E]) -> bool:
        """Note an event; return whether it has not been delivered yet."""
        if isinstance(event, Bookmark):
            if event.revision < self._revision:
                return False
            self._revision, self._delivered, self._passing = event.revision, 0, 0
            return True
        if self._passing and event.revision == self._revision:
            self._passing -= 1
            return False
        self._passing = 0
        self._delivered = self._delivered + 1 if event.revision == self._revision else 1
        self._revision = event.revision
        return True
