"""Leases, elections and sessions that are held here, and kept in the store of a server.

The heartbeats are calls, so a holder loses nothing to a connection that breaks, nor to a server
that is killed and comes back within the lease's time: the lease is the store's, and named by its
number.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from typing import Any, TypeVar

from miren.base.errors import InvalidInput, MirenError, NotFound
from miren.base.interrupting import beside, until
from miren.clients.remote.documents import entity_of, word_of
from miren.clients.remote.link import Link, Message
from miren.entities.elections import MARGIN, Candidate, Leadership
from miren.entities.entity import Entity
from miren.entities.sessions import Session
from miren.entities.store.api import Lease, LeaseStatus
from miren.entities.store.keeping import KeptLease, kept_lease

__all__ = ["Following", "RemoteLeases", "elected", "open_session"]

E = TypeVar("E", bound=Entity[Any, Any])

_PACKAGE = "miren.coordination.v1"

#: Follows who stands in the election of a name.
Following = Callable[[str], AsyncGenerator[tuple[Candidate, ...], None]]


class RemoteLeases:
    """Leases in the store of the server; see `Leases`."""

    def __init__(self, link: Link) -> None:
        self._link = link

    async def grant(self, ttl: float) -> Lease:
        """Return a new lease; see `Store.grant`."""
        if not ttl > 0:
            raise InvalidInput(f"a lease cannot last {ttl} s")
        answer = await self._link.write(f"{_PACKAGE}.Leases/Grant", {"ttl": ttl})
        return Lease(int(answer["lease"], 16))

    async def keep_alive(self, lease: Lease) -> float:
        """Let a lease last its whole time from now on; see `Store.keep_alive`."""
        answer = await self._link.write(f"{_PACKAGE}.Leases/KeepAlive", _named(lease))
        return float(answer["ttl"])

    async def revoke(self, lease: Lease) -> None:
        """End a lease; see `Store.revoke`."""
        await self._link.write(f"{_PACKAGE}.Leases/Revoke", _named(lease))

    async def lease(self, lease: Lease) -> LeaseStatus:
        """Return how long a lease lasts; see `Store.lease`."""
        found = await self._link.read(f"{_PACKAGE}.Leases/Get", _named(lease))
        return LeaseStatus(found["ttl"], found["remaining"], tuple(found["keys"]))


@asynccontextmanager
async def elected(
    link: Link, follow: Following, base: Message, name: str, *, holder: str, ttl: float
) -> AsyncIterator[Leadership]:
    """Wait until `holder` leads the election; see `Client.elect`. `base` is in each request."""
    if not name or not holder:
        raise InvalidInput("an election needs a name, and a holder who stands")
    what = f"the candidacy of {holder} for {name}"
    while True:
        async with kept_lease(RemoteLeases(link), ttl, name=what, margin=ttl * MARGIN) as lease:
            standing = _Standing(link, follow, {**base, "name": name, "holder": holder}, lease)
            since: int | None = None
            async with until(lease.lost):
                await standing.wait_for_turn()
                since = await standing.begin()
            if since is not None:
                async with standing.noticing():
                    yield Leadership(
                        name, holder, standing.key, standing.revision, since, lease.lost
                    )
                return


class _Standing:
    """One candidacy, as long as its lease."""

    def __init__(self, link: Link, follow: Following, about: Message, lease: KeptLease) -> None:
        self.key = ""
        self.revision = 0
        self._link = link
        self._follow = follow
        self._about = {**about, **_named(lease.lease)}
        self._lease = lease

    async def wait_for_turn(self) -> None:
        """Stand, and return once no other candidate is before this one, or it is lost."""
        try:
            stood = await self._link.write(f"{_PACKAGE}.Elections/Stand", self._about)
        except NotFound:
            self._lease.lose("the store has ended it")
            return
        self.key, self.revision = stood["key"], int(stood["revision"])
        async with aclosing(self._follow(self._about["name"])) as changes:
            async for candidates in changes:
                if not self._is_among(candidates):
                    self._lease.lose("its key has gone")
                    return
                if candidates[0].key == self.key:
                    return

    async def begin(self) -> int | None:
        """Say that this candidate leads, and return the revision of it; None if it does not."""
        if self._lease.lost.is_set():
            return None
        request = {**self._about, "key": self.key, "revision": str(self.revision)}
        answer = await self._link.write(f"{_PACKAGE}.Elections/Begin", request)
        return None if answer["since"] is None else int(answer["since"])

    def noticing(self) -> AbstractAsyncContextManager[None]:
        """Lose the lease as soon as the key has gone, while the body runs."""
        return beside(self._notice(), name=f"watching {self.key}")

    async def _notice(self) -> None:
        while not self._lease.lost.is_set():
            try:
                async with aclosing(self._follow(self._about["name"])) as changes:
                    async for candidates in changes:
                        if not self._is_among(candidates):
                            self._lease.lose("its key has gone")
                            return
            except MirenError:
                # Whether the server can be reached is for the heartbeats to say.
                await asyncio.sleep(self._lease.ttl / 3)

    def _is_among(self, candidates: Sequence[Candidate]) -> bool:
        return any(each.key == self.key and each.revision == self.revision for each in candidates)


@asynccontextmanager
async def open_session(
    link: Link, base: Message, *, holder: str, ttl: float
) -> AsyncIterator[Session]:
    """Hold a session open; see `Client.session`. `base` is in each request."""
    if not holder:
        raise InvalidInput("a session needs a holder", hint="name who speaks, the node say")
    name = f"the session of {holder}"
    async with kept_lease(RemoteLeases(link), ttl, name=name) as lease:
        yield _RemoteSession(link, base, lease, holder=holder)


class _RemoteSession(Session):
    """A session whose changes the server makes."""

    def __init__(self, link: Link, base: Message, lease: KeptLease, *, holder: str) -> None:
        # Not what it derives from does: that one reads and writes a store.
        self.holder = holder
        self.ttl = lease.ttl
        self.lost = lease.lost
        self._lease = lease
        self._link = link
        self._base = base

    async def change(
        self,
        kind: type[E],
        name: str,
        project: str | None,
        wanted: Mapping[str, object],
        gone: Sequence[str],
    ) -> E:
        """Set and let go of session attributes; see `Session.change`."""
        if self.lost.is_set():
            raise self._refused()
        request = {**self._base, "kind": word_of(kind.kind), "name": name}
        if project:
            request["project"] = project
        session = {**_named(self._lease.lease), "holder": self.holder, "ttl": self.ttl}
        values = {"set": dict(wanted), "clear": list(gone)}
        answer = await self._link.write(
            f"{_PACKAGE}.Sessions/Change", {**request, **session, **values}
        )
        if answer["lost"]:
            self._lease.lose("the store has ended it")
            raise self._refused()
        return entity_of(kind, answer["entity"])


def _named(lease: Lease) -> dict[str, str]:
    return {"lease": f"{lease:x}"}
