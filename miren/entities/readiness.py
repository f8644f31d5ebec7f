"""What to wait for: `await client.wait(Greeting, "hi", is_ready, timeout=30)`."""

from __future__ import annotations

from typing import Any

from miren.entities.entity import ConditionStatus, Entity

__all__ = ["is_ready"]


def is_ready(entity: Entity[Any, Any] | None) -> bool:
    """Return whether an entity is what its newest spec wants.

    That is: it exists, it is not being deleted, and its Ready condition is true and was said of
    this generation.
    """
    if entity is None or entity.is_deleting:
        return False
    ready = entity.condition("Ready")
    return (
        ready is not None
        and ready.status is ConditionStatus.TRUE
        and ready.observed_generation == entity.metadata.generation
    )
