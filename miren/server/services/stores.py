"""`miren.store.v1.Store`: looks after the store below the server's entities; administrators only.

Files that it writes are the server's: on its machine, with its rights.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast, get_args

from miren.base.errors import InvalidInput
from miren.entities.store.api import StoreStatus
from miren.entities.store.backup import manifest_path, snapshot
from miren.entities.store.exporting import export
from miren.entities.store.moving import Step
from miren.rpc.server import Call, Method, Stream, Unary
from miren.server.services import requests
from miren.server.services.entities import actor_of
from miren.server.stores.choosing import Backend
from miren.server.stores.kept import Kept, find_kept, prune
from miren.server.stores.moving import Mover

__all__ = ["StoreService", "told_of"]

Message = Mapping[str, Any]

_BATCH_BYTES = 256 * 1024


class StoreService:
    """Serves the store that `mover` can move. `owner` is the server's user id."""

    def __init__(self, mover: Mover, *, owner: int) -> None:
        self._store = mover.store
        self._mover = mover
        self._owner = owner

    def methods(self) -> Mapping[str, Method]:
        """Return the methods by their full names."""
        return {
            "miren.store.v1.Store/Status": Unary(self.status),
            "miren.store.v1.Store/Compact": Unary(self.compact),
            "miren.store.v1.Store/Defragment": Unary(self.defragment),
            "miren.store.v1.Store/Snapshot": Stream(self.snapshot),
            "miren.store.v1.Store/Export": Stream(self.export),
            "miren.store.v1.Store/Move": Stream(self.move),
            "miren.store.v1.Store/Prune": Unary(self.prune),
        }

    async def status(self, call: Call, request: Message) -> Message:
        """Return which store it is, how it is, and which ones it replaced."""
        actor_of(call, owner=self._owner)
        kept = await asyncio.to_thread(find_kept, self._mover.state_dir, self._mover.choice)
        return {**await self._status(), "replaced": list(map(_told_of_kept, kept))}

    async def prune(self, call: Call, request: Message) -> Message:
        """Remove the kept stores at `paths`; return them."""
        actor_of(call, owner=self._owner)
        paths = request.get("paths")
        if not isinstance(paths, list) or not all(isinstance(path, str) for path in paths):
            raise InvalidInput("paths must be a list of texts")
        gone = await prune(self._mover.state_dir, self._mover.choice, paths)
        return {"removed": list(map(_told_of_kept, gone))}

    async def compact(self, call: Call, request: Message) -> Message:
        """Forget history up to `revision`, or up to now."""
        actor_of(call, owner=self._owner)
        revision = requests.revision(request.get("revision", "0"), "revision")
        await self._store.compact(revision or (await self._store.status()).revision)
        return await self._status()

    async def defragment(self, call: Call, request: Message) -> Message:
        """Give back the space that compaction left unused."""
        actor_of(call, owner=self._owner)
        before = (await self._store.status()).size
        await self._store.defragment()
        return {**await self._status(), "sizeBefore": before}

    async def snapshot(self, call: Call, request: Message) -> AsyncIterator[Message]:
        """Write a snapshot and its manifest to `path`; the one answer holds the manifest."""
        actor_of(call, owner=self._owner)
        path = Path(requests.text(request, "path"))
        if not path.is_absolute():
            raise InvalidInput(f"{path} must be an absolute path")
        if not await asyncio.to_thread(path.parent.is_dir):
            raise InvalidInput(f"{path.parent} is no folder")
        manifest = await snapshot(self._store, path)
        yield {
            "path": str(path),
            "manifestPath": str(manifest_path(path)),
            "manifest": {**asdict(manifest), "revision": str(manifest.revision)},
        }

    async def export(self, call: Call, request: Message) -> AsyncIterator[Message]:
        """Yield the lines of an export, many in a message."""
        actor_of(call, owner=self._owner)
        lines, size, keys = list[bytes](), 0, -1
        async for line in export(self._store):
            lines.append(line)
            size += len(line)
            keys += 1
            if size >= _BATCH_BYTES:
                yield {"lines": b"".join(lines).decode(), "keys": keys}
                lines, size = [], 0
        yield {"lines": b"".join(lines).decode(), "keys": keys - 1}  # the footer is none

    async def move(self, call: Call, request: Message) -> AsyncIterator[Message]:
        """Move the store `to` another backend, telling how far it is; then the server goes on."""
        actor_of(call, owner=self._owner)
        to = _backend(requests.text(request, "to"))
        steps: asyncio.Queue[Step | None] = asyncio.Queue()
        task = asyncio.ensure_future(self._mover.move(to, tell=steps.put_nowait))
        task.add_done_callback(lambda _: steps.put_nowait(None))
        try:
            while (step := await steps.get()) is not None:
                yield {"step": step.name, "keys": step.keys}
            moved = await task
            counted = {"moved": moved.digest.keys, "sha256": moved.digest.sha256}
            yield {"to": to, **counted, "kept": self._mover.kept}
        finally:
            # A caller who leaves ends the move, unless it is through.
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            self._mover.finish()

    async def _status(self) -> Message:
        choice = self._mover.choice
        told = told_of(await self._store.status())
        return {
            **told,
            "backend": told["backend"] or choice.backend,
            "managed": choice.is_managed,
            "moving": self._mover.is_moving,
        }


def _told_of_kept(kept: Kept) -> dict[str, Any]:
    return {
        "path": str(kept.path),
        "size": kept.size,
        "written": kept.written.isoformat(timespec="seconds"),
    }


def told_of(status: StoreStatus) -> dict[str, Any]:
    """Return a store's status as it goes over the wire."""
    return {
        "backend": status.backend,
        "uuid": status.uuid,
        "revision": str(status.revision),
        "compacted": str(status.compacted),
        "size": status.size,
        "alarms": list(status.alarms),
    }


def _backend(name: str) -> Backend:
    for backend in get_args(Backend):
        if name == backend:
            return cast("Backend", backend)
    raise InvalidInput(f"a store cannot move to {name!r}", hint="to sqlite or etcd")
