"""A kind, its controller, and a program that embeds the engine."""

from __future__ import annotations

import asyncio

from miren import Context, Controller, Engine, Entity, MemoryStore, Model, is_ready


class GreetingSpec(Model):
    text: str


class GreetingStatus(Model):
    shout: str = ""


class Greeting(Entity[GreetingSpec, GreetingStatus], api="example.dev/v1"):
    """A text to be shouted."""


class Greeter(Controller[Greeting]):
    async def reconcile(self, ctx: Context[Greeting], greeting: Greeting) -> None:
        ctx.status = GreetingStatus(shout=greeting.spec.text.upper())
        ctx.ready("Greeted")


async def main() -> None:
    async with Engine(MemoryStore(), [Greeter()]) as engine:
        await engine.client.apply(Greeting.partial("hi", text="hello, world"), manager="me")
        greeted = await engine.client.wait(Greeting, "hi", is_ready, timeout=10)
        assert greeted is not None
        print(greeted.status.shout)


if __name__ == "__main__":
    asyncio.run(main())
