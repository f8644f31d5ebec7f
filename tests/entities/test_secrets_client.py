"""Secrets through the client: masked for everybody, kept by the mask, sealed in the store."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from miren.base.errors import BrokenSeal, Conflict, InvalidInput, NotFound, Refused
from miren.entities import keys
from miren.entities.client import Actor, Modified, Selection
from miren.entities.kinds import Kinds
from miren.entities.secrets import MASK, SecretText
from miren.entities.store.api import Put, Store
from miren.entities.store.sqlite import SQLiteStore
from miren.entities.store_client import StoreClient
from tests.entities.vaults import Account, Vault, make_keyring, make_vault

TEXT = "correct-horse"
NEXT = "battery-staple"


@pytest.fixture
def client(store: Store) -> StoreClient:
    return StoreClient(store=store, kinds=Kinds((Vault,)), keyring=make_keyring())


async def stored(client: StoreClient, name: str = "v") -> dict[str, Any]:
    found = await client.store.get(keys.entity_key(Vault.kind, "default", name))
    assert found is not None
    document: dict[str, Any] = orjson.loads(found.value)
    return document


async def plant(client: StoreClient, document: dict[str, Any]) -> None:
    key = keys.entity_key(Vault.kind, "default", document["metadata"]["name"])
    await client.store.transact((), [Put(key, orjson.dumps(document))])


async def data(client: StoreClient, name: str = "v") -> dict[str, str]:
    found = await client.reveal(Vault, name)
    return {key: secret.reveal() for key, secret in found.spec.data.items()}


async def test_whatever_is_returned_is_masked_and_reveal_shows_it(client: StoreClient) -> None:
    made = await client.create(make_vault(data={"a": TEXT}))
    listed = await client.list(Vault, Selection())
    waited = await client.wait(Vault, "v", lambda found: found is not None, timeout=5)
    dry = await client.create(make_vault("w", data={"a": TEXT}), dry_run=True)
    for shown in (made, await client.get(Vault, "v"), *listed.items, waited, dry):
        assert shown is not None
        assert shown.spec.data["a"].is_masked
    assert TEXT not in str(await stored(client))
    assert await data(client) == {"a": TEXT}
    assert made.metadata.generation == 1
    assert dry.metadata.resource_version == ""


async def test_only_an_administrator_sees_secrets_and_the_log_says_who(
    client: StoreClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    await client.create(make_vault(data={"a": TEXT}))
    with pytest.raises(Refused, match="ann may not see the secrets of vault/v"):
        await client.acting_as(Actor("ann")).reveal(Vault, "v")
    await client.acting_as(Actor("bea", is_admin=True)).reveal(Vault, "v")
    told = [(record.message, vars(record)["actor"]) for record in caplog.records]
    assert told == [("secrets were not revealed", "ann"), ("secrets were revealed", "bea")]
    assert TEXT not in str([vars(record) for record in caplog.records])
    with pytest.raises(NotFound):
        await client.reveal(Vault, "none")


async def test_what_was_read_and_applied_again_changes_nothing(client: StoreClient) -> None:
    wanted = Vault.partial("v", data={"a": TEXT, "b": "B"}, pin="1234", words=["x", "y"])
    made = await client.apply(wanted, manager="cli")
    spec = made.to_document()["spec"]
    shown = {name: spec[name] for name in ("data", "pin", "words")}
    assert MASK in str(shown)
    again = await client.apply(Vault.partial("v", **shown), manager="cli")
    same = await client.apply(wanted, manager="cli")
    assert made.revision == again.revision == same.revision
    assert await data(client) == {"a": TEXT, "b": "B"}


async def test_a_changed_secret_is_a_change_of_the_spec_and_leaves_the_others_sealed(
    client: StoreClient,
) -> None:
    made = await client.apply(Vault.partial("v", data={"a": TEXT, "b": "B"}), manager="cli")
    before = (await stored(client))["spec"]["data"]
    async with client.watch(Vault, Selection(), after=made.revision) as events:
        partial = Vault.partial("v", data={"a": NEXT, "b": MASK})
        after = await client.apply(partial, manager="cli")
        event = await anext(events)
    assert isinstance(event, Modified)
    assert event.entity.spec.data == event.old.spec.data == after.spec.data
    assert after.metadata.generation == made.metadata.generation + 1
    sealed = (await stored(client))["spec"]["data"]
    assert sealed["b"] == before["b"]
    assert sealed["a"] != before["a"]
    assert await data(client) == {"a": NEXT, "b": "B"}


async def test_leaving_a_secret_out_removes_it(client: StoreClient) -> None:
    await client.apply(Vault.partial("v", data={"a": TEXT, "b": "B"}), manager="cli")
    await client.apply(Vault.partial("v", data={"b": MASK}), manager="cli")
    assert await data(client) == {"b": "B"}


async def test_the_mask_is_refused_where_nothing_is_stored(client: StoreClient) -> None:
    with pytest.raises(InvalidInput, match=r"spec\.data\.a: is \(sealed\)") as caught:
        await client.create(make_vault(data={"a": MASK}))
    assert caught.value.entity == "vault/v"
    with pytest.raises(InvalidInput, match=r"spec\.data\.a"):
        await client.apply(Vault.partial("v", data={"a": MASK}), manager="cli")
    await client.create(make_vault(data={"a": TEXT}))
    with pytest.raises(InvalidInput, match=r"spec\.data\.b"):
        await client.apply(Vault.partial("v", data={"b": MASK}), manager="cli")
    with pytest.raises(InvalidInput, match=r"spec\.data\.b"):
        await client.patch(Vault, "v", {"spec": {"data": {"b": MASK}}})


async def test_an_update_of_what_was_read_keeps_its_secrets(client: StoreClient) -> None:
    made = await client.create(
        make_vault(data={"a": TEXT}, main=Account(pass_word=SecretText("M")))
    )
    spec = made.spec.model_copy(update={"plain": "new"})
    changed = await client.update(made.with_spec(spec))
    assert changed.spec.data["a"].is_masked
    assert await data(client) == {"a": TEXT}
    spec = changed.spec.model_copy(update={"data": {"a": SecretText(NEXT)}})
    await client.update(changed.with_spec(spec))
    found = await client.reveal(Vault, "v")
    assert found.spec.main is not None
    assert (found.spec.data["a"].reveal(), found.spec.main.pass_word.reveal()) == (NEXT, "M")


async def test_who_writes_a_mask_does_not_become_its_manager(client: StoreClient) -> None:
    made = await client.apply(Vault.partial("v", data={"a": TEXT}), manager="one")
    spec = made.spec.model_copy(update={"plain": "new"})
    await client.update(made.with_spec(spec), manager="two")
    await client.patch(Vault, "v", {"spec": {"data": {"a": MASK}}}, manager="three")
    assert dict(await client.managers(Vault, "v")) == {
        "one": frozenset({"/spec/data/a"}),
        "two": frozenset({"/spec/plain"}),
    }


async def test_a_status_keeps_its_secrets_too(client: StoreClient) -> None:
    made = await client.create(make_vault(data={"a": TEXT}))
    status = made.status.model_copy(update={"token": SecretText(NEXT)})
    told = await client.update_status(made.with_status(status))
    assert told.status.token == SecretText(MASK)
    seen = told.status.model_copy(update={"seen": "now"})
    await client.update_status(told.with_status(seen))
    found = await client.reveal(Vault, "v")
    assert found.status.token is not None
    assert (found.status.token.reveal(), found.status.seen) == (NEXT, "now")
    assert found.spec.data["a"].reveal() == TEXT
    assert NEXT not in str(await stored(client))


async def test_a_patch_changes_secrets_and_cannot_carry_one_elsewhere(
    client: StoreClient,
) -> None:
    await client.create(make_vault(data={"a": TEXT}))
    await client.patch(Vault, "v", {"spec": {"data": {"b": "B"}, "plain": "p"}})
    assert await data(client) == {"a": TEXT, "b": "B"}
    await client.patch(Vault, "v", [{"op": "replace", "path": "/spec/data/b", "value": "C"}])
    copied = {"op": "copy", "from": "/spec/data/a", "path": "/spec/plain"}
    shown = await client.patch(Vault, "v", [copied])
    assert shown.spec.plain == MASK
    with pytest.raises(InvalidInput, match=r"spec\.data\.c"):
        await client.patch(
            Vault, "v", [{"op": "move", "from": "/spec/data/a", "path": "/spec/data/c"}]
        )
    with pytest.raises(Conflict):
        await client.patch(Vault, "v", [{"op": "test", "path": "/spec/data/a", "value": TEXT}])
    assert await data(client) == {"a": TEXT, "b": "C"}


async def test_managers_and_refusals_name_fields_and_no_values(client: StoreClient) -> None:
    wanted = Vault.partial("v", data={"a": TEXT}, fixed=TEXT)
    await client.apply(wanted, manager="one")
    assert TEXT not in str(await client.managers(Vault, "v"))
    same = Vault.partial("v", data={"a": MASK})
    await client.apply(same, manager="two")  # the mask is no change, so no conflict
    other = Vault.partial("v", data={"a": NEXT})
    with pytest.raises(Conflict, match="/spec/data/a is managed by") as conflict:
        await client.apply(other, manager="three")
    with pytest.raises(InvalidInput, match=r"cannot change from \(sealed\)") as fixed:
        await client.patch(Vault, "v", {"spec": {"fixed": NEXT}})
    for error in (conflict.value, fixed.value):
        assert TEXT not in str(error)
        assert NEXT not in str(error)
    await client.patch(Vault, "v", {"spec": {"fixed": TEXT}})


async def test_without_a_keyring_nothing_can_be_sealed_and_all_else_goes_on(
    client: StoreClient,
) -> None:
    made = await client.create(make_vault(data={"a": TEXT}))
    bare = replace(client, keyring=None)
    for write in (
        bare.create(make_vault("w", data={"a": TEXT})),
        bare.patch(Vault, "v", {"spec": {"data": {"a": NEXT}}}),
    ):
        with pytest.raises(Refused, match=r"spec\.data\.a is a secret") as caught:
            await write
        assert caught.value.hint
    with pytest.raises(Refused):
        await bare.reveal(Vault, "v")
    labelled = await bare.update(made.with_metadata(labels={"x": "y"}))
    assert labelled.spec.data["a"].is_masked
    assert await data(client) == {"a": TEXT}
    await bare.delete(Vault, "v")
    assert await client.get(Vault, "v", default=None) is None


async def test_a_lost_key_is_told_and_stands_in_the_way_of_nothing_else(
    client: StoreClient,
) -> None:
    await client.create(make_vault(data={"a": TEXT, "b": "B"}))
    other = replace(client, keyring=make_keyring(9))
    with pytest.raises(BrokenSeal, match=r"vault/v: the key .* that spec\.data\.a"):
        await other.reveal(Vault, "v")
    await other.patch(Vault, "v", {"metadata": {"labels": {"x": "y"}}})
    assert await data(client) == {"a": TEXT, "b": "B"}
    await other.apply(Vault.partial("v", data={"a": NEXT, "b": "C"}), manager="cli", force=True)
    assert await data(other) == {"a": NEXT, "b": "C"}


async def test_a_sealed_value_copied_in_the_store_does_not_open(client: StoreClient) -> None:
    await client.create(make_vault("one", data={"a": TEXT, "b": "B"}))
    await client.create(make_vault("two", data={"a": "A"}))
    one, two = await stored(client, "one"), await stored(client, "two")
    two["spec"]["data"]["a"] = one["spec"]["data"]["a"]
    one["spec"]["data"]["b"] = one["spec"]["data"]["a"]
    await plant(client, one)
    await plant(client, two)
    for name, at in (("one", "b"), ("two", "a")):
        with pytest.raises(BrokenSeal, match=rf"vault/{name}: spec\.data\.{at} was changed"):
            await client.reveal(Vault, name)
    await client.delete(Vault, "two")


async def test_the_raw_store_never_holds_a_secret(tmp_path: Path) -> None:
    secrets = [f"hunter{number}-s3cret-ünï" for number in range(8)]

    def assert_sealed() -> None:
        files = list(tmp_path.iterdir())
        assert files
        for file in files:
            content = file.read_bytes()
            for text in ("s3cret", *secrets):
                for form in (text.encode(), text.encode("utf-16-le"), orjson.dumps(text)[1:-1]):
                    assert form not in content, (file, text)

    async with SQLiteStore(tmp_path / "db") as store:
        client = StoreClient(store=store, kinds=Kinds((Vault,)), keyring=make_keyring())
        made = await client.create(make_vault(data={"a": secrets[0]}, plain="in the clear"))
        assert any(b"in the clear" in file.read_bytes() for file in tmp_path.iterdir())
        assert_sealed()
        spec = made.spec.model_copy(update={"words": (SecretText(secrets[1]),)})
        made = await client.update(made.with_spec(spec))
        status = made.status.model_copy(update={"token": SecretText(secrets[2])})
        await client.update_status(made.with_status(status))
        account = Account(name="n", pass_word=SecretText(secrets[3]))
        await client.apply(Vault.partial("v", accounts=[account]), manager="cli")
        await client.patch(Vault, "v", {"spec": {"byHost": {"h": {"passWord": secrets[4]}}}})
        await client.patch(Vault, "v", {"spec": {"data": {"a": secrets[5]}}}, dry_run=True)
        assert_sealed()
        await client.reveal(Vault, "v")
        await client.delete(Vault, "v")
        assert_sealed()
    assert_sealed()
