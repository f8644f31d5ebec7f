"""Stores that a state folder had before: a restore, an import or a move keeps the one it replaces.

So does a newer etcd that of an older one, see `managed`. They are known by their names, which only
our stores have, and by being neither in use nor in the making. Nothing removes them but `prune`.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from miren.base.errors import NotFound
from miren.server.stores.choosing import Choice, recorded
from miren.server.stores.opening import remove

__all__ = ["Kept", "find_kept", "prune"]

_SQLITE = re.compile(r"store(-[a-z2-7]{6})?\.db")
_ETCD = re.compile(r"data(-[a-z2-7]{6})?(\.etcd-[0-9.]+)?")


@dataclass(frozen=True, slots=True)
class Kept:
    """One of them: what it takes on the disk, in bytes, and when it was last written to."""

    choice: Choice
    path: Path
    size: int
    written: datetime


def find_kept(state_dir: Path, in_use: Choice) -> list[Kept]:
    """Return the stores of the folder that are kept though another is `in_use`, oldest first."""
    noted = recorded(state_dir)
    needed = {in_use.place, *((noted.place,) if noted else ())}
    if noted and noted.pending:
        needed.add(noted.pending.place)
    found = []
    for choice in _candidates(state_dir):
        path = choice.path(state_dir)
        if choice.place not in needed and (measured := _measure(path)):
            found.append(Kept(choice, path, *measured))
    return sorted(found, key=lambda kept: (kept.written, kept.path))


async def prune(state_dir: Path, in_use: Choice, paths: Sequence[str]) -> list[Kept]:
    """Remove those of the folder's kept stores that are at `paths`; return them.

    Raises NotFound, having removed nothing, when no such store is kept at one of them.
    """
    found = await asyncio.to_thread(find_kept, state_dir, in_use)
    kept = {str(each.path): each for each in found}
    for path in paths:
        if path not in kept:
            raise NotFound(
                f"no store is kept at {path}", hint="`miren store status` lists those that are"
            )
    gone = [kept[path] for path in dict.fromkeys(paths)]
    for each in gone:
        await remove(state_dir, each.choice)
    return gone


def _candidates(state_dir: Path) -> Iterator[Choice]:
    for name in _names(state_dir):
        if _SQLITE.fullmatch(name):
            yield Choice("sqlite", name)
    for name in _names(state_dir / "etcd"):
        if _ETCD.fullmatch(name):
            yield Choice("etcd", name)


def _names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()] if folder.is_dir() else []


def _measure(path: Path) -> tuple[int, datetime] | None:
    """Return what is at `path` in bytes, and when it changed last; None if nothing is any more."""
    beside = [path.with_name(path.name + ending) for ending in ("", "-wal", "-shm")]
    within = (Path(root, name) for root, _, names in os.walk(path) for name in names)
    size, written = 0, 0.0
    for file in (*beside, *within):
        try:
            status = file.stat(follow_symlinks=False)
        except FileNotFoundError:
            continue
        size += status.st_blocks * 512  # etcd's logs have room in them that is not used
        written = max(written, status.st_mtime)
    return (size, datetime.fromtimestamp(written, UTC)) if written else None
