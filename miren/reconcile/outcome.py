"""What a reconcile leaves behind, as data, and the one write that records it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, TypeVar

from miren.base.errors import Conflict, Fenced, MirenError, NotFound
from miren.entities.client import Client
from miren.entities.entity import Condition, Entity
from miren.entities.events import EventType
from miren.entities.model import Model
from miren.reconcile.context import READY, Context
from miren.reconcile.results import Permanent, Requeue, Temporary

__all__ = [
    "DONE",
    "Outcome",
    "Unfinished",
    "in_words",
    "merge_conditions",
    "record",
    "say_why",
    "warn_of",
]

E = TypeVar("E", bound=Entity[Any, Any])

_WRITES = 5


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one reconcile ended. `error` and `requeue` exclude each other, unless `is_settled`: then
    `requeue` says when to come again, whatever `error` is.
    """

    requeue: Requeue | None = None
    error: Exception | None = None
    is_settled: bool = False


#: How nearly all end: well, and with nothing to come.
DONE = Outcome()


class Unfinished(Exception):
    """Raised by a controller that keeps its own account of what is to be tried again.

    `error` is what to tell, if anything is new; it comes again as `requeue` says, or (None) when
    something changes.
    """

    def __init__(self, error: Exception | None, requeue: Requeue | None = None) -> None:
        super().__init__(str(error))
        self.outcome = Outcome(requeue, error, is_settled=True)


def say_why(ctx: Context[Any], error: Exception) -> None:
    """Put the reason of a failed reconcile into the Ready condition."""
    ctx.not_ready(*_reason_and_words(error))


def warn_of(ctx: Context[Any], error: Exception) -> None:
    """Make a failed reconcile an event, unless that is how things go.

    What waits for something says so in a condition; who was overtaken tries again at once; and
    who is no longer the leader has nothing more to say.
    """
    if not isinstance(error, Temporary | Fenced) and type(error) is not Conflict:
        ctx.tell(EventType.WARNING, *_reason_and_words(error))


def _reason_and_words(error: Exception) -> tuple[str, str]:
    match error:
        case Temporary() | Permanent():
            return error.reason, in_words(error)
        case TimeoutError():
            return "DeadlineExceeded", "the reconcile took too long and was stopped"
        case MirenError():
            return type(error).__name__, in_words(error)
        case _:
            return type(error).__name__, str(error) or "see the server's log"


def in_words(error: MirenError) -> str:
    """Return an error and its hint as one line of a condition."""
    return f"{error.message}; {error.hint}" if error.hint else error.message


async def record(client: Client, seen: E, ctx: Context[E], *, primary: bool) -> E:
    """Write status and conditions in one compare-and-swap, or nothing if nothing changed.

    When somebody else wrote meanwhile, only what this reconcile changed is put onto the newer
    entity, with the generation it saw. An entity deleted meanwhile needs no record.
    """
    if _says_nothing(seen, ctx, primary=primary):
        return seen
    current = seen
    for _ in range(_WRITES):
        wanted = _recorded(current, seen, ctx, primary=primary)
        if wanted == current:
            return current
        try:
            return await client.update_status(wanted)
        except NotFound:
            return seen
        except Fenced:
            raise
        except Conflict:
            found = await client.get(
                type(seen), seen.name, project=seen.project or None, default=None
            )
            if found is None or found.uid != seen.uid:
                return seen
            current = found
            ctx.overtaken_by = found
    raise Conflict(f"{seen} is written to by others all the time", entity=str(seen))


def _says_nothing(seen: E, ctx: Context[E], *, primary: bool) -> bool:
    """Return whether it is plain, without looking at values, that there is nothing to write."""
    return (
        not ctx.conditions
        and ctx.status is seen.status
        and ctx.handled is None
        and (not primary or seen.observed_generation >= seen.metadata.generation)
    )


def _recorded(current: E, seen: E, ctx: Context[E], *, primary: bool) -> E:
    observed = current.observed_generation
    if primary:
        observed = max(observed, seen.metadata.generation)
    return replace(
        current,
        status=_merge_status(current.status, seen.status, ctx.status),
        conditions=merge_conditions(current.conditions, ctx.conditions, ctx.now()),
        observed_generation=observed,
        handled=_merge_handled(current, ctx),
    )


def _merge_handled(current: E, ctx: Context[E]) -> Mapping[str, Mapping[str, object]]:
    """Return what all controllers have handled; ours is what this one says, if anything."""
    if ctx.handled is None or current.handled.get(ctx.manager) == ctx.handled:
        return current.handled
    return {**current.handled, ctx.manager: ctx.handled}


def _merge_status(current: Model, seen: Model, said: Model) -> Model:
    if current is seen or current == seen:
        return said
    changed = {
        name: getattr(said, name)
        for name in type(said).model_fields
        if getattr(said, name) != getattr(seen, name)
    }
    return current.model_copy(update=changed)


def merge_conditions(
    current: tuple[Condition, ...], said: Mapping[str, Condition], now: datetime
) -> tuple[Condition, ...]:
    """Return the conditions after `said`: a transition time changes when the status flips."""
    merged = {known.type: known for known in current}
    for type, condition in said.items():
        known = merged.get(type)
        flipped = known is None or known.status != condition.status
        since = now if known is None or flipped else known.last_transition_time
        merged[type] = condition.model_copy(update={"last_transition_time": since})
    # Ready first, the rest by name: the same facts always give the same bytes.
    order = sorted(merged, key=lambda each: (each != READY, each))
    return tuple(merged[type] for type in order)
