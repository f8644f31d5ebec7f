"""A repair beside clients that still know what was wrong."""

from __future__ import annotations

from dataclasses import replace

from miren.entities import keys
from miren.entities.checking import check
from miren.entities.records import Sidecar
from miren.entities.repairing import repair
from miren.entities.store.api import Put, Store
from miren.entities.store_client import StoreClient
from tests.builders import Greeting, make_greeting, make_kinds


async def test_what_a_client_knew_of_a_broken_sidecar_does_not_come_back(store: Store) -> None:
    client = StoreClient(store=store, kinds=make_kinds())
    made = await client.create(make_greeting())
    key = keys.sidecar_key(Greeting.kind, "default", "hi")
    broken = replace(Sidecar.decode(await store.get(key)), derived=frozenset({"/i/other"}))
    await store.transact((), [Put(key, broken.encode())])

    server = StoreClient(store=store, kinds=make_kinds())
    known = await server.update(made.with_metadata(labels={"a": "b"}))
    await store.transact((), [Put(key, broken.encode())])
    await server.patch(Greeting, "hi", {})  # reads, and writes nothing
    report = await check(store, make_kinds())
    assert not report.is_clean
    await repair(store, make_kinds(), report)
    assert (await check(store, make_kinds())).is_clean

    await server.patch(Greeting, "hi", {"metadata": {"labels": {"a": "c"}}})
    assert (await check(store, make_kinds())).is_clean
    again = await server.get(Greeting, "hi")
    await server.update(again.with_metadata(labels={"a": "d"}))
    assert (await check(store, make_kinds())).is_clean
    assert again.uid == known.uid


async def test_an_update_from_before_the_repair_is_a_conflict_and_undoes_nothing(
    store: Store,
) -> None:
    server = StoreClient(store=store, kinds=make_kinds())
    await server.create(make_greeting())
    key = keys.sidecar_key(Greeting.kind, "default", "hi")
    broken = replace(Sidecar.decode(await store.get(key)), derived=frozenset({"/i/other"}))
    await store.transact((), [Put(key, broken.encode())])
    await server.patch(Greeting, "hi", {})
    before = await server.get(Greeting, "hi")
    await repair(store, make_kinds(), await check(store, make_kinds()))
    after = await server.get(Greeting, "hi")
    assert after.revision > before.revision
    assert after.with_metadata(resource_version=before.metadata.resource_version) == before
    await server.update(after.with_metadata(labels={"a": "b"}))
    assert (await check(store, make_kinds())).is_clean
