"""`Client`: the one way to entities, for controllers, servers, tools and tests alike.

Every write is admitted (defaults, validation with every problem, references, uniqueness) and
guarded by what was read: there is no way to overwrite somebody else's change unseen.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar, overload, runtime_checkable

from miren.entities.entity import Entity, Partial
from miren.entities.events import EntityEvent, EventRing
from miren.entities.merging import Managers
from miren.entities.references import Reference

if TYPE_CHECKING:
    from miren.entities.elections import Candidate, Leadership
    from miren.entities.sessions import Session

__all__ = [
    "Actor",
    "Added",
    "Bookmark",
    "Client",
    "Deleted",
    "Event",
    "Left",
    "Listing",
    "Modified",
    "Patch",
    "Propagation",
    "Selection",
    "Target",
    "WatchesNewest",
]

E = TypeVar("E", bound=Entity[Any, Any])
C = TypeVar("C", bound=Entity[Any, Any], covariant=True)
D = TypeVar("D")


@dataclass(frozen=True, slots=True)
class Actor:
    """Who asks. Every call is made by one."""

    name: str
    is_admin: bool = False


@dataclass(frozen=True, slots=True)
class Target:
    """An entity that others refer to. `project` None means the client's own."""

    kind: type[Entity[Any, Any]]
    name: str
    project: str | None = None


@dataclass(frozen=True, slots=True)
class Selection:
    """Which entities of a kind: of one project (None: all), with labels, with field values.

    `labels` is a mapping of the values asked for, or a selector's text as kubectl takes it:
    `"app=web,tier in (front,back),!old"`. `fields` are camelCase paths of indexed attributes:
    `{"spec.node": "n1"}`. `refers_to` selects what refers to that entity, by any attribute or,
    with `tag`, only by those that carry the tag.
    """

    project: str | None = None
    labels: Mapping[str, str] | str = field(default_factory=dict)
    fields: Mapping[str, str] = field(default_factory=dict)
    refers_to: Target | None = None
    tag: str | None = None


@dataclass(frozen=True, slots=True)
class Listing(Generic[C]):
    """Entities at one revision, by project and name; those that refer to one, by how they do.

    `token` is not empty where more follow: give it to the next `list`, with the same selection.
    """

    items: tuple[C, ...]
    revision: int
    token: str = ""


class Propagation(StrEnum):
    """What deleting an owner means to its dependents; the garbage collector does it."""

    BACKGROUND = "background"  # the owner goes at once, they follow
    FOREGROUND = "foreground"  # they go first, the owner stays until they have gone
    ORPHAN = "orphan"  # they stay, without that owner


#: A JSON merge patch (RFC 7396) as a mapping, or a JSON Patch (RFC 6902) as a list.
Patch = Mapping[str, Any] | Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Added(Generic[C]):
    """It was created, or came into the selection."""

    entity: C
    revision: int


@dataclass(frozen=True, slots=True)
class Modified(Generic[C]):
    """It changed; `old` is what it was just before."""

    entity: C
    old: C
    revision: int


@dataclass(frozen=True, slots=True)
class Deleted(Generic[C]):
    """It is gone; `entity` is the last that was seen of it."""

    entity: C
    revision: int


@dataclass(frozen=True, slots=True)
class Left(Generic[C]):
    """It still exists, and no longer belongs to the selection."""

    entity: C
    revision: int


@dataclass(frozen=True, slots=True)
class Bookmark:
    """Everything up to this revision has been delivered."""

    revision: int


#: What a watch delivers. What happened to an entity, for people, is an EntityEvent.
Event = Added[C] | Modified[C] | Deleted[C] | Left[C] | Bookmark


