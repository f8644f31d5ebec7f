"""Sessions: who holds the session attributes of entities, for as long as they are heard of.

    async with client.session(holder="node-1", ttl=60) as session:
        await session.set(Node, "n1", phase="ready")

A session is a lease that is kept alive in the background; that makes no revision. What it sets is
attached to the lease, with its index keys, and goes when the session is closed or falls silent.
One holder at a time has the session attributes of an entity, all of them. A holder is who its name
says it is: after a crash the same one takes its attributes over at once, others have to wait
until the old lease has ended.

A session that could not be kept alive for its whole time is lost, whatever the store may still
have of it: others may hold by now what it held. `lost` is set then, and `set` and `clear` refuse.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Protocol, TypeVar

from miren.base.errors import Conflict, InvalidInput, NotFound, Refused
from miren.entities import keys
from miren.entities.entity import Entity
from miren.entities.kinds import Scope
from miren.entities.leased import completed
from miren.entities.records import decode
from miren.entities.session_changes import Known, SessionChange, checked_names, checked_values
from miren.entities.store.api import Get, KeyRange, Store
from miren.entities.store.keeping import KeptLease, kept_lease
from miren.entities.unstored import session_attributes

__all__ = ["Reader", "Session", "open_session"]

E = TypeVar("E", bound=Entity[Any, Any])

_ATTEMPTS = 10


class Reader(Protocol):
    """What a session needs of the client that it belongs to."""

    @property
    def store(self) -> Store:
        """Where the entities are."""
        ...

    @property
    def project(self) -> str:
        """Which project is meant where none is said."""
        ...

    async def get(self, kind: type[E], name: str, *, project: str | None = ...) -> E:
        """Return an entity, or raise NotFound with a hint."""
        ...


@asynccontextmanager
async def open_session(reader: Reader, *, holder: str, ttl: float) -> AsyncIterator[Session]:
    """Hold a session of `ttl` seconds open; leaving gives up all that it holds.

    What cannot be given up because the store is away goes when the lease ends.
    """
    if not holder:
        raise InvalidInput("a session needs a holder", hint="name who speaks, the node say")
    async with kept_lease(reader.store, ttl, name=f"the session of {holder}") as lease:
        yield Session(reader, lease, holder=holder)


class Session:
    """The right to hold session attributes. Made by `client.session`."""

    def __init__(self, reader: Reader, lease: KeptLease, *, holder: str) -> None:
        self.holder = holder
        self.ttl = lease.ttl
        self.lost = lease.lost
        self._reader = reader
        self._lease = lease

    async def set(
        self, kind: type[E], name: str, *, project: str | None = None, **values: object
    ) -> E:
        """Hold session attributes of an existing entity, and return it as it is then.

        Those not named stay as they are; what is so already is not written. Raises NotFound,
        InvalidInput with every problem, Conflict naming another holder, Refused once the session
        is lost.
        """
        wanted = checked_values(kind.kind, values)
        return await self.change(kind, name, project, wanted, ())

    async def clear(
        self, kind: type[E], name: str, *attributes: str, project: str | None = None
    ) -> E:
        """Let go of session attributes, of all that this holder has where none is named.

        Raises as `set` does.
        """
        gone = checked_names(kind.kind, attributes) or tuple(session_attributes(kind.kind))
        return await self.change(kind, name, project, {}, gone)

    def _refused(self) -> Refused:
        return Refused(
            f"the session of {self.holder} is lost",
            hint="open a new one, and set everything again",
        )

    async def change(
        self,
        kind: type[E],
        name: str,
        project: str | None,
        wanted: Mapping[str, object],
        gone: Sequence[str],
    ) -> E:
        """Set and let go of session attributes by wire name, as `checked_values` gives them."""
        where = "" if kind.kind.scope is Scope.CLUSTER else project or self._reader.project
        for _ in range(_ATTEMPTS):
            if self.lost.is_set():
                raise self._refused()
            known = await self._look(kind, where, name)
            if known is None:
                await self._reader.get(kind, name, project=project)  # says what there is instead
                continue
            change = SessionChange(known, self.holder, self.ttl, self._lease.lease)
            operations = change.operations(wanted, gone)
            if not operations:
                return completed(known.entity, known.held)
            try:
                result = await self._reader.store.transact(
                    change.guards(), [*operations, Get(known.range)]
                )
            except NotFound:
                self._lease.lose("the store has ended it")
                raise self._refused() from None
            if result.succeeded:
                return completed(known.entity, result.reads[-1])
        raise Conflict(f"{kind.kind.singular}/{name} changes all the time", hint="try again")

    async def _look(self, kind: type[E], project: str, name: str) -> Known[E] | None:
        entity_key = keys.entity_key(kind.kind, project, name)
        scope = keys.session_range(kind.kind, project, name)
        result = await self._reader.store.transact((), [Get(KeyRange.key(entity_key)), Get(scope)])
        stored, held = result.reads
        if not stored:
            return None
        return Known(decode(kind, stored[0]), stored[0], scope, held)
