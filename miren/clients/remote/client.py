"""`Client` over a Miren server; see `miren.entities.client` for what each verb promises.

The server does with every request what its own client does, so errors, admission and revisions
are the same; every read is as new as the last write that was answered, to whomever. Different:

- Who asks is known by the connection: `acting_as` raises Unimplemented.
- A call whose answer is lost raises OutcomeUnknown if it writes, Unavailable if it reads.
- When the server turns out to have another store than before, StoreReset is raised once by what
  rests on what was read before, a write say, and by each watch: read again.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeVar

from miren.base.errors import Unimplemented
from miren.clients.remote import coordination
from miren.clients.remote.documents import document_of, entity_of, partial_document
from miren.clients.remote.reading import ENTITIES, Reader
from miren.entities.arguments import plain
from miren.entities.client import Actor, Patch, Propagation
from miren.entities.elections import Leadership
from miren.entities.entity import Entity, Partial
from miren.entities.events import EntityEvent, event_to
from miren.entities.sessions import Session
from miren.entities.waiting import ensured

__all__ = ["RemoteClient"]

E = TypeVar("E", bound=Entity[Any, Any])


class RemoteClient(Reader):
    """Entities of the server at `address`, `unix:///path/to/socket`. Open it with `async with`.

    `kinds` are those that answers may name, as `referrers` do; any kind can be worked with.
    `project` is the one meant where none is said. A call takes `timeout` seconds at most. A
    server that is away for `patience` seconds ends what follows it with Unavailable.
    """

    def acting_as(self, actor: Actor) -> RemoteClient:
        """Raise Unimplemented: who asks is decided by the connection."""
        raise Unimplemented(
            f"acting as {actor.name} is not possible here",
            hint="connect as the user who is meant",
        )

    async def create(self, entity: E, *, dry_run: bool = False) -> E:
        """Store a new entity; see `Client.create`."""
        return await self._written("Create", entity, dryRun=dry_run)

    async def ensure(self, entity: E) -> E:
        """Return the stored entity of that name, or create it; see `Client.ensure`."""
        return await ensured(self, entity)

    async def update(self, entity: E, *, manager: str = "update", dry_run: bool = False) -> E:
        """Write spec and metadata over what was read; see `Client.update`."""
        return await self._written("Update", entity, manager=manager, dryRun=dry_run)

    async def update_status(self, entity: E) -> E:
        """Write status and conditions over what was read; see `Client.update_status`."""
        return await self._written("UpdateStatus", entity)

    async def apply(
        self, partial: Partial[E], *, manager: str, force: bool = False, dry_run: bool = False
    ) -> E:
        """Make `manager`'s fields exactly these; see `Client.apply`."""
        how = {"manager": manager, "force": force, "dryRun": dry_run}
        request = {**self._base(), "document": partial_document(partial), **how}
        answer = await self._link.write(f"{ENTITIES}/Apply", request)
        return entity_of(partial.type, answer["entity"])

    async def patch(
        self,
        kind: type[E],
        name: str,
        patch: Patch,
        *,
        project: str | None = None,
        manager: str = "patch",
        dry_run: bool = False,
    ) -> E:
        """Change spec and metadata by a patch; see `Client.patch`."""
        how = {"patch": plain(patch), "manager": manager, "dryRun": dry_run}
        request = {**self._about(kind, name, project), **how}
        return entity_of(kind, (await self._link.write(f"{ENTITIES}/Patch", request))["entity"])

    async def delete(
        self,
        kind: type[E],
        name: str,
        *,
        project: str | None = None,
        uid: str | None = None,
        revision: int | None = None,
        propagation: Propagation = Propagation.BACKGROUND,
        dry_run: bool = False,
    ) -> E:
        """Begin deletion; see `Client.delete`."""
        conditions = {"uid": uid, "revision": None if revision is None else str(revision)}
        how = {"propagation": propagation.value, "dryRun": dry_run}
        request = {**self._about(kind, name, project), **conditions, **how}
        return entity_of(kind, (await self._link.write(f"{ENTITIES}/Delete", request))["entity"])

    async def record_events(
        self, subject: Entity[Any, Any], events: Sequence[EntityEvent]
    ) -> None:
        """Note what happened to an entity; see `Client.record_events`."""
        told = {"entity": subject.to_document(), "events": [event_to(each) for each in events]}
        await self._link.write(f"{ENTITIES}/RecordEvents", {**self._base(), **told})

    def session(self, *, holder: str, ttl: float = 60.0) -> AbstractAsyncContextManager[Session]:
        """Hold session attributes of entities; see `Client.session`."""
        return coordination.open_session(self._link, self._base(), holder=holder, ttl=ttl)

    def elect(
        self, name: str, *, holder: str, ttl: float = 15.0
    ) -> AbstractAsyncContextManager[Leadership]:
        """Wait until `holder` leads an election; see `Client.elect`."""
        return coordination.elected(
            self._link, self._candidates, self._base(), name, holder=holder, ttl=ttl
        )

    async def _written(self, verb: str, entity: E, **how: object) -> E:
        request = {**self._base(), "entity": document_of(entity), **how}
        answer = await self._link.write(f"{ENTITIES}/{verb}", request)
        return entity_of(type(entity), answer["entity"])
