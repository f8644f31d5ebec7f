"""What stands in the way of a deletion, in words: what is still there, and what holds it. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from miren.entities.entity import ConditionStatus, Entity
from miren.reconcile.context import Context

__all__ = ["DELETABLE", "say_what_remains", "told"]

#: The condition of an entity that cannot go yet, and why.
DELETABLE = "Deletable"

_SHOWN = 5


def told(remains: Sequence[Entity[Any, Any]], refusals: Mapping[str, str]) -> str:
    """Return who is still there and what holds each, the first few by name.

    `refusals` has, by uid, why the deletion of one was refused.
    """
    shown = [f"{entity} ({_why(entity, refusals)})" for entity in remains[:_SHOWN]]
    rest = len(remains) - len(shown)
    return ", ".join(shown) + (f" and {rest} more" if rest else "")


def _why(entity: Entity[Any, Any], refusals: Mapping[str, str]) -> str:
    if entity.uid in refusals:
        return refusals[entity.uid]
    if not entity.is_deleting:
        return "not being deleted yet"
    return f"held by {', '.join(entity.metadata.finalizers)}"


def say_what_remains(ctx: Context[Any], reason: str, message: str) -> None:
    """Say in a condition why an entity is still there."""
    ctx.set_condition(DELETABLE, ConditionStatus.FALSE, reason, message)
