"""One connection to one member of etcd, with its methods ready to be called.

A link is made, used until it is lost, and thrown away: the next one starts afresh, with no
back-off left from before and with certificates as they are by then.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import grpc
import grpc.aio

from miren.entities.store.etcd.addresses import Address
from miren.entities.store.etcd.messages import message
from miren.entities.store.etcd.tls import TLS

__all__ = ["Link", "end"]

_UNARY = {
    "range": ("KV/Range", "RangeRequest", "RangeResponse"),
    "put": ("KV/Put", "PutRequest", "PutResponse"),
    "delete_range": ("KV/DeleteRange", "DeleteRangeRequest", "DeleteRangeResponse"),
    "txn": ("KV/Txn", "TxnRequest", "TxnResponse"),
    "compact": ("KV/Compact", "CompactionRequest", "CompactionResponse"),
    "lease_grant": ("Lease/LeaseGrant", "LeaseGrantRequest", "LeaseGrantResponse"),
    "lease_revoke": ("Lease/LeaseRevoke", "LeaseRevokeRequest", "LeaseRevokeResponse"),
    "lease_time_to_live": (
        "Lease/LeaseTimeToLive",
        "LeaseTimeToLiveRequest",
        "LeaseTimeToLiveResponse",
    ),
    "authenticate": ("Auth/Authenticate", "AuthenticateRequest", "AuthenticateResponse"),
    "members": ("Cluster/MemberList", "MemberListRequest", "MemberListResponse"),
    "status": ("Maintenance/Status", "StatusRequest", "StatusResponse"),
    "alarm": ("Maintenance/Alarm", "AlarmRequest", "AlarmResponse"),
    "defragment": ("Maintenance/Defragment", "DefragmentRequest", "DefragmentResponse"),
}

#: How long the last event of a cancelled call may take, in seconds: a millisecond, mostly.
_LAST_EVENT = 0.01

#: How often it is seen whether the connection is still there, in seconds.
_LOOK = 0.05


class Link:
    """A channel to `address`. `keepalive` in seconds is how long silence may last unchecked."""

    def __init__(self, address: Address, *, tls: TLS | None, keepalive: float) -> None:
        self.address = address
        #: Set once nothing more is to be sent on it.
        self.is_retired = False
        self._losing: asyncio.Task[None] | None = None
        options = _options(keepalive)
        if address.encrypted:
            credentials = (tls or TLS()).credentials()
            self._channel = grpc.aio.secure_channel(address.target, credentials, options=options)
        else:
            self._channel = grpc.aio.insecure_channel(address.target, options=options)
        #: The methods with one request and one answer, by the name that errors give them.
        self.calls: dict[str, Callable[..., Any]] = {
            name: self._channel.unary_unary(*_method(*words)) for name, words in _UNARY.items()
        }
        self.watch: Callable[..., Any] = self._channel.stream_stream(
            *_method("Watch/Watch", "WatchRequest", "WatchResponse")
        )
        self._keep_alive: Callable[..., Any] = self._channel.stream_stream(
            *_method("Lease/LeaseKeepAlive", "LeaseKeepAliveRequest", "LeaseKeepAliveResponse")
        )
        self.calls["lease_keep_alive"] = self._lease_keep_alive
        self.snapshot: Callable[..., Any] = self._channel.unary_stream(
            *_method("Maintenance/Snapshot", "SnapshotRequest", "SnapshotResponse")
        )

    async def lost(self) -> None:
        """Return when a connection that was made is there no longer."""
        if self._losing is None:
            self._losing = asyncio.create_task(self._lose(), name="etcd connection")
        await asyncio.wait((self._losing,))

    async def _lose(self) -> None:
        # Waiting for a change would leave grpc with an answer for a loop that may be gone: it
        # ends with the last of the channel's calls, whenever that is collected.
        ready = grpc.ChannelConnectivity.READY
        while not self.is_retired and self._channel.get_state() is ready:  # noqa: ASYNC110  # as said
            await asyncio.sleep(_LOOK)

    def is_cancelling(self) -> bool:
        """Return whether a call that was cancelled was so by `close`, not by its caller."""
        task = asyncio.current_task()
        return self.is_retired and (task is None or task.cancelling() == 0)

    async def _lease_keep_alive(self, request: Any, *, timeout: float, metadata: Any) -> Any:
        """Send one request on a call of its own: leases are too few to share one."""
        call = self._keep_alive(iter((request,)), timeout=timeout, metadata=metadata)
        try:
            answer = await call.read()
            await call.code()  # etcd ends it too, so that nothing has to be cancelled
            return answer
        finally:
            call.cancel()

    async def close(self, grace: float | None = None) -> None:
        """Send nothing more; calls under way are cancelled after `grace` seconds."""
        self.is_retired = True
        try:
            await self._channel.close(grace)
        finally:
            await self._channel.close(None)
            if self._losing is not None:
                self._losing.cancel()
                await asyncio.wait((self._losing,))


async def end(call: Any) -> None:
    """Cancel a call that streams, and let grpc be done with it.

    It calls the call over at once, but has one more event for this loop. When that comes after
    the loop was closed, grpc fails in whichever loop of the process runs then, and keeps what it
    had for that one to itself until there is more. Nothing tells when the event has come.
    """
    call.cancel()
    await asyncio.sleep(_LAST_EVENT)


def _method(path: str, request: str, answer: str) -> tuple[str, Any, Any]:
    return (
        f"/etcdserverpb.{path}",
        message(request).SerializeToString,
        message(answer).FromString,
    )


def _options(keepalive: float) -> list[tuple[str, Any]]:
    return [
        # Nothing of grpc's own comes between a call and its connection: no compression, no
        # statistics, and no sending again, which is for `calling.py` to decide. It takes a tenth
        # off the CPU time of a call. What is wanted has to be asked for.
        ("grpc.minimal_stack", 1),
        # A connection that died silently is noticed after this long, and two seconds for the
        # answer. etcd takes pings that come more often than every 5 s for an attack.
        ("grpc.keepalive_time_ms", round(keepalive * 1000)),
        ("grpc.keepalive_timeout_ms", 2000),
        # grpc waits for that answer by this one's measure, which is a minute by default.
        ("grpc.http2.ping_timeout_ms", 2000),
        # Otherwise a watch on which nothing happens is no longer checked after two pings.
        ("grpc.http2.max_pings_without_data", 0),
        # One answer may hold a whole page of large values.
        ("grpc.max_receive_message_length", -1),
        # Channels to one address otherwise share their connection, and its back-off.
        ("grpc.use_local_subchannel_pool", 1),
        # etcd is spoken to directly, whatever proxies the environment names.
        ("grpc.enable_http_proxy", 0),
    ]
