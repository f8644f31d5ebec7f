"""A store as JSON lines, which any backend reads again: a header, the keys, a footer.

    {"format": "miren-store-export/1", "uuid": ..., "revision": ..., "backend": ...}
    {"key": "/e/miren.dev/Disk/default/data", "json": {"apiVersion": ...}}
    {"key": "/p/default", "text": "nmxw4..."}
    {"keys": 2, "sha256": ...}

A value is `json` where that gives back its very bytes, else `text`, else `base64`. All keys are
those of one revision. The footer counts them and holds the hash of all lines above it, so that
half a file is known for one before anything is written.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from miren.base.errors import InvalidInput
from miren.entities.store.api import KeyValue, Store
from miren.entities.store.copying import Writing, begin_filling, end_filling, lasting, unheard

__all__ = [
    "FORMAT",
    "ExportHeader",
    "export",
    "import_into",
    "verify_export",
]

FORMAT = "miren-store-export/1"

# What a line may have at most; a store takes no value that comes near it.
_LONGEST_LINE = 64 * 1024 * 1024
_TOLD = 1000  # keys between two calls of `tell`


@dataclass(frozen=True, slots=True)
class ExportHeader:
    """Which store an export is of, at which revision, and how many keys it holds."""

    uuid: str
    revision: int
    backend: str
    keys: int


async def export(store: Store) -> AsyncIterator[bytes]:
    """Yield the lines of an export as of now; others go on writing.

    Raises Compacted when the store forgets that revision meanwhile: begin again.
    """
    status = await store.status()
    header = {
        "format": FORMAT,
        "uuid": status.uuid,
        "revision": status.revision,
        "backend": status.backend,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    hashed, keys = hashlib.sha256(), 0
    line = _line(header)
    hashed.update(line)
    yield line
    async for item in lasting(store, status.revision):
        line = _line(_record(item))
        hashed.update(line)
        keys += 1
        yield line
    yield _line({"keys": keys, "sha256": hashed.hexdigest()})


def verify_export(path: Path) -> ExportHeader:
    """Read an export once, whole, and return what it is.

    Raises InvalidInput when it is none, is not complete, or was changed since.
    """
    hashed, keys = hashlib.sha256(), -1
    with path.open("rb") as file:
        header, last = _header(path, file), b""
        file.seek(0)
        for line in _lines(path, file):
            if last:
                hashed.update(last)
                keys += 1
            last = line
    footer = _object(last) or {}
    if not last.endswith(b"\n") or "sha256" not in footer:
        raise InvalidInput(f"{path} has no end: it is a part of an export", hint="export again")
    if (footer.get("keys"), footer["sha256"]) != (keys, hashed.hexdigest()):
        raise InvalidInput(
            f"{path} is not as it was written: it has {keys} keys, and its footer says otherwise",
            hint="an export is not to be edited; export again",
        )
    return ExportHeader(header["uuid"], header["revision"], header.get("backend", ""), keys)


async def import_into(
    store: Store, path: Path, *, tell: Callable[[int], None] = unheard
) -> ExportHeader:
    """Write an export to an empty store, and return what it was; `tell` hears of keys written.

    Raises InvalidInput as `verify_export` does, NotEmpty when the store holds something; nothing
    is written then. Whatever else ends it leaves a part of the export in the store, which
    `is_half_filled` tells; importing again then begins anew.
    """
    header = await asyncio.to_thread(verify_export, path)
    await begin_filling(store)
    writing = Writing(store)
    for key, value in _records(path):
        await writing.put(key, value)
        if writing.keys % _TOLD == 0:
            tell(writing.keys)
    await writing.flush()
    await end_filling(store)
    tell(writing.keys)
    return header


def _record(item: KeyValue) -> dict[str, Any]:
    if item.value[:1] in (b"{", b"["):  # what is stored of entities, sidecars and sessions
        try:
            plain = orjson.loads(item.value)
        except orjson.JSONDecodeError:
            plain = None
        if plain is not None and _json(plain) == item.value:
            return {"key": item.key, "json": plain}
    try:
        return {"key": item.key, "text": item.value.decode()}
    except UnicodeDecodeError:
        return {"key": item.key, "base64": base64.b64encode(item.value).decode()}


def _records(path: Path) -> Iterator[tuple[str, bytes]]:
    """Yield the keys of a verified export."""
    with path.open("rb") as file:
        _header(path, file)
        for line in _lines(path, file):
            match _object(line):
                case {"key": str(key), "json": plain}:
                    yield key, _json(plain)
                case {"key": str(key), "text": str(text)}:
                    yield key, text.encode()
                case {"key": str(key), "base64": str(encoded)}:
                    yield key, _decoded(path, encoded)
                case {"sha256": _}:
                    return
                case _:
                    raise InvalidInput(f"{path} holds {line[:60]!r}, which is no key")


def _header(path: Path, file: BinaryIO) -> dict[str, Any]:
    header = _object(next(_lines(path, file), b"")) or {}
    if not str(header.get("format", "")).startswith("miren-store-export/"):
        raise InvalidInput(
            f"{path} is no export of a store", hint="`miren store export` writes one"
        )
    if header["format"] != FORMAT:
        raise InvalidInput(f"{path} is {header['format']}; this Miren reads {FORMAT}")
    if not isinstance(header.get("uuid"), str) or not isinstance(header.get("revision"), int):
        raise InvalidInput(f"the header of {path} does not say which store it is of")
    return header


def _lines(path: Path, file: BinaryIO) -> Iterator[bytes]:
    while line := file.readline(_LONGEST_LINE):
        if len(line) == _LONGEST_LINE:
            raise InvalidInput(f"{path} has a line of over {_LONGEST_LINE >> 20} MiB")
        yield line


def _object(line: bytes) -> dict[str, Any] | None:
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    return value if isinstance(value, dict) else None


def _decoded(path: Path, text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise InvalidInput(f"{path} holds a value that is no base64: {error}") from error


def _json(value: object) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


def _line(value: object) -> bytes:
    return _json(value) + b"\n"
