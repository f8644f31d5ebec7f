"""The app controller: stamps an immutable AppVersion from each state of an App.

The newest version serves. Older ones keep their sandboxes until it runs, then shrink to none
and stay as a record.
"""

from __future__ import annotations

import hashlib

import orjson

from miren.entities.deleting import ORPHAN
from miren.entities.gen import App, AppVersion
from miren.entities.gen.core import AppPhase, AppStatus, AppVersionPhase
from miren.reconcile.context import Context
from miren.reconcile.controller import Controller
from miren.reconcile.results import Requeue

__all__ = ["AppController"]

_POLL = Requeue(after=5)

_PHASES = {
    AppVersionPhase.RUNNING: AppPhase.RUNNING,
    AppVersionPhase.FAILED: AppPhase.FAILED,
}


class AppController(Controller[App], finalizer="miren.dev/app", owns=[AppVersion]):
    """Turns what an app's owner wants into versions that never change."""

    async def reconcile(self, ctx: Context[App], entity: App) -> None:
        """Stamp the version of today's spec, and retire the others once it runs."""
        version = await ctx.ensure(_stamp(entity))
        if version.spec.replicas:
            # It was retired before, and is wanted again: take back what was said of its size.
            version = await ctx.apply(AppVersion.partial(version.name))
        if version.name != entity.status.version:
            ctx.event("Stamped", f"{version} from generation {entity.metadata.generation}")
        status = version.status
        ctx.status = AppStatus(
            phase=_PHASES.get(status.phase or AppVersionPhase.PENDING, AppPhase.DEPLOYING),
            version=version.name,
            ready=status.ready,
            replicas=sum(service.scale for service in entity.spec.services),
            reason=status.reason,
        )
        if status.phase is not AppVersionPhase.RUNNING:
            ctx.not_ready("Deploying", status.reason or f"{version} is not running yet")
            return
        for old in await ctx.owned(AppVersion):
            if old.name != version.name:
                none = {service.name: 0 for service in old.spec.services}
                await ctx.apply(AppVersion.partial(old.name, replicas=none))
        ctx.ready("Running", f"{version} serves")

    async def finalize(self, ctx: Context[App], entity: App) -> Requeue | None:
        """Delete the versions, and go when they are gone."""
        if ORPHAN in entity.metadata.finalizers:
            return _POLL  # they stay, once the garbage collector has let go of them
        versions = await ctx.owned(AppVersion)
        for version in versions:
            await ctx.delete(version)
        return _POLL if versions else None


def _stamp(app: App) -> AppVersion:
    spec = app.spec.model_dump(mode="json", exclude_none=True)
    digest = hashlib.sha256(orjson.dumps(spec, option=orjson.OPT_SORT_KEYS)).hexdigest()[:8]
    return AppVersion.new(
        f"{app.name}-{digest}",
        project=app.project,
        labels={"miren.dev/app": app.name},
        app=app.name,
        image=app.spec.image,
        services=app.spec.services,
        env=app.spec.env,
        runtime_class=app.spec.runtime_class,
    )
