"""`miren.entities.v1.Entities`: the client's verbs over the wire.

Requests name kinds as people do (`sandbox`, `sb`, `sandbox.miren.dev`); entities travel as
documents. A list or watch may ask for table rows, which are made here.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from typing import Any

from miren.base.errors import InvalidInput, Refused
from miren.entities.client import (
    Actor,
    Added,
    Bookmark,
    Client,
    Deleted,
    Event,
    Left,
    Modified,
    Selection,
)
from miren.entities.entity import ConditionStatus, Entity, Partial
from miren.entities.kinds import Kind, Kinds, Scope
from miren.rpc.server import Call, Method, Stream, Unary
from miren.server import tables

__all__ = ["EntityService", "actor_of"]

_SERVICE = "miren.entities.v1.Entities"
_LONGEST_WAIT = 24 * 3600.0

Message = Mapping[str, Any]
AnyEntity = Entity[Any, Any]


def actor_of(call: Call, *, owner: int) -> Actor:
    """Return who calls: on the socket, root and the server's own user may do everything."""
    if call.uid not in (0, owner):
        raise Refused(f"user {call.uid} may not use this server")
    return Actor(f"uid:{call.uid}", is_admin=True)


class EntityService:
    """Answers with what `client` says, as the caller's actor. `owner` is the server's user id."""

    def __init__(self, client: Client, kinds: Kinds, *, owner: int) -> None:
        self._client = client
        self._kinds = kinds
        self._owner = owner

    def methods(self) -> Mapping[str, Method]:
        """Return the methods by their full names."""
        unary = {
            "Get": self.get,
            "List": self.list,
            "Create": self.create,
            "Update": self.update,
            "UpdateStatus": self.update_status,
            "Apply": self.apply,
            "Patch": self.patch,
            "Delete": self.delete,
            "Wait": self.wait,
            "Kinds": self.list_kinds,
        }
        return {
            **{f"{_SERVICE}/{name}": Unary(handler) for name, handler in unary.items()},
            f"{_SERVICE}/Watch": Stream(self.watch),
        }

    def _as(self, call: Call, request: Message) -> Client:
        client = self._client.acting_as(actor_of(call, owner=self._owner))
        project = request.get("project")
        return client.in_project(_text(request, "project")) if project else client

    def _kind(self, request: Message) -> Kind:
        return self._kinds.resolve(_text(request, "kind"))

    async def get(self, call: Call, request: Message) -> Message:
        """Return one entity."""
        kind = self._kind(request)
        found = await self._as(call, request).get(kind.entity, _text(request, "name"))
        return {"entity": found.to_document(), **self._table(request, kind, (found,))}

    async def list(self, call: Call, request: Message) -> Message:
        """Return a kind's entities at one revision."""
        kind = self._kind(request)
        limit = request.get("limit", 0)
        if not isinstance(limit, int) or limit < 0:
            raise InvalidInput("limit must be a number")
        found = await self._as(call, request).list(
            kind.entity, _selection(request, kind), limit=limit
        )
        answer: dict[str, Any] = {"revision": str(found.revision), "more": found.more}
        if request.get("table"):
            return {**answer, **self._table(request, kind, found.items)}
        return {**answer, "items": [entity.to_document() for entity in found.items]}

    async def watch(self, call: Call, request: Message) -> AsyncIterator[Message]:
        """Yield what changes after a revision; without one, first all that is there."""
        kind, client = self._kind(request), self._as(call, request)
        selection = _selection(request, kind)
        after = request.get("after")
        if after is None:
            found = await client.list(kind.entity, selection)
            revision = found.revision
            for entity in found.items:
                yield self._event(request, kind, Added(entity, entity.revision))
            yield {"type": "BOOKMARK", "revision": str(revision)}
        else:
            revision = _revision(after)
        async with client.watch(kind.entity, selection, after=revision) as events:
            async for event in events:
                yield self._event(request, kind, event)

    async def create(self, call: Call, request: Message) -> Message:
        """Store a new entity."""
        entity = self._entity(request)
        stored = await self._as(call, request).create(entity, dry_run=_flag(request, "dryRun"))
        return {"entity": stored.to_document()}

    async def update(self, call: Call, request: Message) -> Message:
        """Write an entity over the resourceVersion it carries."""
        stored = await self._as(call, request).update(
            self._entity(request), dry_run=_flag(request, "dryRun")
        )
        return {"entity": stored.to_document()}

    async def update_status(self, call: Call, request: Message) -> Message:
        """Write an entity's status over the resourceVersion it carries."""
        stored = await self._as(call, request).update_status(self._entity(request))
        return {"entity": stored.to_document()}

    async def apply(self, call: Call, request: Message) -> Message:
        """Apply a document; `action` says what that came to."""
        document = _object(request, "document")
        kind = self._kinds.of_document(document.get("apiVersion"), str(document.get("kind", "")))
        partial: Partial[Any] = Partial(kind.entity, document)
        client = self._as(call, request)
        project = partial.project or None
        before = await client.get(kind.entity, partial.name, project=project, default=None)
        after = await client.apply(
            partial,
            manager=str(request.get("manager") or "apply"),
            force=_flag(request, "force"),
            dry_run=_flag(request, "dryRun"),
        )
        action = "created" if before is None else "configured"
        if before is not None and before == after:
            action = "unchanged"
        return {"entity": after.to_document(), "action": action}

    async def patch(self, call: Call, request: Message) -> Message:
        """Change an entity by a JSON merge patch."""
        kind = self._kind(request)
        stored = await self._as(call, request).patch(
            kind.entity, _text(request, "name"), _object(request, "patch")
        )
        return {"entity": stored.to_document()}

    async def delete(self, call: Call, request: Message) -> Message:
        """Begin an entity's deletion; `gone` says whether it is over already."""
        kind = self._kind(request)
        left = await self._as(call, request).delete(
            kind.entity, _text(request, "name"), uid=request.get("uid")
        )
        return {"entity": left.to_document(), "gone": not left.metadata.finalizers}

    async def wait(self, call: Call, request: Message) -> Message:
        """Return when an entity is deleted, has a condition, or a phase."""
        kind = self._kind(request)
        timeout = request.get("timeoutSeconds", 30)
        if not isinstance(timeout, int | float) or not 0 < timeout <= _LONGEST_WAIT:
            raise InvalidInput("timeoutSeconds must be a number of seconds")
        found = await self._as(call, request).wait(
            kind.entity,
            _text(request, "name"),
            _awaited(_text(request, "for"), request.get("uid")),
            timeout=float(timeout),
        )
        return {"entity": found.to_document() if found is not None else None}

    async def list_kinds(self, call: Call, request: Message) -> Message:
        """Return the kinds this server knows."""
        actor_of(call, owner=self._owner)
        return {
            "kinds": [
                {
                    "name": kind.name,
                    "plural": kind.plural,
                    "short": list(kind.short),
                    "apiVersion": kind.api_version,
                    "scope": kind.scope.value,
                    "doc": kind.doc,
                }
                for kind in self._kinds
            ]
        }

    def _entity(self, request: Message) -> AnyEntity:
        document = _object(request, "entity")
        kind = self._kinds.of_document(document.get("apiVersion"), str(document.get("kind", "")))
        return kind.entity.from_document(document)

    def _table(self, request: Message, kind: Kind, items: tuple[AnyEntity, ...]) -> Message:
        if not request.get("table"):
            return {}
        wide, now = _flag(request, "allProjects"), datetime.now(UTC)
        rows = [tables.row(item, with_project=wide, now=now) for item in items]
        return {"columns": tables.columns(kind, with_project=wide), "rows": rows}

    def _event(self, request: Message, kind: Kind, event: Event[AnyEntity]) -> Message:
        match event:
            case Bookmark(revision):
                return {"type": "BOOKMARK", "revision": str(revision)}
            case Added(entity, revision):
                name = "ADDED"
            case Modified(entity, _, revision):
                name = "MODIFIED"
            case Deleted(entity, revision):
                name = "DELETED"
            case Left(entity, revision):
                name = "LEFT"
        message = {"type": name, "revision": str(revision)}
        if request.get("table"):
            return {**message, **self._table(request, kind, (entity,))}
        return {**message, "entity": entity.to_document()}


