"""The SQLite store's files: who owns them, what is in them, and how they are opened.

One process owns a store at a time. It holds an flock on `<path>.lock`, which the kernel drops
when the process dies however it dies; the owner's pid is in that file for the error message.
Every row of `kv` is one change: `id` is `revision << 16 | place in the revision`, a NULL value
is a deletion, `prev_id` the change before. `cur` points each living key to its newest row.
`lease` holds the leases that have not ended, `leased` the living keys of each.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import Literal

import apsw

from miren.base.errors import InvalidInput, Refused, Unavailable
from miren.base.ids import new_uid
from miren.entities.store.rules import FIRST_REVISION

__all__ = ["Durability", "OwnerLock", "open_for_reading", "open_for_writing"]

Durability = Literal["full", "relaxed"]

_APPLICATION_ID = 0x4D49524E  # "MIRN", in the file's header
_SCHEMA_VERSION = 2

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
_UPGRADES = {1: "ALTER TABLE kv ADD COLUMN lease INTEGER NOT NULL DEFAULT 0;" + _LEASES}

# The WAL is cut back to this size after a checkpoint, so that one burst does not keep the disk.
_WAL_LIMIT_BYTES = 64 * 1024 * 1024

_BUSY_TIMEOUT_MS = 5_000


class OwnerLock:
    """The right to open one store file. Held until `release`, or until the process ends."""

    def __init__(self, path: Path) -> None:
        """Take the lock; raise Refused, naming the owner, when another store object has it."""
        self.path = path.with_name(path.name + ".lock")
        try:
            self._file = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise Unavailable(
                f"cannot open the store {path}: {error.strerror}",
                hint=f"check that {path.parent} is a folder this user may write to",
            ) from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            owner = os.read(self._file, 32).decode(errors="replace").strip() or "unknown"
            os.close(self._file)
            raise Refused(
                f"the store {path} is in use by process {owner}",
                hint=f"stop process {owner}, or ask it instead of opening its file",
            ) from error
        os.ftruncate(self._file, 0)
        os.write(self._file, f"{os.getpid()}\n".encode())

    def release(self) -> None:
        """Give the right away. The file stays: removing it would let two owners in."""
        os.ftruncate(self._file, 0)
        os.close(self._file)


def open_for_writing(path: Path, durability: Durability) -> apsw.Connection:
    """Open the owner's connection, and make the store when the file is new or empty.

    Raises InvalidInput for a file that is something else, Refused for one of a newer Miren,
    and Unavailable when the file cannot be opened; the file is then unchanged.
    """
    connection: apsw.Connection | None = None
    try:
        # SQLite gives its own files the mode of this one.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
        connection.set_busy_timeout(_BUSY_TIMEOUT_MS)
        _prepare(connection, path, durability)
    except BaseException as error:
        if connection:
            connection.close()
        if isinstance(error, apsw.NotADBError):
            raise _foreign(path) from error
        if isinstance(error, apsw.Error | OSError):
            raise Unavailable(f"cannot open the store {path}: {error}") from error
        raise
    return connection


def open_for_reading(path: Path) -> apsw.Connection:
    """Open one more connection to a store that this process has open for writing."""
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    connection.set_busy_timeout(_BUSY_TIMEOUT_MS)
    return connection


def _prepare(connection: apsw.Connection, path: Path, durability: Durability) -> None:
    version = _check_contents(connection, path)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute(f"PRAGMA synchronous = {'FULL' if durability == 'full' else 'NORMAL'}")
    connection.execute(f"PRAGMA journal_size_limit = {_WAL_LIMIT_BYTES}")
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


def _check_contents(connection: apsw.Connection, path: Path) -> int | None:
    """Return the file's schema, None when it is empty; raise when it is neither that nor ours."""
    application = connection.execute("PRAGMA application_id").get
    tables = connection.execute("SELECT count(*) FROM sqlite_schema").get
    if application == 0 and tables == 0:
        return None
    if application != _APPLICATION_ID:
        raise _foreign(path)
    version: int = connection.execute("SELECT v FROM meta WHERE k = 'schema_version'").get
    if version > _SCHEMA_VERSION:
        raise Refused(
            f"the store {path} has schema {version}; this Miren knows {_SCHEMA_VERSION}",
            hint="open it with the newer Miren that wrote it",
        )
    return version


def _foreign(path: Path) -> InvalidInput:
    return InvalidInput(
        f"{path} is not a Miren store", hint="name another file; this one was left as it is"
    )
