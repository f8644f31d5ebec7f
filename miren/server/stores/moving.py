"""Moves the store of a running server to another backend."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from miren.base.errors import Refused
from miren.entities.store.copying import unheard
from miren.entities.store.holding import HeldStore
from miren.entities.store.moving import Moved, Step, moving
from miren.server.config import Config
from miren.server.stores.choosing import Backend, Choice, fresh, note
from miren.server.stores.opening import filling, open_store, remove

__all__ = ["Mover"]

log = logging.getLogger(__name__)


class Mover:
    """Moves what is in `store`, which is the folder's `choice`, elsewhere; once.

    `take_over` is called to let the server go on with the new one.
    """

    def __init__(
        self,
        config: Config,
        choice: Choice,
        store: HeldStore,
        take_over: Callable[[Choice], None],
    ) -> None:
        self._config = config
        self.store = store
        self._take_over = take_over
        self._lock = asyncio.Lock()
        self._moved_to: Choice | None = None
        self.choice = choice

    @property
    def kept(self) -> str:
        """Where the data of the store before a move is, if it is ours."""
        return str(self.choice.path(self._config.server.state_dir)) if self.choice.place else ""

    @property
    def state_dir(self) -> Path:
        """The folder whose store it is."""
        return self._config.server.state_dir

    @property
    def is_moving(self) -> bool:
        """Whether a move is under way."""
        return self._lock.locked()

    async def move(self, to: Backend, *, tell: Callable[[Step], None] = unheard) -> Moved:
        """Move to `to`, and return what moved. The old store takes no writes then; call `finish`.

        Raises Refused when it is that already, or a move is under way; and as
        `miren.entities.store.moving` does. Whatever goes wrong before the new store is the
        folder's, cancellation included, leaves the old one as it was.
        """
        if self.is_moving or self._moved_to:
            raise Refused("the store is being moved already")
        async with self._lock:
            new = self._target(to)
            self._note(self.choice, pending=new)
            try:
                return await self._make(new, tell)
            except BaseException:
                if self._moved_to is None:
                    await asyncio.shield(self._take_back(new))
                raise

    def finish(self) -> None:
        """Let the server go on with the new store, if there is one; once it has told so."""
        if self._moved_to:
            self._take_over(self._moved_to)

    async def _make(self, new: Choice, tell: Callable[[Step], None]) -> Moved:
        with filling(self._config, new):
            async with (
                open_store(self._config, new) as target,
                moving(self.store, target, hold=self.store.held, tell=tell) as moved,
            ):
                # Both are the same, and no write can come between.
                note(self._config.server.state_dir, new)
                self._moved_to = new
                self.store.end()
        log.info("the store has moved", extra={"to": new.told(), "keys": moved.digest.keys})
        return moved

    async def _take_back(self, new: Choice) -> None:
        self._note(self.choice, pending=new)
        await remove(self._config.server.state_dir, new)
        self._note(self.choice)

    def _note(self, choice: Choice, *, pending: Choice | None = None) -> None:
        if choice.backend != "memory":
            note(self._config.server.state_dir, replace(choice, pending=pending))

    def _target(self, to: Backend) -> Choice:
        if to == self.choice.backend:
            raise Refused(f"the store is {self.choice.told()} already")
        if to == "etcd" and self._config.store.etcd_endpoints:
            return Choice("etcd")
        return fresh(to)
