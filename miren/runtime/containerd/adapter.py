"""The `Runtime` over a private containerd.

A container is a record (its spec and our notes in labels), a snapshot, a network namespace and
a folder of small files, all named by its id, made in this order by `create`. `start` adds the
task: a shim with the sandbox below it. So whatever exists of a container, its record exists,
until `delete` removes the record last. Nothing is remembered in this process but locks and
which addresses are in use, and those are read back from the records.
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from contextlib import aclosing, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Self

from miren.base.backoff import Backoff
from miren.base.errors import MirenError, RuntimeFailure
from miren.runtime.api import ContainerId, ContainerSpec, ContainerState, Image, RuntimeEvent
from miren.runtime.containerd.assembly import assemble, take_apart
from miren.runtime.containerd.classes import binary_of, check_memory, install_classes
from miren.runtime.containerd.client import Containers, TaskStatus
from miren.runtime.containerd.connection import Connection
from miren.runtime.containerd.content import Content
from miren.runtime.containerd.daemon import ContainerdDaemon
from miren.runtime.containerd.host import Host
from miren.runtime.containerd.images import Images
from miren.runtime.containerd.locks import KeyedLocks
from miren.runtime.containerd.probe import is_probe, probe
from miren.runtime.containerd.running import run, stop
from miren.runtime.containerd.state import Notes
from miren.runtime.network import Network

__all__ = ["ContainerdRuntime"]

log = logging.getLogger(__name__)

_BACKOFF = Backoff(first=0.05, cap=2.0)
_ASK_AGAIN = 60.0


class ContainerdRuntime:
    """The containers of one instance. The daemon must be running; open with `async with`.

    Opening makes the instance's bridge and firewall; leaving closes the connection and leaves
    everything on the host as it is.
    """

    def __init__(self, daemon: ContainerdDaemon, network: Network, *, instance: str) -> None:
        self._places = daemon.places
        self._network = network
        self._instance = instance
        self._locks = KeyedLocks()
        self._checks: dict[str, tuple[str | None, float]] = {}
        self._connection: Connection | None = None
        self._opened: Host | None = None

    @property
    def _host(self) -> Host:
        if self._opened is None:
            raise RuntimeFailure("the runtime is not open")
        return self._opened

    async def __aenter__(self) -> Self:
        self._connection = Connection(self._places.socket)
        try:
            content = Content(self._connection)
            self._opened = Host(
                self._instance,
                self._places,
                self._network,
                Containers(self._connection),
                content,
                Images(content),
            )
            await self._recover()
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_exc: object) -> None:
        self._opened = None
        if self._connection is not None:
            await self._connection.close()
            self._connection = None

    async def _recover(self) -> None:
        """Read back what an earlier run left, and remove what it was only trying out."""
        await install_classes(self._places)
        await self._network.open()
        records = await self._host.containers.records()
        addresses = [Notes.of(record).address for record in records]
        self._network.claim(address for address in addresses if address is not None)
        for record in records:
            if is_probe(record.id):
                await take_apart(self._host, ContainerId.parse(record.id))

    async def check(self, runtime_class: str) -> str | None:
        """Run a trial container; return None, or why it failed and what to do.

        That it works is found out once; that it does not, again after a minute.
        """
        async with self._locks.hold(runtime_class):
            now = asyncio.get_running_loop().time()
            verdict, until = self._checks.get(runtime_class, ("", now))
            if now >= until:
                await install_classes(self._places)
                verdict = await probe(self._host, runtime_class)
                # What works goes on working; what does not may be put right meanwhile.
                until = math.inf if verdict is None else now + _ASK_AGAIN
                self._checks[runtime_class] = verdict, until
            return verdict

    async def import_image(self, archive: Path, name: str) -> Image:
        """Store and unpack an OCI archive or layout folder as `name`, in place of any before."""
        return await self._host.images.load(archive, name)

    async def ensure_image(self, name: str) -> Image:
        """Return the image of that name; raise ImageNotFound."""
        return await self._host.images.find(name)

    async def create(self, spec: ContainerSpec) -> ContainerState:
        """Make everything the container needs to be started."""
        binary_of(spec.runtime_class, self._places)
        check_memory(spec.runtime_class, spec.memory)
        async with self._locks.hold(spec.id):
            await assemble(self._host, spec)
            return await self._state(spec.id)

    async def start(self, id: ContainerId) -> ContainerState:
        """Run the container's command, once in its life; raise NotFound when there is none."""
        async with self._locks.hold(id):
            await run(self._host, await self._host.record(id))
            return await self._state(id)

    async def stop(self, id: ContainerId, *, grace: float) -> ContainerState | None:
        """End the container's process and wait for it; one that never ran stays as it is."""
        async with self._locks.hold(id):
            task = await self._host.containers.task(str(id))
            if task is not None and task.status is not TaskStatus.STOPPED:
                await stop(self._host, task, grace=grace)
            return await self._host.state(id)

    async def delete(self, id: ContainerId) -> None:
        """Kill the container and remove all that it has on this host, but its log."""
        async with self._locks.hold(id):
            await take_apart(self._host, id)

    async def list(self) -> Sequence[ContainerState]:
        """Return every container of this instance."""
        records = await self._host.containers.records()
        tasks = {task.id: task for task in await self._host.containers.tasks()}
        return [
            self._host.describe(record, tasks.get(record.id))
            for record in records
            if not is_probe(record.id)
        ]

    async def inspect(self, id: ContainerId) -> ContainerState | None:
        """Return one container's state, or None."""
        return await self._host.state(id)

    async def _state(self, id: ContainerId) -> ContainerState:
        state = await self._host.state(id)
        if state is None:
            raise RuntimeFailure(f"container {id} vanished while it was worked on")
        return state

    @asynccontextmanager
    async def events(self) -> AsyncIterator[AsyncIterator[RuntimeEvent]]:
        """Deliver hints from now on; after an interruption, one for every container."""
        async with (
            self._host.containers.events() as ids,
            aclosing(self._hints(ids)) as hints,
        ):
            yield hints

    async def _hints(self, ids: AsyncIterator[str]) -> AsyncGenerator[RuntimeEvent, None]:
        rng, failures = random.Random(), 0  # noqa: S311
        with _interruptions():
            async for hint in _events_of(ids):
                yield hint
        while True:
            failures += 1
            await asyncio.sleep(_BACKOFF.delay(failures, rng))
            with _interruptions():
                async with self._host.containers.events() as later:
                    for state in await self.list():
                        yield RuntimeEvent(state.id)
                    async for hint in _events_of(later):
                        failures = 0
                        yield hint


async def _events_of(ids: AsyncIterator[str]) -> AsyncIterator[RuntimeEvent]:
    async for id in ids:
        if not is_probe(id):
            yield RuntimeEvent(ContainerId.parse(id))


@contextmanager
def _interruptions() -> Iterator[None]:
    """Go on after an error: containerd was restarted, and will be there again."""
    try:
        yield
    except MirenError as error:
        log.info("containerd's events are interrupted: %s", error.message)
