"""Events of entities: what happened to one lately, for people who ask why.

    await client.record_events(sandbox, [EntityEvent("Pulled", "took 2 s", source="sandbox", ...)])
    ring = await client.events(Sandbox, "web")

Events are no entities: nobody watches, indexes or owns them, and they have no history worth
keeping. All of one subject are one key, a ring of the newest 32, under a lease: an hour after the
last one was written it is gone. What says the same again is counted, not added. They outlive
their subject, because why it went is the question that is asked next.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import orjson

from miren.base.errors import Conflict, NotFound
from miren.entities import keys
from miren.entities.entity import Entity
from miren.entities.store.api import NO_LEASE, Compare, Get, KeyRange, KeyValue, Lease, Put, Store

__all__ = [
    "LONGEST",
    "RING",
    "EntityEvent",
    "EventRing",
    "EventStore",
    "EventType",
    "event_from",
    "event_to",
    "merged",
]

#: How many events of one subject are kept, and of a message, in characters.
RING = 32
LONGEST = 1024
#: How long they are kept after the last of them, in seconds.
_KEPT = 3600.0
#: Rings share a lease for this long, so that one lease serves many of them.
_SHARED = 300.0
_KNOWN = 1024  # rings remembered, so that the next write need not read
_ATTEMPTS = 5


class EventType(StrEnum):
    """Whether somebody should look."""

    NORMAL = "Normal"
    WARNING = "Warning"


@dataclass(frozen=True, slots=True)
class EntityEvent:
    """What happened, `count` times from `first` to `last`: one CamelCase word, one sentence."""

    reason: str
    message: str
    source: str
    first: datetime
    last: datetime
    type: EventType = EventType.NORMAL
    count: int = 1

    @property
    def identity(self) -> tuple[str, str, str, str]:
        """What makes two events the same one, seen again."""
        return self.type, self.reason, self.message, self.source


@dataclass(frozen=True, slots=True)
class EventRing:
    """The newest events of one subject, the latest last."""

    domain: str
    kind: str
    project: str
    name: str
    uid: str
    events: tuple[EntityEvent, ...] = ()


def merged(known: Iterable[EntityEvent], new: Iterable[EntityEvent]) -> tuple[EntityEvent, ...]:
    """Return the newest events of both, the latest last; what is the same is counted up."""
    by_identity = {event.identity: event for event in known}
    for event in new:
        seen = by_identity.get(event.identity)
        if seen is not None:
            event = replace(
                event,
                count=seen.count + event.count,
                first=min(seen.first, event.first),
                last=max(seen.last, event.last),
            )
        by_identity[event.identity] = event
    return tuple(sorted(by_identity.values(), key=lambda event: (event.last, event.first)))[-RING:]


class EventStore:
    """Reads and writes the rings of one store."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._known: OrderedDict[str, tuple[int, EventRing]] = OrderedDict()
        self._lease = NO_LEASE
        self._until = 0.0

    async def record(
        self, subject: Entity[Any, Any], events: Sequence[EntityEvent], *, now: datetime
    ) -> None:
        """Add events to a subject's ring; raises Unavailable, OutcomeUnknown, Fenced."""
        kind, metadata = subject.kind, subject.metadata
        key = keys.events_key(kind, metadata.project, metadata.name)
        empty = EventRing(kind.domain, kind.name, metadata.project, metadata.name, metadata.uid)
        new = [replace(event, message=event.message[:LONGEST]) for event in events]
        for _ in range(_ATTEMPTS):
            revision, ring = self._known.get(key, (0, empty))
            if ring.uid != metadata.uid:
                ring = empty  # what happened to an earlier one of that name
            ring = replace(ring, events=merged(ring.events, new))
            if await self._put(key, revision, ring, now):
                return
        raise Conflict(f"the events of {subject} are written by others all the time")

    async def _put(self, key: str, revision: int, ring: EventRing, now: datetime) -> bool:
        """Write a ring over the revision that is known; if there is another one, know that."""
        lease = await self._shared_lease(now)
        try:
            result = await self.store.transact(
                [Compare.unchanged(key, revision)],
                [Put(key, _encode(ring), lease)],
                [Get(KeyRange.key(key))],
            )
        except NotFound:  # the lease ended early, with its store say
            self._until = 0.0
            return False
        if result.succeeded:
            self._remember(key, result.revision, ring)
            return True
        found = result.reads[0]
        if found:
            self._remember(key, found[0].mod_revision, _decode(found[0]))
        else:
            self._known.pop(key, None)
        return False

    async def _shared_lease(self, now: datetime) -> Lease:
        seconds = now.timestamp()
        if not self._until - _SHARED <= seconds < self._until:
            self._lease = await self.store.grant(_KEPT + _SHARED)
            self._until = seconds + _SHARED
        return self._lease

    def _remember(self, key: str, revision: int, ring: EventRing) -> None:
        self._known[key] = (revision, ring)
        self._known.move_to_end(key)
        if len(self._known) > _KNOWN:
            self._known.popitem(last=False)

    async def read(self, key: str) -> EventRing | None:
        """Return the ring under a key, or None."""
        found = await self.store.get(key)
        return None if found is None else _decode(found)

    async def list(self, project: str | None) -> Sequence[EventRing]:
        """Return all rings of a project ("": of the cluster's own entities), or (None) of all."""
        page = await self.store.list(keys.events_range(project))
        return [_decode(item) for item in page.items]


def event_to(event: EntityEvent) -> dict[str, Any]:
    """Return an event as plain data, all of it; times are UTC in RFC 3339."""
    return {
        "type": event.type.value,
        "reason": event.reason,
        "message": event.message,
        "source": event.source,
        "first": event.first.astimezone(UTC).isoformat(),
        "last": event.last.astimezone(UTC).isoformat(),
        "count": event.count,
    }


def event_from(plain: Mapping[str, Any]) -> EntityEvent:
    """Return what `event_to` was given; raise KeyError, TypeError or ValueError for others."""
    return EntityEvent(
        reason=plain["reason"],
        message=plain["message"],
        source=plain["source"],
        first=datetime.fromisoformat(plain["first"]),
        last=datetime.fromisoformat(plain["last"]),
        type=EventType(plain["type"]),
        count=plain["count"],
    )


def _encode(ring: EventRing) -> bytes:
    plain = {"uid": ring.uid, "events": [event_to(event) for event in ring.events]}
    return orjson.dumps(plain, option=orjson.OPT_SORT_KEYS)


def _decode(stored: KeyValue) -> EventRing:
    domain, kind, project, name = keys.events_subject_in(stored.key)
    plain = orjson.loads(stored.value)
    events = tuple(map(event_from, plain["events"]))
    return EventRing(domain, kind, project, name, plain["uid"], events)
