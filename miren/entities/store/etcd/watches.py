"""One watch call that carries every watch of a store, and comes back when it breaks.

A watch here is of all that the store has in etcd, from some revision on. What etcd sends is cut
into whole revisions before anybody sees it: fragments of a response are joined first, and a
response never ends inside a revision. Where a watch goes on after the call broke follows from
what was received whole, and from nothing else: the revision in a header is the store's newest,
which a watch that is catching up has not reached yet, and progress notifications may overtake
events in the versions of etcd that are about.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import random
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NoReturn

from miren.base.backoff import Backoff
from miren.base.errors import Compacted, MirenError, StoreReset
from miren.base.records import record
from miren.entities.store.api import Revision
from miren.entities.store.etcd.client import Client
from miren.entities.store.etcd.mapping import KeySpace
from miren.entities.store.etcd.messages import message
from miren.entities.store.etcd.watch_call import WatchCall

__all__ = ["Batch", "WatchStream", "Watches"]

log = logging.getLogger(__name__)

_CREATE, _REQUEST = message("WatchCreateRequest"), message("WatchRequest")
_CANCEL = message("WatchCancelRequest")

#: Between two attempts to have a watch call.
_ATTEMPTS = Backoff(first=0.02, cap=2.0)


@record
class Batch:
    """Whole revisions in order: all that etcd has of the store later than `after` up to the last.

    `is_backlog` says that etcd may have read them from its history, where a compaction can have
    taken something away; otherwise it sent them as they were made.
    """

    after: int
    revisions: Sequence[Revision]
    is_backlog: bool


class WatchStream:
    """One watch. With `limit`, etcd is told to stop while so many batches wait to be taken."""

    def __init__(self, watches: Watches, after: int, limit: int) -> None:
        #: Everything up to here was received.
        self.position = after
        self.id = 0
        self.is_paused = False
        self._watches = watches
        self._limit = limit
        self._batches: deque[Batch] = deque()
        self._fragments: list[Any] = []
        self._is_fresh = True
        self._error: MirenError | None = None
        self._changed = asyncio.Event()

    async def next(self) -> Batch:
        """Return what came next, waiting for it as long as it takes.

        Raises Compacted when history that it needs is gone, StoreReset when the store is another.
        """
        while not self._batches:
            if self._error:
                raise self._error.with_traceback(None)
            if self.is_paused:
                self._watches.resume(self)
            self._changed.clear()
            await self._changed.wait()
        return self._batches.popleft()

    def give_back(self, batch: Batch) -> None:
        """Let `next` return `batch` first."""
        self._batches.appendleft(batch)

    def begin(self) -> None:
        """Forget what was received in part: etcd is asked for it again."""
        self._fragments.clear()
        self._is_fresh = True

    def take(self, response: Any) -> None:
        """Take a response with events. Raises nothing: what is wrong with it, `next` tells."""
        self._fragments += response.events
        if response.fragment:
            return
        events, self._fragments = self._fragments, []
        try:
            revisions = self._watches.space.revisions(events, after=self.position)
        except (Compacted, StoreReset) as error:
            self.fail(error)
            return
        if not revisions:
            return
        # As they are made, revisions come one by one.
        is_backlog = self._is_fresh or len(revisions) > 1
        self._batches.append(Batch(self.position, revisions, is_backlog))
        self.position = revisions[-1].revision
        self._is_fresh = False
        self._changed.set()
        if self._limit and len(self._batches) >= self._limit:
            self._watches.pause(self)

    def fail(self, error: MirenError) -> None:
        """Let `next` raise `error` after what was received."""
        self._error = self._error or error
        self._watches.forget(self)
        self._changed.set()

    def close(self) -> None:
        """Receive nothing more."""
        self._watches.forget(self)


class Watches:
    """All watches of one store.

    `confirm` is awaited whenever a call was established, before anything that it brings is
    looked at; it raises StoreReset when this is not the history that the watches are about.
    `timeout` is how long establishing may take, in seconds.
    """

    def __init__(
        self,
        client: Client,
        space: KeySpace,
        *,
        confirm: Callable[[], Awaitable[None]],
        timeout: float,
    ) -> None:
        self.space = space
        self._client = client
        self._confirm = confirm
        self._timeout = timeout
        self._ids = itertools.count(1)  # etcd takes 0 for "choose one"
        self._streams: dict[int, WatchStream] = {}
        self._is_wanted = asyncio.Event()
        # What is still to be sent on the call there is.
        self._outbox: asyncio.Queue[Any] | None = None
        self._deadline: asyncio.Timeout | None = None
        self._failures = 0

    def open(self, *, after: int, limit: int = 0) -> WatchStream:
        """Return a watch of every revision later than `after`, which lasts until it is closed."""
        stream = WatchStream(self, after, limit)
        self.resume(stream)
        return stream

    def resume(self, stream: WatchStream) -> None:
        """Ask etcd for what comes after the position of `stream`."""
        # A new name each time, so that what was under way for the old one is not taken for it.
        stream.id = next(self._ids)
        stream.is_paused = False
        self._streams[stream.id] = stream
        self._is_wanted.set()
        if self._outbox:
            self._outbox.put_nowait(self._creation(stream))

    def pause(self, stream: WatchStream) -> None:
        """Have etcd send nothing more for `stream` until it is resumed."""
        self.forget(stream)
        stream.is_paused = True

    def forget(self, stream: WatchStream) -> None:
        """Receive nothing more for `stream`, if it is not forgotten already."""
        if self._streams.pop(stream.id, None) and self._outbox:
            self._outbox.put_nowait(_REQUEST(cancel_request=_CANCEL(watch_id=stream.id)))

    def interrupt(self) -> None:
        """Give up the call there is, which brought nothing for too long, and make another."""
        if self._deadline:
            self._deadline.reschedule(asyncio.get_running_loop().time())

    async def run(self) -> NoReturn:
        """Keep a call going for as long as anybody watches; ends only when cancelled."""
        rng = random.Random()  # noqa: S311  # spreads retries, hides nothing
        while True:
            while not self._streams:
                self._is_wanted.clear()
                await self._is_wanted.wait()
            try:
                await self._carry()
            except* StoreReset as errors:
                self._fail_all(_first(errors))
            except* (MirenError, TimeoutError) as errors:
                reason = str(_first(errors)) or "no answer in time"
                log.info("the watch of etcd is interrupted", extra={"reason": reason})
                self._failures += 1
                _raise_if_cancelled()
                await asyncio.sleep(_ATTEMPTS.delay(self._failures, rng))

    async def _carry(self) -> None:
        """Make a call and deliver what it brings, until it breaks."""
        try:
            async with (
                asyncio.timeout(self._timeout) as self._deadline,
                self._client.watch() as call,
                asyncio.TaskGroup() as group,
            ):
                outbox = self._outbox = asyncio.Queue()
                for stream in self._streams.values():
                    outbox.put_nowait(self._creation(stream))
                group.create_task(_send(call, outbox))
                await self._receive(call, self._deadline)
        finally:
            self._outbox = self._deadline = None

    async def _receive(self, call: WatchCall, deadline: asyncio.Timeout) -> None:
        is_established = False
        async for response in call:
            if response.canceled:
                await self._end(call, response)
            elif response.created and not is_established:
                is_established = True
                await self._confirm()
                deadline.reschedule(None)
                self._failures = 0
            elif response.events:
                stream = self._streams.get(response.watch_id)
                if stream:
                    stream.take(response)

    async def _end(self, call: WatchCall, response: Any) -> None:
        """Act on a watch that etcd has ended; raise if it should not have."""
        stream = self._streams.get(response.watch_id)
        # Which watch it did not let begin, etcd does not say: that one is -1.
        if stream is None and response.watch_id >= 0:
            return
        if stream is None or not response.compact_revision:
            raise await call.refused(response.cancel_reason or "no reason given")
        oldest = response.compact_revision
        message = f"what followed revision {stream.position} is no longer kept"
        stream.fail(Compacted(message, oldest=oldest))

    def _creation(self, stream: WatchStream) -> Any:
        stream.begin()
        start, end = self.space.root
        return _REQUEST(
            create_request=_CREATE(
                key=start,
                range_end=end,
                start_revision=stream.position + 1,
                prev_kv=True,
                watch_id=stream.id,
                fragment=True,
            )
        )

    def _fail_all(self, error: MirenError) -> None:
        for stream in list(self._streams.values()):
            stream.fail(error)


async def _send(call: WatchCall, outbox: asyncio.Queue[Any]) -> NoReturn:
    while True:
        await call.send(await outbox.get())


def _raise_if_cancelled() -> None:
    # A call that ends just then may have an error of its own in place of the cancellation.
    task = asyncio.current_task()
    if task and task.cancelling():
        raise asyncio.CancelledError


def _first(errors: BaseExceptionGroup[BaseException]) -> Any:
    error: BaseException = errors
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
