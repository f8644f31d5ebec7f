"""A kind that has a secret in every place where one can be."""

from __future__ import annotations

from typing import Annotated, Any

from miren.entities.entity import Entity
from miren.entities.keyring import Key, Keyring
from miren.entities.model import Map, Model, field
from miren.entities.secrets import SecretText

__all__ = ["Account", "Vault", "VaultSpec", "VaultStatus", "make_keyring", "make_vault"]


class Account(Model):
    name: str = "main"
    pass_word: SecretText
    note: str | None = None


class VaultSpec(Model):
    plain: str = "x"
    pin: SecretText | None = field(
        default=None, secret=True, pattern="[0-9]+", min_length=4, max_length=8
    )
    fixed: SecretText | None = field(default=None, secret=True, immutable=True)
    data: Map[SecretText] = field(default={}, secret=True)
    words: tuple[SecretText, ...] = ()
    codes: tuple[Annotated[SecretText, field(secret=True, pattern="[a-z]+")], ...] = ()
    main: Account | None = None
    accounts: tuple[Account, ...] = field(default=(), merge_key="name")
    by_host: Map[Account] = field(default={})
    rows: tuple[Account, ...] = ()


class VaultStatus(Model):
    token: SecretText | None = None
    seen: str | None = None


class Vault(Entity[VaultSpec, VaultStatus], api="example.dev/v1"):
    """Keeps secrets."""


def make_keyring(*seeds: int) -> Keyring:
    """Return a ring of keys that are the same in every run; the first seed is the primary."""
    return Keyring(Key.of(bytes([seed]) * 32) for seed in seeds or (1,))


def make_vault(name: str = "v", **spec: Any) -> Vault:
    return Vault.new(name, project="default", **spec)