def _awaited(condition: str, uid: object) -> Any:
    """Return the predicate of `delete`, `condition=Ready[=False]` or `phase=running`."""
    what, _, rest = condition.partition("=")
    if what == "delete":
        return lambda entity: entity is None or (uid is not None and entity.uid != uid)
    if what == "phase" and rest:
        return lambda entity: entity is not None and getattr(entity.status, "phase", None) == rest
    if what == "condition" and rest:
        type, _, status = rest.partition("=")
        wanted = status or ConditionStatus.TRUE

        def holds(entity: AnyEntity | None) -> bool:
            found = None if entity is None else entity.condition(type)
            return (
                entity is not None
                and found is not None
                and found.status.lower() == wanted.lower()
                # An old word about an older spec does not count.
                and found.observed_generation >= entity.metadata.generation
            )

        return holds
    raise InvalidInput(
        f"cannot wait for {condition!r}",
        hint="say delete, condition=<Type>, condition=<Type>=False or phase=<phase>",
    )


def _selection(request: Message, kind: Kind) -> Selection:
    everywhere = _flag(request, "allProjects") or kind.scope is Scope.CLUSTER
    project = None if everywhere else str(request.get("project") or "default")
    return Selection(project, _texts(request, "labels"), _texts(request, "fields"))


def _text(request: Message, name: str) -> str:
    value = request.get(name)
    if not isinstance(value, str) or not value:
        raise InvalidInput(f"{name} must be a text")
    return value


def _texts(request: Message, name: str) -> Mapping[str, str]:
    value = request.get(name, {})
    if not isinstance(value, dict) or not all(isinstance(item, str) for item in value.values()):
        raise InvalidInput(f"{name} must be an object of texts")
    return value


def _object(request: Message, name: str) -> dict[str, Any]:
    value = request.get(name)
    if not isinstance(value, dict):
        raise InvalidInput(f"{name} must be an object")
    return value


def _flag(request: Message, name: str) -> bool:
    value = request.get(name, False)
    if not isinstance(value, bool):
        raise InvalidInput(f"{name} must be true or false")
    return value


def _revision(value: object) -> int:
    if isinstance(value, str) and value.isdecimal():
        return int(value)
    raise InvalidInput("after must be a revision, as a watch or list gave it")
