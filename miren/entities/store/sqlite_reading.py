"""What is read from a SQLite store, over any connection to it.

Keys are stored as UTF-8, whose byte order is code point order. The bounds of a range need not
be keys: one may hold a lone surrogate (the character after U+D7FF is one), which keeps its
place in that order when it is encoded the way CPython calls `surrogatepass`.

No query holds its snapshot for longer than some milliseconds, because the log that SQLite writes
ahead can only begin anew while nobody reads an old state of it. So a long list is read in parts,
each from a snapshot of its own and all of them at one revision.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby, islice, starmap
from typing import Any

import apsw

from miren.base.errors import Unavailable
from miren.entities.store.api import KeyRange, KeyValue, Lease, Revision, StoreEvent
from miren.entities.store.rules import check_revision
from miren.entities.store.sqlite_damage import Damage
from miren.entities.store.watching import HISTORY_WINDOW

__all__ = ["Reading", "encode_bound"]

# How long one part of a list may take, and the rows between two looks at the clock.
_PART_SECONDS = 0.015
_ROWS = 128

# Bytes that one replay may read, beyond its first revision.
_REPLAY_BYTES = 4 << 20

_ANY_ID = 2**63 - 1

# What a KeyValue is made of, in the order of its fields, from a row of `kv`.
_FIELDS = """
CAST({0}.key AS TEXT), {0}.value, {0}.create_revision, {0}.id >> 16, {0}.version, {0}.lease
"""
_KV = _FIELDS.format("kv")
_KEYS_ONLY = _KV.replace("kv.value", "iif(kv.value IS NULL, NULL, x'')")


def _selecting(query: str, fields: str = _KV) -> str:
    return query.format(fields=fields, old_fields=_FIELDS.format("old"))


_ONE = _selecting("SELECT {fields}, kv.id FROM cur JOIN kv ON kv.id = cur.id WHERE cur.key = ?")

_ONE_AT = _selecting("SELECT {fields} FROM kv WHERE key = ? AND id <= ? ORDER BY id DESC LIMIT 1")

_NEWEST = """
SELECT {fields} FROM cur JOIN kv ON kv.id = cur.id
WHERE cur.key >= ? AND cur.key < ? AND cur.id <= ? ORDER BY cur.key LIMIT ?
"""

# The inner query walks the index (key, id) in order, and CROSS JOIN keeps it outermost, so rows
# come in order as they are asked for: an ORDER BY outside would sort the whole range for every
# part. Keys that were deleted at that revision have a NULL value.
_OLDER = """
SELECT {fields} FROM (
    SELECT key, max(id) AS id FROM kv WHERE key >= ? AND key < ? AND id <= ?
    GROUP BY key ORDER BY key
) AS newest CROSS JOIN kv ON kv.id = newest.id WHERE kv.value IS NOT NULL LIMIT ?
"""

# The unary plus keeps SQLite on the primary key: a window is short, a range may be long.
_REPLAY = _selecting("""
SELECT {fields}, {old_fields}
FROM kv LEFT JOIN kv AS old ON old.id = kv.prev_id
WHERE kv.id >= ? AND kv.id < ? AND +kv.key >= ? AND +kv.key < ? ORDER BY kv.id
""")
_WIDTH = 6

_BOUNDS = """
SELECT (SELECT v FROM meta WHERE k = 'last_revision'), (SELECT v FROM meta WHERE k = 'compacted')
"""

_UUID = "SELECT v FROM meta WHERE k = 'store_uuid'"
_LEASE = "SELECT 1 FROM lease WHERE id = ?"
_LEASES = "SELECT id, ttl FROM lease ORDER BY id"
_LEASED = "SELECT key FROM leased WHERE lease = ? ORDER BY key"

_Row = tuple[Any, ...]


class Reading:
    """Queries over one connection; each sees everything committed before it began."""

    def __init__(self, connection: apsw.Connection, damage: Damage) -> None:
        self._connection = connection
        self._damage = damage

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Let every query inside see the same state; raise Unavailable when one fails."""
        try:
            self._connection.execute("BEGIN")
            yield
        except apsw.Error as error:
            raise self._unreadable(error) from error
        finally:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")

    def bounds(self) -> tuple[int, int]:
        """Return the newest committed revision and the newest compacted one."""
        ((newest, compacted),) = self._rows(_BOUNDS)
        return newest, compacted

    def uuid(self) -> str:
        """Return what tells this store's history from any other's."""
        ((uuid,),) = self._rows(_UUID)
        return str(uuid)

    def find(self, key: str) -> tuple[KeyValue, int] | tuple[None, None]:
        """Return what `key` holds now, and the id of its row."""
        for *fields, id in self._rows(_ONE, (encode_bound(key),)):
            return KeyValue(*fields), id
        return None, None

    def read_at(self, key: str, revision: int) -> KeyValue | None:
        """Return what `key` held at `revision`; raise as `Store.get` does."""
        with self.snapshot():
            newest, compacted = self.bounds()
            check_revision(revision, newest=newest, compacted=compacted)
            for row in self._rows(_ONE_AT, (encode_bound(key), _after(revision))):
                return _key_value(row)
        return None

    def has_lease(self, lease: Lease) -> bool:
        """Return whether `lease` was granted and has not ended."""
        return bool(self._rows(_LEASE, (lease,)))

    def leases(self) -> Sequence[tuple[Lease, float]]:
        """Return the leases that have not ended, each with the seconds it lasts."""
        return [(Lease(id), ttl) for id, ttl in self._rows(_LEASES)]

    def leased(self, lease: Lease) -> tuple[str, ...]:
        """Return the keys attached to `lease`, in order."""
        return tuple([key.decode() for (key,) in self._rows(_LEASED, (lease,))])

    def scan(self, range: KeyRange) -> list[KeyValue]:
        """Return the keys of `range` as they are now."""
        query = _selecting(_NEWEST)
        bounds = (encode_bound(range.start), encode_bound(range.end))
        # No bound on the revision: inside a batch this sees what the batch has recorded so far.
        return list(starmap(KeyValue, self._rows(query, (*bounds, _ANY_ID, -1))))

    def part(
        self,
        start: bytes,
        end: bytes,
        items: list[KeyValue],
        *,
        revision: int = 0,
        most: int = -1,
        keys_only: bool = False,
    ) -> tuple[int, bytes | None]:
        """Append the first of the keys in [start, end) to `items`, at most `most` (-1 for any).

        Return the revision they are of, and where the rest begins if time was up before the end.
        Raises as `Store.list` does.
        """
        fields = _KEYS_ONLY if keys_only else _KV
        with self.snapshot():
            newest, compacted = self.bounds()
            at = revision or newest
            check_revision(at, newest=newest, compacted=compacted)
            query = _selecting(_NEWEST if at == newest else _OLDER, fields)
            rows = self._connection.execute(query, (start, end, _after(at), most))
            until = time.monotonic() + _PART_SECONDS
            while True:
                before = len(items)
                # Rows first, then what is made of them: SQLite and Python taking turns row by row
                # throw each other out of the processor's caches, which costs a tenth.
                # Straight into the caller's list: going over cold items again costs as much.
                items.extend(starmap(KeyValue, list(islice(rows, _ROWS))))
                if len(items) < before + _ROWS:
                    return at, None
                if time.monotonic() >= until:
                    rows.close(True)
                    return at, items[-1].key.encode() + b"\0"

    async def check(self, after: int) -> None:
        """Keep the contract of `History.check`."""
        check_revision(after, newest=self.bounds()[0], compacted=0)

    async def replay(
        self, range: KeyRange, *, after: int, through: int
    ) -> tuple[list[Revision], int]:
        """Keep the contract of `History.replay`."""
        reached = min(through, after + HISTORY_WINDOW)
        bounds = (encode_bound(range.start), encode_bound(range.end))
        found: list[Revision] = []
        size = 0
        with self.snapshot():
            newest, compacted = self.bounds()
            check_revision(after, newest=newest, compacted=compacted)
            rows = self._connection.execute(
                _REPLAY, (_first(after + 1), _first(reached + 1), *bounds)
            )
            for revision, group in groupby(rows, key=lambda row: row[3]):
                events = tuple([_event(row) for row in group])
                found.append(Revision(revision, events))
                size += sum(len(event.current.value) for event in events if event.current)
                if size > _REPLAY_BYTES:
                    reached = revision
                    break
            rows.close(True)
        return found, reached

    def _rows(self, query: str, bindings: tuple[object, ...] = ()) -> list[_Row]:
        try:
            return list(self._connection.execute(query, bindings))
        except apsw.Error as error:
            raise self._unreadable(error) from error

    def _unreadable(self, error: apsw.Error) -> Unavailable:
        if self._damage.notice(error):
            return self._damage.refusal()
        return Unavailable(
            f"the store could not be read: {error}",
            hint="if that stays, check its disk, and restore a snapshot",
        )


def encode_bound(text: str) -> bytes:
    """Return where a bound of a range stands among the stored keys."""
    return text.encode("utf-8", "surrogatepass")


def _first(revision: int) -> int:
    """Return the id of a revision's first change."""
    return revision << 16


def _after(revision: int) -> int:
    """Return an id that no change up to `revision` exceeds."""
    return revision << 16 | 0xFFFF


def _key_value(row: _Row) -> KeyValue | None:
    """Return what a row says; None for a deletion, or for no row."""
    return KeyValue(*row) if row[1] is not None else None


def _event(row: _Row) -> StoreEvent:
    return StoreEvent(row[0], _key_value(row[:_WIDTH]), _key_value(row[_WIDTH:]))
