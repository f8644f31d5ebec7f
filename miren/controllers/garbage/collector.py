"""The collector of one kind: looks at an entity's owners, and sees off what is being deleted."""

from __future__ import annotations

import types
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Any, TypeVar

from miren.base.errors import Conflict, InvalidInput, NotFound, Refused
from miren.controllers.garbage.judging import Disown, Keep, Remove, judge
from miren.controllers.garbage.references import unset, unsetting
from miren.controllers.garbage.relatives import Relatives
from miren.controllers.remains import DELETABLE, say_what_remains, told
from miren.entities.client import Client
from miren.entities.deleting import FOREGROUND, ORPHAN, UNSET
from miren.entities.entity import ConditionStatus, Entity
from miren.reconcile.context import Context
from miren.reconcile.controller import Controller, Watch, index
from miren.reconcile.results import Key, Requeue, Temporary

__all__ = ["Collector", "collectors"]

E = TypeVar("E", bound=Entity[Any, Any])

#: Events say when to look again; this is for what no cache ever showed.
_AGAIN = Requeue(after=1)

#: (reason, message) of what is still in the way; None when nothing is.
_Remains = tuple[str, str] | None


def collectors(kinds: Iterable[type[Entity[Any, Any]]]) -> tuple[Controller[Any], ...]:
    """Return the garbage collector over these kinds: a controller for each of them.

    What belongs to entities of other kinds, or refers to them, is left alone.
    """
    relatives = Relatives(kinds)
    return tuple(_collector(kind)(relatives) for kind in relatives.kinds)


def _collector(kind: type[Entity[Any, Any]]) -> Callable[[Relatives], Controller[Any]]:
    generic: Any = Collector
    return types.new_class(f"{kind.__name__}Collector", (generic[kind],))


