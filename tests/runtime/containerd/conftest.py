"""One private containerd a module, in folders of its own, purged at the end.

A run that was killed cannot purge. Each run notes its process id in its folder, and the next
one purges for those whose process is gone.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from miren.base.ids import new_instance_id
from miren.runtime.containerd.adapter import ContainerdRuntime
from miren.runtime.containerd.daemon import ContainerdDaemon
from miren.runtime.containerd.mounts import unmount_below
from miren.runtime.containerd.purge import leftovers, purge
from miren.runtime.network import Network
from tests.folders import abandoned, claim
from tests.runtime.containerd.sandboxes import IMAGE, Sandboxes, build_busybox

# pytest's own temporary folders are too deep for the path of a unix socket.
SORT = "mvctr"


@dataclass(frozen=True, slots=True)
class Instance:
    """An instance on this host that belongs to one test module."""

    id: str
    base: Path

    @property
    def state_dir(self) -> Path:
        return self.base / "state"

    @property
    def run_dir(self) -> Path:
        return self.base / "run"

    def daemon(self) -> ContainerdDaemon:
        return ContainerdDaemon(self.state_dir, self.run_dir)

    def runtime(self) -> ContainerdRuntime:
        return ContainerdRuntime(self.daemon(), Network(self.id), instance=self.id)

    def network(self) -> Network:
        return Network(self.id)

    async def unmount(self) -> None:
        await unmount_below(self.base)

    async def purge(self) -> None:
        await purge(self.id, self.state_dir, self.run_dir)

    async def remove(self) -> None:
        """Purge, and remove the folders too."""
        await self.purge()
        await asyncio.to_thread(shutil.rmtree, self.base)

    async def leftovers(self, *, of_containers: bool = True) -> Sequence[str]:
        return await leftovers(self.id, self.state_dir, self.run_dir, of_containers=of_containers)


def purge_dead_runs() -> None:
    for folder in abandoned(SORT):
        asyncio.run(Instance((folder / "id").read_text(), folder).remove())


def new_instance() -> Instance:
    instance = Instance(new_instance_id(), claim(SORT))
    (instance.base / "id").write_text(instance.id)
    return instance


@pytest.fixture(scope="module")
def instance() -> Iterator[Instance]:
    """An instance whose containerd runs."""
    purge_dead_runs()
    instance = new_instance()
    try:
        asyncio.run(_start(instance))
        yield instance
    finally:
        asyncio.run(instance.purge())
        left = asyncio.run(instance.leftovers(of_containers=False))
        shutil.rmtree(instance.base)
    assert left == []


@pytest.fixture
async def sandboxes(instance: Instance, tmp_path: Path) -> AsyncIterator[Sandboxes]:
    """Sandboxes on the module's containerd; after the test nothing of them may be left."""
    archive = tmp_path / "busybox.tar"
    build_busybox(archive)
    async with instance.runtime() as runtime:
        await runtime.import_image(archive, IMAGE)
        yield Sandboxes(runtime, tmp_path)
        for state in await runtime.list():
            await runtime.delete(state.id)
    assert await instance.leftovers() == []


async def _start(instance: Instance) -> None:
    await instance.daemon().start()
