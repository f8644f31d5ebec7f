"""A snapshot of etcd in a file, in the form of `etcdctl snapshot save`."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from pathlib import Path

from miren.base.errors import Refused, RuntimeFailure, Unavailable
from miren.base.partial import partial_file
from miren.entities.store.etcd.client import Client

__all__ = ["write_snapshot"]

#: etcd ends a snapshot with the SHA-256 of all that comes before.
_DIGEST = hashlib.sha256().digest_size


async def write_snapshot(client: Client, path: Path) -> None:
    """Write a snapshot of the member in use to the new file `path`, mode 0600.

    Raises Refused where `path` exists, Unavailable when what came is not whole, RuntimeFailure
    when it cannot be written. Whatever goes wrong leaves nothing.
    """
    try:
        with partial_file(path) as part, part.open("wb") as file:
            async with aclosing(client.snapshot()) as pieces:
                await _copy(pieces, file.write)
            file.flush()
            await asyncio.to_thread(os.fsync, file.fileno())
    except FileExistsError as error:
        raise Refused(f"{path} exists", hint="give the snapshot another name") from error
    except OSError as error:
        raise RuntimeFailure(
            f"cannot write the snapshot {path}: {error.strerror or error}",
            hint="nothing is left of it; check the folder and the space in it",
        ) from error


async def _copy(pieces: AsyncIterator[bytes], write: Callable[[bytes], object]) -> None:
    """Write what comes; raise Unavailable unless it ends with the digest of the rest."""
    digest, end = hashlib.sha256(), b""
    async for piece in pieces:
        write(piece)
        end += piece
        digest.update(end[:-_DIGEST])
        end = end[-_DIGEST:]
    if end != digest.digest():
        raise Unavailable("the snapshot that etcd sent is not whole", hint="take another one")
