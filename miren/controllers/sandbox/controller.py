"""The sandbox controller: look at the container of the current attempt, do one step, say why."""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections.abc import AsyncIterator, Iterable
from pathlib import Path

from miren.base.errors import InvalidInput, MirenError, RuntimeFailure
from miren.controllers.sandbox.environment import Secrets, environment, secrets_named
from miren.controllers.sandbox.lifecycle import (
    ENDED,
    Step,
    fact_of,
    next_start,
    should_restart,
    step_for,
)
from miren.controllers.sandbox.plan import container_spec, is_current, log_path, tcp_ports
from miren.controllers.sandbox.readiness import Probe, first_silent_port
from miren.entities.client import Client
from miren.entities.gen import Disk, Sandbox, Secret
from miren.entities.gen.compute import SandboxPhase, SandboxStatus
from miren.entities.gen.storage import DiskPhase
from miren.reconcile.context import Context
from miren.reconcile.controller import Controller, index, watches
from miren.reconcile.outcome import in_words
from miren.reconcile.results import Key, Permanent, Requeue, Temporary
from miren.runtime.api import ContainerId, ContainerState, Mount, Runtime

__all__ = ["SandboxController"]

log = logging.getLogger(__name__)

_NOW = Requeue(after=0)
_CLEAR_UP_AGAIN = Requeue(after=5)
_PROBE_PERIOD = 0.1


