"""What one batch writes into a SQLite store, inside the SQLite transaction that the writer holds.

A revision is a row for each of its changes. A lease is a row of its own and one for each key
attached to it; keys without a lease cost nothing more than before there were any. Rows are
gathered and written together, because a statement run once for many rows costs less than many:
whatever the next request has to know of them it finds in `Recent`, and a query of more than one
key writes them first.
"""

from __future__ import annotations

from collections.abc import Sequence

import apsw

from miren.entities.store.api import KeyRange, KeyValue, Lease, StoreEvent, TransactionResult
from miren.entities.store.rules import Transaction, ended, endings, evaluate
from miren.entities.store.sqlite_damage import Damage
from miren.entities.store.sqlite_reading import Reading
from miren.entities.store.sqlite_recent import Known, Recent

__all__ = ["Recording"]

_PUT_ROW = """
INSERT INTO kv(id, key, value, create_revision, version, prev_id, lease)
VALUES (?, ?, ?, ?, ?, ?, ?)
"""
_PUT_CURRENT = "INSERT OR REPLACE INTO cur(key, id) VALUES (?, ?)"
_DELETE_CURRENT = "DELETE FROM cur WHERE key = ?"

_ATTACH = "INSERT OR IGNORE INTO leased(lease, key) VALUES (?, ?)"
_DETACH = "DELETE FROM leased WHERE lease = ? AND key = ?"
_GRANT = "INSERT INTO lease(id, ttl) VALUES (?, ?)"
_END = "DELETE FROM lease WHERE id = ?"
_META = "UPDATE meta SET v = max(v, ?) WHERE k = ?"

_Row = tuple[int, bytes, bytes | None, int, int, int | None, int]
_Revisions = list[tuple[int, tuple[StoreEvent, ...]]]


class Recording:
    """Applies requests, each as revisions of its own, and is the state that they are judged by.

    `begin`, requests, `finish`, and `keep` once SQLite has committed; what is not kept is
    forgotten by the next `begin`, as SQLite forgets it by rolling back.
    """

    def __init__(self, connection: apsw.Connection, damage: Damage) -> None:
        self._cursor = connection.cursor()
        self._reading = Reading(connection, damage)
        self._recent = Recent()
        self._version = self._data_version()
        self._committed = self._newest = self._reading.bounds()[0]
        self._revisions: _Revisions = []
        self._rows: list[_Row] = []
        self._current: dict[str, int | None] = {}  # the newest rows of the keys in `_rows`

    def begin(self) -> None:
        """Start from what is committed."""
        version = self._data_version()
        # Nobody else should write to the file, but a person who does must not be overruled.
        if self._newest != self._committed or self._rows or version != self._version:
            self._recent.forget()
            self._newest = self._committed
            self._version = version
        self._rows = []
        self._current = {}
        self._revisions = []

    def run(self, transaction: Transaction) -> TransactionResult:
        """Apply a transaction; raise as `evaluate` does, having written nothing of it."""
        outcome = evaluate(transaction, self, self._newest)
        if outcome.events:
            self._newest += 1
            for place, event in enumerate(outcome.events):
                self._add(self._newest << 16 | place, event)
            self._revisions.append((self._newest, outcome.events))
        return outcome.result

    def grant(self, lease: Lease, ttl: float) -> None:
        """Add a lease."""
        self._cursor.execute(_GRANT, (lease, ttl))

    def end(self, lease: Lease) -> None:
        """Delete a lease and its keys; raise NotFound when it has ended already."""
        if not self.has_lease(lease):
            raise ended(lease)
        for transaction in endings(self._reading.leased(lease)):
            self.run(transaction)
        self._cursor.execute(_END, (lease,))

    def finish(self) -> _Revisions:
        """Write what is left, and how far the store has come; return what `begin` began."""
        self._flush()
        if self._newest != self._committed:
            self.set_meta("last_revision", self._newest)
        return self._revisions

    def keep(self) -> None:
        """Start from here the next time."""
        self._committed = self._newest

    def set_meta(self, name: str, value: int) -> None:
        """Raise a number that the store keeps about itself; it never goes down."""
        self._cursor.execute(_META, (value, name))

    def read(self, key: str) -> KeyValue | None:
        """Keep the contract of `NewestState.read`."""
        known = self._recent.find(key)
        return known[0] if known is not None else self._look_up(key)[0]

    def scan(self, range: KeyRange) -> Sequence[KeyValue]:
        """Keep the contract of `NewestState.scan`."""
        self._flush()
        return self._reading.scan(range)

    def has_lease(self, lease: Lease) -> bool:
        """Keep the contract of `NewestState.has_lease`."""
        return self._reading.has_lease(lease)

    def _data_version(self) -> int:
        """Return a number that changes when another connection has committed."""
        version: int = self._cursor.execute("PRAGMA data_version").get
        return version

    def _add(self, id: int, event: StoreEvent) -> None:
        key, current, previous = event.key, event.current, event.previous
        before = self._place(key) if previous else None
        if current is None:
            self._rows.append((id, key.encode(), None, 0, 0, before, 0))
            self._current[key] = None
            self._recent.learn(key, None, None)
        else:
            value, created, version = current.value, current.create_revision, current.version
            lease = current.lease
            self._rows.append((id, key.encode(), value, created, version, before, lease))
            self._current[key] = id
            self._recent.learn(key, current, id)
        was, now = previous.lease if previous else 0, current.lease if current else 0
        if was != now:
            self._attach(key.encode(), was, now)

    def _place(self, key: str) -> int | None:
        """Return the id of a key's newest row: a scan shows keys that `Recent` does not know."""
        known = self._recent.find(key)
        return known[1] if known is not None else self._look_up(key)[1]

    def _look_up(self, key: str) -> Known:
        # A large batch may have pushed out what it wrote itself.
        if key in self._current:
            self._flush()
        known = self._reading.find(key)
        self._recent.learn(key, *known)
        return known

    def _attach(self, key: bytes, was: int, now: int) -> None:
        if was:
            self._cursor.execute(_DETACH, (was, key))
        if now:
            self._cursor.execute(_ATTACH, (now, key))

    def _flush(self) -> None:
        """Write the rows gathered so far."""
        if not self._rows:
            return
        rows, self._rows = self._rows, []
        current, self._current = self._current, {}
        self._cursor.executemany(_PUT_ROW, rows)
        puts = [(key.encode(), id) for key, id in current.items() if id is not None]
        if puts:
            self._cursor.executemany(_PUT_CURRENT, puts)
        if len(puts) < len(current):
            gone = [(key.encode(),) for key, id in current.items() if id is None]
            self._cursor.executemany(_DELETE_CURRENT, gone)
