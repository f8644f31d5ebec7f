"""The project controller: a project that is deleted empties itself, then goes.

From the moment its deletion begins nothing new can be created in it, so emptying it ends: when
nothing that does not go by itself holds one of its entities back.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from miren.base.errors import Conflict, NotFound, Refused
from miren.controllers.remains import say_what_remains, told
from miren.entities.client import Client, Selection
from miren.entities.entity import Entity
from miren.entities.gen import Project
from miren.entities.gen.meta import ProjectPhase, ProjectStatus
from miren.entities.kinds import Kinds, Scope
from miren.reconcile.context import Context
from miren.reconcile.controller import Controller, Watch
from miren.reconcile.results import Key, Requeue

__all__ = ["ProjectController"]

#: Whatever goes wakes it; this is for what was refused, and may be allowed by now.
_AGAIN = Requeue(after=2)


class ProjectController(Controller[Project], finalizer="miren.dev/project"):
    """Empties projects of these kinds; what belongs to the cluster is none of its business."""

    def __init__(self, kinds: Iterable[type[Entity[Any, Any]]]) -> None:
        known = Kinds(kinds).all_stored()
        self._kinds = tuple(kind.entity for kind in known if kind.scope is Scope.PROJECT)

    def watching(self) -> Sequence[Watch]:
        """Whatever goes may have been the last in its project."""
        return [Watch(kind, "project_of", gone=True) for kind in self._kinds]

    def project_of(self, gone: Entity[Any, Any]) -> Iterator[Key[Project]]:
        """Wake the project that it was in."""
        yield Key("", gone.project)

    async def reconcile(self, ctx: Context[Project], entity: Project) -> None:
        """Say that it can be used."""
        ctx.status = ProjectStatus(phase=ProjectPhase.ACTIVE)
        ctx.ready("Active")

    async def finalize(self, ctx: Context[Project], entity: Project) -> Requeue | None:
        """Delete what is in it, and let it go once that has gone."""
        ctx.status = ProjectStatus(phase=ProjectPhase.TERMINATING)
        refusals: dict[str, str] = {}
        for found in sorted(await self._contents(ctx.client, entity), key=_is_dependent):
            if not found.is_deleting:
                await _delete(ctx.client, found, refusals)
        left = await self._contents(ctx.client, entity)
        if not left:
            return None
        ctx.not_ready("Terminating", f"{len(left)} left")
        say_what_remains(ctx, "ContentsLeft", f"still holds {told(left, refusals)}")
        return _AGAIN

    async def _contents(self, client: Client, project: Project) -> list[Entity[Any, Any]]:
        inside = Selection(project=project.name)
        return [
            entity for kind in self._kinds for entity in (await client.list(kind, inside)).items
        ]


def _is_dependent(entity: Entity[Any, Any]) -> bool:
    """Owners go first: whoever looks after a dependent would only make it again."""
    return bool(entity.metadata.owner_references)


async def _delete(client: Client, entity: Entity[Any, Any], refusals: dict[str, str]) -> None:
    try:
        await client.delete(type(entity), entity.name, project=entity.project, uid=entity.uid)
    except (Conflict, NotFound):
        pass  # if it is still there, the next look finds it
    except Refused as error:
        refusals[entity.uid] = error.message
