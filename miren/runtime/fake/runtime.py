"""FakeRuntime: the Runtime contract over a dictionary.

It owns no thread, no process and no socket and takes time only from the loop's clock, so it runs
as well under virtual time, where the same calls give the same states. The dictionary belongs to
the object: leaving and entering it again is the server's restart, with the containers still there.
Tests steer it with the methods that are not the contract's: `add_image`, `exit`, `crash_on_start`,
`fail_next`, `lose_exit_codes`, `ask`.
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal, Self

from miren.base.errors import ImageNotFound, NotFound, RuntimeFailure
from miren.runtime.api import (
    ContainerId,
    ContainerPhase,
    ContainerSpec,
    ContainerState,
    Image,
    RuntimeEvent,
)
from miren.runtime.fake.behaviour import KILLED, Behaviour, behave
from miren.runtime.hints import Hints
from miren.runtime.images.layout import ImageConfig, open_layout, read_config, read_manifest

__all__ = ["FakeRuntime", "Verb"]

Verb = Literal[
    "import_image", "ensure_image", "create", "start", "stop", "delete", "list", "inspect"
]

_EPOCH = datetime(2024, 1, 1, tzinfo=UTC)


@dataclass(slots=True)
class _Container:
    spec: ContainerSpec
    behaviour: Behaviour | None
    state: ContainerState


class FakeRuntime:
    """An in-memory Runtime that can run the classes it was given."""

    def __init__(self, *, classes: Sequence[str] = ("runsc", "runc", "process")) -> None:
        self._classes = tuple(classes)
        self._images: dict[str, tuple[Image, ImageConfig]] = {}
        self._containers: dict[ContainerId, _Container] = {}
        self._failures: dict[Verb, list[Exception]] = {}
        self._crashes: list[int] = []
        self._loses_exit_codes = False
        self._numbers = itertools.count(1)
        self._hints = Hints()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exc: object) -> None:
        return None

    # What tests steer it with

    def add_image(
        self, name: str, *, command: Sequence[str] = ("run",), env: Mapping[str, str] | None = None
    ) -> Image:
        """Make an image known, without an archive; its digest follows from its name."""
        digest = hashlib.sha256(name.encode()).hexdigest()
        return self._keep(name, f"sha256:{digest}", ImageConfig(tuple(command), env or {}))

    def exit(self, id: ContainerId, code: int | None, *, reason: str = "") -> None:
        """End a running container as if its command had; None is an exit nobody saw."""
        container = self._containers[id]
        if container.state.phase is ContainerPhase.RUNNING:
            self._end(id, container, code, reason=reason)

    def crash_on_start(self, *codes: int) -> None:
        """Let the next starts, one for each code, run and exit with it at once."""
        self._crashes.extend(codes)

    def fail_next(self, verb: Verb, error: Exception) -> None:
        """Let the next call of the verb raise the error and do nothing."""
        self._failures.setdefault(verb, []).append(error)

    def lose_exit_codes(self, *, lose: bool = True) -> None:
        """From now on (or no more), let exits have no known code."""
        self._loses_exit_codes = lose

    def ask(self, address: str, port: int) -> str:
        """Return the page that a running container serves there, else raise ConnectionError."""
        for container in self._containers.values():
            is_there = container.state.address == address
            is_running = container.state.phase is ContainerPhase.RUNNING
            behaviour = container.behaviour
            if is_there and is_running and behaviour is not None and behaviour.port == port:
                return behaviour.page
        raise ConnectionRefusedError(f"nothing listens on {address}:{port}")

    # The contract

    async def check(self, runtime_class: str) -> str | None:
        """Refuse every class it was not given."""
        if runtime_class in self._classes:
            return None
        return f"no runtime class {runtime_class!r}; there are {', '.join(self._classes)}"

    async def import_image(self, archive: Path, name: str) -> Image:
        """Take the digest and the config out of the archive, and no layer."""
        self._fail("import_image")
        with open_layout(archive) as layout:
            manifest = read_manifest(layout)
            return self._keep(name, manifest.descriptor.digest, read_config(layout, manifest))

    async def ensure_image(self, name: str) -> Image:
        """Return what was imported or added under that name."""
        self._fail("ensure_image")
        return self._image(name)[0]

    async def create(self, spec: ContainerSpec) -> ContainerState:
        """Keep the spec, under an address that no other container has or had."""
        self._fail("create")
        if spec.id not in self._containers:
            _, config = self._image(spec.image)
            number = next(self._numbers)
            behaviour = behave(
                config.command if spec.command is None else spec.command,
                env={**config.env, **spec.env},
                working_dir=spec.working_dir or config.working_dir,
            )
            address = f"10.0.{number // 250}.{number % 250 + 1}"
            labels = dict(spec.labels)
            state = ContainerState(spec.id, ContainerPhase.CREATED, address, labels=labels)
            self._containers[spec.id] = _Container(spec, behaviour, state)
            self._hints.send(spec.id)
        return self._containers[spec.id].state

    async def start(self, id: ContainerId) -> ContainerState:
        """Let it run; a command that ends at once does so after this returned."""
        self._fail("start")
        container = self._containers.get(id)
        if container is None:
            raise NotFound(f"there is no container {id}")
        if container.state.phase is not ContainerPhase.CREATED:
            return container.state
        behaviour = container.behaviour
        if behaviour is None:
            command = " ".join(container.spec.command or ())
            raise RuntimeFailure(f"container {id}: there is no command {command!r}")

        number = next(self._numbers)
        container.state = replace(
            container.state,
            phase=ContainerPhase.RUNNING,
            pid=1000 + number,
            started_at=_EPOCH + timedelta(seconds=number),
        )
        _append(container.spec.log, behaviour.output)
        self._hints.send(id)
        code = self._crashes.pop(0) if self._crashes else behaviour.exits_with
        if code is not None:
            asyncio.get_running_loop().call_soon(self._end, id, container, code)
        return container.state

    async def stop(self, id: ContainerId, *, grace: float) -> ContainerState | None:
        """End it with the code it gives when asked to, or after `grace` with 137."""
        self._fail("stop")
        container = self._containers.get(id)
        if container is None:
            return None
        if container.state.phase is ContainerPhase.RUNNING:
            code = container.behaviour.on_term if container.behaviour else None
            if code is None:
                await asyncio.sleep(grace)
                code = KILLED
            self._end(id, container, code)
        return container.state

    async def delete(self, id: ContainerId) -> None:
        """Forget it."""
        self._fail("delete")
        if self._containers.pop(id, None) is not None:
            self._hints.send(id)

    async def list(self) -> Sequence[ContainerState]:
        """Return all containers, in the order they were created."""
        self._fail("list")
        return [container.state for container in self._containers.values()]

    async def inspect(self, id: ContainerId) -> ContainerState | None:
        """Return one container's state, or None."""
        self._fail("inspect")
        container = self._containers.get(id)
        return None if container is None else container.state

    def events(self) -> AbstractAsyncContextManager[AsyncIterator[RuntimeEvent]]:
        """Deliver a hint for every change."""
        return self._hints.listen()

    def _keep(self, name: str, digest: str, config: ImageConfig) -> Image:
        image = Image(name, digest)
        self._images[name] = (image, config)
        return image

    def _image(self, name: str) -> tuple[Image, ImageConfig]:
        try:
            return self._images[name]
        except KeyError:
            raise ImageNotFound(f"there is no image {name!r} on this host") from None

    def _fail(self, verb: Verb) -> None:
        failures = self._failures.get(verb)
        if failures:
            raise failures.pop(0)

    def _end(
        self, id: ContainerId, container: _Container, code: int | None, *, reason: str = ""
    ) -> None:
        # The container may have ended, or been deleted and created anew, since this was decided.
        if container.state.phase is ContainerPhase.RUNNING:
            container.state = replace(
                container.state,
                phase=ContainerPhase.EXITED,
                pid=None,
                exit_code=None if self._loses_exit_codes else code,
                reason=reason,
            )
            if self._containers.get(id) is container:
                self._hints.send(id)


def _append(log: Path, output: str) -> None:
    """Write what the command prints; commands that print nothing leave the disk alone."""
    if output:
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("a") as stream:
            stream.write(output)
