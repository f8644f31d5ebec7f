"""Keys, and the ring of them that a store's secrets are sealed with.

A key is 32 random bytes for AES-256-GCM, known by a short id that says nothing of it. One key may
seal 2**32 values with random nonces (NIST SP 800-38D, 8.3), far more than one store holds; keys
are rotated all the same.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from miren.base.errors import InvalidInput, Refused

__all__ = ["Key", "Keyring"]

_SIZE = 32  # bytes, of AES-256
_NONCE = 12  # bytes, what GCM is specified for


@dataclass(frozen=True, slots=True, repr=False)
class Key:
    """A key and the short id that sealed values name it by."""

    id: str
    secret: bytes

    def __repr__(self) -> str:
        return f"Key({self.id})"

    @classmethod
    def of(cls, secret: bytes) -> Key:
        """Return these 32 bytes as a key; the id is a digest, which says nothing of them."""
        if len(secret) != _SIZE:
            raise InvalidInput(f"a key is {_SIZE} bytes, not {len(secret)}")
        return cls(hashlib.sha256(b"miren key id\0" + secret).hexdigest()[:8], secret)

    @classmethod
    def generate(cls) -> Key:
        """Return a new random key."""
        return cls.of(os.urandom(_SIZE))

    @property
    def text(self) -> str:
        """The key as a line of a key file."""
        return base64.b64encode(self.secret).decode()

    def seal(self, plain: str, bound: bytes) -> str:
        """Return the text sealed for the place `bound`."""
        nonce = os.urandom(_NONCE)
        sealed = nonce + _cipher(self.secret).encrypt(nonce, plain.encode(), bound)
        return f"{self.id}.{base64.urlsafe_b64encode(sealed).decode()}"

    def open(self, sealed: bytes, bound: bytes) -> str | None:
        """Return the text, or None when these bytes are not what was sealed for that place."""
        from cryptography.exceptions import InvalidTag

        if len(sealed) < _NONCE:
            return None
        try:
            plain: bytes = _cipher(self.secret).decrypt(sealed[:_NONCE], sealed[_NONCE:], bound)
        except InvalidTag:
            return None
        return plain.decode()


class Keyring:
    """The keys of a store: the first one seals, all of them open.

    One ring is shared by all that write to the store; `adopt` gives it other keys.
    """

    def __init__(self, keys: Iterable[Key]) -> None:
        self._keys = _checked(keys)

    def __repr__(self) -> str:
        return f"Keyring({', '.join(self.ids)})"

    @classmethod
    def parse(cls, text: str) -> Keyring:
        """Return the keys in a key file's text: one a line in base64, the primary one first.

        Raises InvalidInput naming the line, never what it says.
        """
        return cls(
            _parsed(line.strip(), number)
            for number, line in enumerate(text.splitlines(), 1)
            if line.strip()
        )

    @property
    def primary(self) -> Key:
        """The key that new values are sealed with."""
        return self._keys[0]

    @property
    def ids(self) -> tuple[str, ...]:
        """The ids of all keys, the primary one first."""
        return tuple(key.id for key in self._keys)

    @property
    def text(self) -> str:
        """The keys as a key file's text."""
        return "".join(f"{key.text}\n" for key in self._keys)

    def find(self, id: str) -> Key | None:
        """Return the key of that id, or None."""
        return next((key for key in self._keys if key.id == id), None)

    def with_primary(self, key: Key) -> Keyring:
        """Return a ring with this key before all others."""
        return Keyring((key, *(other for other in self._keys if other.id != key.id)))

    def with_only_primary(self) -> Keyring:
        """Return a ring without the older keys."""
        return Keyring(self._keys[:1])

    def adopt(self, other: Keyring) -> None:
        """Hold the keys of `other` from now on."""
        self._keys = other._keys


def _checked(keys: Iterable[Key]) -> tuple[Key, ...]:
    found = tuple(keys)
    if not found:
        raise InvalidInput("there is no key")
    if len({key.id for key in found}) != len(found):
        raise InvalidInput("a key is given twice")
    return found


def _parsed(line: str, number: int) -> Key:
    try:
        return Key.of(base64.b64decode(line, validate=True))
    except (binascii.Error, ValueError, InvalidInput):
        raise InvalidInput(
            f"line {number} is not a key: {_SIZE} bytes in base64",
            hint="`head -c 32 /dev/urandom | base64` makes one",
        ) from None


def _cipher(secret: bytes) -> Any:
    """Return the cipher; its package is needed only where there are secrets."""
    try:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    except ImportError as error:
        raise Refused(
            "secrets need the package `cryptography`", hint="pip install 'miren[server]'"
        ) from error
    return AESGCM(secret)
