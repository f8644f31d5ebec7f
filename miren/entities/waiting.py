"""What every client makes of its other verbs alike: waiting for an entity, making sure of one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any, TypeVar

from miren.base.errors import AlreadyExists, DeadlineExceeded
from miren.entities.client import Client
from miren.entities.entity import Entity

__all__ = ["awaited", "ensured"]

E = TypeVar("E", bound=Entity[Any, Any])


async def awaited(
    versions: AsyncGenerator[E | None, None],
    until: Callable[[E | None], bool],
    *,
    who: str,
    timeout: float,
) -> E | None:
    """Return the first of an entity's `versions` of which `until` holds; see `Client.wait`.

    Raises DeadlineExceeded after `timeout` seconds, which says how `who` is then. The versions
    are closed in the end.
    """
    last: E | None = None
    deadline = asyncio.timeout(timeout)
    try:
        async with deadline, aclosing(versions):
            async for version in versions:
                last = version
                if until(last):
                    break
    except TimeoutError:
        if not deadline.expired():
            raise  # it was `until` that raised it
        state = "it does not exist" if last is None else f"it is {_state_in_words(last)}"
        raise DeadlineExceeded(f"waited {timeout:g} s for {who}: {state}", entity=who) from None
    return last


async def ensured(client: Client, entity: E) -> E:
    """Return the stored entity of that name, or create it; see `Client.ensure`."""
    kind, project = type(entity), entity.project or None
    found: E | None = await client.get(kind, entity.name, project=project, default=None)
    if found is not None:
        return found
    try:
        return await client.create(entity)
    except AlreadyExists:
        made: E = await client.get(kind, entity.name, project=project)
        return made


def _state_in_words(entity: Entity[Any, Any]) -> str:
    if entity.is_deleting:
        return f"being deleted, held by {', '.join(entity.metadata.finalizers)}"
    phase = getattr(entity.status, "phase", None)
    told = [f"{c.type}={c.status} ({c.reason}: {c.message})" for c in entity.conditions]
    return "; ".join([*([str(phase)] if phase else []), *told]) or "there, without conditions"
