"""The version controller: an AppVersion's services as sandboxes, as many as it asks for."""

from __future__ import annotations

from collections.abc import Iterator

from miren.entities.deleting import ORPHAN
from miren.entities.gen import AppVersion, Sandbox
from miren.entities.gen.compute import Container, SandboxPhase
from miren.entities.gen.core import AppService, AppVersionPhase, AppVersionStatus
from miren.reconcile.context import Context
from miren.reconcile.controller import Controller
from miren.reconcile.results import Permanent, Requeue

__all__ = ["VersionController"]

_POLL = Requeue(after=5)


class VersionController(Controller[AppVersion], finalizer="miren.dev/version", owns=[Sandbox]):
    """Makes the sandboxes of a version, and removes those that are too many."""

    async def reconcile(self, ctx: Context[AppVersion], entity: AppVersion) -> None:
        """Bring the version's sandboxes to the number that its services ask for."""
        wanted = {sandbox.name: sandbox for sandbox in _sandboxes(entity)}
        owned = {sandbox.name: sandbox for sandbox in await ctx.owned(Sandbox)}
        for name, sandbox in owned.items():
            if name not in wanted and not sandbox.is_deleting:
                await ctx.delete(sandbox)
                ctx.event("SandboxDeleted", f"{sandbox} is too many")
        made = [await ctx.ensure(sandbox) for sandbox in wanted.values()]
        for sandbox in made:
            if sandbox.name not in owned:
                ctx.event("SandboxCreated", str(sandbox))
        ready = sum(sandbox.status.phase is SandboxPhase.RUNNING for sandbox in made)
        waiting = next((s for s in made if s.status.phase is not SandboxPhase.RUNNING), None)
        phase, reason = AppVersionPhase.RUNNING, None
        if not made and entity.spec.replicas:
            phase = AppVersionPhase.RETIRED
        elif waiting is not None:
            phase = AppVersionPhase.DEPLOYING
            reason = f"{waiting}: {waiting.status.reason or waiting.status.phase or 'pending'}"
        ctx.status = AppVersionStatus(phase=phase, sandboxes=len(made), ready=ready, reason=reason)
        if waiting is None:
            ctx.ready(phase.capitalize(), f"{ready} of {len(made)} run")
        else:
            ctx.not_ready("Deploying", reason or "")

    async def finalize(self, ctx: Context[AppVersion], entity: AppVersion) -> Requeue | None:
        """Delete the sandboxes, and go when they are gone."""
        if ORPHAN in entity.metadata.finalizers:
            return _POLL  # they stay, once the garbage collector has let go of them
        sandboxes = await ctx.owned(Sandbox)
        for sandbox in sandboxes:
            await ctx.delete(sandbox)
        return _POLL if sandboxes else None


def _sandboxes(version: AppVersion) -> Iterator[Sandbox]:
    """Yield the sandboxes that the version should have."""
    for service in version.spec.services:
        for number in range(version.spec.replicas.get(service.name, service.scale)):
            yield Sandbox.new(
                f"{version.name}-{service.name}-{number}",
                project=version.project,
                labels={
                    "miren.dev/app": version.spec.app.name,
                    "miren.dev/version": version.name,
                    "miren.dev/service": service.name,
                },
                containers=[_container(version, service)],
                volumes=service.volumes,
                runtime_class=version.spec.runtime_class,
            )


def _container(version: AppVersion, service: AppService) -> Container:
    image = service.image or version.spec.image
    if image is None:
        raise Permanent(
            f"service {service.name} has no image",
            reason="NoImage",
            hint="give the app or the service an image",
        )
    return Container(
        name=service.name,
        image=image,
        command=service.command,
        working_dir=service.working_dir,
        env={**version.spec.env, **service.env},
        ports=service.ports,
        memory=service.memory,
        cpu=service.cpu,
    )
