"""`miren.entities.v1.Entities`: the client's verbs over the wire.

Requests name kinds as people do (`sandbox`, `sb`, `sandbox.miren.dev`); entities travel as
documents, revisions as texts. A list or watch may ask for table rows, which are made here.
Who manages which fields is told beside an entity, never inside it, and only when asked for.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from typing import Any

from miren.base.errors import NotFound
from miren.entities.client import (
    Added,
    Bookmark,
    Client,
    Deleted,
    Event,
    Left,
    Modified,
)
from miren.entities.entity import Entity, Partial
from miren.entities.kinds import Kind, Kinds
from miren.entities.references import reference_attributes
from miren.rpc.server import Call, Method, Stream, Unary
from miren.server import tables
from miren.server.services import requests
from miren.server.services.awaiting import awaited
from miren.server.services.calling import Callers, actor_of
from miren.server.services.encoding import encoded_for_many
from miren.server.services.outcomes import action_of, before_write, find

__all__ = ["EntityService", "actor_of"]

_SERVICE = "miren.entities.v1.Entities"
_LONGEST_WAIT = 24 * 3600.0

Message = Mapping[str, Any]
AnyEntity = Entity[Any, Any]


class EntityService:
    """Answers with what `client` says, as the caller's actor. `owner` is the server's user id."""

    def __init__(self, client: Client, kinds: Kinds, *, owner: int) -> None:
        self._callers = Callers(client, owner=owner)
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
            "Referrers": self.referrers,
            "Kinds": self.list_kinds,
        }
        return {
            **{f"{_SERVICE}/{name}": Unary(handler) for name, handler in unary.items()},
            f"{_SERVICE}/Watch": Stream(self.watch),
        }

    def _as(self, call: Call, request: Message) -> Client:
        return self._callers.client(call, request)

    def _kind(self, request: Message) -> Kind:
        return self._kinds.resolve(requests.text(request, "kind"))

    async def get(self, call: Call, request: Message) -> Message:
        """Return one entity, as it is or as it was at `revision`.

        With `reveal` it is as it is, with its secrets in the clear, if the caller may see them.
        """
        kind, client = self._kind(request), self._as(call, request)
        name, reveal = requests.text(request, "name"), requests.flag(request, "reveal")
        revision = requests.past_revision(request, "revision") or 0
        found = await (
            client.reveal(kind.entity, name)
            if reveal
            else client.get(kind.entity, name, revision=revision)
        )
        document = found.to_document(reveal=reveal)
        answer = {"entity": document, **self._table(request, kind, (found,))}
        if requests.flag(request, "managers"):
            answer["managers"] = await _managers(client, found)
        return answer

    async def list(self, call: Call, request: Message) -> Message:
        """Return a kind's entities at one revision, at most `limit`; `token` continues a list."""
        kind, client = self._kind(request), self._as(call, request)
        found = await client.list(
            kind.entity,
            requests.selection(request, kind, self._kinds),
            limit=requests.count(request, "limit") or 0,
            token=requests.optional_text(request, "token") or "",
        )
        answer: dict[str, Any] = {"revision": str(found.revision), "token": found.token}
        if requests.flag(request, "table"):
            told = {"plural": kind.plural, "scope": kind.scope.value}
            return {**answer, **told, **self._table(request, kind, found.items)}
        if requests.flag(request, "managers"):
            answer["managers"] = [await _managers(client, entity) for entity in found.items]
        return {**answer, "items": [entity.to_document() for entity in found.items]}

    async def referrers(self, call: Call, request: Message) -> Message:
        """Return who refers to an entity, by any reference or by those with a `tag`.

        With `withDomain` their kinds are named so that nobody can take them for others.
        """
        kind = self._kind(request)
        found = await self._as(call, request).referrers(
            kind.entity,
            requests.text(request, "name"),
            tag=requests.optional_text(request, "tag"),
        )
        return {
            "referrers": [
                {
                    "kind": _name_of(each.kind, full=requests.flag(request, "withDomain")),
                    "project": each.project,
                    "name": each.name,
                    "attribute": each.attribute,
                }
                for each in found
            ]
        }

    async def watch(self, call: Call, request: Message) -> AsyncIterator[Message]:
        """Yield what changes after a revision; without one, first all that is there.

        Every message can be resumed from, with its revision as `after`. With a name only that
        entity's changes; it must be there when the watch begins anew. `withOld` adds what a
        changed entity was before.
        """
        kind, client = self._kind(request), self._as(call, request)
        selection = requests.selection(request, kind, self._kinds)
        name = requests.optional_text(request, "name")
        if request.get("after") is None:
            if name is not None:
                await client.get(kind.entity, name)
            found = await client.list(kind.entity, selection)
            revision = found.revision
            # Oldest first: whoever breaks off here can resume from the last one it got.
            for entity in sorted(found.items, key=lambda entity: entity.revision):
                if name in (None, entity.name):
                    yield self._event(request, kind, Added(entity, entity.revision))
            yield {"type": "BOOKMARK", "revision": str(revision)}
        else:
            revision = requests.revision(request["after"], "after")
        async with client.watch(kind.entity, selection, after=revision) as events:
            async for event in events:
                if isinstance(event, Bookmark) or name in (None, event.entity.name):
                    yield self._event(request, kind, event)

    async def create(self, call: Call, request: Message) -> Message:
        """Store a new entity."""
        entity = self._entity(request)
        dry_run = requests.flag(request, "dryRun")
        stored = await self._as(call, request).create(entity, dry_run=dry_run)
        return {"entity": stored.to_document()}

    async def update(self, call: Call, request: Message) -> Message:
        """Write an entity over the resourceVersion it carries."""
        stored = await self._as(call, request).update(
            self._entity(request),
            manager=requests.optional_text(request, "manager") or "update",
            dry_run=requests.flag(request, "dryRun"),
        )
        return {"entity": stored.to_document()}

    async def update_status(self, call: Call, request: Message) -> Message:
        """Write an entity's status over the resourceVersion it carries."""
        stored = await self._as(call, request).update_status(self._entity(request))
        return {"entity": stored.to_document()}

    async def apply(self, call: Call, request: Message) -> Message:
        """Apply a document; `action` says what that came to.

        A dry run also returns what is stored (`before`, null where there is nothing).
        """
        document = requests.document(request, "document")
        kind = self._kinds.of_document(document.get("apiVersion"), document["kind"])
        partial: Partial[Any] = Partial(kind.entity, document)
        client = self._as(call, request)
        who = (kind.entity, partial.name, partial.project or None)
        known = await find(client, *who)
        dry_run = requests.flag(request, "dryRun")
        after = await client.apply(
            partial,
            manager=requests.optional_text(request, "manager") or "apply",
            force=requests.flag(request, "force"),
            dry_run=dry_run,
        )
        before = await before_write(client, who, known, after, dry_run=dry_run)
        answer = {"entity": after.to_document(), "action": action_of(before, after)}
        return {**answer, "before": _document(before)} if dry_run else answer

    async def patch(self, call: Call, request: Message) -> Message:
        """Change an entity by a patch; `action` says what that came to."""
        kind, client = self._kind(request), self._as(call, request)
        who = (kind.entity, requests.text(request, "name"), None)
        patch, dry_run = requests.patch(request), requests.flag(request, "dryRun")
        known = await find(client, *who)
        after = await client.patch(
            kind.entity,
            who[1],
            patch,
            manager=requests.optional_text(request, "manager") or "patch",
            dry_run=dry_run,
        )
        before = await before_write(client, who, known, after, dry_run=dry_run)
        action = action_of(before, after, finalizers=True)
        return {"entity": after.to_document(), "action": action}

    async def delete(self, call: Call, request: Message) -> Message:
        """Begin an entity's deletion; `gone` says whether it is over already."""
        kind = self._kind(request)
        left = await self._as(call, request).delete(
            kind.entity,
            requests.text(request, "name"),
            uid=requests.optional_text(request, "uid"),
            revision=requests.past_revision(request, "revision"),
            propagation=requests.propagation(request),
            dry_run=requests.flag(request, "dryRun"),
        )
        return {"entity": left.to_document(), "gone": not left.metadata.finalizers}

    async def wait(self, call: Call, request: Message) -> Message:
        """Return when an entity is deleted, has a condition, or a phase."""
        kind = self._kind(request)
        uid = requests.optional_text(request, "uid")
        found = await self._as(call, request).wait(
            kind.entity,
            requests.text(request, "name"),
            awaited(requests.text(request, "for"), kind, uid=uid),
            timeout=requests.span(request, "timeoutSeconds", default=30.0, most=_LONGEST_WAIT),
        )
        return {"entity": _document(found), "kind": kind.singular}

    async def list_kinds(self, call: Call, request: Message) -> Message:
        """Return the kinds this server knows, and which of them refer to which."""
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
                    "references": _references(kind),
                }
                for kind in self._kinds
            ]
        }

    def _entity(self, request: Message) -> AnyEntity:
        document = requests.document(request, "entity")
        kind = self._kinds.of_document(document.get("apiVersion"), document["kind"])
        return kind.entity.from_document(document)

    def _table(
        self, request: Message, kind: Kind, items: tuple[AnyEntity, ...], *, gone: bool = False
    ) -> Message:
        if not requests.flag(request, "table"):
            return {}
        look = tables.Look(
            with_project=requests.flag(request, "allProjects"),
            is_wide=requests.flag(request, "wide"),
            with_labels=requests.flag(request, "showLabels"),
        )
        now = datetime.now(UTC)
        rows = [tables.row(item, look, now=now, gone=gone) for item in items]
        return {"columns": tables.columns(kind, look), "rows": rows}

    def _event(self, request: Message, kind: Kind, event: Event[AnyEntity]) -> Message:
        old: AnyEntity | None = None
        match event:
            case Bookmark(revision):
                return {"type": "BOOKMARK", "revision": str(revision)}
            case Added(entity, revision):
                name = "ADDED"
            case Modified(entity, old, revision):
                name = "MODIFIED"
            case Deleted(entity, revision):
                name = "DELETED"
            case Left(entity, revision):
                name = "LEFT"
        message: dict[str, Any] = {"type": name, "revision": str(revision)}
        if requests.flag(request, "table"):
            return {**message, **self._table(request, kind, (entity,), gone=name == "DELETED")}
        if old is not None and requests.flag(request, "withOld"):
            message["old"] = encoded_for_many(old)
        return {**message, "entity": encoded_for_many(entity)}


def _name_of(kind: Kind, *, full: bool) -> str:
    return f"{kind.singular}.{kind.domain}" if full else kind.singular


def _document(entity: AnyEntity | None) -> dict[str, Any] | None:
    return None if entity is None else entity.to_document()


async def _managers(client: Client, entity: AnyEntity) -> dict[str, list[str]]:
    """Return who manages which fields, as JSON pointers; nothing once the entity is gone."""
    try:
        found = await client.managers(type(entity), entity.name, project=entity.project or None)
    except NotFound:
        return {}
    return {name: sorted(pointers) for name, pointers in sorted(found.items())}


def _references(kind: Kind) -> list[dict[str, Any]]:
    return [
        {"path": each.dotted, "to": list(each.options.to), "owner": each.options.owner}
        for each in reference_attributes(kind)
    ]