class Client(Protocol):
    """Typed access to entities. `project` None means the client's own (`default`).

    Raises NotFound, Conflict (and its kinds), InvalidInput, Refused, Unavailable,
    OutcomeUnknown; what was refused changed nothing.
    """

    def in_project(self, project: str) -> Client:
        """Return this client with another default project."""
        ...

    def acting_as(self, actor: Actor) -> Client:
        """Return this client with another actor."""
        ...

    @overload
    async def get(
        self, kind: type[E], name: str, *, project: str | None = ..., revision: int = ...
    ) -> E: ...
    @overload
    async def get(
        self,
        kind: type[E],
        name: str,
        *,
        project: str | None = ...,
        revision: int = ...,
        default: D,
    ) -> E | D: ...
    async def get(
        self,
        kind: type[E],
        name: str,
        *,
        project: str | None = None,
        revision: int = 0,
        default: object = ...,
    ) -> object:
        """Return an entity; raise NotFound (with a suggestion), or return `default` if given.

        With `revision` as it was then; raises Compacted where that is no longer kept.
        """
        ...

    async def list(
        self, kind: type[E], selection: Selection = ..., *, limit: int = 0, token: str = ""
    ) -> Listing[E]:
        """Return a kind's entities at one revision, at most `limit` (0: all).

        All pages that are read with one another's `token` show that same revision. Raises
        Compacted when it is no longer kept, InvalidInput for a token of another selection.
        """
        ...

    async def referrers(
        self, kind: type[E], name: str, *, project: str | None = None, tag: str | None = None
    ) -> Sequence[Reference]:
        """Return who refers to an entity, whatever their kind: by tagged references, or by any."""
        ...

    async def dependents(self, uid: str) -> Sequence[Reference]:
        """Return what is owned by the entity with this uid, whatever their kind."""
        ...

    async def reveal(self, kind: type[E], name: str, *, project: str | None = None) -> E:
        """Return an entity with its secrets in the clear; the log says who saw them.

        Everything else returns and delivers masks. Raises Refused unless the actor is an
        administrator, BrokenSeal where a stored secret cannot be opened.
        """
        ...

    async def managers(self, kind: type[E], name: str, *, project: str | None = None) -> Managers:
        """Return who manages which fields of an entity, as JSON pointers by manager."""
        ...

    def watch(
        self, kind: type[E], selection: Selection = ..., *, after: int
    ) -> AbstractAsyncContextManager[AsyncIterator[Event[E]]]:
        """Deliver every change later than revision `after`, in order, without gap or repeat.

        The iterator raises Compacted when that history is no longer kept.
        """
        ...

    async def create(self, entity: E, *, dry_run: bool = False) -> E:
        """Store a new entity and return it as stored; raise AlreadyExists."""
        ...

    async def ensure(self, entity: E) -> E:
        """Return the stored entity of that name, creating it if there is none."""
        ...

    async def update(self, entity: E, *, manager: str = ..., dry_run: bool = False) -> E:
        """Write spec, labels, annotations, finalizers and owners over what was read.

        Raises Conflict if it changed since. Status is left alone. Taking the last finalizer
        off an entity that is being deleted deletes it; what is returned is its last state.
        """
        ...

    async def update_status(self, entity: E) -> E:
        """Write status and conditions over what was read, and nothing else."""
        ...

    async def apply(
        self, partial: Partial[E], *, manager: str, force: bool = False, dry_run: bool = False
    ) -> E:
        """Make the entity so that `manager`'s fields are exactly these; create it if missing.

        Raises Conflict naming the field and its manager when another one owns it. Owners that
        it names are added.
        """
        ...

    async def patch(
        self,
        kind: type[E],
        name: str,
        patch: Patch,
        *,
        project: str | None = None,
        manager: str = ...,
        dry_run: bool = False,
    ) -> E:
        """Change spec, labels, annotations, finalizers and owners by a patch.

        A mapping is a JSON merge patch (RFC 7396): null removes, lists are replaced. A list is a
        JSON Patch (RFC 6902), whose failing `test` raises Conflict. Anything else in either is
        InvalidInput.
        """
        ...

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
        """Begin deletion; at once if no finalizer holds it. Returns the last state.

        With `uid` only that very entity, with `revision` only that state of it; raises Conflict
        otherwise. Raises Refused while others refer to it by references that restrict.
        """
        ...

    def session(self, *, holder: str, ttl: float = 60.0) -> AbstractAsyncContextManager[Session]:
        """Hold session attributes of entities for as long as the context lasts.

        They are forgotten `ttl` seconds after `holder` was last heard of, at once on leaving.
        """
        ...

    def elect(
        self, name: str, *, holder: str, ttl: float = 15.0
    ) -> AbstractAsyncContextManager[Leadership]:
        """Stand in an election, and enter the context once `holder` leads; leaving gives it up.

        Who has stood longest leads. A leader that falls silent for `ttl` seconds is followed by
        the next; its `lost` is set a fifth of that time earlier, so that it can stop. Nothing else
        happens to the body. A name that stands twice is two candidates. Raises as writes do.
        """
        ...

    def candidates(
        self, name: str
    ) -> AbstractAsyncContextManager[AsyncIterator[tuple[Candidate, ...]]]:
        """Deliver who stands in an election, the longest first: now, and after every change."""
        ...

    async def leader(self, name: str) -> Candidate | None:
        """Return who leads an election now, None where nobody does."""
        ...

    def fenced(self, key: str, revision: int) -> Client:
        """Return this client for as long as `key` is the one created at `revision`.

        After that each of its writes, dry ones too, raises Fenced and changes nothing, whatever
        this process believes. A write that has nothing to change is none. Give it the key and
        revision of a Leadership. Fences add up.
        """
        ...

    async def record_events(
        self, subject: Entity[Any, Any], events: Sequence[EntityEvent]
    ) -> None:
        """Note what happened to an entity, for people; what happened before is counted up.

        The newest 32 are kept, for an hour. Raises Unavailable, OutcomeUnknown, Fenced.
        """
        ...

    async def events(
        self, kind: type[E], name: str, *, project: str | None = None
    ) -> Sequence[EntityEvent]:
        """Return what happened to the entity that last had this name, the latest last."""
        ...

    async def list_events(self, project: str | None = None) -> Sequence[EventRing]:
        """Return what happened lately to all entities of one project (None: of all)."""
        ...

    async def wait(
        self,
        kind: type[E],
        name: str,
        until: Callable[[E | None], bool],
        *,
        project: str | None = None,
        timeout: float,
    ) -> E | None:
        """Return the entity (None: it does not exist) as soon as `until` holds of it.

        Raises DeadlineExceeded after `timeout` seconds, saying what the state was.
        """
        ...

    async def revision(self) -> int:
        """Return the store's newest revision."""
        ...


@runtime_checkable
class WatchesNewest(Protocol):
    """A client that can do without telling what was overtaken. Caches use that where it is."""

    def watch_newest(
        self, kind: type[E], selection: Selection = ..., *, after: int
    ) -> AbstractAsyncContextManager[AsyncIterator[Event[E]]]:
        """Deliver changes as `Client.watch`, but of an entity that changed again only the newest.

        What is left out is overtaken by what can be had without waiting; `old` is what was told
        last.
        """
        ...


#: Called on every write before validation: return the entity as it should be stored.
Mutator = Callable[[Entity[Any, Any], Entity[Any, Any] | None], Entity[Any, Any]]
Mutators = Sequence[Mutator]
