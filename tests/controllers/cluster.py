"""An engine with the real controllers over a fake runtime, in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from miren.controllers.app import AppController
from miren.controllers.disk import DiskController
from miren.controllers.sandbox import SandboxController
from miren.controllers.version import VersionController
from miren.entities.client import Client
from miren.entities.entity import Condition, Entity
from miren.entities.gen import KINDS, Sandbox
from miren.entities.gen.compute import SandboxPhase
from miren.entities.keyring import Keyring
from miren.entities.kinds import Kinds
from miren.entities.store.memory import MemoryStore
from miren.entities.store_client import StoreClient
from miren.reconcile.engine import Engine
from miren.reconcile.testing import VirtualLoop
from miren.runtime.api import ContainerId
from miren.runtime.fake import FakeRuntime
from miren.server.secrets import NodeSecrets


@dataclass
class Cluster:
    """What a test needs to play with."""

    client: Client
    runtime: FakeRuntime
    store: MemoryStore

    async def phase(self, name: str, phase: SandboxPhase, *, timeout: float = 1000) -> Sandbox:
        """Wait until a sandbox is in a phase."""
        found = await self.client.wait(
            Sandbox, name, lambda sb: sb is not None and sb.status.phase is phase, timeout=timeout
        )
        assert found is not None
        return found

    async def attempt(self, name: str, attempt: int) -> Sandbox:
        """Wait until a sandbox runs in that attempt."""
        found = await self.client.wait(
            Sandbox,
            name,
            lambda sb: (
                sb is not None
                and sb.status.phase is SandboxPhase.RUNNING
                and sb.status.attempt == attempt
            ),
            timeout=1000,
        )
        assert found is not None
        return found


@asynccontextmanager
async def cluster(
    folder: Path, runtime: FakeRuntime | None = None, *, keyring: Keyring | None = None
) -> AsyncIterator[Cluster]:
    """Run all controllers on a fresh store; `runtime` may already hold containers.

    With a keyring the node can read secrets.
    """
    fake = runtime or FakeRuntime()
    fake.add_image("hello")
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)

    async def probe(address: str, ports: Iterable[int]) -> int | None:
        for port in ports:
            try:
                fake.ask(address, port)
            except ConnectionRefusedError:
                return port
        return None

    async with MemoryStore() as store:
        client = StoreClient(
            store=store, kinds=Kinds(KINDS), now=loop.now, mutators=[_bind], keyring=keyring
        )
        secrets = None if keyring is None else NodeSecrets(client, "n1")
        logs = folder / "logs"
        controllers: list[Any] = [
            AppController(),
            VersionController(),
            SandboxController(fake, node="n1", logs=logs, secrets=secrets, probe=probe),
            DiskController(folder / "disks", node="n1"),
        ]
        async with Engine(client, controllers, now=loop.now):
            yield Cluster(client, fake, store)


def _bind(new: Entity[Any, Any], _old: Entity[Any, Any] | None) -> Entity[Any, Any]:
    """Bind what nobody bound, as a standalone server does."""
    if isinstance(new, Sandbox) and new.spec.node is None:
        return new.with_spec(new.spec.model_copy(update={"node": "n1"}))
    return new


def current(sandbox: Sandbox) -> ContainerId:
    """The container of a sandbox's attempt."""
    return ContainerId(sandbox.uid, sandbox.status.attempt)


def ready(sandbox: Sandbox) -> Condition:
    """The Ready condition."""
    found = sandbox.condition("Ready")
    assert found is not None
    return found
