"""What one batch writes into a SQLite store, inside the SQLite transaction that the writer holds.

A revision is a row for each of its changes. A lease is a row of its own and one for each key
attached to it; keys without a lease cost nothing more than before there were any.
"""

from __future__ import annotations

from collections.abc import Sequence

import apsw

from miren.entities.store.api import Lease, StoreEvent, TransactionResult
from miren.entities.store.rules import Transaction, ended, endings, evaluate
from miren.entities.store.sqlite_reading import Reading

__all__ = ["Recording"]

_PUT_ROW = """
INSERT INTO kv(id, key, value, create_revision, version, prev_id, lease)
VALUES (?1, ?2, ?3, ?4, ?5, (SELECT id FROM cur WHERE key = ?2), ?6)
"""
_PUT_CURRENT = "INSERT OR REPLACE INTO cur(key, id) VALUES (?, ?)"
_DELETE_CURRENT = "DELETE FROM cur WHERE key = ?"

_ATTACH = "INSERT INTO leased(lease, key) VALUES (?, ?)"
_DETACH = "DELETE FROM leased WHERE lease = ? AND key = ?"
_GRANT = "INSERT INTO lease(id, ttl) VALUES (?, ?)"
_END = "DELETE FROM lease WHERE id = ?"

_Revisions = list[tuple[int, tuple[StoreEvent, ...]]]


class Recording:
    """Applies requests, each as revisions of its own.

    `begin`, requests, `finish`, and `keep` once SQLite has committed; what is not kept is
    forgotten by the next `begin`, as SQLite forgets it by rolling back.
    """

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection
        self._state = Reading(connection)
        self._committed = self._newest = self._state.bounds()[0]
        self._revisions: _Revisions = []

    def leases(self) -> Sequence[tuple[Lease, float]]:
        """Return the leases that have not ended, each with the seconds it lasts."""
        return self._state.leases()

    def begin(self) -> None:
        """Start from what is committed."""
        self._newest = self._committed
        self._revisions = []

    def run(self, transaction: Transaction) -> TransactionResult:
        """Apply a transaction; raise as `evaluate` does, having written nothing of it."""
        outcome = evaluate(transaction, self._state, self._newest)
        if outcome.events:
            self._newest += 1
            self._insert(self._newest, outcome.events)
            self._revisions.append((self._newest, outcome.events))
        return outcome.result

    def grant(self, lease: Lease, ttl: float) -> None:
        """Add a lease."""
        self._connection.execute(_GRANT, (lease, ttl))

    def end(self, lease: Lease) -> None:
        """Delete a lease and its keys; raise NotFound when it has ended already."""
        if not self._state.has_lease(lease):
            raise ended(lease)
        for transaction in endings(self._state.leased(lease)):
            self.run(transaction)
        self._connection.execute(_END, (lease,))

    def finish(self) -> _Revisions:
        """Write how far the store has come; return the revisions made since `begin`."""
        if self._newest != self._committed:
            self.set_meta("last_revision", self._newest)
        return self._revisions

    def keep(self) -> None:
        """Start from here the next time."""
        self._committed = self._newest

    def set_meta(self, name: str, value: int) -> None:
        """Raise a number that the store keeps about itself; it never goes down."""
        self._connection.execute("UPDATE meta SET v = max(v, ?) WHERE k = ?", (value, name))

    def _insert(self, revision: int, events: Sequence[StoreEvent]) -> None:
        execute = self._connection.execute
        for place, event in enumerate(events):
            id, key, current = revision << 16 | place, event.key.encode(), event.current
            if event.previous and event.previous.lease:
                execute(_DETACH, (event.previous.lease, key))
            if current is None:
                execute(_PUT_ROW, (id, key, None, 0, 0, 0))
                execute(_DELETE_CURRENT, (key,))
            else:
                columns = (current.value, current.create_revision, current.version)
                execute(_PUT_ROW, (id, key, *columns, current.lease))
                execute(_PUT_CURRENT, (key, id))
                if current.lease:
                    execute(_ATTACH, (current.lease, key))
