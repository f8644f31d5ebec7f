"""A snapshot of a SQLite store that goes on working: another file of the same kind.

SQLite copies the state of one moment over a connection of its own, in a thread, as fast as the
disk allows; nobody waits for it, and only the log grows meanwhile. The copy has a name of its own
until it is complete and on the disk, so a file of the wanted name is whole or is not there.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import apsw

from miren.base.errors import Refused, RuntimeFailure
from miren.base.partial import partial_file
from miren.entities.store.rules import closed
from miren.entities.store.sqlite_damage import Damage
from miren.entities.store.sqlite_file import open_for_reading

__all__ = ["Snapshots"]


class Snapshots:
    """The snapshots that are being written of one store."""

    def __init__(self, path: Path, damage: Damage) -> None:
        self._damage = damage
        self._path = path
        self._running: dict[asyncio.Future[None], apsw.Connection] = {}
        self._targets: dict[asyncio.Future[None], Path] = {}

    async def write(self, target: Path) -> None:
        """Keep the contract of `Store.snapshot`."""
        if os.path.lexists(target):  # noqa: ASYNC240  # as quick as any other call to the disk
            raise Refused(f"{target} exists", hint="give the snapshot another name")
        if target in self._targets.values():
            raise Refused(f"{target} is being written", hint="give the snapshot another name")
        connection = open_for_reading(self._path)
        copying = asyncio.get_running_loop().run_in_executor(None, _copy, connection, target)
        self._running[copying] = connection
        self._targets[copying] = target
        copying.add_done_callback(self._finished)
        try:
            await asyncio.shield(copying)
        except asyncio.CancelledError:
            await self._stop(copying)
            raise
        except apsw.InterruptError as error:
            raise closed() from error
        except FileExistsError as error:
            raise Refused(f"{target} exists", hint="give the snapshot another name") from error
        except (apsw.Error, OSError) as error:
            if self._damage.notice(error):
                raise self._damage.refusal() from error
            reason = error.strerror if isinstance(error, OSError) else None
            raise RuntimeFailure(
                f"cannot write the snapshot {target}: {reason or error}",
                hint="nothing is left of it; check the folder and the space in it",
            ) from error

    async def close(self) -> None:
        """End those that are being written; nothing is left of them."""
        for copying in list(self._running):
            await self._stop(copying)

    async def _stop(self, copying: asyncio.Future[None]) -> None:
        """Interrupt a copy and wait until its thread has tidied up, even when cancelled again."""
        was_cancelled = False
        while not copying.done():
            self._running[copying].interrupt()
            try:
                # It looks whether it is interrupted only once it has begun.
                await asyncio.wait([copying], timeout=0.1)
            except asyncio.CancelledError:
                was_cancelled = True
        if was_cancelled:
            raise asyncio.CancelledError

    def _finished(self, copying: asyncio.Future[None]) -> None:
        self._running.pop(copying).close()
        del self._targets[copying]
        copying.exception()  # nobody may be waiting any more


def _copy(connection: apsw.Connection, target: Path) -> None:
    with partial_file(target) as part:
        # SQLite takes a file that is there and empty, and its mode.
        connection.execute("VACUUM INTO ?", (str(part),))
        with part.open("rb") as file:
            os.fsync(file.fileno())
