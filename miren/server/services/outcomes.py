"""What a write came to: what there was before it, and what that makes of it in one word.

The client returns what is stored after a write. What was there just before is read from history:
anything read before the write may be older than what the write was made from.
"""

from __future__ import annotations

from typing import Any

from miren.base.errors import Compacted
from miren.entities.client import Client
from miren.entities.entity import Entity

__all__ = ["action_of", "before_write", "find"]

AnyEntity = Entity[Any, Any]
Who = tuple[type[AnyEntity], str, str | None]


async def find(
    client: Client, kind: type[AnyEntity], name: str, project: str | None, *, revision: int = 0
) -> AnyEntity | None:
    """Return an entity, as it is or as it was at `revision`; None where there is none."""
    found: AnyEntity | None = await client.get(
        kind, name, project=project, revision=revision, default=None
    )
    return found


async def before_write(
    client: Client, who: Who, known: AnyEntity | None, after: AnyEntity, *, dry_run: bool
) -> AnyEntity | None:
    """Return what an entity was just before a write made it `after`.

    `known` was read before that write, and controllers may have written since.
    """
    if known is not None and known.revision == after.revision:
        return known
    # What a dry run returns still has the revision of what it was made from.
    then = after.revision if dry_run else after.revision - 1
    try:
        return await find(client, *who, revision=then) if then > 0 else None
    except Compacted:
        return known


def action_of(before: AnyEntity | None, after: AnyEntity, *, finalizers: bool = False) -> str:
    """Return what a write came to. Status is left out: controllers write it meanwhile.

    They write `finalizers` too, which count only where the write could change them. Specs do not
    show whether secrets changed; the generation does, and says nothing of what only an older
    version of the kind has.
    """
    if before is None or before.uid != after.uid:
        return "created"
    old, new = before.metadata, after.metadata
    is_same = before.spec == after.spec and (old.generation, old.labels, old.annotations) == (
        new.generation,
        new.labels,
        new.annotations,
    )
    if finalizers:
        is_same = is_same and (old.finalizers, old.owner_references) == (
            new.finalizers,
            new.owner_references,
        )
    return "unchanged" if is_same else "configured"
