"""A lease that is kept alive in the background, and says so when it is lost.

    async with kept_lease(store, 10) as lease:
        await store.transact([], [Put("/workers/7", b"", lease.lease)])
        await lease.lost.wait()

Nobody can be sure of a lease that was not kept alive for its whole time, whatever the store may
still have of it: others may hold by now what it held. So it counts as lost from the moment it may
have ended, which is its whole time after the last heartbeat that got an answer was sent. Until
then a store that is away is asked again and again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Protocol

from miren.base.errors import MirenError, NotFound
from miren.base.interrupting import beside
from miren.entities.store.api import Lease, LeaseStatus

__all__ = ["KeptLease", "Leases", "kept_lease"]

log = logging.getLogger(__name__)

_CLOSING_SECONDS = 5.0


class Leases(Protocol):
    """Where leases are held: a store, or what speaks to one. See `Store` for what each means."""

    async def grant(self, ttl: float) -> Lease:
        """Return a new lease."""
        ...

    async def keep_alive(self, lease: Lease) -> float:
        """Let a lease last its whole time from now on."""
        ...

    async def revoke(self, lease: Lease) -> None:
        """End a lease."""
        ...

    async def lease(self, lease: Lease) -> LeaseStatus:
        """Return how long a lease lasts."""
        ...


@asynccontextmanager
async def kept_lease(
    store: Leases, ttl: float, *, name: str = "a lease", margin: float = 0.0
) -> AsyncIterator[KeptLease]:
    """Hold a lease of at least `ttl` seconds, called `name` in logs; leaving revokes it.

    What is lost is told, `margin` seconds before it may have ended: whoever needs time to stop has
    that much. It never cancels the body. What cannot be revoked because the store is away goes
    when the lease ends. Raises as `Store.grant` does.
    """
    since = asyncio.get_running_loop().time()
    lease = await store.grant(ttl)
    try:
        lasts = (await store.lease(lease)).ttl
        kept = KeptLease(store, lease, lasts, name=name, margin=margin)
        async with beside(kept.keep_alive(since), name=f"keeping {name}"):
            yield kept
    finally:
        await _give_up(store, lease, name)


async def _give_up(store: Leases, lease: Lease, name: str) -> None:
    try:
        async with asyncio.timeout(_CLOSING_SECONDS):
            await store.revoke(lease)
    except NotFound:
        pass  # it has ended already, and said so
    except (MirenError, TimeoutError) as error:
        log.warning("%s ends only when its time is over: %s", name, error)


class KeptLease:
    """A lease that lasts until `lost` is set. Made by `kept_lease`.

    `ttl` is how long the store keeps it without a heartbeat, in seconds.
    """

    def __init__(
        self, store: Leases, lease: Lease, ttl: float, *, name: str, margin: float = 0.0
    ) -> None:
        self.lease = lease
        self.ttl = ttl
        self.lost = asyncio.Event()
        self._store = store
        self._name = name
        self._sure = ttl - margin  # how long after a heartbeat it counts as held

    def lose(self, why: str) -> None:
        """Count the lease as lost, as whoever finds out first does."""
        if not self.lost.is_set():
            self.lost.set()
            told = {"event": "lease.lost", "lease": self.lease, "why": why}
            log.warning("%s is lost: %s", self._name, why, extra=told)

    async def keep_alive(self, since: float) -> None:
        """Keep the lease, which began at `since`, from ending; once that fails it is lost."""
        try:
            why = await self._beat(since)
        except Exception as error:
            self.lose(f"keeping it alive broke: {error!r}")
            log.exception("keeping %s alive broke", self._name)
        else:
            self.lose(why)

    async def _beat(self, since: float) -> str:
        """Return why the lease cannot be kept alive any more."""
        clock = asyncio.get_running_loop()
        pause = self.ttl / 3
        while True:
            await asyncio.sleep(pause)
            begun = clock.time()
            try:
                # One heartbeat that hangs must leave time for others.
                async with asyncio.timeout_at(min(begun + self.ttl / 3, since + self._sure)):
                    await self._store.keep_alive(self.lease)
            except NotFound:
                return "the store has ended it"
            except (MirenError, TimeoutError) as error:
                left = since + self._sure - clock.time()
                if left <= 0:
                    return f"the store is away: {str(error) or 'no answer'}"
                pause = min(self.ttl / 10, left)
            else:
                since, pause = begun, self.ttl / 3
