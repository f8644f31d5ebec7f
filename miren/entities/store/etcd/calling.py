"""How a call to etcd is made, and all that may be done about one that fails.

A call goes out on the link that is in use. When it fails, `errors.judge` says what that means, and
`_persist` acts on it: wait for another link, renew the token, try again, or give up. A write is
sent again only where etcd said that it did nothing.

A call costs little more than grpc's own: no timer, no context manager and no metadata is made for
it while things go well. That is also why `Client` is a `Caller` rather than having one.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Self

import grpc
import grpc.aio

from miren.base.errors import Refused, StoreFull, Unavailable
from miren.entities.store.etcd.addresses import Address, parse_addresses
from miren.entities.store.etcd.auth import ANONYMOUS, Auth
from miren.entities.store.etcd.endpoints import Endpoints
from miren.entities.store.etcd.errors import (
    FULL,
    FULL_HINT,
    Next,
    NotEnabled,
    Verdict,
    judge,
)
from miren.entities.store.etcd.link import Link
from miren.entities.store.etcd.messages import message
from miren.entities.store.etcd.operation import Alarm
from miren.entities.store.etcd.room import is_full, needs_room
from miren.entities.store.etcd.tls import TLS

__all__ = ["Caller"]

#: Older ones know neither fragments nor learners.
_OLDEST = (3, 4)

#: Seconds between two attempts where the first was refused and nothing else is to be waited for.
_PAUSE = 0.05


class Caller:
    """A connection to an etcd cluster, for `Client` to make its calls on.

    It holds the endpoints, the token, and what is known of etcd's room; see `Client` for what it
    is given.
    """

    def __init__(
        self,
        *,
        endpoints: Sequence[str],
        tls: TLS | None = None,
        user: tuple[str, str] | None = None,
        timeout: float = 5.0,
        keepalive: float = 5.0,
    ) -> None:
        addresses = parse_addresses(endpoints)
        if tls is not None:
            tls.check(addresses)
        self._tls = tls
        self._user = user
        self._timeout = timeout
        self._keepalive = keepalive
        self._endpoints = Endpoints(
            addresses, self._open_link, attempt=min(timeout, 2.0), grace=timeout
        )
        # With another endpoint to turn to, a read does not wait on one for all of its time.
        self._read_timeout = timeout / 2 if len(addresses) > 1 else timeout
        self._auth = Auth(None if user is None else self._authenticate)
        #: Whether etcd said that it has no room left, and nobody has found otherwise since.
        self._is_full = False
        self._keeping: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop
        #: etcd's, of the member that was reached first.
        self.version: tuple[int, ...] = ()

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._keeping = asyncio.create_task(self._endpoints.keep(), name="etcd endpoints")
        try:
            await self._begin()
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_exc: object) -> None:
        keeping, self._keeping = self._keeping, None
        if keeping is not None:
            keeping.cancel()
            await asyncio.wait((keeping,))

    async def _begin(self) -> None:
        end = self._loop.time() + self._timeout
        await self._endpoints.ready(end)
        self.version = _version(self._endpoints.status.version)
        if self.version < _OLDEST:
            raise Refused(
                f"etcd {self._endpoints.status.version} is too old", hint="run etcd 3.4 or later"
            )
        self._is_full = is_full(self._endpoints.status)
        await self._auth.renew(self._auth.metadata, end)

    def _open_link(self, address: Address) -> Link:
        return Link(address, tls=self._tls, keepalive=self._keepalive)

    # What a client calls with

    async def _call(self, name: str, request: Any, timeout: float, *, is_write: bool) -> Any:
        if self._is_full and is_write and needs_room(name, request):
            await self._check_room(name)
        started = self._loop.time()
        link = self._endpoints.link
        if link is None:
            return await self._persist(name, request, started, is_write=is_write)
        metadata = self._auth.metadata
        try:
            return await link.calls[name](request, timeout=timeout, metadata=metadata)
        except grpc.aio.AioRpcError as error:
            failed = _Failed(error, link, metadata)
        except asyncio.CancelledError as error:
            if not link.is_cancelling():
                raise
            failed = _Failed(error, link, metadata)
        return await self._persist(name, request, started, is_write=is_write, failed=failed)

    def _ready(self) -> Coroutine[Any, Any, Link]:
        """Return the link in use, or Unavailable when there is none within the timeout."""
        return self._endpoints.ready(self._loop.time() + self._timeout)

    @property
    def is_user_ignored(self) -> bool:
        """Whether there is a user, and etcd's authentication was off when it was asked."""
        return self._auth.is_ignored

    @asynccontextmanager
    async def _link_to(self, address: Address) -> AsyncIterator[Link]:
        """Open a link of its own to one endpoint, whichever is in use."""
        link = self._open_link(address)
        try:
            yield link
        finally:
            await link.close()

    async def _ask(self, link: Link, name: str, request: Any, timeout: float) -> Any:
        """Call one endpoint and no other."""
        what = f"{name} at {link.address.text}"
        metadata = self._auth.metadata
        try:
            return await link.calls[name](request, timeout=timeout, metadata=metadata)
        except grpc.aio.AioRpcError as error:
            verdict = _verdict(error)
            if verdict.next is not Next.RENEW or not self._auth.can_renew:
                raise verdict.error(what, is_write=False) from error
        await self._auth.renew(metadata, self._loop.time() + self._timeout)
        try:
            return await link.calls[name](request, timeout=timeout, metadata=self._auth.metadata)
        except grpc.aio.AioRpcError as error:
            raise _verdict(error).error(what, is_write=False) from error

    # What becomes of a call

    async def _persist(
        self,
        name: str,
        request: Any,
        started: float,
        *,
        is_write: bool,
        failed: _Failed | None = None,
    ) -> Any:
        """Do all that may be done about a call that could not be made or failed."""
        end = started + self._timeout
        # The call that fetches a token is not helped by one, and refused with one that expired.
        is_anonymous = name == "authenticate"
        may_renew = self._auth.can_renew and not is_anonymous
        while True:
            if failed is not None:
                may_renew = await self._mend(name, failed, end, may_renew, is_write)
            link = await self._endpoints.ready(end)
            metadata = ANONYMOUS if is_anonymous else self._auth.metadata
            timeout = self._attempt(end, is_write=is_write)
            try:
                return await link.calls[name](request, timeout=timeout, metadata=metadata)
            except grpc.aio.AioRpcError as error:
                failed = _Failed(error, link, metadata)
            except asyncio.CancelledError as error:
                if not link.is_cancelling():
                    raise
                failed = _Failed(error, link, metadata)

    async def _mend(
        self, name: str, failed: _Failed, end: float, may_renew: bool, is_write: bool
    ) -> bool:
        """Prepare another attempt, or raise what the failure stands for.

        Returns whether the token may be renewed again: once a call is enough.
        """
        verdict = _verdict(failed.error)
        if verdict.said == FULL:
            self._is_full = True
        elif verdict.next in {Next.ELSEWHERE, Next.UNSURE}:
            self._endpoints.suspect(failed.link)
        if verdict.next is Next.RENEW and may_renew:
            await self._auth.renew(failed.metadata, end)
            return False
        if not verdict.may_repeat(is_write=is_write) or self._loop.time() + _PAUSE >= end:
            what = f"{name} at {failed.link.address.text}"
            raise verdict.error(what, is_write=is_write) from failed.error
        await asyncio.sleep(_PAUSE)
        return may_renew

    async def alarms(self) -> tuple[Alarm, ...]:
        """Return the alarms that are raised: NOSPACE forbids writes, CORRUPT everything."""
        request = message("AlarmRequest")(action="GET")
        answer = await self._call("alarm", request, self._read_timeout, is_write=False)
        return tuple(map(Alarm.of, answer.alarms))

    async def _check_room(self, name: str) -> None:
        """Raise StoreFull, having sent nothing, for as long as etcd's NOSPACE alarm is up."""
        try:
            alarms = await self.alarms()
        except Unavailable as error:
            raise Unavailable(f"etcd {name}: not sent: {error.message}") from error
        self._is_full = any(alarm.kind == "NOSPACE" for alarm in alarms)
        if self._is_full:
            raise StoreFull(f"etcd {name}: not sent: {FULL}", hint=FULL_HINT)

    def _attempt(self, end: float, *, is_write: bool) -> float:
        """Return how long an attempt may take, of the time until `end`."""
        left = max(0.0, end - self._loop.time())
        return left if is_write or len(self._endpoints.addresses) == 1 else max(left / 2, 0.1)

    async def _authenticate(self, end: float) -> str | None:
        if self._user is None:
            return None
        name, password = self._user
        request = message("AuthenticateRequest")(name=name, password=password)
        try:
            answer = await self._persist(
                "authenticate", request, end - self._timeout, is_write=False
            )
        except NotEnabled:
            return None
        return str(answer.token)


@dataclass(frozen=True, slots=True)
class _Failed:
    """A call that failed: why, on which link, and with which token."""

    error: BaseException
    link: Link
    metadata: grpc.aio.Metadata


def _verdict(error: BaseException) -> Verdict:
    if isinstance(error, grpc.aio.AioRpcError):
        return judge(error.code(), error.details())
    return judge(grpc.StatusCode.CANCELLED, "the connection was closed")


def _version(text: str) -> tuple[int, ...]:
    """Return `3.5.30-rc.1` as (3, 5, 30)."""
    return tuple(int(part) for part in re.findall(r"\d+", text.partition("-")[0])[:3])
