"""Events that reconciles tell of, gathered in memory and written once a second.

To tell is a look-up and an addition: what says the same again is counted here already. One task
writes, only while there is something, so many subjects at once and the others after them. What
cannot be written is kept and tried again where nothing was written for certain; where that is not
known it is dropped, since to count twice is worse than to miss one. Nobody depends on events, so
trouble with them is a line in the log and never an error of who told.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import datetime
from functools import partial
from threading import get_ident
from typing import Any, Protocol

from miren.base.errors import Conflict, Fenced, Unavailable
from miren.entities.client import Client
from miren.entities.entity import Entity
from miren.entities.events import LONGEST, RING, EntityEvent, EventType

__all__ = ["Note", "Recorder", "unheard"]

log = logging.getLogger(__name__)

_PERIOD = 1.0
#: Subjects written at once: a storm of events takes this part of the store's time, not all of it.
_SUBJECTS = 200
#: Events held of all subjects together.
_MOST = 10_000
#: Seconds between two lines about events that could not be written.
_PAUSE = 60.0

_Identity = tuple[EventType, str, str, str]


class Note(Protocol):
    """Takes what happened to an entity, at once and without fail."""

    def __call__(
        self,
        subject: Entity[Any, Any],
        reason: str,
        message: str = "",
        *,
        type: EventType,
        source: str,
        when: datetime,
    ) -> None:
        """Note it."""
        ...


def unheard(
    subject: Entity[Any, Any],
    reason: str,
    message: str = "",
    *,
    type: EventType,
    source: str,
    when: datetime,
) -> None:
    """Take what happened where nobody records it."""


class _Tally:
    """How often something was told, and when."""

    __slots__ = ("count", "first", "last")

    def __init__(self, when: datetime) -> None:
        self.count = 1
        self.first = self.last = when


class _Pending:
    """What is to be written about one subject."""

    __slots__ = ("subject", "tallies")

    def __init__(self, subject: Entity[Any, Any]) -> None:
        self.subject = subject
        self.tallies: dict[_Identity, _Tally] = {}

    def events(self) -> list[EntityEvent]:
        return [
            EntityEvent(reason, message, source, tally.first, tally.last, type, tally.count)
            for (type, reason, message, source), tally in self.tallies.items()
        ]


class Recorder:
    """Writes events of one engine with `client`. `note` is for who has something to tell."""

    def __init__(self, client: Client) -> None:
        self.dropped = 0  # told, and never written
        self._client = client
        self._pending: dict[str, _Pending] = {}  # by uid, who waits longest first
        self._held = 0
        self._some = asyncio.Event()
        self._writing = asyncio.Lock()
        self._home: tuple[int, Callable[..., object]] | None = None
        self._told_at: float | None = None
        self._told_of = 0

    def note(
        self,
        subject: Entity[Any, Any],
        reason: str,
        message: str = "",
        *,
        type: EventType,
        source: str,
        when: datetime,
    ) -> None:
        """Take what happened to an entity; see `Note`. Handlers in threads may call it too."""
        if self._home is not None and get_ident() != self._home[0]:
            told = partial(
                self.note, subject, reason, message, type=type, source=source, when=when
            )
            try:
                self._home[1](told)
            except RuntimeError:  # the loop has ended, and a thread outlived it
                self.dropped += 1
            return
        pending = self._pending.get(subject.metadata.uid)
        if pending is None:
            if self._held >= _MOST:
                self.dropped += 1
                return
            pending = self._pending[subject.metadata.uid] = _Pending(subject)
            self._some.set()
        identity = (type, reason, message[:LONGEST], source)
        tally = pending.tallies.get(identity)
        if tally is None:
            self._add(pending, identity, when)
        else:
            tally.count += 1
            tally.last = when

    def _add(self, pending: _Pending, identity: _Identity, when: datetime) -> None:
        tallies = pending.tallies
        if len(tallies) >= RING:  # the subject's ring would not hold the oldest either
            del tallies[min(tallies, key=lambda known: tallies[known].last)]
            self._held -= 1
        elif self._held >= _MOST:
            self.dropped += 1
            return
        tallies[identity] = _Tally(when)
        self._held += 1

    async def run(self) -> None:
        """Write until cancelled, a second after there was first something to write."""
        loop = asyncio.get_running_loop()
        self._home = (get_ident(), loop.call_soon_threadsafe)
        while True:
            await self._some.wait()
            await asyncio.sleep(_PERIOD)
            await self._flush()

    async def drain(self, grace: float) -> None:
        """Write everything within `grace` seconds, or give up as soon as something fails."""
        try:
            async with asyncio.timeout(grace):
                while self._pending and await self._flush():
                    pass
        except TimeoutError:
            self._tell(f"there were {grace:g} s left for them")

    async def _flush(self) -> bool:
        """Write about some subjects; return whether that went well."""
        async with self._writing:
            errors = []
            for uid in list(self._pending)[:_SUBJECTS]:
                error = await self._write(uid)
                if error is not None:
                    errors.append(error)
                if isinstance(error, Unavailable):  # it would be no better for the others
                    break
            if not self._pending:
                self._some.clear()
        if errors or self.dropped > self._told_of:
            self._tell(str(errors[-1]) if errors else "there were too many")
        return not errors

    async def _write(self, uid: str) -> Exception | None:
        pending = self._pending.pop(uid)
        self._held -= len(pending.tallies)
        events = pending.events()
        try:
            await self._client.record_events(pending.subject, events)
        except Exception as error:
            if _wrote_nothing(error):
                self._put_back(uid, pending)
            else:
                self.dropped += len(events)
            return error
        return None

    def _put_back(self, uid: str, before: _Pending) -> None:
        """Hold on to what was not written, and to what was told of the same subject meanwhile."""
        since = self._pending.pop(uid, None)
        if since is not None:
            self._held -= len(since.tallies)
            _add_up(before, since)
        self._pending[uid] = before
        self._held += len(before.tallies)

    def _tell(self, why: str) -> None:
        """Log what is not written, now and then."""
        now = asyncio.get_running_loop().time()
        if self._told_at is not None and now - self._told_at < _PAUSE:
            return
        fields = {"why": why, "waiting": self._held, "dropped": self.dropped}
        log.warning("events not written", extra=fields)
        self._told_at, self._told_of = now, self.dropped


def _add_up(before: _Pending, since: _Pending) -> None:
    for identity, tally in since.tallies.items():
        known = before.tallies.setdefault(identity, tally)
        if known is not tally:
            known.count += tally.count
            known.last = tally.last
    by_age = sorted(before.tallies, key=lambda each: before.tallies[each].last)
    for identity in by_age[:-RING]:
        del before.tallies[identity]


def _wrote_nothing(error: Exception) -> bool:
    return isinstance(error, Unavailable | Conflict) and not isinstance(error, Fenced)
