"""A watch call: one stream each way, carrying any number of watches.

A call belongs to the link it was opened on. When that is lost the call is over, and whoever reads
it opens another one and says from where to go on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Self

import grpc.aio

from miren.base.errors import MirenError, Unavailable
from miren.entities.store.etcd.errors import Next, judge, refusal
from miren.entities.store.etcd.link import Link

__all__ = ["WatchCall"]

#: What grpc gives in place of a message where the other side has ended the call.
_EOF: object = grpc.aio.EOF  # type: ignore[attr-defined]  # the stubs do not know it


class WatchCall:
    """An open call. Iterating gives etcd's WatchResponse messages, and ends only by an error.

    One task reads; any may send. Raises Unavailable, from either, when the call is over.
    `is_current` tells whether the token that the call was opened with is still the good one;
    `suspect` is told of a link whose member can serve no one.
    """

    def __init__(
        self,
        link: Link,
        call: Any,
        *,
        is_current: Callable[[], Awaitable[bool]],
        suspect: Callable[[Link], None],
    ) -> None:
        self._link = link
        self._call = call
        self._is_current = is_current
        self._suspect = suspect

    async def send(self, request: Any) -> None:
        """Send a WatchRequest."""
        try:
            await self._call.write(request)
        except grpc.aio.AioRpcError as error:
            raise self._failed(error) from error
        except asyncio.InvalidStateError as error:
            raise self._broken("the call is over") from error
        except asyncio.CancelledError as error:
            if self._link.is_cancelling():
                raise self._broken("the connection was closed") from error
            raise

    async def refused(self, reason: str) -> MirenError:
        """Return the error that the `cancel_reason` of a response stands for.

        etcd refuses a watch whose token has expired with the words for a missing permission. It
        is Unavailable then, because a new call carries a new token.
        """
        verdict = refusal(reason)
        if verdict.next is Next.RENEW or (
            verdict.said == "permission denied" and not await self._is_current()
        ):
            return self._broken("the token it was opened with has expired")
        return verdict.error(f"watch at {self._link.address.text}", is_write=False)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        try:
            response = await self._call.read()
        except grpc.aio.AioRpcError as error:
            raise self._failed(error) from error
        except asyncio.CancelledError as error:
            if self._link.is_cancelling():
                raise self._broken("the connection was closed") from error
            raise
        if response is _EOF:
            raise self._broken("etcd ended the call")
        return response

    def _failed(self, error: grpc.aio.AioRpcError) -> Unavailable:
        verdict = judge(error.code(), error.details())
        if verdict.next is Next.ELSEWHERE:
            self._suspect(self._link)
        return self._broken(verdict.said)

    def _broken(self, reason: str) -> Unavailable:
        return Unavailable(f"etcd watch at {self._link.address.text}: {reason}")
