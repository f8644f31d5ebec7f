"""An entity on its way into the store: its plain data, and whether that could be read again.

What comes from documents is valid; what `model_copy` made of it, or `dataclasses.replace`, nobody
has looked at. So each part that is not the stored one is read once more from its own plain data,
which is what is stored then. Parts that are the stored ones are neither made nor read again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, TypeVar, cast

import orjson
from pydantic import ValidationError

from miren.base.errors import InvalidInput, Problem
from miren.base.nesting import MAX_DEPTH
from miren.entities.entity import Entity
from miren.entities.model import Model
from miren.entities.reading import problems_of
from miren.entities.secrets import REVEALING

__all__ = ["validated"]

E = TypeVar("E", bound=Entity[Any, Any])


def validated(new: E, old: E | None, known: Mapping[str, Any] | None) -> tuple[E, dict[str, Any]]:
    """Return `new` as reading it gives it, and its document with secrets in the clear.

    `known` is the document of `old`, where that may be shared with the new one. Raises InvalidInput
    with every problem.
    """
    problems: list[Problem] = []
    changes: dict[str, Model] = {}
    document: dict[str, Any] = {
        "apiVersion": new.kind.api_version,
        "kind": new.kind.name,
        "metadata": new.metadata.model_dump(
            mode="json", exclude_none=True, exclude_defaults=True, exclude={"resource_version"}
        ),
    }
    if old is not None and known is not None and new.spec is old.spec:
        document["spec"] = known["spec"]
    else:
        document["spec"] = _read(new.spec, "spec", changes, problems)
    if old is not None and known is not None and new.has_status_of(old):
        status = known.get("status")
    else:
        plain = _read(new.status, "status", changes, problems)
        status = {**plain, **new.reserved_document()}
    if problems:
        raise InvalidInput(problems, entity=str(new))
    if status:
        document["status"] = status
    return replace(new, **cast("Any", changes)) if changes else new, document


def _read(
    model: Model, part: str, changes: dict[str, Model], problems: list[Problem]
) -> dict[str, Any]:
    """Return the plain data of a part, after reading it as a check."""
    kind = type(model)
    plain: dict[str, Any] = {}
    try:
        plain = model.model_dump(mode="json", exclude_none=True, context=REVEALING, warnings=False)
        found = kind.model_validate_json(orjson.dumps(plain), strict=True)
        if found.__dict__ != model.__dict__:
            changes[part] = found
    except ValidationError as error:
        problems += problems_of(kind, error.errors(), (part,))
    except (TypeError, ValueError) as error:
        problems += _unreadable(error, part)
    return plain


def _unreadable(error: Exception, part: str) -> Iterator[Problem]:
    """Yield the problem with what cannot even be written down."""
    is_deep = "recursion" in str(error).lower() or "circular" in str(error).lower()
    told = f"nested more than {MAX_DEPTH} levels deep" if is_deep else str(error)
    yield Problem(told, (part,))