class Collector(Controller[E], until_gone=True, primary=False):
    """Collects one kind; see the package."""

    def __init__(self, relatives: Relatives) -> None:
        self._relatives = relatives
        relatives.join(type(self).kind.kind, self)

    @property
    def name(self) -> str:
        """`garbage-<kind>`."""
        return f"garbage-{type(self).kind.kind.singular}"

    @index
    def by_uid(self, entity: E) -> Iterator[str]:
        """Find an entity by what owner references say of it."""
        yield entity.uid

    @index
    def by_owner(self, entity: E) -> Iterator[str]:
        """Find what an owner has."""
        for owner in entity.metadata.owner_references:
            yield owner.uid

    def finalizers(self) -> Sequence[str]:
        """It takes off those that a deletion puts on."""
        return (FOREGROUND, ORPHAN, UNSET)

    def watching(self) -> Sequence[Watch]:
        """Whatever goes, of any kind, concerns its dependents and its owners."""
        return [Watch(kind, "relatives_of", gone=True) for kind in self._relatives.kinds]

    def relatives_of(self, gone: Entity[Any, Any]) -> Iterator[Key[E]]:
        """Wake the dependents, which may have nobody now, and owners whose last one it was."""
        for dependent in self.by_owner[gone.uid]:
            yield Key.of(dependent)
        for reference in gone.metadata.owner_references:
            for owner in self.by_uid[reference.uid]:
                if not self._relatives.have_seen_dependents(owner.uid):
                    yield Key.of(owner)

    async def reconcile(self, ctx: Context[E], entity: E) -> Requeue | None:
        """Delete what has nobody left, and let go what nobody depends on."""
        if entity.is_deleting:
            return await self._see_off(ctx, entity)
        owners = entity.metadata.owner_references
        if all(self._relatives.has_seen(owner, entity) for owner in owners):
            # Living when it was last seen; when it goes, `relatives_of` brings this back here.
            _say_free(ctx, entity)
            return None
        try:
            await self._settle(ctx.client, entity)
        except Refused as error:
            say_what_remains(ctx, "InUse", error.message)
            raise Temporary(error.message, reason="InUse") from error
        return _AGAIN

    async def _settle(self, client: Client, entity: Entity[Any, Any]) -> None:
        """Do with an entity what its owners, as they are stored now, mean to it.

        Raises Conflict if it changed meanwhile, Refused if others need it.
        """
        where = entity.project or None
        try:
            match judge(entity, await self._relatives.owners(client, entity)):
                case Keep():
                    pass
                case Disown(uids):
                    await _disown(client, entity, uids)
                case Remove(propagation):
                    await client.delete(
                        type(entity),
                        entity.name,
                        project=where,
                        uid=entity.uid,
                        revision=entity.revision,
                        propagation=propagation,
                    )
        except NotFound:
            pass  # somebody else was faster

    # -- what is being deleted -------------------------------------------------------------

    async def _see_off(self, ctx: Context[E], entity: E) -> Requeue | None:
        """Do the next thing that holds the entity back, and take its finalizer off."""
        steps: dict[str, Callable[[Client, E], Awaitable[_Remains]]] = {
            ORPHAN: self._orphan,
            FOREGROUND: self._remove_dependents,
            UNSET: self._unset,
        }
        for finalizer, step in steps.items():
            if finalizer in entity.metadata.finalizers:
                remains = await step(ctx.client, entity) or await _let_go(
                    ctx.client, entity, finalizer
                )
                if remains is None:
                    _say_free(ctx, entity)
                    return None
                say_what_remains(ctx, *remains)
                return _AGAIN
        return None

    async def _orphan(self, client: Client, entity: E) -> _Remains:
        for dependent in await self._relatives.dependents(client, entity):
            with suppress(Conflict, NotFound):  # it is among those that are left, or gone
                await _disown(client, dependent, {entity.uid})
        left = await self._relatives.dependents(client, entity)
        return ("DependentsLeft", f"still owns {told(left, {})}") if left else None

    async def _remove_dependents(self, client: Client, entity: E) -> _Remains:
        refusals: dict[str, str] = {}
        for dependent in await self._relatives.dependents(client, entity):
            try:
                await self._settle(client, dependent)
            except Conflict:
                pass  # it is among those that are left
            except Refused as error:
                refusals[dependent.uid] = error.message
        left = await self._relatives.dependents(client, entity)
        if left and entity.metadata.owner_references:
            # In a circle somebody has to go first.
            above = await self._relatives.above(client, entity)
            left = [each for each in left if each.uid not in above or not each.is_deleting]
        return ("DependentsLeft", f"waits for {told(left, refusals)}") if left else None

    async def _unset(self, client: Client, entity: E) -> _Remains:
        refusals: list[str] = []
        for reference in await unsetting(client, entity):
            try:
                await unset(client, reference, entity, self._relatives.known)
            except (Conflict, NotFound):
                pass  # it is among those that are left, unless it has gone
            except (InvalidInput, Refused) as error:
                refusals.append(error.message)
        left = await unsetting(client, entity)
        words = ", ".join(refusals or [f"{each} ({each.attribute})" for each in left[:5]])
        return ("ReferencesLeft", f"still referred to: {words}") if left else None


async def _disown(
    client: Client, entity: Entity[Any, Any], uids: frozenset[str] | set[str]
) -> None:
    owners = entity.metadata.owner_references
    left = tuple(owner for owner in owners if owner.uid not in uids)
    await client.update(entity.with_metadata(owner_references=left), manager="garbage")


async def _let_go(client: Client, entity: Entity[Any, Any], finalizer: str) -> _Remains:
    """Take a finalizer off. Others may still refer to the entity, so it may have to stay."""
    left = tuple(name for name in entity.metadata.finalizers if name != finalizer)
    try:
        stored = await client.update(entity.with_metadata(finalizers=left), manager="garbage")
    except NotFound:
        return None
    except Refused as error:
        return "InUse", error.message
    if finalizer in stored.metadata.finalizers:
        return "ReferencesLeft", "somebody has just referred to it"
    return None


def _say_free(ctx: Context[Any], entity: Entity[Any, Any]) -> None:
    """Take back what was said to be in the way."""
    said = entity.condition(DELETABLE)
    if said is not None and said.status is ConditionStatus.FALSE:
        ctx.set_condition(DELETABLE, ConditionStatus.TRUE, "Free")
