"""The keys of one controller spread over engines.

Keys fall into slots, by a digest that is the same in every process. Each slot is a `Seat`, an
election of its own, so that never two engines work on one key at once, and each write is fenced
by the slot. The engines know one another as candidates of an election of which it does not matter
who leads it. Rendezvous hashing over them says who is preferred for which slot: an engine stands
for its own slots, and gives up others when their keys in work have ended. A member that comes or
goes moves only the slots that become or were its own.

Views of the members may differ for a moment. That costs a wait, never two engines at one key: who
stands waits until the other one has left, or its lease has ended.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import random
from collections.abc import Iterable
from functools import partial
from typing import Any

from miren.base.backoff import Backoff
from miren.base.errors import MirenError
from miren.entities.client import Client
from miren.reconcile.leading import Seat, Step, Work
from miren.reconcile.results import Key

__all__ = ["Shards", "preferred", "slot_of"]

log = logging.getLogger(__name__)

_AGAIN = Backoff(first=0.2, cap=10.0)


def slot_of(key: Key[Any], slots: int) -> int:
    """Return the slot that a key falls into, of 0 to `slots` - 1."""
    return int.from_bytes(_digest(key.project, key.name), "big") % slots


def preferred(slot: int, members: Iterable[str]) -> str:
    """Return which of the members, of whom there must be one, is to work on a slot."""
    return max(members, key=lambda member: (_digest(str(slot), member), member))


def _digest(*parts: str) -> bytes:
    return hashlib.blake2b("/".join(parts).encode(), digest_size=8).digest()


class _Wish:
    """Whether a slot is to be worked on here."""

    def __init__(self) -> None:
        self.wanted = asyncio.Event()
        self.unwanted = asyncio.Event()
        self.unwanted.set()

    def say(self, *, wanted: bool) -> None:
        yes, no = (self.wanted, self.unwanted) if wanted else (self.unwanted, self.wanted)
        yes.set()
        no.clear()


class Shards:
    """The slots of one controller, as this engine sees them; see `Permission`.

    `name` is the controller's; engines that share its keys say the same, and as many slots.
    """

    has_terms = False
    leader = None

    def __init__(
        self,
        client: Client,
        name: str,
        slots: int,
        *,
        identity: str,
        ttl: float,
        rng: random.Random,
    ) -> None:
        self.members: tuple[str, ...] = ()
        self._client = client
        self._name = name
        self._identity = identity
        self._ttl = ttl
        self._rng = rng
        self._wishes = [_Wish() for _ in range(slots)]
        self._seats = [
            Seat(
                client,
                f"{name}/{slot}",
                identity=identity,
                ttl=ttl,
                rng=rng,
                belongs=partial(_is_in, slot, slots),
            )
            for slot in range(slots)
        ]

    @property
    def slots(self) -> tuple[int, ...]:
        """The slots that are worked on here now."""
        return tuple(slot for slot, seat in enumerate(self._seats) if seat.is_leading)

    @property
    def is_leading(self) -> bool:
        """Whether any slot is worked on here now."""
        return bool(self.slots)

    @property
    def is_decided(self) -> bool:
        """Whether exactly those slots are held that this engine is preferred for."""
        wanted = [slot for slot, wish in enumerate(self._wishes) if wish.wanted.is_set()]
        return self._identity in self.members and wanted == list(self.slots)

    def add(self, work: Work) -> None:
        """Let a runner work on the slots held. Call it before `run`."""
        for seat in self._seats:
            seat.add(work)

    async def work(self, key: Key[Any], step: Step) -> None:
        """Do the step while its slot is held; see `Permission.work`."""
        await self._seats[slot_of(key, len(self._seats))].work(key, step)

    async def follow(self, step: Step) -> None:
        """Do the step, which only says what to look at; see `Permission.follow`."""
        await step(self._client)

    async def run(self) -> None:
        """Be a member, and work on the slots that this makes its own, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._join())
            group.create_task(self._follow_members())
            for wish, seat in zip(self._wishes, self._seats, strict=True):
                group.create_task(_sit(wish, seat))

    async def _join(self) -> None:
        failures = 0
        while True:
            group = self._client.elect(self._group, holder=self._identity, ttl=self._ttl)
            try:
                async with group as membership:
                    failures = 0
                    await membership.lost.wait()
            except MirenError as error:
                failures += 1
                told = {"controller": self._name, "why": str(error)}
                log.warning("cannot take part in sharding", extra=told)
                await asyncio.sleep(_AGAIN.delay(failures, self._rng))

    async def _follow_members(self) -> None:
        failures = 0
        while True:
            try:
                async with self._client.candidates(self._group) as changes:
                    async for candidates in changes:
                        self._assign(tuple(dict.fromkeys(each.holder for each in candidates)))
                        failures = 0
            except MirenError as error:
                told = {"controller": self._name, "why": str(error)}
                log.warning("cannot see who takes part in sharding", extra=told)
            failures += 1
            await asyncio.sleep(_AGAIN.delay(failures, self._rng))

    def _assign(self, members: tuple[str, ...]) -> None:
        self.members = members
        for slot, wish in enumerate(self._wishes):
            wish.say(wanted=bool(members) and preferred(slot, members) == self._identity)

    @property
    def _group(self) -> str:
        return f"{self._name}/members"


async def _sit(wish: _Wish, seat: Seat) -> None:
    """Stand for a slot whenever it is wanted."""
    while True:
        await wish.wanted.wait()
        await seat.run(wish.unwanted)


def _is_in(slot: int, slots: int, key: Key[Any]) -> bool:
    return slot_of(key, slots) == slot
