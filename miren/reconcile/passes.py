"""What is known of an entity between the calls of a registry's handlers, and one reconcile of it.

It is kept only while this process works on the entity. What must outlive that is in `handled`.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from miren.entities.entity import Entity
from miren.reconcile.context import Context
from miren.reconcile.handled import Handled, digest
from miren.reconcile.handlers import Handler, Occasion
from miren.reconcile.results import NORMAL

__all__ = ["EARLY", "Again", "Memory", "Pass", "Retry", "clock"]

#: A timer of the loop may fire this much early, in seconds.
EARLY = 1e-6


def clock() -> float:
    """Return the loop's time."""
    return asyncio.get_running_loop().time()


@dataclass(frozen=True, slots=True)
class Retry:
    """A handler that is not through: how often it failed, and when it is called again.

    It is called at once when its mark or the entity's wish is another by then. Without a mark,
    what it looks at or whether it fits could not be told.
    """

    failures: int
    at: float
    wish: tuple[object, ...]
    mark: str | None
    priority: int | None = None


@dataclass(slots=True)
class Memory:
    """What is known of one entity while this process works on it."""

    uid: str
    is_resumed: bool
    wish: tuple[object, ...] = ()
    since: float = 0.0  # when the wish changed, as far as this process saw it
    was_failing: bool = False
    retries: dict[str, Retry] = field(default_factory=dict)
    timers: dict[str, float] = field(default_factory=dict)
    resumed: frozenset[str] = frozenset()
    shown: dict[str, object] = field(default_factory=dict)  # what was handled last
    #: What was begun last, whether or not it came to its end and into the record.
    begun: dict[str, str] = field(default_factory=dict)
    may_be_lost: bool = False  # another process may have begun with what it could not record
    digests: dict[str, tuple[object, str]] = field(default_factory=dict)

    def digest(self, slot: str, value: object) -> str:
        """Return the digest of a value, computed once for as long as the value stays."""
        known = self.digests.get(slot)
        if known is None or known[0] != value:
            known = self.digests[slot] = (value, digest(self.uid, value))
        return known[1]


class Again(NamedTuple):
    """When a handler wants to be called again, and how soon it is its turn then."""

    at: float
    priority: int | None = None

    def sort_key(self) -> tuple[float, int]:
        """Return what is least for the one that counts: of several at once the most urgent."""
        return (self.at, -(NORMAL if self.priority is None else self.priority))


@dataclass(slots=True)
class Pass:
    """One reconcile, as far as it has come."""

    ctx: Context[Any]
    entity: Entity[Any, Any]
    memory: Memory
    handled: Handled
    errors: list[Exception] = field(default_factory=list)
    again: list[Again] = field(default_factory=list)  # when handlers want to be called
    is_primary: bool = True
    is_stuck: bool = False  # one of them said before that it never can

    def reject(self, handler: Handler) -> None:
        """Note that a handler cannot do this."""
        value = handler.rejectable(self.entity)
        self.handled.reject(handler.name, self.memory.digest(f"!{handler.name}", value))
        self.memory.retries.pop(handler.name, None)

    def has_rejected(self, handler: Handler) -> bool:
        """Return whether a handler said of just this that it cannot."""
        value = handler.rejectable(self.entity)
        mark = self.memory.digest(f"!{handler.name}", value)
        return self.handled.has_rejected(handler.name, mark)

    def put_off(
        self,
        handler: Handler,
        mark: str | None,
        *,
        failures: int,
        after: float,
        priority: int | None = None,
    ) -> None:
        """Have a handler called again in `after` seconds."""
        at = clock() + after
        memory = self.memory
        memory.retries[handler.name] = Retry(failures, at, memory.wish, mark, priority)
        if mark is not None:
            self._begin(handler, has_failed=failures > 0)
        if handler.timing is not None and not handler.timing.sharp:
            memory.timers[handler.name] = at

    def may_have_begun(self, handler: str, mark: str) -> bool:
        """Return whether a handler was called, or may have been, with another value than the one
        of this mark since it handled that.
        """
        begun = self.memory.begun.get(handler)
        return self.memory.may_be_lost if begun is None else begun != mark

    def _begin(self, handler: Handler, *, has_failed: bool) -> None:
        """Note in the record that a handler was called and is not through.

        Of one that looks at no value that is of use only to who says whether it is Ready.
        """
        if handler.occasion is Occasion.CHANGED or (has_failed and self.is_primary):
            self.handled.begin(handler.name, has_failed=has_failed)

    def waits(self, handler: Handler, mark: str | None) -> bool:
        """Return whether a handler was put off, and it is not time yet."""
        retry = self.memory.retries.get(handler.name)
        return (
            retry is not None
            and retry.mark == mark
            and retry.wish == self.memory.wish
            and clock() + EARLY < retry.at
        )
