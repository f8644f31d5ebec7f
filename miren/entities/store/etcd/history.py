"""What happened in the store: as it happens, for the fan-out, and as it happened, for who is late.

Two kinds of watch, both of all that the store has in etcd. The root watch follows the newest
revisions and publishes them, from the first time that somebody watches the store until that is
closed: it costs at every write, and where nobody watches it has nothing to lose. A catching-up
watch begins at an old revision. Nothing tells for certain when a watch has caught up, except an
event: so it reads until one at or past the revision it is to reach, having made sure that there is
one.

A compaction can overtake either. etcd says so only when it has passed the revision after the one
asked for, while a deletion in the compacted revision itself is already gone. So what comes from
etcd's history is delivered only after a read has shown that the state it starts from is still
kept.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import NoReturn

from miren.base.errors import (
    Compacted,
    InvalidInput,
    MirenError,
    StoreFull,
    StoreReset,
    Unavailable,
)
from miren.entities.store.api import Bookmark, KeyRange, Revision
from miren.entities.store.etcd.client import Client
from miren.entities.store.etcd.mapping import KeySpace
from miren.entities.store.etcd.revisions import RETRIES, Revisions
from miren.entities.store.etcd.watches import Batch, Watches, WatchStream
from miren.entities.store.watching import Fanout

__all__ = ["EtcdHistory"]

log = logging.getLogger(__name__)

#: Batches that wait in a catching-up watch; etcd puts up to 1000 revisions into one.
_WAITING = 2

#: Catching-up watches kept for readers that are between two parts of their backlog.
_KEPT = 16


class EtcdHistory:
    """What happened at which of `revisions`. `run` feeds `fanout`, which lasts as long.

    `silence` is how many seconds the root watch may bring nothing before it is doubted; `timeout`
    how many one exchange with etcd may take.
    """

    def __init__(
        self,
        client: Client,
        space: KeySpace,
        revisions: Revisions,
        *,
        silence: float,
        timeout: float,
    ) -> None:
        self.fanout = Fanout(self, published=revisions.newest)
        self._revisions = revisions
        self._silence = silence
        self._timeout = timeout
        self._watches = Watches(client, space, confirm=self._confirm, timeout=timeout)
        self._is_followed = asyncio.Event()
        self._kept: dict[int, WatchStream] = {}
        self._heard = asyncio.get_running_loop().time()
        self._waiting: list[asyncio.Future[None]] = []
        self._awaited = asyncio.Event()
        self._backlog = revisions.newest
        self._rng = random.Random()  # noqa: S311  # spreads retries, hides nothing

    async def run(self) -> None:
        """Follow the store once somebody watches it, until cancelled."""
        await self._is_followed.wait()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._watches.run())
            group.create_task(self._follow())
            group.create_task(self._doubt())

    @asynccontextmanager
    async def watch(
        self, range: KeyRange, *, after: int
    ) -> AsyncIterator[AsyncIterator[Revision | Bookmark]]:
        """Keep the contract of `Store.watch`."""
        if not self._is_followed.is_set():
            # Then what is known is no older than `after`: a compaction that the root watch is
            # too late for has taken something from this watch as well.
            await self.check(after)
            self._begin()
        if self._revisions.newest > self.fanout.published:
            # Who watches waits for what was answered already. If that was somebody else's
            # revision, nothing comes for it by itself.
            self._backlog = self._revisions.newest
            self._awaited.set()
        backlog = self._revisions.newest
        async with self.fanout.watch(range, after=after, backlog=backlog) as items:
            yield items

    async def check(self, after: int) -> None:
        """Keep the contract of `History.check`."""
        if after < 0:
            raise InvalidInput(f"revision {after} is negative")
        if after > self._revisions.newest:
            await self._revisions.read_revision()
        if after > self._revisions.newest:
            raise InvalidInput(
                f"revision {after} is not made yet; the newest is {self._revisions.newest}",
                hint="a revision of the future means another store: list again",
            )

    async def replay(
        self, range: KeyRange, *, after: int, through: int
    ) -> tuple[Sequence[Revision], int]:
        """Keep the contract of `History.replay`: as much as etcd sends at a time."""
        await self._revisions.ensure_event(through)
        stream = self._kept.pop(after, None) or self._watches.open(after=after, limit=_WAITING)
        try:
            found, reached = await self._read(stream, range, after=after, through=through)
            await self._revisions.patiently(lambda: self._revisions.verify(after))
        except Compacted as error:
            stream.close()
            oldest = await self._revisions.patiently(self._revisions.find_compacted)
            raise Compacted(error.message, oldest=oldest) from error
        except BaseException:
            stream.close()
            raise
        self._keep(reached, stream)
        return found, reached

    async def reach(self, revision: int) -> None:
        """Return once everything up to `revision` is published; Unavailable if that takes long.

        A store without room for a tick is not waited for: it has to be compacted. Nor is one that
        nobody watches yet: whoever does so later begins at the newest revision known.
        """
        if not self._is_followed.is_set():
            return
        try:
            async with asyncio.timeout(self._timeout):
                # Most revisions are the store's own, and on their way.
                if not await self._is_published(revision, within=self._timeout / 5):
                    await self._until_published(
                        await self._revisions.patiently(self._revisions.tick)
                    )
        except StoreFull as error:
            log.warning("compacted without waiting", extra={"reason": error.message})
        except TimeoutError as error:
            raise Unavailable(
                f"what happened up to revision {revision} is not received yet",
                hint="try again when the store can be watched",
            ) from error

    async def _is_published(self, revision: int, *, within: float) -> bool:
        try:
            async with asyncio.timeout(within):
                await self._until_published(revision)
        except TimeoutError:
            return False
        return True

    async def _until_published(self, revision: int) -> None:
        while self.fanout.published < revision:
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(future)
            await future

    def _wake(self) -> None:
        """Let everybody look who waits for something to be published."""
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            if not future.done():
                future.set_result(None)

    async def take_up(self) -> None:
        """Have `revisions` be about the history that etcd has now.

        The root watch sees to that. Where there is none, nobody else would notice that another
        store is in the place of the one before.
        """
        if self._is_followed.is_set():
            return
        found = await self._revisions.look()
        # Whoever began to watch meanwhile is about the one before, and the root watch says so.
        if found.reset and not self._is_followed.is_set():
            log.warning("another history is taken up", extra={"reason": found.reset.message})
            self._revisions.adopt(found)
            self.fanout.reset(found.reset, published=found.newest)

    # The root watch.

    def _begin(self) -> None:
        """Publish what comes from now on. What is older has to be read from the history."""
        if not self._is_followed.is_set():
            # No ring is there yet, which would have to hold what is skipped.
            self.fanout.publish(self._revisions.newest, ())
            self._heard = asyncio.get_running_loop().time()
            self._is_followed.set()

    async def _follow(self) -> NoReturn:
        failures = 0
        while True:
            before = self.fanout.published
            stream = self._watches.open(after=before)
            try:
                await self._publish_all(stream)
            except (Compacted, StoreReset) as error:
                log.warning("watches end", extra={"reason": error.message})
                await self._begin_again(error)
            except MirenError as error:
                log.warning("revisions wait", extra={"reason": error.message})
                failures = failures + 1 if self.fanout.published == before else 1
                await asyncio.sleep(RETRIES.delay(failures, self._rng))
            finally:
                stream.close()

    async def _publish_all(self, stream: WatchStream) -> NoReturn:
        while True:
            batch = await stream.next()
            if batch.is_backlog:
                await self._revisions.verify(batch.after)
            for revision in batch.revisions:
                self.fanout.publish(revision.revision, revision.events)
            self._revisions.wrote(self.fanout.published)
            self._heard = asyncio.get_running_loop().time()
            if self._waiting:
                self._wake()

    async def _begin_again(self, error: MirenError) -> None:
        """End every watch with `error`, and publish what comes from now on."""
        self._revisions.adopt(await self._revisions.patiently(self._revisions.look))
        for stream in self._kept.values():
            stream.close()
        self._kept.clear()
        self.fanout.reset(error, published=self._revisions.newest)
        self._wake()

    async def _confirm(self) -> None:
        """Raise StoreReset unless etcd has the history that was followed so far."""
        newest = await self._revisions.confirm()
        if newest > self.fanout.published:
            # What was missed may be compacted, and a deletion that is leaves nothing to be sent.
            self._backlog = newest
            self._awaited.set()

    async def _doubt(self) -> NoReturn:
        """See to it that a root watch that brings nothing is one to which nothing comes."""
        patience = self._timeout
        while True:
            await self._until_doubtful()
            self._heard = asyncio.get_running_loop().time()
            try:
                if await self._revisions.read_revision() <= self.fanout.published:
                    continue
                revision = await self._revisions.tick()
            except MirenError as error:
                log.info("etcd does not answer", extra={"reason": error.message})
                continue
            if await self._is_published(revision, within=patience):
                patience = self._timeout
                continue
            log.warning("the root watch is stuck", extra={"revision": revision})
            self._watches.interrupt()
            # A revision of very many keys takes etcd a while to put together, each time anew.
            patience *= 2

    async def _until_doubtful(self) -> None:
        """Return when nothing was heard for long, or for a moment while a reader waits."""
        loop = asyncio.get_running_loop()
        while (left := self._heard + self._silence - loop.time()) > 0:
            try:
                async with asyncio.timeout(left):
                    await self._awaited.wait()
            except TimeoutError:
                continue
            self._awaited.clear()
            if not await self._is_published(self._backlog, within=self._timeout / 5):
                return

    # Catching up.

    async def _read(
        self, stream: WatchStream, range: KeyRange, *, after: int, through: int
    ) -> tuple[list[Revision], int]:
        """Return the next revisions that touch `range`, or none having reached `through`."""
        found: list[Revision] = []
        reached = after
        while not found and reached < through:
            batch = await stream.next()
            reached = min(batch.revisions[-1].revision, through)
            for number, revision in enumerate(batch.revisions):
                if revision.revision > through:
                    rest = batch.revisions[number:]
                    stream.give_back(Batch(through, rest, batch.is_backlog))
                    break
                mine = tuple(event for event in revision.events if event.key in range)
                if mine:
                    found.append(Revision(revision.revision, mine))
        return found, reached

    def _keep(self, position: int, stream: WatchStream) -> None:
        """Keep a catching-up watch for whoever goes on from `position`."""
        replaced = self._kept.pop(position, None)
        self._kept[position] = stream
        if len(self._kept) > _KEPT:
            replaced = self._kept.pop(next(iter(self._kept)))
        if replaced:
            replaced.close()
