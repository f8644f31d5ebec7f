"""What the writer of a SQLite store does between its batches, a short step at a time.

- Compaction: a row is superfluous when a later one of its key is compacted as well, or when it is
  a deletion. Each row names the one before it, so it is enough to walk the rows that were
  compacted since the last time: each takes its predecessor with it. How far the walk is stands in
  the file, written in the same SQLite transaction, so that a store that was killed in the middle
  goes on from there.
- Space: when a good part of the file is unused after a compaction, pages are given back.
- The log that SQLite writes ahead: it is copied into the file when it has some pages (which waits
  for nobody, and goes as far as no reader still needs), and made to begin anew when it is long
  (which waits a moment for the readers). A store without work empties it. While somebody reads for
  so long that it cannot begin anew, it grows; that is tried again and again, and told.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import apsw

from miren.base.errors import MirenError, Unavailable
from miren.entities.store.sqlite_damage import Damage
from miren.entities.store.sqlite_file import BUSY_TIMEOUT_MS, not_written

__all__ = ["Answer", "Upkeep", "log_alarm"]

log = logging.getLogger(__name__)

#: A future and what to set it to.
Answer = tuple[asyncio.Future[Any], object]

# Rows that one step of a compaction looks at: writers wait for no more than that.
_SWEEP_ROWS = 1000

# Pages (4 KiB) of the log after which it is copied, and after which it has to begin anew.
_COPY_PAGES = 1000
_LONG_PAGES = 4000

# How long beginning anew waits for the readers, who take some milliseconds; all writers wait.
_RESTART_MS = 200

# A store that had nothing to do for so long empties its log, or tries again after so long.
_IDLE_SECONDS = 1.0
_RETRY_SECONDS = 30.0

# Space is given back when more than one page in four is unused, until it is one in ten. A file of
# less than a few MiB is left alone.
_SHRINK_AT, _SHRINK_TO, _SMALL_PAGES = 4, 10, 1000
_VACUUM_PAGES = 500
_INCREMENTAL = 2

# A log that is held and longer than this is worth an alarm.
_ALARM_BYTES = 64 * 1024 * 1024

_COMPACTION = """
SELECT (SELECT v FROM meta WHERE k = 'compacted'), (SELECT v FROM meta WHERE k = 'swept')
"""
_SWEEP = """
SELECT id, prev_id, value IS NULL FROM kv WHERE id > ? AND id < ? ORDER BY id LIMIT ?
"""


class Upkeep:
    """Belongs to the writer's thread, which has no SQLite transaction open when it calls this."""

    def __init__(self, connection: apsw.Connection, damage: Damage) -> None:
        self._connection = connection
        self._damage = damage
        compacted, self._swept = next(connection.execute(_COMPACTION))
        self._end = _end(compacted)  # what is to be swept lies before this id
        self._waiting: list[tuple[int, asyncio.Future[None]]] = []
        self._is_shrinking = False
        self._pages = 0
        self._copy_at = _COPY_PAGES
        self.is_held = False  # whether a reader kept the log from beginning anew, at the last try
        connection.set_wal_hook(self._measure)

    @property
    def patience(self) -> float | None:
        """How many seconds there is nothing to do: 0 for work at once, None for ever."""
        if self._swept < self._end - 1 or self._is_shrinking:
            return 0.0
        if self.is_held:
            return _RETRY_SECONDS
        return _IDLE_SECONDS if self._pages else None

    def sweep(self, revision: int, future: asyncio.Future[None]) -> None:
        """Drop what a compaction of `revision` left superfluous; answer when that is done."""
        self._end = max(self._end, _end(revision))
        self._waiting.append((_end(revision), future))

    def step(self) -> list[Answer]:
        """Do a little of what there is to do; return whom that answers."""
        answers: list[Answer] = []
        try:
            if self._swept < self._end - 1:
                self._sweep()
            elif self._is_shrinking:
                self._shrink()
        except (apsw.Error, Unavailable) as error:
            self._roll_back()
            self._end, self._is_shrinking = self._swept + 1, False
            log.warning("the store could not finish compacting: %s", error)
            answers = self._answer_all(not_written(error, self._damage), error)
        else:
            answers = [(future, None) for end, future in self._waiting if end <= self._swept + 1]
            self._waiting = [each for each in self._waiting if each[0] > self._swept + 1]
        if self._pages >= self._copy_at:
            self._copy()
        return answers

    def rest(self) -> None:
        """Empty the log, if nobody reads it."""
        self._checkpoint(apsw.SQLITE_CHECKPOINT_TRUNCATE)

    def defragment(self) -> MirenError | None:
        """Build the file anew without its unused space; return what went wrong."""
        try:
            self._connection.execute("PRAGMA auto_vacuum = INCREMENTAL")  # older files have none
            self._connection.execute("VACUUM")
        except apsw.Error as error:
            self._roll_back()
            refusal = not_written(error, self._damage)
            refusal.__cause__ = error
            return refusal
        self.rest()
        return None

    def close(self) -> list[Answer]:
        """Return whom stopping answers: what is left to be swept goes the next time."""
        return self._answer_all(None, None)

    def _sweep(self) -> None:
        self._damage.check()
        execute = self._connection.execute
        execute("BEGIN IMMEDIATE")
        bindings = (self._swept, self._end, _SWEEP_ROWS)
        rows: list[tuple[Any, ...]] = execute(_SWEEP, bindings).fetchall()
        gone = [(before,) for _, before, _ in rows if before is not None]
        gone += [(id,) for id, _, is_deletion in rows if is_deletion]
        self._connection.executemany("DELETE FROM kv WHERE id = ?", gone)
        swept = rows[-1][0] if len(rows) == _SWEEP_ROWS else self._end - 1
        execute("UPDATE meta SET v = ? WHERE k = 'swept'", (swept,))
        execute("COMMIT")
        self._swept = swept
        if swept == self._end - 1:
            self._is_shrinking = self._is_loose(_SHRINK_AT)

    def _shrink(self) -> None:
        self._damage.check()
        self._connection.execute(f"PRAGMA incremental_vacuum({_VACUUM_PAGES})").fetchall()
        self._is_shrinking = self._is_loose(_SHRINK_TO)

    def _is_loose(self, parts: int) -> bool:
        """Return whether more than one page in `parts` could be given back."""
        pages: int = self._connection.execute("PRAGMA page_count").get
        unused: int = self._connection.execute("PRAGMA freelist_count").get
        is_possible = self._connection.execute("PRAGMA auto_vacuum").get == _INCREMENTAL
        return is_possible and pages > _SMALL_PAGES and unused * parts > pages

    def _measure(self, _connection: apsw.Connection, _name: str, pages: int) -> int:
        """Take how long the log is after a commit; SQLite leaves copying it to whoever asks."""
        if pages < self._pages:
            self._copy_at = _COPY_PAGES
            self.is_held = False
        self._pages = pages
        return apsw.SQLITE_OK

    def _copy(self) -> None:
        """Copy the log into the file, so that the next commit can begin it anew."""
        self._copy_at = self._pages + _COPY_PAGES
        self._checkpoint(apsw.SQLITE_CHECKPOINT_PASSIVE)
        if self._pages < _LONG_PAGES:
            return
        self._checkpoint(apsw.SQLITE_CHECKPOINT_RESTART)

    def _checkpoint(self, mode: int) -> None:
        is_whole = mode != apsw.SQLITE_CHECKPOINT_PASSIVE
        self._connection.set_busy_timeout(_RESTART_MS)
        try:
            self._connection.wal_checkpoint(mode=mode)
            self.is_held = self.is_held and not is_whole
        except apsw.BusyError:
            # Somebody reads what would go.
            self.is_held = self.is_held or is_whole
        except apsw.Error as error:
            self._damage.notice(error)
            log.warning("the store could not copy its log into its file: %s", error)
        finally:
            self._connection.set_busy_timeout(BUSY_TIMEOUT_MS)
        if mode == apsw.SQLITE_CHECKPOINT_TRUNCATE:
            self._pages = 0

    def _answer_all(self, error: MirenError | None, cause: Exception | None) -> list[Answer]:
        waiting, self._waiting = self._waiting, []
        answers: list[Answer] = []
        for _, future in waiting:
            own = type(error)(error.message, hint=error.hint) if error else None
            if own:
                own.__cause__ = cause
            answers.append((future, own))
        return answers

    def _roll_back(self) -> None:
        # SQLite has rolled back by itself after some errors (a full disk is one).
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")


def log_alarm(size: int) -> str | None:
    """Return what there is to say of a log of `size` bytes that a reader holds, if anything."""
    if size <= _ALARM_BYTES:
        return None
    return f"wal {size / 1024**2:.0f} MiB: held by a reader; end what else has the file open"


def _end(revision: int) -> int:
    """Return the id after the last that a change of `revision` can have."""
    return (revision + 1) << 16
