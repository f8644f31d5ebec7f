"""One connection at a time, out of several endpoints.

`keep` runs for as long as the client does. It goes round the endpoints until one answers and is
fit to be used, offers its link, waits until that is lost or suspected, and goes on to the next.
So whoever calls finds a link that worked a moment ago or waits for one, and nothing is sent into
the blue.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import random
from collections.abc import Callable, Sequence
from typing import Any

import grpc.aio

from miren.base.backoff import Backoff
from miren.base.errors import InvalidInput, Unavailable
from miren.entities.store.etcd.addresses import Address
from miren.entities.store.etcd.errors import judge
from miren.entities.store.etcd.link import Link
from miren.entities.store.etcd.messages import message

__all__ = ["Endpoints", "unfit"]

log = logging.getLogger(__name__)

#: Between two rounds in which no endpoint was fit. Elections take about a second.
_ROUNDS = Backoff(first=0.05, cap=1.0)


def unfit(status: Any) -> str | None:
    """Return why the member that answered with `status` cannot be used, or None if it can."""
    if status.isLearner:
        return "it is a learner, which serves no clients yet"
    if not status.leader:
        return "it has no leader"
    return None


class Endpoints:
    """The endpoints of one cluster, and the link to the one in use.

    `attempt` is how long an endpoint may take to answer at first, `grace` how long calls on a
    suspected link may still take, both in seconds.
    """

    def __init__(
        self,
        addresses: Sequence[Address],
        open_link: Callable[[Address], Link],
        *,
        attempt: float,
        grace: float,
    ) -> None:
        self.addresses = tuple(addresses)
        #: The link in use, or None while one is looked for.
        self.link: Link | None = None
        #: What the member in use said of itself when it was chosen.
        self.status: Any = None
        #: Whether there will be no link any more.
        self.is_closed = False
        self._open_link = open_link
        self._attempt = attempt
        self._grace = grace
        self._links: set[Link] = set()
        self._is_linked = asyncio.Event()
        self._suspected = asyncio.Event()
        self._reasons: dict[str, str] = {}

    async def ready(self, end: float) -> Link:
        """Return a link that works; raise Unavailable if there is none by `end` (loop time)."""
        while self.link is None:
            if self.is_closed:
                raise Unavailable("the client of etcd is closed")
            try:
                async with asyncio.timeout_at(end):
                    await self._is_linked.wait()
            except TimeoutError as error:
                raise self._unreachable() from error
        return self.link

    def find(self, endpoint: str) -> Address:
        """Return the address that was given as `endpoint`; raise InvalidInput if none was."""
        for address in self.addresses:
            if address.text == endpoint:
                return address
        known = ", ".join(address.text for address in self.addresses)
        raise InvalidInput(f"{endpoint!r} is none of etcd's endpoints", hint=f"they are {known}")

    def suspect(self, link: Link) -> None:
        """Use another endpoint from now on, if there is one, because `link` does not do well."""
        if link is self.link and len(self.addresses) > 1:
            self._withdraw()
            self._suspected.set()

    async def keep(self) -> None:
        """Keep one endpoint linked, until cancelled; then close every link."""
        try:
            async with asyncio.TaskGroup() as disposing:
                await self._go_round(disposing)
        finally:
            self._withdraw()
            self.is_closed = True
            self._is_linked.set()
            for link in tuple(self._links):
                await self._dispose(link, None)

    async def _go_round(self, disposing: asyncio.TaskGroup) -> None:
        failures = 0
        rng = random.Random()  # noqa: S311  # spreads retries, hides nothing
        for address in itertools.cycle(self.addresses):
            link = await self._connect(address)
            if link is None:
                failures += 1
                rounds, rest = divmod(failures, len(self.addresses))
                if not rest:
                    await asyncio.sleep(_ROUNDS.delay(rounds, rng))
                continue
            failures = 0
            self._offer(link)
            await self._until_lost_or_suspected(link)
            self._withdraw()
            disposing.create_task(self._dispose(link, self._grace))

    async def _connect(self, address: Address) -> Link | None:
        try:
            link = self._open_link(address)
        except InvalidInput as error:
            self._reasons[address.text] = error.message
            return None
        self._links.add(link)
        reason = await self._try_out(link)
        if reason is None:
            return link
        self._reasons[address.text] = reason
        await self._dispose(link, None)
        return None

    async def _try_out(self, link: Link) -> str | None:
        """Return why `link` cannot be used, or None if it can."""
        try:
            status = await link.calls["status"](message("StatusRequest")(), timeout=self._attempt)
        except grpc.aio.AioRpcError as error:
            return judge(error.code(), error.details()).said
        self.status = status
        return unfit(status)

    async def _until_lost_or_suspected(self, link: Link) -> None:
        suspected = asyncio.create_task(self._suspected.wait())
        lost = asyncio.create_task(link.lost())
        try:
            await asyncio.wait((suspected, lost), return_when=asyncio.FIRST_COMPLETED)
        finally:
            suspected.cancel()
            lost.cancel()
            await asyncio.gather(suspected, lost, return_exceptions=True)
        reason = "the connection was lost" if not self._suspected.is_set() else "it did not answer"
        log.warning("etcd endpoint left", extra={"endpoint": link.address.text, "reason": reason})
        self._reasons[link.address.text] = reason

    def _offer(self, link: Link) -> None:
        self._reasons.clear()
        self._suspected.clear()
        self.link = link
        self._is_linked.set()

    def _withdraw(self) -> None:
        self.link = None
        self._is_linked.clear()

    async def _dispose(self, link: Link, grace: float | None) -> None:
        await link.close(grace)
        self._links.discard(link)

    def _unreachable(self) -> Unavailable:
        known = [
            f"{address.text}: {self._reasons.get(address.text, 'no answer yet')}"
            for address in self.addresses
        ]
        return Unavailable(
            "no etcd can be reached, so nothing was sent: " + "; ".join(known),
            hint="check that etcd runs there and that its certificates are trusted",
        )
