"""What is sent to many is made once."""

from __future__ import annotations

from dataclasses import replace

import orjson

from miren.entities.client import Modified
from miren.entities.store.memory import MemoryStore
from miren.server.services.encoding import encoded_for_many
from tests.entities.beacons import Beacon, Buoy, make_client


async def test_watches_that_deliver_the_same_change_share_what_is_made_of_it() -> None:
    async with MemoryStore() as store:
        client = make_client(store)
        for kind in (Beacon, Buoy):  # with session attributes, and with views too
            made = await client.create(kind.new("b"))
            changed = made.with_spec(made.spec.model_copy(update={"height": 2}))
            await client.update(changed)
            delivered = []
            for _ in range(2):
                async with client.watch(kind, after=made.revision) as events:
                    delivered.append(await anext(events))
            one, other = delivered
            assert isinstance(one, Modified)
            assert isinstance(other, Modified)
            assert one.entity is other.entity
            assert one.old is other.old
            assert one == other
            assert one.entity == await client.get(kind, "b")
            assert encoded_for_many(one.entity) is encoded_for_many(other.entity)


async def test_what_is_sent_is_the_document_of_just_that_entity() -> None:
    first = Beacon.new("b")
    for entity in (first, replace(first), Beacon.new("other")):
        sent = orjson.loads(orjson.dumps({"entity": encoded_for_many(entity)}))
        assert sent == {"entity": entity.to_document()}
    assert encoded_for_many(first) is not encoded_for_many(replace(first))
