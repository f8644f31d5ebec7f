"""A kind, the handlers of what comes to pass with it, and a program that embeds the engine."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from miren import Change, Context, Engine, Entity, MemoryStore, Model, Quantity, Registry


class DiskSpec(Model):
    size: Quantity
    node: str = "n1"


class DiskStatus(Model):
    capacity: Quantity = Quantity("0")
    scrubs: int = 0


class Disk(Entity[DiskSpec, DiskStatus], api="example.dev/v1"):
    """Where something is kept."""


disks = Registry("disks")


@disks.index(Disk)
def by_node(disk: Disk) -> Iterable[str]:
    return [disk.spec.node]


@disks.created(Disk)
async def place(ctx: Context[Disk], disk: Disk) -> None:
    ctx.event("Placed", f"on {disk.spec.node}")
    print(f"{disk.name}: placed on {disk.spec.node}, which has {len(by_node[disk.spec.node])}")


@disks.changed(Disk, lambda disk: disk.spec.size, timeout=60)
async def grow(ctx: Context[Disk], change: Change[Disk, Quantity]) -> None:
    print(f"{change.entity.name}: has {change.entity.status.capacity}, grows to {change.new}")
    ctx.status = ctx.status.model_copy(update={"capacity": change.new})
    ctx.ready("Grown")


@disks.every(30, Disk)
async def scrub(ctx: Context[Disk], disk: Disk) -> None:
    ctx.status = ctx.status.model_copy(update={"scrubs": ctx.status.scrubs + 1})
    print(f"{disk.name}: scrubbed")


@disks.deleted(Disk)
async def wipe(ctx: Context[Disk], disk: Disk) -> None:
    ctx.event("Wiped")
    print(f"{disk.name}: wiped")


async def main() -> None:
    async with Engine(MemoryStore(), [disks]) as engine:
        for size in ("1Gi", "2Gi"):
            await engine.client.apply(Disk.partial("data", size=size), manager="me")
            await engine.run_until_idle()
        await engine.client.delete(Disk, "data")
        await engine.run_until_idle()


if __name__ == "__main__":
    asyncio.run(main())
