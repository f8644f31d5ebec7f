"""Entities with secrets on their way to and from the store.

Everybody holds masked entities. For a write the stored one is opened, the masks of the new one
are filled from it, and what comes of that is sealed; so changes are found in the clear, and
nothing but the writing transaction ever sees both.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import orjson
from pydantic import ValidationError
from pydantic_core import PydanticSerializationError

from miren.base.errors import InvalidInput, Refused
from miren.entities.entity import Entity
from miren.entities.keyring import Keyring
from miren.entities.sealing import open_document, open_what_opens, seal_document
from miren.entities.secret_places import has_secrets, keep_masked

__all__ = ["kept", "masked", "opened", "revealed", "sealed"]

E = TypeVar("E", bound=Entity[Any, Any])


def masked(entity: E) -> E:
    """Return the entity with every secret masked."""
    return _rebuilt(entity, entity.to_document()) if has_secrets(entity.kind) else entity


def opened(entity: E, value: bytes, keyring: Keyring | None) -> E:
    """Return the entity, of which `value` is stored, with its secrets in the clear.

    What cannot be opened, without a keyring nothing can, is masked: see `open_what_opens`.
    """
    if not has_secrets(entity.kind):
        return entity
    return _rebuilt(entity, open_what_opens(entity.kind, orjson.loads(value), keyring))


def revealed(entity: E, value: bytes, keyring: Keyring | None) -> E:
    """Return the entity, of which `value` is stored, with every secret in the clear.

    Raises BrokenSeal where one cannot be opened, Refused without a keyring.
    """
    if not has_secrets(entity.kind):
        return entity
    if keyring is None:
        raise Refused(
            f"there is no key to the secrets of {entity}",
            hint="give the client a keyring",
            entity=str(entity),
        )
    return _rebuilt(entity, open_document(entity.kind, orjson.loads(value), keyring))


def kept(new: E, before: E | None) -> E:
    """Return `new` with the secrets of `before`, in the clear, where it has the mask.

    Raises InvalidInput with the path of each mask that stands for nothing, and of what cannot be
    the value of its attribute: nobody checked what `model_copy` made.
    """
    if not has_secrets(new.kind):
        return new
    stored = None if before is None else before.to_document(reveal=True)
    try:
        document = keep_masked(new.kind, new.to_document(reveal=True), stored)
        return _rebuilt(new, document)
    except InvalidInput as error:
        raise InvalidInput(error.problems, entity=str(new)) from None
    except PydanticSerializationError as error:
        raise InvalidInput(str(error), entity=str(new)) from None


def sealed(
    entity: Entity[Any, Any], keyring: Keyring | None, old: bytes | None = None
) -> dict[str, Any]:
    """Return the entity's document with every secret sealed; `old` is what it replaces.

    Raises Refused where there is a new secret and no keyring.
    """
    if not has_secrets(entity.kind):
        return entity.to_document()
    document = entity.to_document(reveal=True)
    stored = None if old is None else orjson.loads(old)
    return seal_document(entity.kind, document, uid=entity.uid, keyring=keyring, old=stored)


def _rebuilt(entity: E, document: Mapping[str, Any]) -> E:
    version = entity.metadata.resource_version
    try:
        found = type(entity).from_stored(document, revision=0)
    except ValidationError:
        found = type(entity).from_document(document)  # it says what is wrong, and where
    return found.with_metadata(resource_version=version)
