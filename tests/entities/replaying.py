"""A watch read from the beginning, and put together again to what it must leave."""

from __future__ import annotations

from miren.entities.client import Added, Bookmark, Deleted, Left, Modified, Selection
from miren.entities.store_client import StoreClient
from tests.entities.things import Key, Thing, key_of

__all__ = ["replayed"]


async def replayed(client: StoreClient, selection: Selection, *, after: int) -> dict[Key, Thing]:
    """Return what a watch from the beginning leaves of a selection."""
    until, known = await client.revision(), dict[Key, Thing]()
    async with client.watch(Thing, selection, after=after) as events:
        async for event in events:
            match event:
                case Added(entity):
                    assert key_of(entity) not in known
                    known[key_of(entity)] = entity
                case Modified(entity, old):
                    assert known[key_of(entity)] == old
                    known[key_of(entity)] = entity
                case Deleted(entity) | Left(entity):
                    assert known.pop(key_of(entity)).uid == entity.uid
            if isinstance(event, Bookmark) and event.revision >= until:
                return known
    raise AssertionError("a watch has no end")
