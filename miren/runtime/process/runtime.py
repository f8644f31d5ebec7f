"""ProcessRuntime: the Runtime contract with plain host processes.

What it does not do is most of what a container is: a process sees the host's files, network and
processes, `memory`, `cpu` and the image's user are not applied, and every address is 127.0.0.1,
so two containers cannot listen on one port. Mounts are refused, since without a mount namespace
a target path would be the host's. It runs every runtime class, because a class asks how to
isolate and the answer is the same for all; `check` is where that is said, and whoever runs a
server on this runtime makes "process" its default class.

    <state>/images/          archives, by name
    <state>/rootfs/<digest>/ an image unpacked, shared by its containers
    <state>/containers/<id>/ what `records` describes

All state is in these folders and in the processes, so a second server, or the same one later,
finds everything. A process that makes itself a session of its own outlives the command; delete
finds it by a mark in its environment (see `strays`).
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager, suppress
from pathlib import Path
from typing import Self

from miren.base.errors import NotFound, RuntimeFailure
from miren.runtime.api import (
    ContainerId,
    ContainerPhase,
    ContainerSpec,
    ContainerState,
    Image,
    RuntimeEvent,
)
from miren.runtime.hints import Hints
from miren.runtime.images.layout import ImageConfig, open_layout, read_config, read_manifest
from miren.runtime.images.library import ImageLibrary
from miren.runtime.images.unpack import unpack_image
from miren.runtime.process.launching import launch
from miren.runtime.process.planning import host_path, make_plan
from miren.runtime.process.records import Record, judge, read_record, write_plan
from miren.runtime.process.strays import kill_strays
from miren.runtime.process.watching import Watching, wait_for_end

__all__ = ["ProcessRuntime"]

# How long a killed process may take to be gone; only one stuck in the kernel takes it all.
_KILL_DEADLINE = 10.0
# A folder being deleted: no longer a container, and still saying what has to be killed.
_DOOMED = ".gone-"
_PARTIAL = ".unpacking-"


class ProcessRuntime:
    """Containers as host processes, kept under `state_dir`, marked with `instance`."""

    def __init__(self, state_dir: Path, *, instance: str) -> None:
        self._instance = instance
        self._images = ImageLibrary(state_dir / "images")
        self._rootfs = state_dir / "rootfs"
        self._containers = state_dir / "containers"
        self._watching = Watching()
        self._hints = Hints()
        self._unpacking = asyncio.Lock()
        self._launching: dict[ContainerId, asyncio.Future[None]] = {}

    async def __aenter__(self) -> Self:
        for folder in (self._rootfs, self._containers):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        # What a server that died in the middle of something left behind.
        self._images.sweep()
        for partial in self._rootfs.glob(f"{_PARTIAL}*"):
            await asyncio.to_thread(shutil.rmtree, partial)
        for doomed in self._containers.glob(f"{_DOOMED}*"):
            await self._destroy(doomed)
        for id in self._ids():
            self._watch(id)
        return self

    async def __aexit__(self, *_exc: object) -> None:
        if self._launching:
            await asyncio.wait(self._launching.values())
        self._watching.close()

    async def check(self, runtime_class: str) -> str | None:
        """Refuse every class but "process", which is what all of them would get."""
        if runtime_class == "process":
            return None
        return (
            f"this server runs containers as plain host processes, without the isolation of "
            f"{runtime_class!r}: ask for the class 'process', or set [runtime] adapter to "
            f"containerd"
        )

    async def import_image(self, archive: Path, name: str) -> Image:
        """Check the archive and keep it."""
        return await asyncio.to_thread(self._images.add, archive, name)

    async def ensure_image(self, name: str) -> Image:
        """Return the image, if it has been imported."""
        image, _ = await asyncio.to_thread(self._images.get, name)
        return image

    async def create(self, spec: ContainerSpec) -> ContainerState:
        """Unpack the image if it is new here and write down how to run the command."""
        existing = self._inspect(spec.id)
        if existing is not None:
            return existing
        root, config = await self._unpacked(spec.image)
        plan = make_plan(
            spec, config, root=root, instance=self._instance, host_path=host_path(os.environ)
        )
        with _as_failure(f"container {spec.id} cannot be created"):
            write_plan(self._folder(spec.id), plan)
        self._hints.send(spec.id)
        return self._existing(spec.id)

    async def start(self, id: ContainerId) -> ContainerState:
        """Start the keeper, which starts the command; a container runs once, never again."""
        state = self._existing(id)
        if state.phase is ContainerPhase.CREATED:
            await self._launch(id)
        return self._existing(id)

    async def stop(self, id: ContainerId, *, grace: float) -> ContainerState | None:
        """Signal the command's whole process group, politely at first."""
        folder = self._folder(id)
        for number, patience in ((signal.SIGTERM, grace), (signal.SIGKILL, _KILL_DEADLINE)):
            record = read_record(folder)
            if record is None or not self._owns(record):
                return None
            if await _ended_by(record, number, within=patience):
                return self._inspect(id)
        raise RuntimeFailure(f"container {id} was killed and still runs")

    async def delete(self, id: ContainerId) -> None:
        """Take the container off the list, then kill and remove what there is of it."""
        # Renamed first: a keeper that is just starting then cannot note a command that nobody
        # will look for, and ends it. A server that dies in here leaves a name that says so.
        folder, doomed = self._folder(id), self._containers / f"{_DOOMED}{id}"
        record = read_record(folder)
        if record is not None and not self._owns(record):
            return
        await self._destroy(doomed)
        try:
            folder.rename(doomed)
        except FileNotFoundError:
            return
        await self._destroy(doomed)
        self._hints.send(id)

    async def list(self) -> Sequence[ContainerState]:
        """Return all containers, by id."""
        states = [self._inspect(id) for id in self._ids()]
        return [state for state in states if state is not None]

    async def inspect(self, id: ContainerId) -> ContainerState | None:
        """Read what is written down and look whether it still runs."""
        return self._inspect(id)

    def events(self) -> AbstractAsyncContextManager[AsyncIterator[RuntimeEvent]]:
        """Deliver hints: what is done through this runtime, and every exit."""
        return self._hints.listen()

    def _folder(self, id: ContainerId) -> Path:
        return self._containers / str(id)

    def _ids(self) -> Iterator[ContainerId]:
        for plan in sorted(self._containers.glob("[!.]*/plan.json")):
            yield ContainerId.parse(plan.parent.name)

    def _inspect(self, id: ContainerId) -> ContainerState | None:
        record = read_record(self._folder(id))
        if record is None or not self._owns(record):
            return None
        return judge(id, record)

    def _owns(self, record: Record) -> bool:
        return record.plan.instance == self._instance

    def _existing(self, id: ContainerId) -> ContainerState:
        state = self._inspect(id)
        if state is None:
            raise NotFound(f"there is no container {id}")
        return state

    def _watch(self, id: ContainerId) -> None:
        """Hint when the container's keeper ends, or the command that a dead one left behind."""
        record = read_record(self._folder(id))
        if record is None:
            return
        if record.keeper is not None and record.keeper_alive:
            self._watching.watch(record.keeper, lambda: self._ended(id))
        elif record.process is not None and record.process_alive:
            self._watching.watch(record.process, lambda: self._hints.send(id))

    async def _launch(self, id: ContainerId) -> None:
        """Launch the keeper, once however many ask; cancelling one of them does not stop it."""
        launching = self._launching.get(id)
        if launching is None:
            loop = asyncio.get_running_loop()
            launching = loop.run_in_executor(None, launch, self._folder(id), self._instance)
            self._launching[id] = launching
            launching.add_done_callback(lambda done: self._launched(id, done))
        await asyncio.shield(launching)

    def _launched(self, id: ContainerId, done: asyncio.Future[None]) -> None:
        del self._launching[id]
        done.exception()  # its caller, if still there, gets it too
        self._watch(id)
        self._hints.send(id)

    def _ended(self, id: ContainerId) -> None:
        self._hints.send(id)
        self._watch(id)

    async def _unpacked(self, name: str) -> tuple[Path, ImageConfig]:
        image, archive = await asyncio.to_thread(self._images.get, name)
        root = self._rootfs / image.digest.replace(":", "-")
        async with self._unpacking:
            config = await asyncio.to_thread(_unpack_once, archive, root)
        return root, config

    async def _destroy(self, folder: Path) -> None:
        """Kill what the doomed folder's records name, then remove it; none is fine."""
        record = read_record(folder)
        if record is not None:
            if not await _ended_by(record, signal.SIGKILL, within=_KILL_DEADLINE):
                raise RuntimeFailure(f"{folder.name} was killed and still runs")
            await asyncio.to_thread(kill_strays, record.plan.env)
        with suppress(FileNotFoundError):
            await asyncio.to_thread(shutil.rmtree, folder)


def _unpack_once(archive: Path, root: Path) -> ImageConfig:
    """Unpack the image to `root` unless it is there: whole, or not at all."""
    with open_layout(archive) as layout:
        manifest = read_manifest(layout)
        if not root.exists():
            partial = Path(tempfile.mkdtemp(prefix=_PARTIAL, dir=root.parent))
            try:
                unpack_image(layout, manifest, partial)
                partial.rename(root)
            except BaseException:
                shutil.rmtree(partial)
                raise
        return read_config(layout, manifest)


async def _ended_by(record: Record, number: signal.Signals, *, within: float) -> bool:
    """Signal the command's group; return whether it ended and its keeper noted how in time."""
    if record.process is not None and record.process_alive:
        with suppress(ProcessLookupError):
            os.killpg(record.process.pid, number)
    for process in (record.process, record.keeper):
        if process is not None and not await wait_for_end(process, timeout=within):
            return False
    return True


@contextmanager
def _as_failure(what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise RuntimeFailure(f"{what}: {error}") from error
