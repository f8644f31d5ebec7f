"""What controllers in other processes need of `miren.entities.v1.Entities` beside the verbs.

Kinds are named with their domain, so that the other side knows which one is meant.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC
from typing import Any

from miren.base.errors import InvalidInput
from miren.entities.client import Client
from miren.entities.events import LONGEST, EntityEvent, EventRing, event_from, event_to
from miren.entities.kinds import Kinds, Scope
from miren.entities.references import Reference
from miren.rpc.server import Call, Method, Unary
from miren.server.services import requests
from miren.server.services.calling import Callers

__all__ = ["ControllerService", "told_of_reference"]

_SERVICE = "miren.entities.v1.Entities"
_MOST_EVENTS = 1000
_MOST_TIMES = 2**31  # at once: no sum of them comes to what JSON cannot hold

Message = Mapping[str, Any]


class ControllerService:
    """Answers with what `client` says, as the caller's actor. `owner` is the server's user id."""

    def __init__(self, client: Client, kinds: Kinds, *, owner: int) -> None:
        self._callers = Callers(client, owner=owner)
        self._kinds = kinds

    def methods(self) -> Mapping[str, Method]:
        """Return the methods by their full names."""
        return {
            f"{_SERVICE}/Revision": Unary(self.revision),
            f"{_SERVICE}/Dependents": Unary(self.dependents),
            f"{_SERVICE}/RecordEvents": Unary(self.record_events),
            f"{_SERVICE}/EventRings": Unary(self.event_rings),
        }

    async def revision(self, call: Call, request: Message) -> Message:
        """Return the store's newest revision."""
        return {"revision": str(await self._callers.client(call, request).revision())}

    async def dependents(self, call: Call, request: Message) -> Message:
        """Return what is owned by the entity with this `uid`."""
        client = self._callers.client(call, request)
        found = await client.dependents(requests.text(request, "uid"))
        return {"dependents": [told_of_reference(each) for each in found]}

    async def record_events(self, call: Call, request: Message) -> Message:
        """Note what happened to an `entity`."""
        document = requests.document(request, "entity")
        kind = self._kinds.of_document(document.get("apiVersion"), document["kind"])
        subject = kind.entity.from_document(document)
        given = request.get("events")
        if not isinstance(given, list) or len(given) > _MOST_EVENTS:
            raise InvalidInput(f"events must be a list of {_MOST_EVENTS} at most")
        try:
            events = [_checked(event_from(each)) for each in given]
        except (KeyError, OverflowError, TypeError, ValueError) as error:
            raise InvalidInput(f"that is no event: {error!r}") from None
        await self._callers.client(call, request).record_events(subject, events)
        return {}

    async def event_rings(self, call: Call, request: Message) -> Message:
        """Return the events of one entity, or of all in a project, or of `allProjects`."""
        client = self._callers.client(call, request)
        project = requests.project(request) or "default"
        word = requests.optional_text(request, "kind")
        if word is None:
            everywhere = requests.flag(request, "allProjects")
            # Those of the cluster's own entities are asked for with an empty project.
            where = "" if request.get("project") == "" else project
            return _rings(await client.list_events(None if everywhere else where))
        kind, name = self._kinds.resolve(word), requests.text(request, "name")
        events = await client.events(kind.entity, name)
        where = "" if kind.scope is Scope.CLUSTER else project
        return _rings([EventRing(kind.domain, kind.name, where, name, "", tuple(events))])


def _checked(event: EntityEvent) -> EntityEvent:
    """Return an event whose parts are what they should be.

    Raises TypeError, ValueError, OverflowError: what is stored must be readable, and countable.
    """
    if not all(isinstance(each, str) for each in (event.reason, event.message, event.source)):
        raise TypeError("reason, message and source are texts")
    if max(len(event.reason), len(event.source)) > LONGEST:
        raise ValueError(f"reason and source have at most {LONGEST} characters")
    if type(event.count) is not int or not 1 <= event.count <= _MOST_TIMES:
        raise ValueError(f"count is a whole number from 1 to {_MOST_TIMES}")
    if event.first.tzinfo is None or event.last.tzinfo is None:
        raise ValueError("times have an offset")
    return replace(event, first=event.first.astimezone(UTC), last=event.last.astimezone(UTC))


def told_of_reference(reference: Reference) -> Message:
    """Return a reference as it goes over the wire, its kind with the domain."""
    return {
        "kind": f"{reference.kind.singular}.{reference.kind.domain}",
        "project": reference.project,
        "name": reference.name,
        "attribute": reference.attribute,
    }


def _rings(rings: Sequence[EventRing]) -> Message:
    return {
        "rings": [
            {
                "domain": ring.domain,
                "kind": ring.kind,
                "project": ring.project,
                "name": ring.name,
                "uid": ring.uid,
                "events": [event_to(event) for event in ring.events],
            }
            for ring in rings
        ]
    }
