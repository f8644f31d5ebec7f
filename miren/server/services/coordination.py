"""`miren.coordination.v1`: leases, elections and sessions of holders in other processes.

A lease is the caller's: it says so a few times in its term, and names it wherever it holds
something by it. The server keeps nothing of its own, so a holder outlives the server: whoever
serves the same store next knows the lease, for its whole time again.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from typing import Any, cast

from miren.base.errors import InvalidInput, Refused
from miren.entities import keys
from miren.entities.elections import Candidate, begin, stand
from miren.entities.kinds import Kinds
from miren.entities.session_changes import checked_names, checked_values
from miren.entities.sessions import Session
from miren.entities.store.api import Lease
from miren.entities.store.keeping import KeptLease
from miren.entities.store_client import StoreClient
from miren.rpc.server import Call, Method, Stream, Unary
from miren.server.services import requests
from miren.server.services.calling import Callers

__all__ = ["CoordinationService", "told_of_candidate"]

_PACKAGE = "miren.coordination.v1"
_LONGEST_LEASE = 30 * 24 * 3600.0
_LAST_LEASE = 2**63 - 1

Message = Mapping[str, Any]


class CoordinationService:
    """Holds leases and elections in the store of `client`. `owner` is the server's user id."""

    def __init__(self, client: StoreClient, kinds: Kinds, *, owner: int) -> None:
        self._callers = Callers(client, owner=owner)
        self._kinds = kinds

    def methods(self) -> Mapping[str, Method]:
        """Return the methods by their full names."""
        return {
            f"{_PACKAGE}.Leases/Grant": Unary(self.grant),
            f"{_PACKAGE}.Leases/KeepAlive": Unary(self.keep_alive),
            f"{_PACKAGE}.Leases/Revoke": Unary(self.revoke),
            f"{_PACKAGE}.Leases/Get": Unary(self.lease),
            f"{_PACKAGE}.Elections/Stand": Unary(self.stand),
            f"{_PACKAGE}.Elections/Begin": Unary(self.begin),
            f"{_PACKAGE}.Elections/Leader": Unary(self.leader),
            f"{_PACKAGE}.Elections/Candidates": Stream(self.candidates),
            f"{_PACKAGE}.Sessions/Change": Unary(self.change),
        }

    def _client(self, call: Call, request: Message) -> StoreClient:
        return cast("StoreClient", self._callers.client(call, request))

    # -- leases ----------------------------------------------------------------------------

    async def grant(self, call: Call, request: Message) -> Message:
        """Return a new lease of `ttl` seconds."""
        store = self._client(call, request).store
        ttl = requests.span(request, "ttl", default=60.0, most=_LONGEST_LEASE)
        return {"lease": f"{await store.grant(ttl):x}"}

    async def keep_alive(self, call: Call, request: Message) -> Message:
        """Let a lease last its whole time from now on."""
        return {"ttl": await self._client(call, request).store.keep_alive(_lease(request))}

    async def revoke(self, call: Call, request: Message) -> Message:
        """End a lease, and what is held by it."""
        await self._client(call, request).store.revoke(_lease(request))
        return {}

    async def lease(self, call: Call, request: Message) -> Message:
        """Return how long a lease lasts, and what is held by it."""
        found = await self._client(call, request).store.lease(_lease(request))
        return {"ttl": found.ttl, "remaining": found.remaining, "keys": list(found.keys)}

    # -- elections -------------------------------------------------------------------------

    async def stand(self, call: Call, request: Message) -> Message:
        """Make `holder` a candidate for as long as its lease lasts."""
        name, holder = requests.text(request, "name"), requests.text(request, "holder")
        store = self._client(call, request).store
        key, revision = await stand(store, name, holder, _lease(request))
        return {"key": key, "revision": str(revision)}

    async def begin(self, call: Call, request: Message) -> Message:
        """Say that a candidate leads; `since` is null if it has gone."""
        revision = requests.revision(request.get("revision"), "revision")
        holder, key, lease = (
            requests.text(request, "holder"),
            requests.text(request, "key"),
            _lease(request),
        )
        # It is written: any other key would be somebody else's, an entity's even.
        if key != keys.candidate_key(requests.text(request, "name"), f"{lease:x}"):
            raise InvalidInput("key must be what Stand gave for this name and lease")
        candidate = Candidate(holder, key, revision, datetime.now(UTC))
        store = self._client(call, request).store
        since = await begin(store, candidate, lease)
        return {"since": None if since is None else str(since)}

    async def leader(self, call: Call, request: Message) -> Message:
        """Return who leads, null where nobody does."""
        found = await self._client(call, request).leader(requests.text(request, "name"))
        return {"leader": None if found is None else told_of_candidate(found)}

    async def candidates(self, call: Call, request: Message) -> AsyncIterator[Message]:
        """Yield who stands in an election: now, and after every change."""
        client = self._client(call, request)
        async with client.candidates(requests.text(request, "name")) as changes:
            async for candidates in changes:
                yield {"candidates": [told_of_candidate(each) for each in candidates]}

    # -- sessions --------------------------------------------------------------------------

    async def change(self, call: Call, request: Message) -> Message:
        """`set` and `clear` session attributes; `lost` says that the session's lease has ended."""
        kind, name = self._kinds.resolve(requests.text(request, "kind")), request.get("name")
        if not isinstance(name, str):
            raise InvalidInput("name must be a text")
        holder = requests.text(request, "holder")
        ttl = requests.span(request, "ttl", default=60.0, most=_LONGEST_LEASE)
        wanted = requests.object_of(request, "set")
        gone = request.get("clear", [])
        if not isinstance(gone, list) or not all(isinstance(each, str) for each in gone):
            raise InvalidInput("clear must be a list of texts")
        client = self._client(call, request)
        kept = KeptLease(client.store, _lease(request), ttl, name=f"the session of {holder}")
        session = Session(client, kept, holder=holder)
        values = checked_values(kind, wanted)
        names = checked_names(kind, gone)
        try:
            entity = await session.change(kind.entity, name, None, values, names)
        except Refused:
            if not session.lost.is_set():
                raise
            return {"lost": True}
        return {"entity": entity.to_document(), "lost": False}


def told_of_candidate(candidate: Candidate) -> Message:
    """Return a candidate as it goes over the wire."""
    return {
        "holder": candidate.holder,
        "key": candidate.key,
        "revision": str(candidate.revision),
        "since": None if candidate.since is None else candidate.since.isoformat(),
    }


def _lease(request: Message) -> Lease:
    given = requests.text(request, "lease")
    if not re.fullmatch("[0-9a-f]{1,16}", given) or int(given, 16) > _LAST_LEASE:
        raise InvalidInput("lease must be one that Grant gave")
    return Lease(int(given, 16))