class SandboxController(
    Controller[Sandbox],
    concurrency=8,
    scope="node",
    finalizer="miren.dev/sandbox",
    timeout=300.0,
    resync=60.0,
):
    """Runs the sandboxes that are bound to `node`, on `runtime`.

    Deleting one stops its container within its grace period and leaves nothing of it on the
    host, its log under `logs` included.
    """

    def __init__(
        self,
        runtime: Runtime,
        *,
        node: str,
        logs: Path,
        default_class: str = "runsc",
        secrets: Secrets | None = None,
        probe: Probe = first_silent_port,
    ) -> None:
        self._runtime = runtime
        self._node = node
        self._logs = logs
        self._default_class = default_class
        self._secrets = secrets
        self._probe_ports = probe

    @index
    def by_uid(self, sandbox: Sandbox) -> Iterable[str]:
        """Find a sandbox by what its containers are named after."""
        return (sandbox.uid,)

    @index
    def by_disk(self, sandbox: Sandbox) -> Iterable[str]:
        """Find the sandboxes that mount a disk."""
        for volume in sandbox.spec.volumes:
            yield f"{volume.disk.project or sandbox.project}/{volume.disk.name}"

    @index
    def by_secret(self, sandbox: Sandbox) -> Iterable[str]:
        """Find the sandboxes whose containers take something from a Secret."""
        return {f"{sandbox.project}/{name}" for name in secrets_named(sandbox)}

    @watches(Secret)
    def takers(self, secret: Secret) -> Iterable[Key[Sandbox]]:
        """A Secret that appears lets the sandboxes go on that wait for it."""
        return (Key.of(sandbox) for sandbox in self.by_secret[f"{secret.project}/{secret.name}"])

    @watches(Disk)
    def users(self, disk: Disk) -> Iterable[Key[Sandbox]]:
        """A disk that became ready lets the sandboxes go on that wait for it."""
        return (Key.of(sandbox) for sandbox in self.by_disk[f"{disk.project}/{disk.name}"])

    async def source(self, client: Client) -> AsyncIterator[Key[Sandbox]]:
        """Yield the sandboxes whose containers changed, once containers without one are gone."""
        async with self._runtime.events() as events:
            await self._remove_orphans(client)
            async for event in events:
                for sandbox in self.by_uid[event.id.uid]:
                    yield Key.of(sandbox)

    async def _remove_orphans(self, client: Client) -> None:
        # Containers first: a sandbox always exists before its container does.
        containers = await self._runtime.list()
        known = {sandbox.uid for sandbox in (await client.list(Sandbox)).items}
        for container in containers:
            if container.id.uid not in known:
                log.warning("removing a container of no sandbox", extra={"id": str(container.id)})
                await self._runtime.delete(container.id)

    async def reconcile(self, ctx: Context[Sandbox], entity: Sandbox) -> Requeue | None:
        """Do the next step of the sandbox's life."""
        if entity.spec.node != self._node:
            return None
        try:
            return await self._step(ctx, entity)
        except MirenError as error:
            if entity.status.phase in ENDED:
                # How it ended stays said; all that is left to do is to clear up.
                ctx.log.warning("not cleared up yet", extra={"why": error.message})
                return _CLEAR_UP_AGAIN
            # The table shows the reason, and not only the condition does.
            ctx.status = entity.status.model_copy(update={"reason": in_words(error)})
            raise

    async def _step(self, ctx: Context[Sandbox], entity: Sandbox) -> Requeue | None:
        container = await self._runtime.inspect(_current(entity))
        fact = fact_of(container, is_current=is_current(entity, container))
        match step_for(entity, fact):
            case Step.BEGIN:
                return self._begin(ctx, entity)
            case Step.CREATE:
                return await self._create(ctx, entity)
            case Step.START:
                return await self._start(ctx, entity)
            case Step.PROBE if container is not None:
                return await self._probe(ctx, entity, container)
            case Step.KEEP if container is not None:
                _running(ctx, entity, container)
                return None
            case Step.END:
                return self._end(ctx, entity, container)
            case Step.REPLACE:
                grace = entity.spec.grace_period.total_seconds()
                await self._runtime.stop(_current(entity), grace=grace)
                return _start_over(ctx, entity)
            case Step.REVIVE:
                return _start_over(ctx, entity)
            case Step.DISCARD:
                await self._runtime.delete(_current(entity))
                return _NOW
        return None

    def _begin(self, ctx: Context[Sandbox], sandbox: Sandbox) -> Requeue:
        status = sandbox.status
        due = next_start(status.restarts, status.started_at, status.ended_at)
        if due is not None and due > ctx.now():
            return Requeue(after=(due - ctx.now()).total_seconds())
        ctx.status = SandboxStatus(
            phase=SandboxPhase.STARTING,
            attempt=status.attempt + 1,
            restarts=status.restarts,
            exit_code=status.exit_code,
            runs_on=self._node,
            started_at=ctx.now(),
            ended_at=status.ended_at,
            reason=status.reason,
        )
        if status.attempt == 0:
            ctx.not_ready("Starting")
        return _NOW

    async def _create(self, ctx: Context[Sandbox], sandbox: Sandbox) -> Requeue:
        runtime_class = sandbox.spec.runtime_class or self._default_class
        why_not = await self._runtime.check(runtime_class)
        if why_not is not None:
            raise Permanent(why_not, reason="RuntimeClassUnavailable")
        mounts = [mount async for mount in self._mounts(ctx, sandbox)]
        spec = container_spec(
            sandbox,
            log=log_path(self._logs, sandbox),
            runtime_class=runtime_class,
            mounts=mounts,
            env=await environment(sandbox, self._secrets),
        )
        image = await self._runtime.ensure_image(spec.image)
        try:
            await self._runtime.create(spec)
        except InvalidInput as error:
            raise Permanent(error.message, reason="Unsupported", hint=error.hint) from error
        ctx.event("Created", f"a container of image {spec.image}")
        ctx.status = sandbox.status.model_copy(update={"image_digest": image.digest})
        return await self._start(ctx, sandbox)

    async def _start(self, ctx: Context[Sandbox], sandbox: Sandbox) -> Requeue:
        try:
            state = await self._runtime.start(_current(sandbox))
        except RuntimeFailure as error:
            # It counts as an attempt that ended: what it says now is all that is ever known.
            return self._ended(ctx, sandbox, None, f"could not be started: {error.message}")
        ctx.event("Started")
        ctx.status = ctx.status.model_copy(update={"address": state.address})
        return _NOW

    async def _mounts(self, ctx: Context[Sandbox], sandbox: Sandbox) -> AsyncIterator[Mount]:
        for volume in sandbox.spec.volumes:
            disk = await ctx.client.get(
                Disk, volume.disk.name, project=volume.disk.project, default=None
            )
            if disk is None or disk.status.phase is not DiskPhase.READY or not disk.status.path:
                raise Temporary(
                    f"disk {volume.disk} is not ready", reason="WaitingForDisk", after=30
                )
            yield Mount(Path(disk.status.path), volume.path, read_only=volume.read_only)

    async def _probe(
        self, ctx: Context[Sandbox], sandbox: Sandbox, container: ContainerState
    ) -> Requeue | None:
        ports = tcp_ports(sandbox)
        silent = None
        if container.address is not None:
            silent = await self._probe_ports(container.address, ports)
        if silent is None:
            _running(ctx, sandbox, container)
            return None
        since = sandbox.status.started_at or ctx.now()
        if ctx.now() - since < sandbox.spec.start_timeout:
            return Requeue(after=_PROBE_PERIOD)
        await self._runtime.stop(container.id, grace=0)
        return self._ended(
            ctx, sandbox, None, f"port {silent} did not answer within {sandbox.spec.start_timeout}"
        )

    def _end(
        self, ctx: Context[Sandbox], sandbox: Sandbox, container: ContainerState | None
    ) -> Requeue:
        if container is None:
            return self._ended(ctx, sandbox, None, "its container is gone")
        code = container.exit_code
        told = "exited, nobody saw how" if code is None else f"exited with code {code}"
        why = f"{told}: {container.reason}" if container.reason else told
        return self._ended(ctx, sandbox, code, why)

    def _ended(
        self, ctx: Context[Sandbox], sandbox: Sandbox, code: int | None, why: str
    ) -> Requeue:
        """Record how an attempt ended and what follows from it."""
        status, now = sandbox.status, ctx.now()
        restarts = status.restarts
        if should_restart(sandbox.spec.restart_policy, code):
            phase, restarts = SandboxPhase.PENDING, restarts + 1
            due = next_start(restarts, status.started_at, now) or now
            reason = f"{why}; restart {restarts} in {(due - now).total_seconds():g} s"
        elif code == 0:
            phase, reason = SandboxPhase.STOPPED, why
        else:
            phase, reason = SandboxPhase.FAILED, why
        tell = ctx.event if code == 0 else ctx.warn
        tell("Failed" if phase is SandboxPhase.FAILED else "Exited", why)
        ctx.status = status.model_copy(
            update={
                "phase": phase,
                "restarts": restarts,
                "exit_code": "unknown" if code is None else str(code),
                "ended_at": now,
                "address": None,
                "reason": reason,
            }
        )
        ctx.not_ready("Completed" if phase is SandboxPhase.STOPPED else "Exited", reason)
        return _NOW

    async def finalize(self, ctx: Context[Sandbox], entity: Sandbox) -> Requeue | None:
        """Stop and remove every container of the sandbox, whichever attempt it was."""
        if entity.spec.node not in (None, self._node):
            return None
        grace = entity.spec.grace_period.total_seconds()
        mine = [known.id for known in await self._runtime.list() if known.id.uid == entity.uid]
        async with asyncio.TaskGroup() as tasks:
            for id in mine:
                tasks.create_task(self._remove(id, grace))
        if mine:
            ctx.event("Stopped", "it was deleted")
        await asyncio.to_thread(_remove_logs, log_path(self._logs, entity).parent)
        return None

    async def _remove(self, id: ContainerId, grace: float) -> None:
        await self._runtime.stop(id, grace=grace)
        await self._runtime.delete(id)


def _running(ctx: Context[Sandbox], sandbox: Sandbox, container: ContainerState) -> None:
    """Say that it runs, whatever was said while the runtime could not be asked."""
    ctx.status = sandbox.status.model_copy(
        update={"phase": SandboxPhase.RUNNING, "address": container.address, "reason": None}
    )
    ports = tcp_ports(sandbox)
    ctx.ready("Running", f"answers on {_listed(ports)}" if ports else "")


def _remove_logs(folder: Path) -> None:
    """Remove a sandbox's logs: another one of its name must not show them as its own."""
    shutil.rmtree(folder, ignore_errors=True)


def _start_over(ctx: Context[Sandbox], sandbox: Sandbox) -> Requeue:
    """Forget how earlier attempts ended; the next one begins at once."""
    ctx.event("Replacing", "its spec changed")
    ctx.status = SandboxStatus(phase=SandboxPhase.PENDING, attempt=sandbox.status.attempt)
    ctx.not_ready("Replacing", "its spec changed")
    return _NOW


def _current(sandbox: Sandbox) -> ContainerId:
    return ContainerId(sandbox.uid, sandbox.status.attempt)


def _listed(ports: Iterable[int]) -> str:
    return ", ".join(f"port {port}" for port in ports)
