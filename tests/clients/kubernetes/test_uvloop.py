"""The client runs on uvloop too, whose transports are none of asyncio's classes."""

from __future__ import annotations

import asyncio

import uvloop

from miren.clients.kubernetes import KubernetesClient
from miren.reconcile.engine import Engine
from tests.builders import KINDS, Greeting, make_greeting
from tests.kubernetes_api import KubernetesAPI, Resource, serving
from tests.reconcile.greeters import Greeter


async def _greet() -> str:
    api = KubernetesAPI([Resource.of(kind) for kind in KINDS])
    async with serving(api) as url, KubernetesClient(url, kinds=KINDS) as client:
        async with Engine(client, [Greeter()]) as engine:
            await client.create(make_greeting())
            await engine.run_until_idle()
        found: Greeting = await client.get(Greeting, "hi")
        return found.status.shout


def test_a_controller_runs_on_uvloop() -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(_greet()) == "HEY"
