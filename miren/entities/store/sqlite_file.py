"""The SQLite store's file: what is in it, and how it is opened.

Every row of `kv` is one change: `id` is `revision << 16 | place in the revision`, a NULL value
is a deletion, `prev_id` the change before. `cur` points each living key to its newest row.
`lease` holds the leases that have not ended, `leased` the living keys of each. `meta` holds the
numbers: `last_revision`, `compacted` (the newest revision that is lost), and `swept`, the id up to
which the rows that compaction makes superfluous are gone.

A file that exists is looked at through a connection that cannot write before one is opened that
can: one that is not ours, or damaged, stays as it is to the byte.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

import apsw

from miren.base.errors import InvalidInput, Refused, StoreFull, Unavailable
from miren.base.ids import new_uid
from miren.entities.store.rules import FIRST_REVISION
from miren.entities.store.sqlite_damage import Damage
from miren.entities.store.sqlite_integrity import CHECK_SECONDS, check_whole, damaged

__all__ = [
    "BUSY_TIMEOUT_MS",
    "Durability",
    "ForeignFile",
    "not_written",
    "open_for_reading",
    "open_for_writing",
]

Durability = Literal["full", "relaxed"]

_APPLICATION_ID = 0x4D49524E  # "MIRN", in the file's header
_SCHEMA_VERSION = 3

_SCHEMA = """
CREATE TABLE kv(
    id INTEGER PRIMARY KEY,
    key BLOB NOT NULL,
    value BLOB,
    create_revision INTEGER NOT NULL,
    version INTEGER NOT NULL,
    prev_id INTEGER,
    lease INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX kv_key ON kv(key, id);
CREATE TABLE cur(key BLOB PRIMARY KEY, id INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE meta(k TEXT PRIMARY KEY, v NOT NULL) WITHOUT ROWID;
"""

_LEASES = """
CREATE TABLE lease(id INTEGER PRIMARY KEY, ttl REAL NOT NULL);
CREATE TABLE leased(lease INTEGER, key BLOB, PRIMARY KEY (lease, key)) WITHOUT ROWID;
"""

# What makes a file of each schema one of the next. Nothing in it reads a row, so that a file
# of any size is open at once.
_UPGRADES = {
    1: "ALTER TABLE kv ADD COLUMN lease INTEGER NOT NULL DEFAULT 0;" + _LEASES,
    2: "INSERT INTO meta(k, v) VALUES ('swept', 0);",
}

# The log is cut back to this size when it begins anew, so that one burst does not keep the disk.
_LOG_LIMIT_BYTES = 64 * 1024 * 1024

#: How long a connection waits for another one before it gives up.
BUSY_TIMEOUT_MS = 5_000

# How much of the file a reader keeps at most: some thousand values are listed again at once.
_CACHE_KIB = 32 * 1024

# What SQLite says of a file that is not as it was written.
_DAMAGE = (apsw.CorruptError, apsw.SQLError, apsw.FormatError)


class ForeignFile(InvalidInput):
    """The file is something else than a store, by all that can be seen of it."""


def open_for_writing(
    path: Path, durability: Durability, *, check_seconds: float = CHECK_SECONDS
) -> apsw.Connection:
    """Open the owner's connection, and make the store when the file is new or empty.

    Raises ForeignFile for one that is something else, Refused for one of a newer Miren or one
    that is damaged, and Unavailable when the file cannot be opened; the file is then unchanged.
    """
    connection: apsw.Connection | None = None
    try:
        # SQLite gives its own files the mode of this one.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        version = _inspect(path, check_seconds) if path.stat().st_size else None
        connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
        connection.set_busy_timeout(BUSY_TIMEOUT_MS)
        _prepare(connection, version, durability)
    except BaseException as error:
        if connection:
            connection.close()
        if isinstance(error, apsw.Error | OSError):
            raise Unavailable(f"cannot open the store {path}: {error}") from error
        raise
    return connection


def open_for_reading(path: Path) -> apsw.Connection:
    """Open one more connection to a store that this process has open for writing."""
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    connection.set_busy_timeout(BUSY_TIMEOUT_MS)
    connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
    return connection


def not_written(error: BaseException, damage: Damage) -> Unavailable:
    """Return what to tell whoever wanted to write and surely did not; remember damage."""
    if isinstance(error, Unavailable):
        return error  # a query that the writer made says it already
    if damage.notice(error):
        return damage.refusal()
    if isinstance(error, apsw.FullError):
        return StoreFull(
            "the disk of the store is full; nothing was written",
            hint="make room on its file system; it writes again as soon as there is some",
        )
    return Unavailable(f"the store could not write: {error}")


def _inspect(path: Path, check_seconds: float) -> int | None:
    """Return a file's schema, None for an empty database; raise when it is no whole store."""
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        connection.set_busy_timeout(BUSY_TIMEOUT_MS)
        application = connection.execute("PRAGMA application_id").get
        if application == 0 and connection.execute("SELECT count(*) FROM sqlite_schema").get == 0:
            return None
        if application != _APPLICATION_ID:
            raise _foreign(path)
        version = connection.execute("SELECT v FROM meta WHERE k = 'schema_version'").get
        if not isinstance(version, int):
            raise damaged(path, "it does not say which schema it has")
        if version > _SCHEMA_VERSION:
            raise Refused(
                f"the store {path} has schema {version}; this Miren knows {_SCHEMA_VERSION}",
                hint="open it with the newer Miren that wrote it",
            )
        if version > 1:
            check_whole(connection, path, seconds=check_seconds)
    except apsw.NotADBError as error:
        raise _foreign(path) from error
    except _DAMAGE as error:
        raise damaged(path, error) from error
    else:
        return version
    finally:
        connection.close()


def _prepare(connection: apsw.Connection, version: int | None, durability: Durability) -> None:
    if version is None:
        # What makes `incremental_vacuum` possible has to be said before there is a table.
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute(f"PRAGMA synchronous = {'FULL' if durability == 'full' else 'NORMAL'}")
    connection.execute(f"PRAGMA journal_size_limit = {_LOG_LIMIT_BYTES}")
    if version is not None:
        _upgrade(connection, version)
        return
    connection.execute("BEGIN IMMEDIATE")
    connection.execute(_SCHEMA + _LEASES)
    connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
    values = {
        "schema_version": _SCHEMA_VERSION,
        "store_uuid": new_uid(),
        "last_revision": FIRST_REVISION,
        "compacted": 0,
        "swept": 0,
    }
    connection.executemany("INSERT INTO meta(k, v) VALUES (?, ?)", list(values.items()))
    connection.execute("COMMIT")


def _upgrade(connection: apsw.Connection, version: int) -> None:
    if version == _SCHEMA_VERSION:
        return
    connection.execute("BEGIN IMMEDIATE")
    for old in range(version, _SCHEMA_VERSION):
        connection.execute(_UPGRADES[old])
    connection.execute("UPDATE meta SET v = ? WHERE k = 'schema_version'", (_SCHEMA_VERSION,))
    connection.execute("COMMIT")


def _foreign(path: Path) -> ForeignFile:
    return ForeignFile(
        f"{path} is not a Miren store", hint="name another file; this one was left as it is"
    )
