"""An entity on its way into the store: its plain data, and whether that could be read again.

What comes from documents is valid; what `model_copy` made of it, or `dataclasses.replace`, nobody
has looked at. So each part that is not the stored one is read once more from its own plain data,
which is what is stored then. What is as it was is neither made nor read again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Generic, TypeVar

import orjson
from pydantic import ValidationError

from miren.base.errors import InvalidInput
from miren.entities.differences import Difference, difference, misfit, unwritable
from miren.entities.entity import RESERVED, Entity
from miren.entities.model import Model
from miren.entities.reading import problems_of
from miren.entities.secrets import REVEALING

__all__ = ["Draft", "blank_status", "drafted"]

E = TypeVar("E", bound=Entity[Any, Any])


@dataclass(frozen=True, slots=True)
class Draft(Generic[E]):
    """An entity as reading it gives it, and its document with secrets in the clear.

    `news` is as much of the document as differs from what is stored.
    """

    entity: E
    document: dict[str, Any]
    news: Mapping[str, Any]
    has_new_spec: bool


def drafted(
    new: E,
    old: E | None,
    known: Mapping[str, Any],
    *,
    of_spec: Difference | None = None,
    is_valid: bool = False,
) -> Draft[E]:
    """Return the draft of `new`, which takes the place of `old` with the document `known`.

    `of_spec` is the difference between the two specs, where that is known already; with `is_valid`
    the spec is written down and not read again. Raises InvalidInput with every problem.
    """
    kind = new.kind
    if is_valid:
        of_spec = Difference(new.spec, {}, {}, _written(new.spec))
    spec = of_spec or _part(new.spec, old.spec if old else None, known, "spec", kind.spec)
    same_status = old is not None and new.has_status_of(old)
    if same_status:
        status = Difference(new.status, {}, {}, {})
    elif old is None and _is_constant(kind.status) and new.status is _blank(kind.status).model:
        status = _blank(kind.status)
    else:
        status = _part(new.status, old.status if old else None, known, "status", kind.status)
    if spec.problems or status.problems:
        raise InvalidInput((*spec.problems, *status.problems), entity=str(new))
    document: dict[str, Any] = {
        "apiVersion": kind.api_version,
        "kind": kind.name,
        "metadata": _metadata(new, old, known),
        "spec": spec.whole,
    }
    plain = known.get("status") if same_status else {**status.whole, **new.reserved_document()}
    if plain:
        document["status"] = plain
    if spec.model is not new.spec or status.model is not new.status:
        new = replace(new, spec=spec.model, status=status.model)
    if old is None:
        return Draft(new, document, document, has_new_spec=True)
    news = {"spec": spec.after, "status": status.after}
    return Draft(new, document, news, has_new_spec=not spec.is_none)


def blank_status(kind: type[Model]) -> Model:
    """Return the status of which nothing is said yet, mostly the very same one."""
    return _blank(kind).model if _is_constant(kind) else kind()


@cache
def _is_constant(kind: type[Model]) -> bool:
    """Return whether a status of which nothing is said is always the same."""
    return not any(info.default_factory for info in kind.model_fields.values())


@cache
def _blank(kind: type[Model]) -> Difference:
    return _part(kind(), None, {}, "status", kind)


def _part(
    new: Model, old: Model | None, known: Mapping[str, Any], part: str, kind: type[Model]
) -> Difference:
    if old is not None:
        plain = known.get(part, {})
        if part == "status":
            plain = {wire: value for wire, value in plain.items() if wire not in RESERVED}
        return difference(old, new, plain, part=part)
    if type(new) is not kind:
        return Difference(new, {}, {}, {}, (misfit(new, kind, part),))
    try:
        whole = _written(new)
        written = orjson.dumps(whole)
    except (TypeError, ValueError) as error:
        return Difference(new, {}, {}, {}, (unwritable(error, part),))
    try:
        found = kind.model_validate_json(written, strict=True)
    except ValidationError as error:
        return Difference(new, {}, {}, {}, problems_of(kind, error.errors(), (part,)))
    return Difference(found, {}, {}, _written(found))


def _written(model: Model) -> dict[str, Any]:
    return model.model_dump(mode="json", exclude_none=True, context=REVEALING, warnings=False)


def _metadata(
    new: Entity[Any, Any], old: Entity[Any, Any] | None, known: Mapping[str, Any]
) -> dict[str, Any]:
    if old is not None and new.metadata is old.metadata:
        plain = dict(known["metadata"])
        plain.pop("resourceVersion", None)
        return plain
    return new.metadata.model_dump(
        mode="json", exclude_none=True, exclude_defaults=True, exclude={"resource_version"}
    )
