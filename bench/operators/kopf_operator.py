"""kopf's side. Its settings are those it is fastest with: nothing scanned, no peers, no events.

Its logger stays as it is without configuration, so nothing below warnings is formatted.
"""

from __future__ import annotations

import asyncio
from typing import Any

import kopf  # type: ignore[import-not-found]

from bench.operators.protocol import Calls, serve

_WHERE = ("bench.miren.dev", "v1", "gadgets")


async def operate(url: str, mode: str, calls: Calls) -> None:
    """Handle each creation by a status, or be told of every event."""
    registry = kopf.OperatorRegistry()

    @kopf.on.login(registry=registry)  # type: ignore[untyped-decorator]  # kopf is not here
    async def login(**_: Any) -> Any:
        return kopf.ConnectionInfo(server=url)

    async def created(name: str, spec: Any, patch: Any, **_: Any) -> None:
        number = spec["number"]
        patch.status["number"] = number
        calls.called(name, number)

    async def told(type: str, name: str, spec: Any, **_: Any) -> None:
        if type == "DELETED":
            calls.deletes += 1
        else:
            calls.called(name, spec["number"])

    if mode == "status":
        kopf.on.create(*_WHERE, registry=registry)(created)
    else:
        kopf.on.event(*_WHERE, registry=registry)(told)
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    settings.scanning.disabled = True
    settings.peering.standalone = True
    await kopf.operator(registry=registry, settings=settings, clusterwide=True, standalone=True)


if __name__ == "__main__":
    asyncio.run(serve(operate))
