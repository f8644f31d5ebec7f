"""Snapshots of a store, each with a manifest beside it, and what is made of one again.

A snapshot is in the backend's own form. The manifest, `<file>.manifest.json`, says what it is and
holds its size and hash: a snapshot without one, or that does not match it, is not restored. It is
written last, so that there is none of half a snapshot.

What was restored is another store: its UUID is new. So that nobody goes on at a revision of the
old history, the restored file's numbers go on far beyond any that the old store can have given
since, and everything before is compacted: who asks for it is told to list again.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from miren.base.errors import InvalidInput, Refused, RuntimeFailure
from miren.base.ids import new_uid
from miren.base.partial import partial_file
from miren.entities.store.api import Store
from miren.entities.store.copying import unheard
from miren.entities.store.sqlite import SQLiteStore
from miren.entities.store.sqlite_file import open_for_writing

__all__ = [
    "FORMAT",
    "REVISION_GAP",
    "Manifest",
    "copy_verified",
    "manifest_path",
    "read_manifest",
    "restore_sqlite",
    "snapshot",
]

FORMAT = "miren-store-snapshot/1"

#: More revisions than a store makes between a snapshot and its restoring.
REVISION_GAP = 1_000_000_000

_BLOCK = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a snapshot is. It holds everything up to `revision` of the store `uuid`."""

    backend: str
    uuid: str
    revision: int
    size: int
    sha256: str
    created: str
    miren: str
    format: str = FORMAT


def manifest_path(path: Path) -> Path:
    """Return where the manifest of a snapshot is; raise InvalidInput for what names no file."""
    if not path.name:
        raise InvalidInput(f"{path} is no name of a snapshot", hint="name a file")
    return path.with_name(path.name + ".manifest.json")


async def snapshot(store: Store, path: Path) -> Manifest:
    """Write a snapshot of an open store to the new file `path`, and its manifest; mode 0600.

    Raises Refused where one of the two files exists, and as `Store.snapshot` does. Whatever goes
    wrong leaves neither.
    """
    beside = manifest_path(path)
    if os.path.lexists(beside):  # noqa: ASYNC240  # as quick as any other call to the disk
        raise _taken(beside)
    status = await store.status()
    await store.snapshot(path)
    try:
        size, sha256 = await asyncio.to_thread(_measure, path)
        created = datetime.now(UTC).isoformat(timespec="seconds")
        manifest = Manifest(
            status.backend, status.uuid, status.revision, size, sha256, created, version("miren")
        )
        await asyncio.to_thread(_write_manifest, beside, manifest)
    except BaseException as error:
        path.unlink(missing_ok=True)  # noqa: ASYNC240  # also when we are cancelled
        if isinstance(error, FileExistsError):
            raise _taken(beside) from error
        if isinstance(error, OSError):
            raise RuntimeFailure(
                f"cannot write the snapshot {path}: {error.strerror or error}",
                hint="nothing is left of it; check the folder and the space in it",
            ) from error
        raise
    return manifest


def read_manifest(path: Path) -> Manifest:
    """Return the manifest of the snapshot `path`; raise InvalidInput when there is none for it."""
    beside = manifest_path(path)
    try:
        told: dict[str, Any] = json.loads(beside.read_bytes())
        found = told["format"]
        if found == FORMAT:
            return _typed(Manifest(**told))
    except FileNotFoundError:
        raise InvalidInput(
            f"{path} has no manifest {beside.name} beside it",
            hint="copy both files; a snapshot that was cut short has none",
        ) from None
    except (ValueError, KeyError, TypeError) as error:
        raise InvalidInput(f"{beside} is no manifest of a snapshot: {error}") from error
    raise InvalidInput(f"{path} is {found}; this Miren reads {FORMAT}")


def copy_verified(
    source: Path, target: Path, *, tell: Callable[[int], None] = unheard
) -> Manifest:
    """Copy a snapshot to the new file `target`, mode 0600, and return its manifest.

    `tell` hears how many bytes are copied. Raises InvalidInput when it is not what its manifest
    says; there is no `target` then.
    """
    manifest = read_manifest(source)
    try:
        size, sha256 = _copy(source, target, tell)
        if (size, sha256) != (manifest.size, manifest.sha256):
            reason = (
                f"is cut short or too long: it has {size} bytes, and its manifest says "
                f"{manifest.size}"
                if size != manifest.size
                else "was changed: it has not the hash that its manifest says"
            )
            raise InvalidInput(
                f"{source} {reason}",
                hint="take another snapshot; nothing was touched",
            )
    except FileExistsError:
        raise
    except BaseException:
        target.unlink(missing_ok=True)
        raise
    return manifest


async def restore_sqlite(
    source: Path, target: Path, *, tell: Callable[[int], None] = unheard
) -> Manifest:
    """Make the new store file `target` from a snapshot of a SQLite store; return its manifest.

    Raises InvalidInput for what is no snapshot, or one of another backend. Whatever goes wrong
    leaves no `target`.
    """
    if (found := read_manifest(source)).backend != "sqlite":
        raise InvalidInput(
            f"{source} is a snapshot of {found.backend or 'another backend'}, not of sqlite",
            hint="restore it where that is the store, then `miren store move` or `export`",
        )
    manifest = await asyncio.to_thread(copy_verified, source, target, tell=tell)
    try:
        revision = await asyncio.to_thread(_renew, target)
        async with SQLiteStore(target) as store:
            await store.compact(revision)
    except BaseException:
        for ending in ("", "-wal", "-shm", ".lock"):
            target.with_name(target.name + ending).unlink(missing_ok=True)
        raise
    return manifest


def _typed(manifest: Manifest) -> Manifest:
    """Return what a file said to be a manifest; raise TypeError where a number is none."""
    for name in ("revision", "size"):
        if type(getattr(manifest, name)) is not int:
            raise TypeError(f"its {name} is no number")
    return manifest


def _renew(path: Path) -> int:
    """Make the file another store than it was; return the revision it is at."""
    connection = open_for_writing(path, "full")
    try:
        said = connection.execute("PRAGMA quick_check(1)").get
        if said != "ok":
            raise InvalidInput(f"the snapshot holds a damaged store: {said}")
        with connection:
            last: int = connection.execute("SELECT v FROM meta WHERE k = 'last_revision'").get
            revision = last + REVISION_GAP
            for name, value in (("last_revision", revision), ("store_uuid", new_uid())):
                connection.execute("UPDATE meta SET v = ? WHERE k = ?", (value, name))
    finally:
        connection.close()
    return revision


def _measure(path: Path) -> tuple[int, str]:
    hashed, size = hashlib.sha256(), 0
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            hashed.update(block)
            size += len(block)
    return size, hashed.hexdigest()


def _copy(source: Path, target: Path, tell: Callable[[int], None]) -> tuple[int, str]:
    hashed, size = hashlib.sha256(), 0
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    with source.open("rb") as file, os.fdopen(os.open(target, flags, 0o600), "wb") as copy:
        while block := file.read(_BLOCK):
            hashed.update(block)
            copy.write(block)
            size += len(block)
            tell(size)
        copy.flush()
        os.fsync(copy.fileno())
    return size, hashed.hexdigest()


def _write_manifest(path: Path, manifest: Manifest) -> None:
    with partial_file(path) as part, part.open("w") as file:
        file.write(json.dumps(asdict(manifest), indent=2) + "\n")
        file.flush()
        os.fsync(file.fileno())


def _taken(path: Path) -> Refused:
    return Refused(f"{path} exists", hint="give the snapshot another name")
