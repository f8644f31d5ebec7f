"""`Context`: what one reconcile may do, and what it has said so far.

Status and conditions are only collected here; the engine writes them once, at the end.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable, Mapping, MutableMapping
from concurrent.futures import Executor
from contextvars import copy_context
from datetime import datetime
from functools import cached_property
from functools import partial as partial_call
from typing import Any, Generic, TypeVar, cast

from miren.base.errors import Conflict, Fenced, InvalidInput, NotFound
from miren.entities.client import Client, Listing, Selection
from miren.entities.entity import Condition, ConditionStatus, Entity, OwnerReference, Partial
from miren.entities.events import EventType
from miren.entities.model import Model
from miren.reconcile.recorder import Note, unheard
from miren.reconcile.results import Key

__all__ = ["Context"]

E_co = TypeVar("E_co", bound=Entity[Any, Any], covariant=True)
O = TypeVar("O", bound=Entity[Any, Any])  # noqa: E741  # an owned kind
T = TypeVar("T")
U = TypeVar("U", bound=Model)

READY = "Ready"

_REASON = re.compile(r"[A-Z][A-Za-z0-9]{0,127}")


class Context(Generic[E_co]):
    """Handed to each reconcile. Everything it applies belongs to the entity reconciled."""

    def __init__(
        self,
        entity: E_co,
        client: Client,
        *,
        manager: str,
        now: Callable[[], datetime],
        log: logging.Logger,
        threads: Executor | None = None,
        note: Note = unheard,
        id: str = "",
    ) -> None:
        self._client = client
        self._log = log
        self.id = id  # of this reconcile, in what is logged and traced of it
        self.key: Key[Any] = Key.of(entity)
        self.conditions: dict[str, Condition] = {}
        self.written: dict[type[Entity[Any, Any]], int] = {}  # newest revision made, by kind
        self.overtaken_by: Entity[Any, Any] | None = None  # what others wrote below its record
        self._entity = entity
        self._status: object = entity.status
        self.manager = manager
        self.handled: Mapping[str, object] | None = None  # what its handlers have handled by now
        self.retry = 0  # how often in a row the handler that is called failed before this call
        self._threads = threads
        self._note = note
        self._now = now

    # Both are made when they are used first: most reconciles find nothing to do.

    @cached_property
    def client(self) -> Client:
        """The client, in the project of the entity."""
        project = self._entity.project
        return self._client.in_project(project) if project else self._client

    @cached_property
    def log(self) -> logging.LoggerAdapter[logging.Logger]:
        """The controller's logger, whose lines say which entity and reconcile they are about."""
        entity = self._entity
        where: dict[str, object] = {
            "entity": str(entity),
            "key": str(self.key),
            "revision": entity.revision,
            "reconcile": self.id,
        }
        return _Lines(self._log, where)

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

    def event(self, reason: str, message: str = "") -> None:
        """Tell people what happened: `ctx.event("Pulled", "took 2 s")`.

        It is written within seconds, counted up when it says the same again, and forgotten an
        hour after. `reason` is one CamelCase word; raises InvalidInput otherwise.
        """
        self.tell(EventType.NORMAL, _checked(reason), message)

    def warn(self, reason: str, message: str = "") -> None:
        """Tell people what went wrong, as `event` does. Errors that are raised tell themselves."""
        self.tell(EventType.WARNING, _checked(reason), message)

    def tell(self, type: EventType, reason: str, message: str) -> None:
        """Tell people what happened, whatever the reason looks like; for the engine itself."""
        who, when = self.manager, self._now()
        self._note(self._entity, reason, message, type=type, source=who, when=when)

    def in_thread(self, function: Callable[..., T], *args: object) -> asyncio.Future[T]:
        """Begin a call that blocks in one of the engine's threads, and return its future.

        A thread cannot be stopped: one that nobody waits for any more still comes to its end.
        """
        loop = asyncio.get_running_loop()
        call = partial_call(copy_context().run, function, *args)
        future = loop.run_in_executor(self._threads, call)
        future.add_done_callback(_look_at_error)
        return future

    async def apply(self, partial: Partial[O]) -> O:
        """Apply an entity that this one owns; it goes when this one goes."""
        metadata = {
            **partial.document["metadata"],
            "ownerReferences": [OwnerReference.of(self._entity).model_dump(mode="json")],
        }
        owned = Partial(partial.type, {**partial.document, "metadata": metadata})
        return self._wrote(await self.client.apply(owned, manager=self.manager))

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
        except Fenced:
            raise
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


def _checked(reason: str) -> str:
    if not _REASON.fullmatch(reason):
        raise InvalidInput(
            f"the reason of an event must be one CamelCase word, not {reason!r}",
            hint='the rest goes into the message: ctx.event("Pulled", "took 2 s")',
        )
    return reason


class _Lines(logging.LoggerAdapter[logging.Logger]):
    """Adds its fields to those of each line."""

    def process(
        self, msg: Any, kwargs: MutableMapping[str, Any]
    ) -> tuple[Any, MutableMapping[str, Any]]:
        return msg, {**kwargs, "extra": {**(self.extra or {}), **(kwargs.get("extra") or {})}}


def _look_at_error(done: asyncio.Future[Any]) -> None:
    """Take the error of a call that nobody waits for: its waiter was told otherwise."""
    if not done.cancelled():
        done.exception()
