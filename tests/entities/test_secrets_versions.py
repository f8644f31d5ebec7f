"""Secrets of a kind in two versions: they move with their attribute, and open where they are."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest

from miren.base.errors import InvalidInput
from miren.entities import keys
from miren.entities.conversions import Added, Converter, Move, Removed
from miren.entities.entity import Entity
from miren.entities.kinds import Kinds
from miren.entities.model import Map, Model, field
from miren.entities.sealing import keys_used
from miren.entities.secrets import SecretText
from miren.entities.store.memory import MemoryStore
from miren.entities.store_client import StoreClient
from miren.entities.versioned_client import VersionedClient
from miren.server.keys import KeyFile
from miren.server.resealing import Rotation
from tests.builders import Nothing
from tests.entities.vaults import make_keyring

TEXT = "s3cret"


class OldSpec(Model):
    password: SecretText | None = None
    data: Map[SecretText] = field(default={})


class Login(Model):
    password: SecretText | None = None
    token: SecretText | None = None


class NewSpec(Model):
    login: Login = Login()
    data: Map[SecretText] = field(default={})


def old_safe() -> type[Entity[OldSpec, Nothing]]:
    class Safe(Entity[OldSpec, Nothing], api="example.dev/v1beta1"):
        """With the password at the top."""

    return Safe


def new_safe(converter: Converter) -> type[Entity[NewSpec, Nothing]]:
    class Safe(Entity[NewSpec, Nothing], api="example.dev/v1", converts={"v1beta1": converter}):
        """With the password in a component."""

    return Safe


OLD = old_safe()
NEW = new_safe(Converter(Move("spec.password", "spec.login.password"), Added("spec.login.token")))


@pytest.fixture
async def store() -> AsyncIterator[MemoryStore]:
    async with MemoryStore() as store:
        yield store


def client_of(store: MemoryStore, *kinds: type[Entity[Any, Any]]) -> Any:
    known = Kinds(kinds)
    below = StoreClient(store=store, kinds=known, keyring=make_keyring())
    return VersionedClient(below, known)


async def raw(store: MemoryStore) -> dict[str, Any]:
    found = await store.get(keys.entity_key(OLD.kind, "default", "s"))
    assert found is not None
    document: dict[str, Any] = orjson.loads(found.value)
    assert TEXT not in str(document)
    return document


async def test_a_secret_that_was_sealed_in_an_older_version_opens_in_the_newer_one(
    store: MemoryStore,
) -> None:
    old = client_of(store, OLD)
    await old.create(OLD.new("s", password=TEXT, data={"a": "A"}))
    both = client_of(store, OLD, NEW)
    assert (await both.get(NEW, "s")).spec.login.password.is_masked
    found = await both.reveal(NEW, "s")
    assert (found.spec.login.password.reveal(), found.spec.data["a"].reveal()) == (TEXT, "A")
    await both.patch(NEW, "s", {"spec": {"login": {"token": "T"}}})
    document = await raw(store)
    assert document["apiVersion"] == "example.dev/v1"
    assert "$at" not in str(document)
    again = await client_of(store, NEW).reveal(NEW, "s")
    assert (again.spec.login.password.reveal(), again.spec.login.token.reveal()) == (TEXT, "T")


async def test_writing_in_the_older_version_keeps_what_only_the_newer_one_has(
    store: MemoryStore,
) -> None:
    both = client_of(store, OLD, NEW)
    await both.create(NEW.new("s", login={"password": TEXT, "token": "T"}))
    shown = await both.get(OLD, "s")
    assert "T" not in shown.metadata.annotations.values()
    assert shown.spec.password.is_masked
    spec = shown.spec.model_copy(update={"data": {"b": SecretText("B")}})
    await both.update(shown.with_spec(spec))
    await raw(store)
    found = (await both.reveal(NEW, "s")).spec
    assert (found.login.password.reveal(), found.login.token.reveal()) == (TEXT, "T")
    assert found.data["b"].reveal() == "B"


async def test_rotation_knows_the_version_that_is_stored(
    store: MemoryStore, tmp_path: Any
) -> None:
    await client_of(store, OLD).create(OLD.new("s", password=TEXT))
    ring = make_keyring(2, 1)
    rotation = Rotation(store, Kinds((OLD, NEW)), ring, KeyFile(tmp_path / "keys"))
    assert (await rotation.run_pass()).resealed == 1
    assert keys_used(OLD.kind, await raw(store)) == {ring.primary.id}


def test_a_version_without_a_place_for_a_secret_is_refused() -> None:
    converter = Converter(
        Removed("spec.password"), Added("spec.login.password"), Added("spec.login.token")
    )
    with pytest.raises(InvalidInput, match="it holds a secret, for which v1 must have a place"):
        Kinds((OLD, new_safe(converter)))
