"""What is read from a SQLite store, over any connection to it.

Keys are stored as UTF-8, whose byte order is code point order. The bounds of a range need not
be keys: one may hold a lone surrogate (the character after U+D7FF is one), which keeps its
place in that order when it is encoded the way CPython calls `surrogatepass`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from typing import Any

import apsw

from miren.entities.store.api import KeyRange, KeyValue, Lease, Revision, StoreEvent
from miren.entities.store.rules import check_revision

__all__ = ["CHUNK", "Reading", "encode_bound"]

# Keys read at a time from a long list.
CHUNK = 500

_ANY_ID = 2**63 - 1

_ONE = """
SELECT kv.id, kv.key, kv.value, kv.create_revision, kv.version, kv.lease
FROM cur JOIN kv ON kv.id = cur.id WHERE cur.key = ?
"""

_ONE_AT = """
SELECT id, key, value, create_revision, version, lease
FROM kv WHERE key = ? AND id <= ? ORDER BY id DESC LIMIT 1
"""

_NEWEST = """
SELECT kv.id, cur.key, {value}, kv.create_revision, kv.version, kv.lease
FROM cur JOIN kv ON kv.id = cur.id
WHERE cur.key >= ? AND cur.key < ? AND cur.id <= ? ORDER BY cur.key LIMIT ?
"""

# The inner query walks the index (key, id) and stops at the limit; keys that were deleted at
# that revision come out with a NULL value, so that the caller knows how far it got.
_OLDER = """
SELECT newest.id, newest.key, {value}, kv.create_revision, kv.version, kv.lease
FROM (
    SELECT key, max(id) AS id FROM kv
    WHERE key >= ? AND key < ? AND id <= ? GROUP BY key ORDER BY key LIMIT ?
) AS newest JOIN kv ON kv.id = newest.id ORDER BY newest.key
"""

# The unary plus keeps SQLite on the primary key: a window is short, a range may be long.
_REPLAY = """
SELECT kv.id, kv.key, kv.value, kv.create_revision, kv.version, kv.lease,
       old.id, old.key, old.value, old.create_revision, old.version, old.lease
FROM kv LEFT JOIN kv AS old ON old.id = kv.prev_id
WHERE kv.id >= ? AND kv.id < ? AND +kv.key >= ? AND +kv.key < ? ORDER BY kv.id
"""

_BOUNDS = """
SELECT (SELECT v FROM meta WHERE k = 'last_revision'), (SELECT v FROM meta WHERE k = 'compacted')
"""

_LEASE = "SELECT 1 FROM lease WHERE id = ?"
_LEASES = "SELECT id, ttl FROM lease ORDER BY id"
_LEASED = "SELECT key FROM leased WHERE lease = ? ORDER BY key"

_Row = tuple[Any, ...]


class Reading:
    """Queries over one connection; each sees everything committed before it began."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Let every query inside see the same state."""
        self._connection.execute("BEGIN")
        try:
            yield
        finally:
            self._connection.execute("ROLLBACK")

    def bounds(self) -> tuple[int, int]:
        """Return the newest committed revision and the newest compacted one."""
        newest, compacted = next(self._connection.execute(_BOUNDS))
        return newest, compacted

    def uuid(self) -> str:
        """Return what tells this store's history from any other's."""
        return str(self._connection.execute("SELECT v FROM meta WHERE k = 'store_uuid'").get)

    def read(self, key: str) -> KeyValue | None:
        """Return what `key` holds now."""
        row = self._connection.execute(_ONE, (encode_bound(key),)).fetchone()
        return _key_value(row) if row else None

    def read_at(self, key: str, revision: int) -> KeyValue | None:
        """Return what `key` held at `revision`; raise as `Store.get` does."""
        with self.snapshot():
            newest, compacted = self.bounds()
            check_revision(revision, newest=newest, compacted=compacted)
            bindings = (encode_bound(key), _after(revision))
            row = self._connection.execute(_ONE_AT, bindings).fetchone()
        return _key_value(row) if row and row[2] is not None else None

    def has_lease(self, lease: Lease) -> bool:
        """Return whether `lease` was granted and has not ended."""
        return self._connection.execute(_LEASE, (lease,)).fetchone() is not None

    def leases(self) -> Sequence[tuple[Lease, float]]:
        """Return the leases that have not ended, each with the seconds it lasts."""
        rows: list[_Row] = self._connection.execute(_LEASES).fetchall()
        return [(Lease(id), ttl) for id, ttl in rows]

    def leased(self, lease: Lease) -> tuple[str, ...]:
        """Return the keys attached to `lease`, in order."""
        return tuple(key.decode() for (key,) in self._connection.execute(_LEASED, (lease,)))

    def scan(self, range: KeyRange) -> list[KeyValue]:
        """Return the keys of `range` as they are now."""
        query = _NEWEST.format(value="kv.value")
        bounds = (encode_bound(range.start), encode_bound(range.end))
        # No bound on the revision: inside a batch this sees what the batch has recorded so far.
        rows = self._connection.execute(query, (*bounds, _ANY_ID, -1))
        return [_key_value(row) for row in rows]

    def chunks(
        self, range: KeyRange, *, revision: int, size: int, keys_only: bool
    ) -> Iterator[list[KeyValue]]:
        """Yield the keys of `range` at `revision`, at most `size` at a time.

        The caller holds a snapshot from before the first chunk until after the last.
        """
        value = "iif(kv.value IS NULL, NULL, x'')" if keys_only else "kv.value"
        query = _NEWEST if revision == self.bounds()[0] else _OLDER
        query = query.format(value=value)
        start, end = encode_bound(range.start), encode_bound(range.end)
        while True:
            bindings = (start, end, _after(revision), size)
            rows: list[_Row] = self._connection.execute(query, bindings).fetchall()
            yield [_key_value(row) for row in rows if row[2] is not None]
            if len(rows) < size:
                return
            start = rows[-1][1] + b"\0"

    def replay(self, range: KeyRange, *, after: int, through: int) -> list[Revision]:
        """Return the revisions in (after, through] that touch `range`, or raise Compacted."""
        bounds = (encode_bound(range.start), encode_bound(range.end))
        with self.snapshot():
            newest, compacted = self.bounds()
            check_revision(after, newest=newest, compacted=compacted)
            rows: list[_Row] = self._connection.execute(
                _REPLAY, (_first(after + 1), _first(through + 1), *bounds)
            ).fetchall()
        return [
            Revision(revision, tuple(_event(row) for row in group))
            for revision, group in groupby(rows, key=lambda row: row[0] >> 16)
        ]


def encode_bound(text: str) -> bytes:
    """Return where a bound of a range stands among the stored keys."""
    return text.encode("utf-8", "surrogatepass")


def _first(revision: int) -> int:
    """Return the id of a revision's first change."""
    return revision << 16


def _after(revision: int) -> int:
    """Return an id that no change up to `revision` exceeds."""
    return revision << 16 | 0xFFFF


def _key_value(row: _Row) -> KeyValue:
    id, key, value, create_revision, version, lease = row
    return KeyValue(key.decode(), value, create_revision, id >> 16, version, lease)


def _event(row: _Row) -> StoreEvent:
    current, old = row[:6], row[6:]
    return StoreEvent(
        row[1].decode(),
        _key_value(current) if current[2] is not None else None,
        _key_value(old) if old[2] is not None else None,
    )
