"""`Context`: what one reconcile may do, and what it has said so far.

Status and conditions are only collected here; the engine writes them once, at the end.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime
from typing import Any, Generic, TypeVar, cast

from miren.base.errors import Conflict, NotFound
from miren.entities.client import Client, Listing, Selection
from miren.entities.entity import Condition, ConditionStatus, Entity, OwnerReference, Partial
from miren.entities.model import Model
from miren.reconcile.results import Key

__all__ = ["Context"]

E_co = TypeVar("E_co", bound=Entity[Any, Any], covariant=True)
O = TypeVar("O", bound=Entity[Any, Any])  # noqa: E741  # an owned kind
U = TypeVar("U", bound=Model)

READY = "Ready"


class Context(Generic[E_co]):
    """Handed to each reconcile. Everything it applies belongs to the entity reconciled."""

    def __init__(
        self,
        entity: E_co,
        client: Client,
        *,
        manager: str,
        now: Callable[[], datetime],
        log: logging.LoggerAdapter[logging.Logger],
    ) -> None:
        self.client = client.in_project(entity.project) if entity.project else client
        self.log = log
        self.key: Key[Any] = Key.of(entity)
        self.conditions: dict[str, Condition] = {}
        self.written: dict[type[Entity[Any, Any]], int] = {}  # newest revision made, by kind
        self._entity = entity
        self._status: object = entity.status
        self._manager = manager
        self._now = now

    @property
    def status(self: Context[Entity[Any, U]]) -> U:
        """The kind's own status; assign a whole new one to change it."""
        return cast("U", self._status)

    @status.setter
    def status(self: Context[Entity[Any, U]], value: U) -> None:
        if not isinstance(value, self._entity.kind.status):
            wanted = self._entity.kind.status.__name__
            raise TypeError(f"ctx.status must be a {wanted}, not {type(value).__name__}")
        self._status = value

    def now(self) -> datetime:
        """Return the time, virtual in simulations."""
        return self._now()

    def ready(self, reason: str = "Ready", message: str = "") -> None:
        """Say that the entity is what its spec wants."""
        self.set_condition(READY, ConditionStatus.TRUE, reason, message)

    def not_ready(self, reason: str, message: str = "") -> None:
        """Say that it is not, and why: one CamelCase word, one sentence."""
        self.set_condition(READY, ConditionStatus.FALSE, reason, message)

    def set_condition(
        self, type: str, status: ConditionStatus, reason: str, message: str = ""
    ) -> None:
        """Say one thing about the entity. The last word of a reconcile on a type counts."""
        self.conditions[type] = Condition(
            type=type,
            status=status,
            reason=reason,
            message=message,
            observed_generation=self._entity.metadata.generation,
        )

    async def apply(self, partial: Partial[O]) -> O:
        """Apply an entity that this one owns; it goes when this one goes."""
        metadata = {
            **partial.document["metadata"],
            "ownerReferences": [OwnerReference.of(self._entity).model_dump(mode="json")],
        }
        owned = Partial(partial.type, {**partial.document, "metadata": metadata})
        return self._wrote(await self.client.apply(owned, manager=self._manager))

    async def ensure(self, entity: O) -> O:
        """Create an entity that this one owns, unless one of its name exists."""
        owned = entity.with_metadata(owner_references=(OwnerReference.of(self._entity),))
        return self._wrote(await self.client.ensure(owned))

    async def delete(self, entity: Entity[Any, Any]) -> None:
        """Begin the deletion of an entity, if it is still this very one."""
        project = entity.project or None
        try:
            gone = await self.client.delete(
                type(entity), entity.name, project=project, uid=entity.uid
            )
        except NotFound:
            return
        except Conflict:
            found = await self.client.get(type(entity), entity.name, project=project, default=None)
            if found is not None and found.uid == entity.uid:
                raise
            return  # its name is another's by now
        self._wrote(gone)

    async def owned(self, kind: type[O]) -> tuple[O, ...]:
        """Return the entities of a kind that this one owns, as they are stored now."""
        found: Listing[O] = await self.client.list(
            kind, Selection(project=self._entity.project or None)
        )
        uid = self._entity.uid
        return tuple(
            item
            for item in found.items
            if any(owner.uid == uid for owner in item.metadata.owner_references)
        )

    def _wrote(self, entity: O) -> O:
        kind = type(entity)
        self.written[kind] = max(self.written.get(kind, 0), entity.revision)
        return entity
