"""Secrets that `model_copy` put into an entity: they are sealed, or refused, and never shown."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from miren.base.errors import InvalidInput
from miren.entities.kinds import Kinds
from miren.entities.secrets import MASK, SecretText
from miren.entities.store.api import KeyRange
from miren.entities.store.memory import MemoryStore
from miren.entities.store_client import StoreClient
from tests.entities.vaults import Account, Vault, make_keyring, make_vault


@pytest.fixture
async def client() -> AsyncIterator[StoreClient]:
    async with MemoryStore() as store:
        yield StoreClient(store=store, kinds=Kinds([Vault]), keyring=make_keyring())


async def test_a_text_in_the_place_of_a_secret_is_that_secret(client: StoreClient) -> None:
    made = await client.create(make_vault(pin="1234", data={"a": "old"}))
    changes: dict[str, Any] = {"pin": "9999", "data": {"a": "new"}, "words": ("some",)}
    changed = made.with_spec(made.spec.model_copy(update=changes))
    assert "9999" not in f"{changed}{changed.to_document()}"
    stored = await client.update(changed)
    assert "9999" not in repr(stored)
    assert stored == await client.get(Vault, "v")
    assert isinstance(stored.spec.pin, SecretText)
    spec = (await client.reveal(Vault, "v")).spec
    assert spec.pin is not None
    assert [spec.pin.reveal(), spec.data["a"].reveal(), spec.words[0].reveal()] == [
        "9999",
        "new",
        "some",
    ]
    kept = (await client.store.list(KeyRange.prefix("/"))).items
    assert not any(b"9999" in item.value for item in kept)


async def test_the_mask_as_a_text_keeps_what_is_stored(client: StoreClient) -> None:
    made = await client.create(make_vault(pin="1234"))
    spec = made.spec.model_copy(update={"pin": MASK, "plain": "y"})
    await client.update(made.with_spec(spec))
    pin = (await client.reveal(Vault, "v")).spec.pin
    assert pin is not None
    assert pin.reveal() == "1234"


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"pin": SecretText("abcd")}, "spec.pin: must match"),
        ({"pin": "ab"}, "spec.pin"),
        ({"pin": 1234}, "a secret is made from text"),
        ({"codes": (SecretText("ABC"),)}, r"spec.codes\[0\]: must match"),
        ({"main": Account(pass_word=SecretText("x")).model_copy(update={"note": 3})}, "spec.main"),
        ({"plain": 3}, "spec.plain"),
    ],
)
@pytest.mark.parametrize("is_new", [False, True], ids=["update", "create"])
async def test_what_cannot_be_a_secret_is_invalid_input(
    changes: dict[str, Any], told: str, is_new: bool, client: StoreClient
) -> None:
    made = make_vault() if is_new else await client.create(make_vault())
    wrong = made.with_spec(made.spec.model_copy(update=changes))
    with pytest.raises(InvalidInput, match=told) as caught:
        await (client.create(wrong) if is_new else client.update(wrong))
    assert "abcd" not in str(caught.value)
    assert "1234" not in str(caught.value)
    assert "ABC" not in str(caught.value)
