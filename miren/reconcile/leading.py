"""Who may work: everybody, or only who leads an election.

A runner asks its `Permission` for every key. Without an election the answer is always yes. A
`Seat` is an election that this engine stands for: while it leads, keys are worked on with a client
that is fenced by its leadership; otherwise they are dropped, for whoever takes the lead goes
through all keys anyway. So informers, queues and workers run on standbys as they do on a leader,
and a hand-over costs no list and no start of tasks.

A term begins when the caches show everything that an earlier leader can have written. It ends when
leadership is lost, or a write was refused as late: then what is in work is cancelled, and the
engine stands again. When the engine stops it has finished what is in work before, and a seat is
given up only after the last reconcile has ended; nobody is let in earlier.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import Any, Protocol

from miren.base.backoff import Backoff
from miren.base.errors import Fenced, MirenError
from miren.base.interrupting import until
from miren.entities.client import Client
from miren.entities.elections import Leadership
from miren.reconcile.results import Key

__all__ = ["Belongs", "Open", "Permission", "Seat", "Step", "Work"]

log = logging.getLogger(__name__)

_AGAIN = Backoff(first=0.2, cap=10.0)

#: Does some work with the client it is given, and returns the error that it ended with, if any.
Step = Callable[[Client], Awaitable[Exception | None]]
#: Whether a key belongs to a seat.
Belongs = Callable[[Key[Any]], bool]


class Work(Protocol):
    """What a seat needs of a runner."""

    async def synced(self) -> None:
        """Return once all its caches know what there is."""
        ...

    async def catch_up(self, revision: int) -> None:
        """Return once all its caches show what was written up to `revision`, or late."""
        ...

    def serving(self) -> AbstractAsyncContextManager[None]:
        """Return what is entered before the first reconcile and left after the last."""
        ...

    def take_up(self, belongs: Belongs) -> None:
        """Make every key ready that belongs to who begins to work."""
        ...

    async def lay_down(self, belongs: Belongs) -> None:
        """Drop what is kept of keys that others will work on."""
        ...


class Permission(Protocol):
    """Says which keys may be worked on, and with which client."""

    @property
    def has_terms(self) -> bool:
        """Whether it sees to it that its runners serve, in terms; else they do so themselves."""
        ...

    @property
    def is_leading(self) -> bool:
        """Whether any key may be worked on here now."""
        ...

    @property
    def is_decided(self) -> bool:
        """Whether it is known who works on each key, and whoever is to work here does."""
        ...

    @property
    def leader(self) -> str | None:
        """Who leads, where there is an election and somebody does."""
        ...

    @property
    def slots(self) -> tuple[int, ...] | None:
        """Which slots are worked on here now; None where keys are not spread over engines."""
        ...

    async def work(self, key: Key[Any], step: Step) -> None:
        """Do a step for a key if it may be done; a step that may not go on is cancelled."""
        ...

    async def follow(self, step: Step) -> None:
        """Do a step that belongs to no key, again in each term, until it ends by itself."""
        ...


class Open:
    """No election: every key may be worked on."""

    has_terms = False
    is_leading = True
    is_decided = True
    leader = None
    slots = None

    def __init__(self, client: Client) -> None:
        self._client = client

    async def work(self, key: Key[Any], step: Step) -> None:
        """Do the step; see `Permission.work`."""
        await step(self._client)

    async def follow(self, step: Step) -> None:
        """Do the step; see `Permission.follow`."""
        await step(self._client)


class _Term:
    """What is in work under one leadership."""

    def __init__(self, client: Client, leadership: Leadership) -> None:
        self.lost = leadership.lost
        self._client = client.fenced(leadership.key, leadership.revision)
        self._scopes: dict[asyncio.Timeout, None] = {}
        self._is_empty = asyncio.Event()

    async def run(self, step: Step) -> bool:
        """Do a step, and return whether it came to its end."""
        scope = asyncio.timeout(None)
        try:
            async with scope:
                self._scopes[scope] = None
                if isinstance(await step(self._client), Fenced):
                    self.lost.set()
        except TimeoutError:
            if not scope.expired():
                raise
            return False
        finally:
            self._scopes.pop(scope, None)
            if not self._scopes:
                self._is_empty.set()
        return True

    def cancel(self) -> None:
        """Cancel every step in work."""
        now = asyncio.get_running_loop().time()
        for scope in self._scopes:
            if not scope.expired():
                scope.reschedule(now)

    async def ended(self) -> None:
        """Return once nothing is in work."""
        while self._scopes:
            self._is_empty.clear()
            await self._is_empty.wait()


class Seat:
    """One election, and the work that is done by who leads it.

    `belongs` says which keys are this seat's, where several share a runner (None: all, and the
    runner serves only in its terms). `leader` is known while `tell` runs.
    """

    slots = None

    def __init__(
        self,
        client: Client,
        name: str,
        *,
        identity: str,
        ttl: float,
        rng: random.Random,
        belongs: Belongs | None = None,
    ) -> None:
        self.name = name
        self.leader: str | None = None
        self._client = client
        self._identity = identity
        self._ttl = ttl
        self._rng = rng
        self._belongs = belongs
        self._works: list[Work] = []
        self._term: _Term | None = None
        self._leads = asyncio.Event()

    @property
    def has_terms(self) -> bool:
        """Whether its runners serve in its terms."""
        return self._belongs is None

    @property
    def is_leading(self) -> bool:
        """Whether keys of this seat may be worked on here now."""
        return self._term is not None

    @property
    def is_decided(self) -> bool:
        """Whether this engine leads, or is known to stand by for another one."""
        return self.is_leading or self.leader not in (None, self._identity)

    def add(self, work: Work) -> None:
        """Let a runner work while this seat is held. Call it before `run`."""
        self._works.append(work)

    async def work(self, key: Key[Any], step: Step) -> None:
        """Do the step while leading, drop it otherwise; see `Permission.work`."""
        if self._term is not None:
            await self._term.run(step)

    async def follow(self, step: Step) -> None:
        """Do the step in each term; see `Permission.follow`."""
        while True:
            await self._leads.wait()
            if self._term is not None and await self._term.run(step):
                return

    # -- standing --------------------------------------------------------------------------

    async def run(self, unwanted: asyncio.Event | None = None) -> None:
        """Stand for election again and again, until cancelled, or until the seat is unwanted.

        Then no key is begun any more, and the seat is given up when those in work have ended.
        """
        for work in self._works:
            await work.synced()
        unwanted = unwanted or asyncio.Event()
        clock, failures = asyncio.get_running_loop(), 0
        while not unwanted.is_set():
            begun = clock.time()
            try:
                await self._stand(unwanted)
            except MirenError as error:
                told = {"election": self.name, "why": str(error)}
                log.warning("cannot stand for election", extra=told)
            # Who is deposed as soon as it leads must not do nothing but stand.
            failures = 1 if clock.time() - begun > self._ttl else failures + 1
            async with until(unwanted):
                await asyncio.sleep(_AGAIN.delay(failures, self._rng))

    async def tell(self) -> None:
        """Keep `leader` up to date until cancelled."""
        failures = 0
        while True:
            try:
                async with self._client.candidates(self.name) as changes:
                    async for candidates in changes:
                        first = candidates[0] if candidates else None
                        self.leader = first.holder if first and first.since else None
                        failures = 0
            except MirenError:
                self.leader = None  # nobody knows; that the store is away is told by others
            failures += 1
            await asyncio.sleep(_AGAIN.delay(failures, self._rng))

    async def _stand(self, unwanted: asyncio.Event) -> None:
        async with AsyncExitStack() as stack:
            leadership: Leadership | None = None
            async with until(unwanted):
                election = self._client.elect(self.name, holder=self._identity, ttl=self._ttl)
                leadership = await stack.enter_async_context(election)
            if leadership is not None:
                await self._hold(leadership, unwanted)

    async def _hold(self, leadership: Leadership, unwanted: asyncio.Event) -> None:
        """Let the runners work until leadership is lost or unwanted, and nothing is in work."""
        told = {"election": self.name, "holder": self._identity, "revision": leadership.revision}
        async with until(leadership.lost):
            for work in self._works:
                await work.catch_up(leadership.since)
        if leadership.lost.is_set():
            return
        async with AsyncExitStack() as stack:
            await self._enter(stack)
            term = _Term(self._client, leadership)
            log.info("leading", extra=told)
            try:
                self._begin(term)
                async with until(unwanted):
                    await leadership.lost.wait()
                self._end()
                async with until(leadership.lost):
                    await term.ended()
            finally:
                self._end()
                term.cancel()
                await term.ended()
                log.info("no longer leading", extra=told)

    async def _enter(self, stack: AsyncExitStack) -> None:
        for work in self._works:
            if self.has_terms:
                await stack.enter_async_context(work.serving())
            if self._belongs is not None:
                stack.push_async_callback(work.lay_down, self._belongs)

    def _begin(self, term: _Term) -> None:
        self._term = term
        self._leads.set()
        for work in self._works:
            work.take_up(self._belongs or _all)

    def _end(self) -> None:
        self._term = None
        self._leads.clear()


def _all(_key: Key[Any]) -> bool:
    return True
