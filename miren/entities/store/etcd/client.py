"""A client of etcd: its methods as coroutines that fail in ways a caller can act on.

Requests and answers are etcd's own messages (`messages.py`); `store.py` is what makes a store of
them. How a call is made, and what is done about one that fails, is `calling.py`'s.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import grpc.aio

from miren.base.errors import MirenError
from miren.entities.store.etcd.addresses import Address
from miren.entities.store.etcd.calling import Caller
from miren.entities.store.etcd.errors import NotPermitted, judge
from miren.entities.store.etcd.link import end
from miren.entities.store.etcd.messages import message
from miren.entities.store.etcd.operation import Alarm, EndpointStatus, Member
from miren.entities.store.etcd.watch_call import WatchCall

__all__ = ["Client"]

#: How long a snapshot or a defragmentation may take, in seconds: both go through all of the data.
_LONG = 600.0


class Client(Caller):
    """A connection to an etcd cluster. Open it with `async with`.

    `timeout` is how long each call may take, in seconds, all its attempts together. `keepalive`
    is how long a connection may be silent before it is checked; etcd's own limit is 5 s.

    Unless a method says otherwise, each raises `Unavailable` when nothing was done, and a write
    `OutcomeUnknown` when it may have been done; the rest of what they raise is etcd's refusals, as
    `errors.py` lists them.
    """

    # Keys

    def range(self, request: Any) -> Coroutine[Any, Any, Any]:
        """Return the RangeResponse for a RangeRequest."""
        return self._call("range", request, self._read_timeout, is_write=False)

    def put(self, request: Any) -> Coroutine[Any, Any, Any]:
        """Return the PutResponse for a PutRequest."""
        return self._call("put", request, self._timeout, is_write=True)

    def delete_range(self, request: Any) -> Coroutine[Any, Any, Any]:
        """Return the DeleteRangeResponse for a DeleteRangeRequest."""
        return self._call("delete_range", request, self._timeout, is_write=True)

    def txn(self, request: Any, *, read: bool = False) -> Coroutine[Any, Any, Any]:
        """Return the TxnResponse for a TxnRequest; `read` says that it writes nothing."""
        timeout = self._read_timeout if read else self._timeout
        return self._call("txn", request, timeout, is_write=not read)

    def compact(self, request: Any) -> Coroutine[Any, Any, Any]:
        """Return the CompactionResponse for a CompactionRequest."""
        return self._call("compact", request, self._timeout, is_write=True)

    # Leases

    async def lease_grant(self, ttl: int, id: int = 0) -> Any:
        """Return the LeaseGrantResponse for a new lease; etcd chooses its id for 0."""
        request = message("LeaseGrantRequest")(TTL=ttl, ID=id)
        return await self._call("lease_grant", request, self._timeout, is_write=True)

    async def lease_revoke(self, id: int) -> Any:
        """End a lease; raise NotFound when it has ended."""
        request = message("LeaseRevokeRequest")(ID=id)
        return await self._call("lease_revoke", request, self._timeout, is_write=True)

    async def lease_keep_alive(self, id: int) -> int:
        """Let a lease last its whole time from now on; return that in seconds, 0 if it ended."""
        request = message("LeaseKeepAliveRequest")(ID=id)
        answer = await self._call("lease_keep_alive", request, self._read_timeout, is_write=False)
        return max(0, int(answer.TTL))

    async def lease_time_to_live(self, id: int, *, keys: bool = True) -> Any:
        """Return the LeaseTimeToLiveResponse; its TTL is -1 when the lease has ended."""
        request = message("LeaseTimeToLiveRequest")(ID=id, keys=keys)
        return await self._call("lease_time_to_live", request, self._read_timeout, is_write=False)

    # Watching

    @asynccontextmanager
    async def watch(self) -> AsyncIterator[WatchCall]:
        """Open a watch call on the link in use, and end it on leaving.

        Raises Unavailable when there is no link within the timeout.
        """
        if self._auth.can_renew:
            await self._check_token()
        link = await self._ready()
        metadata = self._auth.metadata
        call = link.watch(metadata=metadata)

        async def is_current() -> bool:
            await self._check_token()
            return self._auth.metadata is metadata

        try:
            yield WatchCall(link, call, is_current=is_current, suspect=self._endpoints.suspect)
        finally:
            await end(call)

    async def _check_token(self) -> None:
        """Renew the token if it is no longer good. Watches are not told so, reads are."""
        try:
            await self.range(message("RangeRequest")(key=b"\0", count_only=True))
        except NotPermitted:
            return  # to be known, and not allowed to read this key, is all that is asked here

    # Operation

    async def status(self) -> tuple[EndpointStatus, ...]:
        """Return what each endpoint says of itself, in their order; one that is down says why."""
        return tuple(await asyncio.gather(*map(self._status_of, self._endpoints.addresses)))

    async def condition(self) -> EndpointStatus:
        """Return what the member in use says of itself."""
        link = await self._ready()
        answer = await self._call(
            "status", message("StatusRequest")(), self._read_timeout, is_write=False
        )
        return EndpointStatus.of(link.address.text, answer)

    async def members(self) -> tuple[Member, ...]:
        """Return the members of the cluster."""
        answer = await self._call(
            "members", message("MemberListRequest")(), self._read_timeout, is_write=False
        )
        return tuple(map(Member.of, answer.members))

    async def disarm(self, alarm: Alarm) -> None:
        """Take back an alarm; etcd raises it again if its cause is still there."""
        request = message("AlarmRequest")(
            action="DEACTIVATE", memberID=alarm.member, alarm=alarm.kind
        )
        await self._call("alarm", request, self._timeout, is_write=True)

    async def defragment(self, endpoint: str) -> None:
        """Give back the space that one member's database does not use; it serves no one meanwhile.

        Raises InvalidInput for what is none of the endpoints.
        """
        request = message("DefragmentRequest")()
        async with self._link_to(self._endpoints.find(endpoint)) as link:
            await self._ask(link, "defragment", request, _LONG)

    async def snapshot(self) -> AsyncGenerator[bytes, None]:
        """Yield a snapshot of the member in use, in pieces; its last 32 bytes are a SHA-256 sum.

        Raises Unavailable when it cannot be read to its end.
        """
        if self._auth.can_renew:
            await self._check_token()
        link = await self._ready()
        call = link.snapshot(
            message("SnapshotRequest")(), timeout=_LONG, metadata=self._auth.metadata
        )
        try:
            async for piece in call:
                yield piece.blob
        except grpc.aio.AioRpcError as error:
            verdict = judge(error.code(), error.details())
            raise verdict.error(f"snapshot at {link.address.text}", is_write=False) from error
        finally:
            await end(call)

    async def _status_of(self, address: Address) -> EndpointStatus:
        try:
            async with self._link_to(address) as link:
                answer = await self._ask(
                    link, "status", message("StatusRequest")(), self._read_timeout
                )
        except MirenError as error:
            return EndpointStatus(address.text, problem=error.message)
        return EndpointStatus.of(address.text, answer)
