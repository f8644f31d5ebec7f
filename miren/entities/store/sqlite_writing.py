"""The SQLite store's writer: one thread, and group commit that clocks itself.

While a commit waits for the disk, further requests queue up; the next commit takes them all.
So one writer pays one disk flush a write, and a hundred writers pay about two for all. A batch
is one SQLite transaction, each request in it still a revision of its own: a request is first
evaluated, which may fail, and only then recorded, so that a failed one leaves no trace in its
batch. Answers go back to the loop through `_answers`, with one wake-up a batch.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import apsw

from miren.base.errors import InvalidInput, MirenError, OutcomeUnknown, Unavailable
from miren.entities.store.api import StoreEvent, TransactionResult
from miren.entities.store.rules import Transaction, evaluate
from miren.entities.store.sqlite_reading import Reading

__all__ = ["Writer"]

# Bounds how long the first request of a batch waits for the others in it.
_BATCH = 1024

# Rows that one step of a compaction looks at: writers wait for no more than that.
_SWEEP_ROWS = 1000

_PUT_ROW = """
INSERT INTO kv(id, key, value, create_revision, version, prev_id)
VALUES (?1, ?2, ?3, ?4, ?5, (SELECT id FROM cur WHERE key = ?2))
"""
_PUT_CURRENT = "INSERT OR REPLACE INTO cur(key, id) VALUES (?, ?)"
_DELETE_CURRENT = "DELETE FROM cur WHERE key = ?"

# A change may go when it is a deletion, or when a later one of its key is kept or a deletion.
# Walking in order of id removes what a deletion hides before the deletion itself.
_SWEEP = """
SELECT id, value IS NULL OR EXISTS (
    SELECT 1 FROM kv AS later WHERE later.key = kv.key AND later.id > kv.id AND later.id < ?1
)
FROM kv WHERE id > ?2 AND id < ?1 ORDER BY id LIMIT ?3
"""


@dataclass(frozen=True, slots=True)
class _Write:
    transaction: Transaction
    future: asyncio.Future[TransactionResult]


@dataclass(slots=True)
class _Sweep:
    """A compaction: drop what is not needed of the rows with `swept < id < end`."""

    revision: int
    future: asyncio.Future[None]
    swept: int = 0

    @property
    def end(self) -> int:
        return (self.revision + 1) << 16


@dataclass(frozen=True, slots=True)
class _Stop:
    future: asyncio.Future[None]


@dataclass(slots=True)
class _Answers:
    """What one batch made: new revisions for the watches, and an answer for each request."""

    revisions: list[tuple[int, tuple[StoreEvent, ...]]] = field(default_factory=list)
    results: list[tuple[_Write, TransactionResult | MirenError]] = field(default_factory=list)
    done: list[tuple[asyncio.Future[None], MirenError | None]] = field(default_factory=list)


class Writer:
    """Owns the only connection that writes, from `start` until `stop`.

    `publish` is called on the loop with every new revision, before its writer is answered.
    """

    def __init__(
        self,
        connection: apsw.Connection,
        publish: Callable[[int, Sequence[StoreEvent]], None],
    ) -> None:
        self.commits = 0
        self._connection = connection
        self._state = Reading(connection)
        self._newest = self._state.bounds()[0]
        self._publish = publish
        self._queue: queue.SimpleQueue[_Write | _Sweep | _Stop] = queue.SimpleQueue()
        self._sweeps: deque[_Sweep] = deque()
        self._answers: deque[_Answers] = deque()
        self._loop = asyncio.get_running_loop()
        # A daemon, so that a process whose loop died without closing the store can still exit.
        self._thread = threading.Thread(target=self._run, name="miren-store", daemon=True)

    def start(self) -> None:
        """Begin to take requests."""
        self._thread.start()

    async def transact(self, transaction: Transaction) -> TransactionResult:
        """Return once the transaction is on the disk. Cancelling it cancels only the waiting."""
        future: asyncio.Future[TransactionResult] = self._loop.create_future()
        self._queue.put(_Write(transaction, future))
        return await future

    async def compact(self, revision: int) -> None:
        """Return once history up to `revision` is gone, or the writer stops."""
        future: asyncio.Future[None] = self._loop.create_future()
        self._queue.put(_Sweep(revision, future))
        await future

    async def stop(self) -> None:
        """Finish what is queued, answer it, and end the thread, even when cancelled."""
        future: asyncio.Future[None] = self._loop.create_future()
        self._queue.put(_Stop(future))
        try:
            await future
        finally:
            self._thread.join()
            self._settle()

    def _run(self) -> None:
        while True:
            batch, stop = self._take()
            if batch:
                self._answer(self._commit(batch))
            if stop:
                # What was compacted is marked so on the disk; the rows go the next time.
                done = [(sweep.future, None) for sweep in self._sweeps]
                self._answer(_Answers(done=[*done, (stop.future, None)]))
                return
            if self._sweeps:
                self._sweep(self._sweeps[0])

    def _take(self) -> tuple[list[_Write | _Sweep], _Stop | None]:
        """Return what is queued; wait for something only when there is nothing else to do."""
        batch: list[_Write | _Sweep] = []
        try:
            while len(batch) < _BATCH:
                request = self._queue.get(block=not batch and not self._sweeps)
                if isinstance(request, _Stop):
                    return batch, request
                batch.append(request)
        except queue.Empty:
            pass
        return batch, None

    def _commit(self, batch: Sequence[_Write | _Sweep]) -> _Answers:
        answers = _Answers()
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            newest = self._record(batch, answers)
        except Exception as error:  # whatever it was, the callers must hear of it
            self._roll_back()
            return _failed(batch, Unavailable(f"the store could not write: {error}"), error)
        try:
            self._connection.execute("COMMIT")
        except apsw.Error as error:
            self._roll_back()
            message = f"the store may or may not have written: {error}"
            return _failed(batch, OutcomeUnknown(message), error)
        self.commits += 1
        self._newest = newest
        self._sweeps.extend(request for request in batch if isinstance(request, _Sweep))
        return answers

    def _record(self, batch: Sequence[_Write | _Sweep], answers: _Answers) -> int:
        """Apply the batch inside the open SQLite transaction; return the newest revision."""
        newest = self._newest
        for request in batch:
            if isinstance(request, _Sweep):
                self._set_meta("compacted", request.revision)
            if not isinstance(request, _Write):
                continue
            try:
                outcome = evaluate(request.transaction, self._state, newest)
            except InvalidInput as error:
                answers.results.append((request, error))
                continue
            answers.results.append((request, outcome.result))
            if outcome.events:
                newest += 1
                self._insert(newest, outcome.events)
                answers.revisions.append((newest, outcome.events))
        if newest != self._newest:
            self._set_meta("last_revision", newest)
        return newest

    def _insert(self, revision: int, events: Sequence[StoreEvent]) -> None:
        execute = self._connection.execute
        for place, event in enumerate(events):
            id, key, current = revision << 16 | place, event.key.encode(), event.current
            if current is None:
                execute(_PUT_ROW, (id, key, None, 0, 0))
                execute(_DELETE_CURRENT, (key,))
            else:
                columns = (current.value, current.create_revision, current.version)
                execute(_PUT_ROW, (id, key, *columns))
                execute(_PUT_CURRENT, (key, id))

    def _set_meta(self, name: str, value: int) -> None:
        self._connection.execute("UPDATE meta SET v = max(v, ?) WHERE k = ?", (value, name))

    def _sweep(self, sweep: _Sweep) -> None:
        """Do one step of the oldest compaction."""
        error: MirenError | None = None
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            bindings = (sweep.end, sweep.swept, _SWEEP_ROWS)
            rows: list[tuple[Any, ...]]
            rows = self._connection.execute(_SWEEP, bindings).fetchall()
            gone = [(id,) for id, may_go in rows if may_go]
            self._connection.executemany("DELETE FROM kv WHERE id = ?", gone)
            self._connection.execute("COMMIT")
        except apsw.Error as cause:
            self._roll_back()
            error = Unavailable(f"the store could not finish compacting: {cause}")
            error.__cause__ = cause
        else:
            self.commits += 1
            if len(rows) == _SWEEP_ROWS:
                sweep.swept = rows[-1][0]
                return
        self._sweeps.popleft()
        self._answer(_Answers(done=[(sweep.future, error)]))

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
            for request, result in answers.results:
                if request.future.done():
                    continue
                if isinstance(result, MirenError):
                    request.future.set_exception(result)
                else:
                    request.future.set_result(result)
            for future, error in answers.done:
                if future.done():
                    continue
                if error:
                    future.set_exception(error)
                else:
                    future.set_result(None)


def _failed(batch: Sequence[_Write | _Sweep], error: MirenError, cause: Exception) -> _Answers:
    """Answer every request of a batch with an error of its own."""
    answers = _Answers()
    for request in batch:
        own = type(error)(error.message)
        own.__cause__ = cause
        if isinstance(request, _Write):
            answers.results.append((request, own))
        elif isinstance(request, _Sweep):
            answers.done.append((request.future, own))
    return answers
