"""The disk controller: a disk is a folder of its own on the node.

It goes with its data when the Disk is deleted, but never while a sandbox mounts it.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterable
from pathlib import Path

from miren.entities.client import Selection
from miren.entities.gen import Disk, Sandbox
from miren.entities.gen.storage import DiskPhase, DiskStatus
from miren.reconcile.context import Context
from miren.reconcile.controller import Controller, watches
from miren.reconcile.results import Key, Requeue

__all__ = ["DiskController"]


class DiskController(Controller[Disk], finalizer="miren.dev/disk"):
    """Keeps disks as folders under `disks`, named by uid, so that a name can be used again."""

    def __init__(self, disks: Path, *, node: str) -> None:
        self._disks = disks
        self._node = node

    @watches(Sandbox)
    def mounted(self, sandbox: Sandbox) -> Iterable[Key[Disk]]:
        """A sandbox that goes may free a disk that is to be deleted."""
        for volume in sandbox.spec.volumes:
            yield Key(volume.disk.project or sandbox.project, volume.disk.name)

    async def reconcile(self, ctx: Context[Disk], entity: Disk) -> None:
        """Make the folder, once."""
        path = self._disks / entity.uid
        await asyncio.to_thread(path.mkdir, mode=0o755, parents=True, exist_ok=True)
        ctx.status = DiskStatus(phase=DiskPhase.READY, path=str(path), node=self._node)
        ctx.ready("Available")

    async def finalize(self, ctx: Context[Disk], entity: Disk) -> Requeue | None:
        """Remove the folder and all in it, once nothing mounts it."""
        users = await self._users(ctx, entity)
        if users:
            told = f"mounted by {', '.join(users)}"
            ctx.status = entity.status.model_copy(
                update={"phase": DiskPhase.DELETING, "reason": told}
            )
            ctx.not_ready("InUse", told)
            return Requeue(after=60)
        await asyncio.to_thread(
            shutil.rmtree, self._disks / entity.uid, ignore_errors=False, onerror=_missing_is_fine
        )
        return None

    async def _users(self, ctx: Context[Disk], disk: Disk) -> list[str]:
        found = await ctx.client.list(Sandbox, Selection())
        return [
            str(sandbox)
            for sandbox in found.items
            for key in self.mounted(sandbox)
            if key == Key.of(disk)
        ]


def _missing_is_fine(
    _function: object, _path: str, found: tuple[object, BaseException, object]
) -> None:
    if not isinstance(found[1], FileNotFoundError):
        raise found[1]
