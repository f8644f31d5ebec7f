from __future__ import annotations

import pytest

from miren.base.errors import Conflict, InvalidInput, NotFound, Refused
from miren.entities.store_client import StoreClient
from tests.builders import Greeting, GreetingSpec, make_greeting, make_parcel
from tests.stores import Racing, keys_in

KEEP = "example.dev/keep"
HOLD = "example.dev/hold"


async def test_without_finalizers_an_entity_goes_at_once_and_whole(client: StoreClient) -> None:
    await client.create(make_parcel(code="c"))
    assert (
        len(await keys_in(client.store)) == 4
    )  # entity, sidecar, unique value, index of the status
    gone = await client.delete(type(make_parcel()), "box")
    assert gone.is_deleting
    assert gone.revision == await client.revision()
    assert await keys_in(client.store) == []
    with pytest.raises(NotFound):
        await client.delete(type(make_parcel()), "box")


async def test_finalizers_hold_it_until_the_last_is_off(client: StoreClient) -> None:
    await client.create(make_greeting().with_metadata(finalizers=(KEEP, HOLD)))
    held = await client.delete(Greeting, "hi")
    assert held.is_deleting
    assert await client.get(Greeting, "hi") == held
    held = await client.update(held.with_metadata(finalizers=(HOLD,)))
    assert await client.get(Greeting, "hi") == held
    before = await client.revision()
    last = await client.update(held.with_metadata(finalizers=()))
    assert await client.get(Greeting, "hi", default=None) is None
    assert last.revision == before + 1, "the finalizer and the entity go in one transaction"
    assert await keys_in(client.store) == []


async def test_deleting_again_changes_nothing(client: StoreClient) -> None:
    await client.create(make_greeting().with_metadata(finalizers=(KEEP,)))
    held = await client.delete(Greeting, "hi")
    assert await client.delete(Greeting, "hi") == held


async def test_no_finalizer_can_be_added_once_deletion_has_begun(client: StoreClient) -> None:
    await client.create(make_greeting().with_metadata(finalizers=(KEEP,)))
    held = await client.delete(Greeting, "hi")
    with pytest.raises(Refused, match="greeting/hi is being deleted: no finalizer can be added"):
        await client.update(held.with_metadata(finalizers=(KEEP, HOLD)))
    assert await client.get(Greeting, "hi") == held


async def test_what_is_being_deleted_can_still_be_changed(client: StoreClient) -> None:
    await client.create(make_greeting().with_metadata(finalizers=(KEEP,)))
    held = await client.delete(Greeting, "hi")
    stored = await client.update(held.with_spec(GreetingSpec(text="bye")))
    assert (stored.spec.text, stored.is_deleting) == ("bye", True)


async def test_a_uid_protects_the_next_of_the_same_name(client: StoreClient) -> None:
    old = await client.create(make_greeting())
    await client.delete(Greeting, "hi", uid=old.uid)
    new = await client.create(make_greeting())
    with pytest.raises(Conflict, match=f"greeting/hi is another one than {old.uid}"):
        await client.delete(Greeting, "hi", uid=old.uid)
    assert await client.get(Greeting, "hi") == new


async def test_deleting_does_not_lose_to_writers(client: StoreClient) -> None:
    made = await client.create(make_greeting())
    store = Racing(client.store)
    store.before_write = lambda: client.update(made.with_spec(GreetingSpec(text="faster")))
    racing = StoreClient(store=store, kinds=client.kinds)
    assert (await racing.delete(Greeting, "hi")).spec.text == "faster"
    assert await client.get(Greeting, "hi", default=None) is None


async def test_a_finalizer_is_a_domain_and_a_name(client: StoreClient) -> None:
    with pytest.raises(InvalidInput, match="finalizer 'keep' must be '<domain>/<name>'"):
        await client.create(make_greeting().with_metadata(finalizers=("keep",)))
    many = tuple(f"example.dev/f{number}" for number in range(17))
    with pytest.raises(InvalidInput, match="more than 16 finalizers"):
        await client.create(make_greeting().with_metadata(finalizers=many))
