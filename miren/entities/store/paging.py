"""Everything in a range of a store, read page by page, so that it need not fit into memory."""

from __future__ import annotations

from collections.abc import AsyncIterator

from miren.entities.store.api import KeyRange, KeyValue, Store

__all__ = ["every"]

_PAGE = 200


async def every(
    store: Store, range: KeyRange, *, revision: int = 0, keys_only: bool = False
) -> AsyncIterator[KeyValue]:
    """Yield the keys of a range in order, at a revision; without one each page as it is then.

    Raises as `Store.list` does.
    """
    cursor: str | None = None
    while True:
        page = await store.list(
            range, revision=revision, limit=_PAGE, after=cursor, keys_only=keys_only
        )
        for item in page.items:
            yield item
        if not page.more:
            return
        cursor = page.items[-1].key
