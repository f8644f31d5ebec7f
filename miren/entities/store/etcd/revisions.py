"""What is known of the store's revisions, and how the rest is found out from etcd.

The newest revision is on every answer. Which of them are compacted etcd tells nobody, and whether
a revision changed something that the store has there only a watch would: both are found by asking.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from miren.base.backoff import Backoff
from miren.base.errors import (
    Compacted,
    InvalidInput,
    OutcomeUnknown,
    StoreFull,
    StoreReset,
    Unavailable,
)
from miren.entities.store.etcd.client import Client
from miren.entities.store.etcd.identity import identify
from miren.entities.store.etcd.mapping import KeySpace
from miren.entities.store.etcd.messages import message
from miren.entities.store.rules import FIRST_REVISION

__all__ = ["RETRIES", "Found", "Revisions"]

log = logging.getLogger(__name__)

_RANGE, _PUT = message("RangeRequest"), message("PutRequest")

#: Between attempts of what has to succeed some time.
RETRIES = Backoff(first=0.05, cap=2.0)

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Found:
    """The store that etcd has, by UUID and newest revision; `reset` if it is not the known one."""

    uuid: str
    newest: int
    reset: StoreReset | None


class Revisions:
    """The revisions of the store `uuid`, the newest of which was `newest` when it was opened."""

    def __init__(self, client: Client, space: KeySpace, *, uuid: str, newest: int) -> None:
        self.uuid = uuid
        #: The newest revision that any answer has shown.
        self.newest = newest
        #: The newest revision known to be compacted; there may be a newer one.
        self.compacted = 0
        #: A revision that certainly changed something that the store has in etcd.
        self.eventful = 0
        self._client = client
        self._space = space
        self._rng = random.Random()  # noqa: S311  # spreads retries, hides nothing

    async def read_revision(self) -> int:
        """Return the newest revision, as of now."""
        answer = await self._client.range(_RANGE(key=self._space.identity, count_only=True))
        return self.saw(answer.header.revision)

    def saw(self, revision: int) -> int:
        """Take note that there is this revision, and return it."""
        if revision > self.newest:
            self.newest = revision
        return revision

    def wrote(self, revision: int) -> int:
        """Take note that this revision changed something that the store has, and return it."""
        if revision > self.eventful:
            self.eventful = revision
        return self.saw(revision)

    async def find_compacted(self) -> int:
        """Return the newest compacted revision.

        etcd tells nobody, but it refuses to read below: usually one read shows that nothing has
        changed, and otherwise the place is found by halves.
        """
        low = max(self.compacted, FIRST_REVISION)
        if await self._is_kept(low):
            return self.compacted
        high = self.newest
        while not await self._is_kept(high):
            high = await self.read_revision()
        while high - low > 1:
            middle = (low + high) // 2
            if await self._is_kept(middle):
                high = middle
            else:
                low = middle
        self.compacted = max(self.compacted, high)
        return self.compacted

    async def ensure_event(self, revision: int) -> None:
        """Return once something has certainly changed at `revision` or later."""
        if self.eventful < revision:
            await self.patiently(self.tick)

    async def tick(self) -> int:
        """Write what nobody reads, and return the revision that made."""
        answer = await self._client.put(_PUT(key=self._space.tick))
        return self.wrote(answer.header.revision)

    async def verify(self, revision: int) -> None:
        """Raise Compacted unless the state at `revision` is still kept."""
        try:
            is_kept = await self._is_kept(revision)
        except InvalidInput as error:
            raise StoreReset(
                f"revision {revision} was made, and is not any more", hint="list again"
            ) from error
        if not is_kept:
            message = f"what followed revision {revision} is no longer kept"
            raise Compacted(message, oldest=await self.find_compacted())

    async def _is_kept(self, revision: int) -> bool:
        request = _RANGE(key=self._space.identity, revision=revision, count_only=True)
        try:
            self.saw((await self._client.range(request)).header.revision)
        except Compacted:
            return False
        return True

    async def look(self) -> Found:
        """Return which store etcd has."""
        known, reset = self.newest, None
        uuid, newest = await identify(self._client, self._space)
        if uuid != self.uuid:
            reset = StoreReset(
                f"this is store {uuid}, and was {self.uuid} before", hint="list again"
            )
        elif newest < known:
            reset = StoreReset(
                f"the store is at revision {newest}, and was at {known} before",
                hint="it was restored without a new identity; list again",
            )
        return Found(uuid, newest, reset)

    async def confirm(self) -> int:
        """Return the newest revision, or raise StoreReset if the history is another than known."""
        found = await self.look()
        if found.reset:
            raise found.reset
        return self.saw(found.newest)

    def adopt(self, found: Found) -> None:
        """Forget what may be of another history, and take up the one that was found."""
        if found.reset:
            self.uuid, self.newest, self.compacted = found.uuid, found.newest, 0
        self.eventful = 0
        self.saw(found.newest)

    async def patiently(self, call: Callable[[], Awaitable[_T]]) -> _T:
        """Return what `call` returns, once etcd can be reached. It must be fit to be repeated.

        Only people can make room, so StoreFull is raised.
        """
        failures = 0
        while True:
            try:
                return await call()
            except StoreFull:
                raise
            except (Unavailable, OutcomeUnknown) as error:
                log.info("etcd does not answer", extra={"reason": error.message})
                failures += 1
                await asyncio.sleep(RETRIES.delay(failures, self._rng))
