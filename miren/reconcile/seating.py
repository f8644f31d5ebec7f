"""Which election each controller of an engine works under, and all of them standing at once."""

from __future__ import annotations

import asyncio
import random
import socket
from typing import Any

from miren.base.errors import Unimplemented
from miren.base.ids import new_uid
from miren.entities.client import Client
from miren.reconcile.controller import Controller
from miren.reconcile.leading import Open, Permission, Seat, Work
from miren.reconcile.sharding import Shards

__all__ = ["Seating"]


class Seating:
    """The elections of one engine, which calls itself `identity` in all of them.

    A controller with `shards` spreads its keys over engines. One of scope "node" stands for no
    election. Any other works under the election that it names, or else under the engine's,
    `elect`; where neither names one it works always.
    """

    def __init__(
        self,
        client: Client,
        *,
        elect: str | None,
        identity: str | None,
        ttl: float,
        rng: random.Random,
    ) -> None:
        self.identity = identity or f"{socket.gethostname()}-{new_uid(rng)[-6:]}"
        self._client = client
        self._elect = elect
        self._ttl = ttl
        self._rng = rng
        self._seats: dict[str, Seat] = {}
        self._shards: list[Shards] = []

    def permission(self, controller: Controller[Any]) -> Permission:
        """Return what the controller works under; `seat` its runner next.

        Raises Unimplemented where it has `shards` and the client cannot say who takes part.
        """
        settings = type(controller).settings
        name = settings.elect or self._elect
        if settings.shards is not None:
            _check_members(self._client, controller.name)
            shards = Shards(
                self._client,
                controller.name,
                settings.shards,
                identity=self.identity,
                ttl=self._ttl,
                rng=self._rng,
            )
            self._shards.append(shards)
            return shards
        if settings.scope == "node" or name is None:
            return Open(self._client)
        if name not in self._seats:
            self._seats[name] = Seat(
                self._client, name, identity=self.identity, ttl=self._ttl, rng=self._rng
            )
        return self._seats[name]

    def seat(self, runner: Work, permission: Permission) -> None:
        """Let a runner take part in what its permission comes from. Call it before `run`."""
        if isinstance(permission, Seat | Shards):
            permission.add(runner)

    async def run(self) -> None:
        """Stand for everything until cancelled; what was won is given up then."""
        async with asyncio.TaskGroup() as group:
            for seat in self._seats.values():
                group.create_task(seat.run())
                group.create_task(seat.tell())
            for shards in self._shards:
                group.create_task(shards.run())


def _check_members(client: Client, controller: str) -> None:
    try:
        client.candidates(f"{controller}/members")  # not entered: some clients refuse to begin
    except Unimplemented as error:
        raise Unimplemented(
            f"controller {controller} has `shards`, and {type(client).__name__} cannot say which "
            "engines take part",
            hint='leave `shards` out; with elect="<name>" one of several engines works',
        ) from error
