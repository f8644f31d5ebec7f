"""Our side: the whole engine over `KubernetesClient`, with predicates, and metrics as always."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from bench.operators.gadgets import Gadget, GadgetStatus
from bench.operators.protocol import Calls, serve
from miren.clients.kubernetes import KubernetesClient
from miren.reconcile.context import Context
from miren.reconcile.controller import Controller, index
from miren.reconcile.engine import Engine
from miren.reconcile.predicates import generation_changed, labels_changed
from miren.reconcile.results import Key

_WHEN = generation_changed | labels_changed


class Told(Controller[Gadget], concurrency=16, when=_WHEN, primary=False):
    """Writes nothing: not the generation that it has seen either."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    async def reconcile(self, ctx: Context[Gadget], entity: Gadget) -> None:
        self._calls.called(entity.name, entity.spec.number)

    def forget(self, key: Key[Gadget]) -> None:
        self._calls.deletes += 1


class Created(Controller[Gadget], concurrency=16, when=_WHEN):
    """Writes a status, and the engine the generation that it has seen with it."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    async def reconcile(self, ctx: Context[Gadget], entity: Gadget) -> None:
        number = entity.spec.number
        ctx.status = GadgetStatus(number=number)
        self._calls.called(entity.name, number)


class Indexed(Created):
    """The same with three indexes: a crowded one, one of a few values each, and one of many."""

    @index
    def by_image(self, entity: Gadget) -> Iterable[str]:
        return (entity.spec.image,)

    @index
    def by_port(self, entity: Gadget) -> Iterable[str]:
        return [str(port.port) for port in entity.spec.ports]

    @index
    def by_name(self, entity: Gadget) -> Iterable[str]:
        return (entity.name,)


_CONTROLLERS = {"events": Told, "status": Created, "indexed": Indexed}


async def operate(url: str, mode: str, calls: Calls) -> None:
    """Run the engine until it is cancelled."""
    controller = _CONTROLLERS[mode](calls)
    async with (
        KubernetesClient(url, kinds=[Gadget]) as client,
        Engine(client, [controller]) as engine,
    ):
        await asyncio.Event().wait()
        assert engine.is_ready


if __name__ == "__main__":
    asyncio.run(serve(operate))
