"""Event loops that come and go in one process, each with a store of its own."""

from __future__ import annotations

import asyncio

import pytest

from miren.entities.store.api import KeyRange, Put
from miren.entities.store.etcd.store import EtcdStore
from tests.backends import new_prefix
from tests.etcd import Member


def test_a_closed_store_leaves_nothing_to_the_loops_that_come_after(
    shared_etcd: Member, caplog: pytest.LogCaptureFixture
) -> None:
    async def use() -> None:
        async with EtcdStore([shared_etcd.endpoint], prefix=new_prefix()) as store:
            lease = await store.grant(60)
            await store.keep_alive(lease)
            made = await store.transact([], [Put("/a", b"")])
            async with store.watch(KeyRange.key("/a"), after=made.revision - 1) as items:
                await anext(items)
            await store.keep_alive(lease)

    for _ in range(25):
        asyncio.run(use())
    assert [each.getMessage() for each in caplog.records if each.name == "asyncio"] == []
