"""Secrets at rest: AES-256-GCM, each value bound to the place where it is stored.

A sealed value stands in the stored document as `{"$sealed": "<key id>.<base64url>"}`: a random
96-bit nonce and the ciphertext with its tag. Domain, kind, uid and the path of the attribute are
authenticated with it, so that a value copied to another entity or attribute does not open there.
A value that did not change keeps its ciphertext, and so the entity its bytes.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from typing import Any

import orjson

from miren.base.errors import BrokenSeal, InvalidInput, Problem, Refused
from miren.entities.keyring import Keyring
from miren.entities.kinds import Kind
from miren.entities.secret_places import Document, Path, has_secrets, rewrite
from miren.entities.secrets import MASK

__all__ = [
    "convert_sealed",
    "keys_used",
    "open_document",
    "open_what_opens",
    "reseal_document",
    "seal_document",
]

_FORM = "miren.dev/sealed/1"
_SEALED = "$sealed"
_AT = "$at"  # the path a value was sealed for, while a document is converted; never stored
_HINT = "give the client a keyring; a server makes one at its first start"


def seal_document(
    kind: Kind,
    document: Document,
    *,
    uid: str,
    keyring: Keyring | None,
    old: Document | None = None,
) -> Document:
    """Return a document that is in the clear with every secret sealed.

    Where `old`, the sealed document it replaces, holds the same text in the same place, its
    ciphertext stays; so it does where that cannot be opened and the mask stands for it. Raises
    InvalidInput where the mask stands for nothing, Refused for a text and no keyring.
    """
    known = {} if old is None else _sealed_values(kind, old)
    problems: list[Problem] = []

    def seal(path: Path, value: Any) -> Any:
        bound, before = _bound(kind, uid, path), known.get(path)
        if before is not None and value == _plain_or_mask(before, bound, keyring):
            return {_SEALED: before}
        if value == MASK:
            problems.append(Problem(f"is {MASK}, and nothing is stored here", path))
            return value
        if keyring is None:
            name, at = _name(kind, document), Problem("", path).dotted()
            raise Refused(
                f"{name}: {at} is a secret, and there is no key", hint=_HINT, entity=name
            )
        return {_SEALED: keyring.primary.seal(value, bound)}

    sealed = rewrite(kind, document, seal)
    if problems:
        raise InvalidInput(problems, entity=_name(kind, document))
    return sealed


def open_document(kind: Kind, document: Document, keyring: Keyring) -> Document:
    """Return a stored document in the clear.

    A text that is not sealed, from before its attribute was a secret, is left as it is. Raises
    BrokenSeal naming the entity and the attribute, never a value.
    """
    uid = document["metadata"]["uid"]

    def opened(path: Path, value: Any) -> Any:
        if isinstance(value, str):
            return value
        return _opened(_sealed_text(value), _bound(kind, uid, path), keyring, kind, document, path)

    return rewrite(kind, document, opened)


def open_what_opens(kind: Kind, document: Document, keyring: Keyring | None) -> Document:
    """Return a stored document in the clear, with the mask for what cannot be opened.

    This is what writes are made from: nothing broken stands in the way of changing the rest, of
    deleting it, or of writing a secret anew.
    """
    uid = document["metadata"]["uid"]

    def opened(path: Path, value: Any) -> Any:
        if isinstance(value, str):
            return value
        sealed = _sealed_text(value)
        return MASK if sealed is None else _plain_or_mask(sealed, _bound(kind, uid, path), keyring)

    return rewrite(kind, document, opened)


def reseal_document(kind: Kind, document: Document, keyring: Keyring) -> Document:
    """Return a stored document with every secret under the primary key.

    What is under it already stays as it is. Raises BrokenSeal as `open_document` does.
    """
    uid = document["metadata"]["uid"]

    def resealed(path: Path, value: Any) -> Any:
        sealed, bound = _sealed_text(value), _bound(kind, uid, path)
        if sealed is not None and _key_id(sealed) == keyring.primary.id:
            return value
        plain = value
        if not isinstance(value, str):
            plain = _opened(sealed, bound, keyring, kind, document, path)
        return {_SEALED: keyring.primary.seal(plain, bound)}

    return rewrite(kind, document, resealed)


def convert_sealed(
    document: Document,
    old: Kind,
    new: Kind,
    convert: Callable[[Document], Document],
    keyring: Keyring | None,
) -> Document:
    """Return a stored document of `old` as one of `new`, its secrets sealed for their new places.

    What cannot be opened is moved as it is, and opens in its new place no more than before.
    """
    if not has_secrets(old):
        return convert(document)
    uid = document["metadata"]["uid"]

    def with_place(path: Path, value: Any) -> Any:
        return value if _sealed_text(value) is None else {**value, _AT: list(path)}

    def sealed_here(path: Path, value: Any) -> Any:
        sealed = _sealed_text(value)
        if sealed is None:
            return value
        before = tuple(value.get(_AT, path))
        plain = None if before == path else _plain(sealed, _bound(old, uid, before), keyring)
        if plain is None or keyring is None:
            return {_SEALED: sealed}
        return {_SEALED: keyring.primary.seal(plain, _bound(new, uid, path))}

    return rewrite(new, convert(rewrite(old, document, with_place)), sealed_here)


def keys_used(kind: Kind, document: Document) -> frozenset[str]:
    """Return the ids of the keys a stored document needs; the empty one is text not sealed."""
    used: set[str] = set()

    def note(_path: Path, value: Any) -> Any:
        sealed = _sealed_text(value)
        used.add("" if sealed is None else _key_id(sealed))
        return value

    rewrite(kind, document, note)
    return frozenset(used)


def _opened(
    sealed: str | None, bound: bytes, keyring: Keyring, kind: Kind, document: Document, path: Path
) -> str:
    plain = None if sealed is None else _plain(sealed, bound, keyring)
    if plain is not None:
        return plain
    name, at = _name(kind, document), Problem("", path).dotted()
    if sealed is not None and keyring.find(_key_id(sealed)) is None:
        raise BrokenSeal(
            f"{name}: the key {_key_id(sealed)!r} that {at} is sealed with is not here",
            hint="put it back as a further line of the key file, or write the secret anew",
            entity=name,
        )
    raise BrokenSeal(
        f"{name}: {at} was changed or moved since it was sealed",
        hint="write the secret anew, and find out who wrote to the store",
        entity=name,
    )


def _plain_or_mask(sealed: str, bound: bytes, keyring: Keyring | None) -> str:
    plain = _plain(sealed, bound, keyring)
    return MASK if plain is None else plain


def _plain(sealed: str, bound: bytes, keyring: Keyring | None) -> str | None:
    """Return what was sealed, or None when it cannot be opened."""
    id, _, text = sealed.partition(".")
    key = None if keyring is None else keyring.find(id)
    if key is None:
        return None
    try:
        data = base64.b64decode(text, altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return None
    return key.open(data, bound)


def _sealed_values(kind: Kind, document: Document) -> dict[Path, str]:
    found: dict[Path, str] = {}

    def note(path: Path, value: Any) -> Any:
        sealed = _sealed_text(value)
        if sealed is not None:
            found[path] = sealed
        return value

    rewrite(kind, document, note)
    return found


def _sealed_text(value: Any) -> str | None:
    sealed = value.get(_SEALED) if isinstance(value, dict) else None
    return sealed if isinstance(sealed, str) else None


def _key_id(sealed: str) -> str:
    return sealed.partition(".")[0]


def _bound(kind: Kind, uid: str, path: Path) -> bytes:
    """Return what a value is bound to; JSON keeps the parts apart, whatever they contain."""
    return orjson.dumps([_FORM, kind.domain, kind.name, uid, *path])


def _name(kind: Kind, document: Document) -> str:
    return f"{kind.singular}/{document['metadata']['name']}"
