"""A kind that is bound to nodes, and a process that runs it on one of them, over a server.

Tests copy it beside a server, whose plugin the kind is, and run it as a process of its own. That
one writes down each call in a journal, and ends in order at SIGTERM, saying how often its caches
were filled anew.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from pathlib import Path
from typing import Any

from miren import Context, Controller, Engine, Entity, Model
from miren.clients.remote import RemoteClient
from miren.entities.model import field

__all__ = ["KINDS", "Job", "Runs"]


class JobSpec(Model):
    node: str = field(default="", indexed=True)
    input: str = ""
    waits: bool = False


class JobStatus(Model):
    ran_on: str = ""
    output: str = ""


class Job(Entity[JobSpec, JobStatus], api="jobs.example.dev/v1"):
    """Work for one node."""


KINDS = (Job,)


class Runs(Controller[Job], scope="node", finalizer="jobs.example.dev/runs"):
    """Does the work; a job that waits does so until there is a file at `gate`."""

    def __init__(self, node: str, journal: Path, gate: Path) -> None:
        self._node = node
        self._journal = journal
        self._gate = gate

    async def reconcile(self, ctx: Context[Job], entity: Job) -> None:
        self.tell("begin", entity.name, input=entity.spec.input)
        while entity.spec.waits and not self._gate.exists():  # noqa: ASYNC110  # a file sets none
            await asyncio.sleep(0.01)
        ctx.status = JobStatus(ran_on=self._node, output=entity.spec.input.upper())
        ctx.event("Ran", f"on {self._node}")
        self.tell("end", entity.name, input=entity.spec.input)

    async def finalize(self, ctx: Context[Job], entity: Job) -> None:
        self.tell("finalize", entity.name)

    def tell(self, what: str, name: str, **more: Any) -> None:
        with self._journal.open("a") as file:
            file.write(json.dumps({"what": what, "name": name, **more}) + "\n")


async def run(address: str, node: str, patience: float, journal: Path, gate: Path) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    runs = Runs(node, journal, gate)
    async with (
        RemoteClient(address, kinds=KINDS, patience=patience) as client,
        Engine(client, [runs], node=node) as engine,
    ):
        await stop.wait()
        relists = sum(informer.relists for informer in engine._informers.values())
    runs.tell("stop", node, relists=relists)


if __name__ == "__main__":
    address, node, patience, *paths = sys.argv[1:]
    asyncio.run(run(address, node, float(patience), *map(Path, paths)))
