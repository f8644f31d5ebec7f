"""`Client` over a Kubernetes API; see `miren.entities.client` for what each verb promises.

What is different here, because Kubernetes decides it:

- Admission is the API's: defaults, validation and references are those of its schema and hooks.
- Revisions are resource versions. Kubernetes calls them opaque; they have always been etcd's
  revisions, and from 1.35 on they may be compared (KEP-5504), which is what the engine does.
- Kubernetes collects what is owned. There is no index of references and no session here:
  `referrers`, `dependents`, `session`, `reveal`, `managers`, `acting_as` and `candidates` raise
  Unimplemented. Elections are Leases, whose fences only hold within this process.
- What a deletion returns is the last state that is known; the revision of the deletion itself is
  not told by the API where nothing holds the object.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, Self, TypeVar

from miren.base.errors import Conflict, Fenced
from miren.clients.kubernetes import credentials, elections
from miren.clients.kubernetes import events as happenings
from miren.clients.kubernetes.reading import Reader, unimplemented
from miren.entities.client import Actor, Patch, Propagation
from miren.entities.elections import Candidate, Leadership
from miren.entities.entity import Entity, Partial
from miren.entities.events import EntityEvent, EventRing
from miren.entities.merging import Managers
from miren.entities.references import Reference
from miren.entities.sessions import Session
from miren.entities.waiting import ensured

__all__ = ["KubernetesClient"]

E = TypeVar("E", bound=Entity[Any, Any])


class KubernetesClient(Reader):
    """Entities as objects of a Kubernetes API. Open it with `async with`.

    `kinds` are those that `revision` may ask for; any kind can be worked with. `project` is the
    namespace meant where none is said. A `session` that is given stays the caller's. A request
    takes `timeout` seconds at most; a watch silent for `idle` seconds is connected anew.
    """

    @classmethod
    def from_kubeconfig(
        cls, path: str | Path | None = None, *, context: str | None = None, **options: Any
    ) -> Self:
        """Return a client as a kubeconfig says; see `credentials.from_kubeconfig`."""
        return cls(credentials.from_kubeconfig(path, context=context), **options)

    @classmethod
    def in_cluster(cls, **options: Any) -> Self:
        """Return a client with the rights of the pod that this runs in."""
        return cls(credentials.in_cluster(), **options)

    def acting_as(self, actor: Actor) -> KubernetesClient:
        """Raise Unimplemented: who asks is decided by the credentials."""
        unimplemented(f"acting as {actor.name}", "make a client with that account's credentials")

    # -- writing ---------------------------------------------------------------------------

    async def create(self, entity: E, *, dry_run: bool = False) -> E:
        """Store a new entity; see `Client.create`."""
        where = self._where(type(entity), entity.project)
        return await self._writer.create(entity, where, dry_run=dry_run)

    async def ensure(self, entity: E) -> E:
        """Return the stored entity of that name, or create it; see `Client.ensure`."""
        return await ensured(self, entity)

    async def update(self, entity: E, *, manager: str = "update", dry_run: bool = False) -> E:
        """Write spec and metadata over what was read; see `Client.update`."""
        old = await self._version(entity)
        return await self._writer.update(old, entity, manager=manager, dry_run=dry_run)

    async def update_status(self, entity: E) -> E:
        """Write status and conditions over what was read; see `Client.update_status`."""
        return await self._writer.update_status(await self._version(entity), entity)

    async def apply(
        self, partial: Partial[E], *, manager: str, force: bool = False, dry_run: bool = False
    ) -> E:
        """Make `manager`'s fields exactly these by server-side apply; see `Client.apply`."""
        where = self._where(partial.type, partial.project)
        return await self._writer.apply(
            partial, where, manager=manager, force=force, dry_run=dry_run
        )

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
        where = self._where(kind, project)
        return await self._writer.patch(kind, (where, name), patch, manager, dry_run=dry_run)

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
        """Begin deletion; see `Client.delete`. Kubernetes collects what it owns."""
        where = self._where(kind, project)
        last = self._seen.get(kind, where, name) or await self.get(kind, name, project=project)
        conditions = {"uid": uid, "resourceVersion": revision and str(revision)}
        options = {
            "propagationPolicy": propagation.value.capitalize(),
            "preconditions": {name: value for name, value in conditions.items() if value},
        }
        return await self._writer.delete(last, options, dry_run=dry_run)

    async def _version(self, entity: E) -> E:
        """Return the stored version that an entity was made of; raise Conflict if it has gone."""
        kind, project = type(entity), self._where(type(entity), entity.project)
        known = self._seen.get(kind, project, entity.name)
        version = entity.metadata.resource_version
        if known is not None and known.metadata.resource_version == version:
            return known
        current: E = await self.get(kind, entity.name, project=project or None)
        if current.metadata.resource_version != version:
            raise Conflict(
                f"{entity} has changed since revision {version or 0}",
                hint="read it again",
                entity=str(entity),
            )
        return current

    # -- elections and events ------------------------------------------------------------------

    def elect(
        self, name: str, *, holder: str, ttl: float = 15.0
    ) -> AbstractAsyncContextManager[Leadership]:
        """Stand in an election, which is a Lease in this client's project; see `Client.elect`.

        Of those who stand, whoever looks first when the Lease is free leads.
        """
        return self._electing(name, holder=holder, ttl=ttl)

    @asynccontextmanager
    async def _electing(self, name: str, *, holder: str, ttl: float) -> AsyncIterator[Leadership]:
        async with elections.elected(
            self._writer, self.project, name, holder=holder, ttl=ttl, rng=self._rng
        ) as leadership:
            place = leadership.key, leadership.revision
            self._leaderships[place] = leadership.lost
            try:
                yield leadership
            finally:
                del self._leaderships[place]

    async def leader(self, name: str) -> Candidate | None:
        """Return who leads an election in this client's project, None where nobody does."""
        return await elections.leader_of(self._writer, self.project, name)

    def fenced(self, key: str, revision: int) -> KubernetesClient:
        """Return this client until the leadership is lost, as far as this process knows.

        Weaker than over a store: no Kubernetes API refuses late writes for us; see `elections`.
        Raises Fenced at once for a leadership that is not this client's.
        """
        lost = self._leaderships.get((key, revision))
        if lost is None:
            raise Fenced(f"{key} is not led from here", hint="stand in the election first")
        found = object.__new__(type(self))
        found.__dict__.update(self.__dict__, _writer=self._writer.fenced(lost), _others={})
        found._others[self.project] = found
        return found

    async def record_events(
        self, subject: Entity[Any, Any], events: Sequence[EntityEvent]
    ) -> None:
        """Note what happened to an entity as Events; see `Client.record_events`."""
        await happenings.record(self._writer, subject, events)

    async def events(
        self, kind: type[E], name: str, *, project: str | None = None
    ) -> Sequence[EntityEvent]:
        """Return what happened to the entity that last had this name; see `Client.events`."""
        return await happenings.ring_of(self._writer, kind, self._where(kind, project), name)

    async def list_events(self, project: str | None = None) -> Sequence[EventRing]:
        """Return what happened lately; see `Client.list_events`."""
        return await happenings.list_rings(self._writer, project)

    # -- what Kubernetes has no counterpart for ----------------------------------------------

    async def referrers(
        self, kind: type[E], name: str, *, project: str | None = None, tag: str | None = None
    ) -> Sequence[Reference]:
        """Raise Unimplemented: the API has no index of references."""
        unimplemented(
            "asking who refers to an entity", "list with Selection(refers_to=Target(...))"
        )

    async def dependents(self, uid: str) -> Sequence[Reference]:
        """Raise Unimplemented: the API collects what is owned by itself."""
        unimplemented("asking what an entity owns", "use ctx.owned(kind), or list that kind")

    async def reveal(self, kind: type[E], name: str, *, project: str | None = None) -> E:
        """Raise Unimplemented: nothing is sealed."""
        unimplemented("revealing secrets", "the API shows them to whoever may read the object")

    async def managers(self, kind: type[E], name: str, *, project: str | None = None) -> Managers:
        """Raise Unimplemented: see metadata.managedFields."""
        unimplemented("asking who manages which fields", "kubectl get --show-managed-fields")

    def candidates(
        self, name: str
    ) -> AbstractAsyncContextManager[AsyncIterator[tuple[Candidate, ...]]]:
        """Raise Unimplemented: a Lease knows who leads, and nobody else."""
        unimplemented("following who stands in an election", "spread no keys over engines")

    def session(self, *, holder: str, ttl: float = 60.0) -> AbstractAsyncContextManager[Session]:
        """Raise Unimplemented: the API has no leased attributes."""
        unimplemented("a session", "keep what only lives with its holder in another place")
