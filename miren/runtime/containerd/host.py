"""What the adapter's parts share: an instance's folders, network and containerd."""

from __future__ import annotations

from dataclasses import dataclass

from miren.base.errors import NotFound
from miren.runtime.api import ContainerId, ContainerPhase, ContainerState
from miren.runtime.containerd import cgroups
from miren.runtime.containerd.client import Containers, Record, Task
from miren.runtime.containerd.content import Content
from miren.runtime.containerd.images import Images
from miren.runtime.containerd.places import Places
from miren.runtime.containerd.spec import cgroup_path
from miren.runtime.containerd.state import describe
from miren.runtime.network import Network

__all__ = ["Host"]

_SIGKILL = 137


@dataclass(frozen=True, slots=True)
class Host:
    """The host as one instance sees it."""

    instance: str
    places: Places
    network: Network
    containers: Containers
    content: Content
    images: Images

    def cgroup(self, id: ContainerId) -> str:
        """Return the container's control group."""
        return cgroup_path(self.instance, id)

    async def record(self, id: ContainerId) -> Record:
        """Return the container's record; raise NotFound."""
        record = await self.containers.record(str(id))
        if record is None:
            raise NotFound(f"there is no container {id}")
        return record

    async def state(self, id: ContainerId) -> ContainerState | None:
        """Return the container's state now, or None when there is no such container."""
        record = await self.containers.record(str(id))
        if record is None:
            return None
        return self.describe(record, await self.containers.task(str(id)))

    def describe(self, record: Record, task: Task | None) -> ContainerState:
        """Return the state that record, task and control group show together."""
        state = describe(record, task)
        if state.phase is ContainerPhase.EXITED and state.exit_code == _SIGKILL:
            starved = cgroups.was_out_of_memory(self.cgroup(state.id))
            return describe(record, task, out_of_memory=starved)
        return state
