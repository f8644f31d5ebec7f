"""Several engines over one store, each with a connection of its own that can fail."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from miren.entities.store.api import Bookmark, KeyRange, Revision, Store
from miren.reconcile.context import Context
from miren.reconcile.controller import Controller
from miren.reconcile.engine import Engine
from miren.reconcile.results import Requeue
from tests.builders import Greeting, GreetingStatus
from tests.reconcile.virtual import date, make_client
from tests.stores import Faulty, Watched

__all__ = ["Desk", "Member", "Sharer", "Shouting", "eventually", "shouts"]

_SECONDS = 600.0


class Behind(Watched):
    """Delivers changes of entities late, and everything else at once."""

    @asynccontextmanager
    async def watch(
        self, range: KeyRange, *, after: int
    ) -> AsyncIterator[AsyncIterator[Revision | Bookmark]]:
        is_late = range.start.startswith("/e/")
        watch = super().watch if is_late else self.inner.watch
        async with watch(range, after=after) as changes:
            yield changes


class Desk:
    """What all engines of a test share: who works on which key, to see that nobody else does."""

    def __init__(self) -> None:
        self.by: dict[str, str] = {}
        self.served: Counter[str] = Counter()
        self.clashes: list[str] = []

    @asynccontextmanager
    async def work(self, name: str, who: str) -> AsyncIterator[None]:
        if name in self.by:
            self.clashes.append(f"{who} works on {name}, which {self.by[name]} works on")
        self.by[name] = who
        try:
            yield
        finally:
            self.by.pop(name, None)
        self.served[who] += 1


class Shouting(Controller[Greeting], concurrency=4):
    """Takes a while to shout, and says who did."""

    def __init__(self, desk: Desk, who: str, *, takes: float = 0.5) -> None:
        self.desk = desk
        self.who = who
        self.takes = takes
        self.calls: list[str] = []
        self.cancelled = 0

    @property
    def name(self) -> str:
        return "shouting"

    async def reconcile(self, ctx: Context[Greeting], entity: Greeting) -> Requeue | None:
        self.calls.append(entity.name)
        try:
            async with self.desk.work(entity.name, self.who):
                await asyncio.sleep(self.takes)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        ctx.status = GreetingStatus(shout=f"{entity.spec.text.upper()} by {self.who}")
        return None


class Sharer(Shouting, shards=8):
    """The same, with its keys spread over engines."""


class Member:
    """An engine that can be stopped, or cut off from the store as if its machine had gone."""

    def __init__(
        self,
        store: Store,
        name: str,
        *controllers: Controller[Any],
        elect: str | None = None,
        node: str | None = None,
    ) -> None:
        self.name = name
        self.store = Faulty(store)
        self.watched = Behind(self.store)
        self.engine = Engine(
            make_client(self.watched),
            controllers,
            elect=elect,
            identity=name,
            node=node,
            rng=random.Random(name),
            now=date,
        )
        self.stop = asyncio.Event()
        self.started = asyncio.Event()

    async def run(self) -> None:
        async with self.engine:
            self.started.set()
            await self.stop.wait()

    @property
    def is_leading(self) -> bool:
        return self.engine.health()[0].is_leading

    def crash(self) -> None:
        """Let it reach nobody any more; it does not know why."""
        self.store.go_down()


async def eventually(holds: Callable[[], bool]) -> None:
    """Return once it holds, in virtual time."""
    async with asyncio.timeout(_SECONDS):
        while not holds():  # noqa: ASYNC110  # any state at all is no event
            await asyncio.sleep(0.05)


async def shouts(store: Store) -> dict[str, str]:
    """Return what each greeting's status says."""
    found = await make_client(store).list(Greeting)
    return {greeting.name: greeting.status.shout for greeting in found.items}
