"""Controllers that the engine's tests run."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable

from miren.reconcile.context import Context
from miren.reconcile.controller import Controller
from miren.reconcile.results import Requeue
from tests.builders import Greeting, GreetingStatus

Hook = Callable[[Context[Greeting], Greeting], Awaitable[Requeue | None]]


class Greeter(Controller[Greeting]):
    """The architecture's, which notes what it was called with."""

    def __init__(self) -> None:
        self.calls: list[Greeting] = []
        self.running: Counter[str] = Counter()
        self.most_running = 0

    @property
    def texts(self) -> list[str]:
        return [greeting.spec.text for greeting in self.calls]

    async def reconcile(self, ctx: Context[Greeting], entity: Greeting) -> Requeue | None:
        self.calls.append(entity)
        self.running[entity.name] += 1
        self.most_running = max(self.most_running, *self.running.values())
        try:
            return await self.act(ctx, entity)
        finally:
            self.running[entity.name] -= 1

    async def act(self, ctx: Context[Greeting], greeting: Greeting) -> Requeue | None:
        ctx.status = GreetingStatus(shout=greeting.spec.text.upper())
        ctx.ready("Greeted")
        return None


class Slow(Greeter):
    """Takes ten seconds."""

    async def act(self, ctx: Context[Greeting], greeting: Greeting) -> Requeue | None:
        await asyncio.sleep(10)
        return await super().act(ctx, greeting)


class Doing(Greeter):
    """Does what it is given."""

    def __init__(self, hook: Hook) -> None:
        super().__init__()
        self.hook = hook

    async def act(self, ctx: Context[Greeting], greeting: Greeting) -> Requeue | None:
        return await self.hook(ctx, greeting)


class Keeper(Greeter, finalizer="example.dev/keeper"):
    """Has something to clean up."""

    def __init__(self, cleanup: Hook | None = None) -> None:
        super().__init__()
        self.finalized: list[Greeting] = []
        self.cleanup = cleanup

    async def finalize(self, ctx: Context[Greeting], entity: Greeting) -> Requeue | None:
        self.finalized.append(entity)
        return None if self.cleanup is None else await self.cleanup(ctx, entity)
