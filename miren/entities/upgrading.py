"""What is derived from entities, brought up to date with their kinds in the background.

The store remembers for which schema the derived keys of a kind are complete. Where that is
another one than the kind's now (an attribute was indexed since, there is a newer version),
selectors scan, and a pass writes every entity of the kind anew that needs it, each guarded by
the revision it was read at. When all are, the new schema is remembered and selectors use indexes.

A pass keeps no note of where it was: one that was interrupted is begun again and finds what is
done already. Generations and managers stay what they are.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from miren.base.backoff import Backoff
from miren.base.errors import Conflict, Duplicate, MirenError, NotFound
from miren.entities import keys
from miren.entities.attributes import attributes
from miren.entities.entity import Entity
from miren.entities.kinds import Kind
from miren.entities.store.api import Get, KeyRange, Put
from miren.entities.store.paging import every
from miren.entities.store_client import StoreClient

__all__ = ["find_stale", "index_schema", "upgrade_all", "upgrading"]

log = logging.getLogger(__name__)

_RETRY = Backoff(first=1.0, cap=300.0)


@asynccontextmanager
async def upgrading(client: StoreClient) -> AsyncIterator[None]:
    """Look which kinds are stale, then bring them up to date while the body runs."""
    await find_stale(client)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(_until_done(client), name="upgrading")
        yield
        task.cancel()


async def find_stale(client: StoreClient) -> None:
    """Let the client scan those kinds whose derived keys are of another schema than theirs.

    A kind of which there are no entities is up to date at once.
    """
    kinds = client.kinds.all_stored()
    result = await client.store.transact(
        (), [Get(KeyRange.key(keys.indexes_key(kind))) for kind in kinds]
    )
    fresh = []
    for kind, found in zip(kinds, result.reads, strict=True):
        if found and found[0].value.decode() == index_schema(kind):
            continue
        page = await client.store.list(keys.entity_range(kind, None), limit=1, keys_only=True)
        if page.items:
            client.unindexed.add((kind.domain, kind.name))
        else:
            fresh.append(Put(keys.indexes_key(kind), index_schema(kind).encode()))
    if fresh:
        await client.store.transact((), fresh)


async def upgrade_all(client: StoreClient) -> bool:
    """Bring every stale kind up to date; return whether all are.

    What cannot be (two entities hold a value that is unique by now) is logged, and its kind
    is scanned on. Raises Unavailable and the like, after which it can be called again.
    """
    is_complete = True
    for kind in client.kinds.all_stored():
        if (kind.domain, kind.name) not in client.unindexed:
            continue
        written, failed = await _upgrade(client, kind.entity)
        told = {"kind": str(kind), "version": kind.version, "written": written, "failed": failed}
        if failed:
            log.warning("entities are not all up to date with their kind", extra=told)
            is_complete = False
            continue
        await client.store.transact((), [Put(keys.indexes_key(kind), index_schema(kind).encode())])
        client.unindexed.discard((kind.domain, kind.name))
        log.info("entities are up to date with their kind", extra=told)
    return is_complete


def index_schema(kind: Kind) -> str:
    """Return what tells one set of derived keys of a kind from another."""
    derived = [
        [known.dotted, o.indexed, o.unique, o.to, o.on_delete]
        for known in attributes(kind)
        for o in (known.options,)
        if not o.session and (o.indexed or o.unique or o.to or o.on_delete or o.tags)
    ]
    text = json.dumps([kind.api_version, sorted(derived, key=str)])
    return hashlib.sha256(text.encode()).hexdigest()


async def _upgrade(client: StoreClient, kind: type[Entity[Any, Any]]) -> tuple[int, int]:
    """Write entities of a kind anew; return how many were, and how many could not be."""
    written = failed = 0
    async for item in every(client.store, keys.entity_range(kind.kind, None), keys_only=True):
        project, name = keys.name_in(item.key)
        try:
            written += await client.rewrite(kind, name, project=project or None)
        except NotFound:
            continue  # deleted meanwhile
        except Duplicate as error:
            failed += 1
            log.warning("an entity cannot be indexed", extra={"reason": error.message})
        except Conflict:
            failed += 1  # written meanwhile, perhaps not everything: the next pass looks
    return written, failed


async def _until_done(client: StoreClient) -> None:
    failures, rng = 0, random.Random()  # noqa: S311  # spreads retries
    while not await _is_done(client):
        failures += 1
        await asyncio.sleep(_RETRY.delay(failures, rng))


async def _is_done(client: StoreClient) -> bool:
    try:
        return await upgrade_all(client)
    except MirenError as error:
        log.warning("upgrading entities stopped, and goes on", extra={"reason": error.message})
        return False
