"""`miren.entities.v1.Entities/Events`: what happened to entities lately, for people.

As rows of a table, made here as those of other tables, or as plain data. Nobody can watch events
in the store: who follows them is told of those that are new once a second.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from miren.base.errors import InvalidInput
from miren.entities.client import Client
from miren.entities.events import EntityEvent, EventRing, EventType
from miren.entities.kinds import Kinds, Scope
from miren.rpc.server import Call, Method, Stream, Unary
from miren.server.services import requests
from miren.server.services.entities import actor_of
from miren.server.tables import age

__all__ = ["EventService"]

_SERVICE = "miren.entities.v1.Entities"
_PERIOD = 1.0
_COLUMNS = ("PROJECT", "LAST SEEN", "TYPE", "REASON", "OBJECT", "FROM", "MESSAGE")
_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)

Message = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class _Told:
    """An event and whom it is of."""

    subject: EventRing
    event: EntityEvent


class EventService:
    """Answers with the events that `client` knows. `owner` is the server's user id."""

    def __init__(self, client: Client, kinds: Kinds, *, owner: int) -> None:
        self._client = client
        self._kinds = kinds
        self._owner = owner

    def methods(self) -> Mapping[str, Method]:
        """Return the methods by their full names."""
        return {
            f"{_SERVICE}/Events": Unary(self.list),
            f"{_SERVICE}/FollowEvents": Stream(self.follow),
        }

    async def list(self, call: Call, request: Message) -> Message:
        """Return events, the latest last: of a project, of all, of a kind, or of one entity.

        With `types` only those of these; with a `name` those of the entity that last had it, or
        (`current`) only those since the one that has it now was created.
        """
        client = self._client.acting_as(actor_of(call, owner=self._owner))
        return self._answer(request, await self._found(client, request))

    async def follow(self, call: Call, request: Message) -> AsyncIterator[Message]:
        """Yield what `list` returns, and from then on what is new, until the client goes."""
        client = self._client.acting_as(actor_of(call, owner=self._owner))
        seen: dict[tuple[Any, ...], EntityEvent] = {}
        revision = -1
        while True:
            newest = await client.revision()
            if newest != revision:  # else nobody wrote anything
                found = await self._found(client, request)
                yield self._answer(request, [each for each in found if _is_new(each, seen)])
                seen = {_identity(each): each.event for each in found}
                revision = newest
            await asyncio.sleep(_PERIOD)

    async def _found(self, client: Client, request: Message) -> Sequence[_Told]:
        types = _types(request)
        told = [
            _Told(ring, event)
            for ring in await self._rings(client, request)
            for event in ring.events
            if event.type in types
        ]
        return sorted(told, key=lambda each: each.event.last)

    async def _rings(self, client: Client, request: Message) -> Iterable[EventRing]:
        word, name = (
            requests.optional_text(request, "kind"),
            requests.optional_text(request, "name"),
        )
        project = requests.project(request) or "default"
        everywhere = requests.flag(request, "allProjects")
        if word is None:
            if name is not None:
                raise InvalidInput("a name needs a kind")
            return await client.list_events(None if everywhere else project)
        kind = self._kinds.resolve(word)
        where = "" if kind.scope is Scope.CLUSTER else project
        if name is not None:
            events = await client.events(kind.entity, name, project=where or None)
            if requests.flag(request, "current"):
                found = await client.get(kind.entity, name, project=where or None, default=None)
                born = (found and found.metadata.creation_timestamp) or _LONG_AGO
                events = [event for event in events if event.last >= born]
            return [EventRing(kind.domain, kind.name, where, name, "", tuple(events))]
        rings = await client.list_events(None if everywhere else where)
        return [ring for ring in rings if (ring.domain, ring.kind) == (kind.domain, kind.name)]

    def _answer(self, request: Message, told: Sequence[_Told]) -> Message:
        if not requests.flag(request, "table"):
            return {"events": [_plain(each) for each in told]}
        left_out = {
            *(["PROJECT"] if not requests.flag(request, "allProjects") else []),
            *(["FROM"] if not requests.flag(request, "wide") else []),
        }
        columns, now = [name for name in _COLUMNS if name not in left_out], datetime.now(UTC)
        rows = (_cells(each, now) for each in told)
        return {"columns": columns, "rows": [[row[name] for name in columns] for row in rows]}


def _types(request: Message) -> Sequence[str]:
    given = request.get("types") or list(EventType)
    if not isinstance(given, list) or not all(isinstance(type, str) for type in given):
        raise InvalidInput("types must be a list of texts")
    known = {type.value.lower(): type for type in EventType}
    unknown = [type for type in given if type.lower() not in known]
    if unknown:
        raise InvalidInput(
            f"no type of events is called {unknown[0]!r}", hint=f"say {' or '.join(EventType)}"
        )
    return [known[type.lower()] for type in given]


def _is_new(told: _Told, seen: Mapping[tuple[Any, ...], EntityEvent]) -> bool:
    known = seen.get(_identity(told))
    return known is None or (known.last, known.count) != (told.event.last, told.event.count)


def _identity(told: _Told) -> tuple[Any, ...]:
    ring = told.subject
    return (ring.domain, ring.kind, ring.project, ring.name, ring.uid, *told.event.identity)


def _cells(told: _Told, now: datetime) -> Mapping[str, str]:
    ring, event = told.subject, told.event
    return {
        "PROJECT": ring.project or "-",
        "LAST SEEN": _when(event, now),
        "TYPE": event.type,
        "REASON": event.reason,
        "OBJECT": f"{ring.kind.lower()}/{ring.name}",
        "FROM": event.source,
        "MESSAGE": event.message or "-",
    }


def _when(event: EntityEvent, now: datetime) -> str:
    last = age(now - event.last)
    if event.count == 1:
        return last
    return f"{last} (x{event.count} over {age(now - event.first)})"


def _plain(told: _Told) -> Message:
    ring, event = told.subject, told.event
    return {
        "kind": ring.kind,
        "project": ring.project,
        "name": ring.name,
        "type": event.type.value,
        "reason": event.reason,
        "message": event.message,
        "source": event.source,
        "count": event.count,
        "firstTimestamp": _time(event.first),
        "lastTimestamp": _time(event.last),
    }


def _time(when: datetime) -> str:
    return when.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
