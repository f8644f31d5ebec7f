"""The SQLite store's writer: one thread, and group commit that clocks itself.

While a commit waits for the disk, further requests queue up; the next commit takes them all.
So one writer pays one disk flush a write, and a hundred writers pay about two for all. A batch
is one SQLite transaction, each request in it still a revision of its own: a request is first
evaluated, which may fail, and only then recorded, so that a failed one leaves no trace in its
batch. Answers go back to the loop through `_answers`, with one wake-up a batch.

Granting and ending a lease are requests like any other; how long it lasts is the loop's affair.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import apsw

from miren.base.errors import InvalidInput, MirenError, NotFound, OutcomeUnknown, StoreFull
from miren.entities.store.api import Lease, StoreEvent, TransactionResult
from miren.entities.store.leases import Clock, LeaseClock
from miren.entities.store.rules import Transaction
from miren.entities.store.sqlite_damage import Damage
from miren.entities.store.sqlite_file import not_written
from miren.entities.store.sqlite_reading import Reading
from miren.entities.store.sqlite_recording import Recording
from miren.entities.store.sqlite_requests import (
    Defragment,
    End,
    Grant,
    Request,
    Stop,
    Sweep,
    Write,
    size_of,
)
from miren.entities.store.sqlite_upkeep import Answer, Upkeep

__all__ = ["Writer"]

log = logging.getLogger(__name__)

# Bound how long the first request of a batch waits for the others in it, and what is held in
# memory until it is written.
_BATCH = 1024
_BATCH_BYTES = 4 << 20

# How long a lease that expired and could not be ended waits for the next try.
_RETRY_SECONDS = 1.0


@dataclass(slots=True)
class _Answers:
    """What one batch made: new revisions for the watches, leases that began or ended, and an
    answer for each request.
    """

    revisions: list[tuple[int, tuple[StoreEvent, ...]]] = field(default_factory=list)
    leases: list[Grant | End] = field(default_factory=list)
    results: list[Answer] = field(default_factory=list)


class Writer:
    """Owns the only connection that writes, from `start` until `stop`.

    `publish` is called on the loop with every new revision, before its writer is answered.
    `clock` holds the leases that have not ended.
    """

    def __init__(
        self,
        connection: apsw.Connection,
        damage: Damage,
        publish: Callable[[int, Sequence[StoreEvent]], None],
        clock: Clock | None = None,
    ) -> None:
        self.commits = 0
        self.is_full = False  # the last batch found no room
        self._connection = connection
        self._damage = damage
        self._recording = Recording(connection, damage)
        self._publish = publish
        self._queue: queue.SimpleQueue[Request | Stop] = queue.SimpleQueue()
        self._upkeep = Upkeep(connection, damage)
        self._answers: deque[_Answers] = deque()
        self._loop = asyncio.get_running_loop()
        self._stopped = False
        self._time: Clock = clock or self._loop
        self.clock = LeaseClock(self._expire, self._time)
        # A daemon, so that a process whose loop died without closing the store can still exit.
        self._thread = threading.Thread(target=self._run, name="miren-store", daemon=True)

    @property
    def is_log_held(self) -> bool:
        """Whether somebody read for so long that the log could not begin anew."""
        return self._upkeep.is_held

    def start(self) -> None:
        """Begin to take requests, and the time of every lease."""
        for lease, ttl in Reading(self._connection, self._damage).leases():
            self.clock.start(lease, ttl)
        self._thread.start()

    async def transact(self, transaction: Transaction) -> TransactionResult:
        """Return once the transaction is on the disk. Cancelling it cancels only the waiting."""
        future: asyncio.Future[TransactionResult] = self._loop.create_future()
        self._queue.put(Write(transaction, future))
        return await future

    async def grant(self, lease: Lease, ttl: float) -> Lease:
        """Return once the lease is on the disk; its time begins then."""
        future: asyncio.Future[Lease] = self._loop.create_future()
        self._queue.put(Grant(lease, ttl, future))
        return await future

    async def revoke(self, lease: Lease) -> None:
        """Return once the lease and its keys are gone; raise NotFound if they were already."""
        await self._end(lease)

    async def compact(self, revision: int) -> None:
        """Return once history up to `revision` is gone, or the writer stops."""
        future: asyncio.Future[None] = self._loop.create_future()
        self._queue.put(Sweep(revision, future))
        await future

    async def defragment(self) -> None:
        """Return once the file is built anew without what is unused in it."""
        future: asyncio.Future[None] = self._loop.create_future()
        self._queue.put(Defragment(future))
        await future

    async def stop(self) -> None:
        """Finish what is queued, answer it, and end the thread, even when cancelled."""
        future: asyncio.Future[None] = self._loop.create_future()
        self._queue.put(Stop(future))
        try:
            await future
        finally:
            self._thread.join()
            self._settle()
            self._stopped = True
            self.clock.close()

    def _end(self, lease: Lease) -> asyncio.Future[None]:
        future: asyncio.Future[None] = self._loop.create_future()
        self._queue.put(End(lease, future))
        return future

    def _expire(self, lease: Lease) -> None:
        """End a lease whose time is over; until it is done, nobody can keep it alive again."""

        def check(future: asyncio.Future[None]) -> None:
            error = None if future.cancelled() else future.exception()
            if error is not None and not isinstance(error, NotFound):
                log.warning("an expired lease could not be ended yet: %s", error)
                self._time.call_at(self._time.time() + _RETRY_SECONDS, self._expire, lease)

        if not self._stopped:
            self._end(lease).add_done_callback(check)

    def _run(self) -> None:
        while True:
            batch, stop = self._take()
            if batch:
                self._answer(self._commit(batch))
            for request in batch:
                if isinstance(request, Defragment):
                    error = self._upkeep.defragment()
                    self._answer(_Answers(results=[(request.future, error)]))
            if stop:
                self._answer(_Answers(results=[*self._upkeep.close(), (stop.future, None)]))
                return
            done = self._upkeep.step()
            if done:
                self._answer(_Answers(results=done))

    def _take(self) -> tuple[list[Request], Stop | None]:
        """Return what is queued; wait for something only when there is nothing else to do."""
        patience = self._upkeep.patience
        try:
            request = self._queue.get(block=patience != 0, timeout=patience)
        except queue.Empty:
            if patience:
                self._upkeep.rest()
            return [], None
        batch: list[Request] = []
        size = 0
        while not isinstance(request, Stop):
            batch.append(request)
            size += size_of(request)
            if len(batch) == _BATCH or size >= _BATCH_BYTES or self._queue.empty():
                return batch, None
            request = self._queue.get()
        return batch, request

    def _commit(self, batch: Sequence[Request]) -> _Answers:
        answers = _Answers()
        try:
            self._damage.check()
            self._connection.execute("BEGIN IMMEDIATE")
            self._recording.begin()
            for request in batch:
                self._record(request, answers)
            answers.revisions = self._recording.finish()
        except Exception as error:  # whatever it was, the callers must hear of it
            self._roll_back()
            return self._failed(batch, not_written(error, self._damage), error)
        try:
            self._connection.execute("COMMIT")
        except apsw.FullError as error:
            # SQLite writes what makes a commit count last of all: there was no room for that.
            self._roll_back()
            return self._failed(batch, not_written(error, self._damage), error)
        except apsw.Error as error:
            self._damage.notice(error)
            self._roll_back()
            message = f"the store may or may not have written: {error}"
            return self._failed(batch, OutcomeUnknown(message), error)
        self.commits += 1
        self.is_full = False
        self._recording.keep()
        for request in batch:
            if isinstance(request, Sweep):
                self._upkeep.sweep(request.revision, request.future)
        return answers

    def _record(self, request: Request, answers: _Answers) -> None:
        """Apply one request inside the open SQLite transaction, or find what is wrong with it."""
        result: object = None
        try:
            match request:
                case Write(transaction):
                    result = self._recording.run(transaction)
                case Grant(lease, ttl):
                    self._recording.grant(lease, ttl)
                    result = lease
                    answers.leases.append(request)
                case End(lease):
                    self._recording.end(lease)
                    answers.leases.append(request)
                case Sweep(revision):
                    self._recording.set_meta("compacted", revision)
                    return  # it is answered when it is done
                case Defragment():
                    return
        except (InvalidInput, NotFound) as error:
            result = error
        answers.results.append((request.future, result))

    def _failed(self, batch: Sequence[Request], error: MirenError, cause: Exception) -> _Answers:
        """Answer every request of a batch with an error of its own."""
        self.is_full = isinstance(error, StoreFull)
        answers = _Answers()
        for request in batch:
            own = type(error)(error.message, hint=error.hint)
            own.__cause__ = cause
            answers.results.append((request.future, own))
        return answers

    def _roll_back(self) -> None:
        # SQLite has rolled back by itself after some errors (a full disk is one).
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")

    def _answer(self, answers: _Answers) -> None:
        self._answers.append(answers)
        try:
            self._loop.call_soon_threadsafe(self._settle)
        except RuntimeError:
            # The loop is closed, so nobody waits for an answer any more.
            if not self._loop.is_closed():
                raise

    def _settle(self) -> None:
        """Publish and answer, on the loop, what the thread has finished."""
        while self._answers:
            answers = self._answers.popleft()
            for revision, events in answers.revisions:
                self._publish(revision, events)
            for change in answers.leases:
                if isinstance(change, Grant):
                    self.clock.start(change.lease, change.ttl)
                else:
                    self.clock.forget(change.lease)
            for future, result in answers.results:
                if future.done():
                    continue
                if isinstance(result, MirenError):
                    future.set_exception(result)
                else:
                    future.set_result(result)
