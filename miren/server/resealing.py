"""Key rotation: a new primary key, and every stored secret brought under it in the background.

A pass reads the entities that can hold secrets page by page and writes those that need it again,
each guarded by the revision it was read at, so that it never undoes somebody's change. It keeps
no note of where it was: a server that starts runs a pass, and finds by the key ids what an
interrupted one left. Nothing but ciphertext changes, so generations stay.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Self

import orjson

from miren.base.backoff import Backoff
from miren.base.errors import BrokenSeal, Conflict, MirenError, Refused
from miren.entities import keys
from miren.entities.keyring import Key, Keyring
from miren.entities.kinds import Kind, Kinds
from miren.entities.records import encode
from miren.entities.sealing import keys_used, reseal_document
from miren.entities.secret_places import has_secrets
from miren.entities.store.api import Compare, KeyValue, Put, Store
from miren.entities.store.paging import every
from miren.server.keys import KeySource

__all__ = ["Pass", "Rotation"]

log = logging.getLogger(__name__)

_TOLD = 100  # entities between two lines in the log
_RETRY = Backoff(first=1.0, cap=60.0)


@dataclass(frozen=True, slots=True)
class Pass:
    """What one pass came to: entities brought under the primary key, moved meanwhile, broken."""

    resealed: int = 0
    moved: int = 0
    broken: int = 0


class Rotation:
    """Rotates the keys of a store, and reseals while it is `running`.

    `keyring` is the one that the store's clients seal with; it is given the new keys.
    """

    def __init__(self, store: Store, kinds: Kinds, keyring: Keyring, source: KeySource) -> None:
        self._store = store
        self._kinds = kinds
        self._keyring = keyring
        self._source = source
        self._wake = asyncio.Event()
        self._lock = asyncio.Lock()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Self]:
        """Reseal in the background for as long as the body runs, beginning with a pass."""
        async with asyncio.TaskGroup() as group:
            self._wake.set()
            task = group.create_task(self._run(), name="resealing")
            yield self
            task.cancel()

    async def rotate(self) -> Keyring:
        """Seal with a new primary key from now on, and return the keys; resealing has begun.

        Keys from a file get a new one there; a command must print another first one by now.
        Raises Refused when it does not.
        """
        async with self._lock:
            known = self._keyring.primary.id
            kept = await self._source.load()
            if kept.primary.id == known:
                kept = kept.with_primary(Key.generate())
                await self._source.save(kept)
            self._keyring.adopt(kept)
            log.info("secrets have a new key", extra={"key": kept.primary.id, "before": known})
        self._wake.set()
        return kept

    async def drop(self) -> Keyring:
        """Drop all keys but the primary one from where they are kept, and return what is kept.

        Raises Refused while a stored value needs another. This process goes on opening with
        the dropped ones, and looks once more for values that were under way.
        """
        async with self._lock:
            kept = (await self._source.load()).with_only_primary()
            count, used = 0, set[str]()
            async for kind, item in self._entities():
                needs = keys_used(kind, orjson.loads(item.value)) - {kept.primary.id}
                count, used = count + bool(needs), used | needs
            if used:
                names = ", ".join(sorted(used - {""})) or "no key"
                raise Refused(
                    f"{count} entities hold secrets that are under {names}",
                    hint="wait until they are resealed; the server's log tells what is in the way",
                )
            await self._source.save(kept)
            log.info("older keys were dropped", extra={"key": kept.primary.id})
        self._wake.set()
        return kept

    async def run_pass(self) -> Pass:
        """Bring what is not under the primary key under it, once through the store."""
        resealed = moved = broken = 0
        async for kind, item in self._entities():
            try:
                is_written = await self._reseal(kind, item)
            except BrokenSeal as error:
                log.error("a secret cannot be resealed", extra={"reason": error.message})  # noqa: TRY400  # the message says it all
                broken += 1
            except Conflict:
                moved += 1
            else:
                resealed += is_written
                if is_written and resealed % _TOLD == 0:
                    log.info("resealing", extra={"entities": resealed})
        return Pass(resealed, moved, broken)

    async def _run(self) -> None:
        failures, rng = 0, random.Random()  # noqa: S311  # spreads retries
        while True:
            await self._wake.wait()
            self._wake.clear()
            if await self._is_done():
                failures = 0
            else:
                failures += 1
                await asyncio.sleep(_RETRY.delay(failures, rng))
                self._wake.set()

    async def _is_done(self) -> bool:
        """Run a pass and tell the log of it; return whether there is no need of another."""
        try:
            done = await self.run_pass()
        except MirenError as error:
            log.warning("resealing will be tried again", extra={"reason": error.message})
            return False
        if done.resealed or done.broken:
            counts = {"entities": done.resealed, "broken": done.broken}
            log.info("resealed", extra={"key": self._keyring.primary.id, **counts})
        return not done.moved

    async def _reseal(self, kind: Kind, item: KeyValue) -> bool:
        """Write one entity anew if it needs it; raise Conflict when it has moved meanwhile."""
        document: dict[str, Any] = orjson.loads(item.value)
        if keys_used(kind, document) <= {self._keyring.primary.id}:
            return False
        value = encode(reseal_document(kind, document, self._keyring))
        unchanged = Compare.unchanged(item.key, item.mod_revision)
        result = await self._store.transact([unchanged], [Put(item.key, value)])
        if not result.succeeded:
            raise Conflict(f"{item.key} has moved")
        return True

    async def _entities(self) -> AsyncIterator[tuple[Kind, KeyValue]]:
        """Yield every entity that can hold secrets, as stored and of which version, by pages."""
        found = [self._kinds.stored(each) for each in self._kinds if has_secrets(each)]
        for stored in dict.fromkeys(found):
            async for item in every(self._store, keys.entity_range(stored, None)):
                version = orjson.loads(item.value)["apiVersion"]
                yield self._kinds.of_version(stored, version), item
