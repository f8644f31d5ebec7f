"""What differs between two versions of an entity, attribute by attribute.

Most updates change one attribute of many. So the others are recognised, mostly by being the very
same objects, and only what differs is validated, written down and compared with what managers own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any

import orjson
from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from miren.base.errors import Problem
from miren.base.nesting import MAX_DEPTH
from miren.entities.model import Model, wire_names
from miren.entities.reading import problems_of
from miren.entities.secrets import REVEALING

__all__ = ["Difference", "difference", "misfit", "unwritable"]

Plain = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Difference:
    """How a part (spec or status) differs from what it was.

    `model` is the part as reading it gives it. `before` and `after` are the plain data of the
    attributes that differ; `whole` is all of it.
    """

    model: Model
    before: Plain
    after: Plain
    whole: Mapping[str, Any]
    problems: tuple[Problem, ...] = ()

    @property
    def is_none(self) -> bool:
        """Whether nothing differs."""
        return not self.before and not self.after


def difference(old: Model, new: Model, known: Mapping[str, Any], *, part: str) -> Difference:
    """Return how `new` differs from `old`, whose plain data is `known`.

    Nobody checks what `model_copy` makes, so what differs is checked here: `problems` says what
    could not be read again, with paths below `part`.
    """
    if old is new:
        return Difference(new, {}, {}, known)
    kind = type(old)
    if type(new) is not kind:
        return Difference(old, {}, {}, {}, (misfit(new, kind, part),))
    try:
        names, alike = _differing(old, new)
    except (TypeError, ValueError) as error:
        return Difference(old, {}, {}, {}, (unwritable(error, part),))
    if not names:
        return Difference(old, {}, {}, known)
    if alike:
        # What reads the same is the old one: it is of the right types, and nobody changes it.
        new = new.model_copy(update={name: getattr(old, name) for name in alike})
    wires = {wire_names(kind)[name]: name for name in names}
    before = {wire: known[wire] for wire in wires if wire in known}
    try:
        after = _dumped(new, names)
        written = {wire: orjson.dumps(after.get(wire)) for wire in wires}
    except (TypeError, ValueError) as error:
        return Difference(new, {}, {}, {}, (unwritable(error, part),))
    whole = {**{wire: value for wire, value in known.items() if wire not in wires}, **after}
    try:
        model = _read(new, wires, written, whole)
    except ValidationError as error:
        return Difference(new, {}, {}, {}, problems_of(kind, error.errors(), (part,)))
    except _Refused as error:
        return Difference(new, {}, {}, {}, problems_of(kind, error.found, (part,)))
    if model is not new:
        after = _dumped(model, names)  # an int where a float belongs is written as one
        whole |= after
    return Difference(model, before, after, whole)


def misfit(model: object, kind: type[Model], part: str) -> Problem:
    """Return the problem with a part that is of another type than its kind says."""
    return Problem(f"must be a {kind.__name__}, not a {type(model).__name__}", (part,))


def unwritable(error: Exception, part: str) -> Problem:
    """Return the problem with what cannot even be written down."""
    is_deep = "recursion" in str(error).lower() or "circular" in str(error).lower()
    told = f"nested more than {MAX_DEPTH} levels deep" if is_deep else str(error)
    return Problem(told, (part,))


def _differing(old: Model, new: Model) -> tuple[set[str], set[str]]:
    """Return the attributes that differ, and those that are others but say the same.

    Python takes `True` for 1 and a text for an enum: what it takes for equal is compared as JSON.
    """
    before, after = old.__dict__, new.__dict__
    others = {name for name, value in after.items() if value is not before[name]}
    alike = {name for name in others if after[name] == before[name]}
    if alike:
        was, now = _dumped(old, alike), _dumped(new, alike)
        if _bytes(was) != _bytes(now):
            alike -= {
                name
                for wire, name in ((wire_names(type(old))[name], name) for name in alike)
                if _bytes(was.get(wire)) != _bytes(now.get(wire))
            }
    return others - alike, alike


def _dumped(model: Model, names: set[str]) -> Plain:
    return model.model_dump(
        mode="json", exclude_none=True, include=names, context=REVEALING, warnings=False
    )


def _bytes(plain: object) -> bytes:
    return orjson.dumps(plain, option=orjson.OPT_SORT_KEYS)


class _Refused(Exception):
    def __init__(self, found: list[ErrorDetails]) -> None:
        super().__init__(found)
        self.found = found


def _read(
    new: Model, wires: Mapping[str, str], written: Mapping[str, bytes], whole: Plain
) -> Model:
    """Return the model as reading its plain data gives it.

    Only what differs is read, unless somebody wrote validators.
    """
    kind = type(new)
    if _has_validators(kind):
        return kind.model_validate_json(orjson.dumps(whole), strict=True)
    read: dict[str, Any] = {}
    wrong: list[ErrorDetails] = []
    for wire, name in wires.items():
        try:
            read[name] = _reader(kind, name).validate_json(written[wire], strict=True)
        except ValidationError as error:
            wrong += ({**each, "loc": (wire, *each["loc"])} for each in error.errors())
    if wrong:
        raise _Refused(wrong)
    return new.model_copy(update=read)


@cache
def _has_validators(kind: type[Model]) -> bool:
    """Return whether somebody wrote validators, which may look at several attributes."""
    known = kind.__pydantic_decorators__
    return bool(known.field_validators or known.model_validators or known.validators)


@cache
def _reader(kind: type[Model], name: str) -> Any:
    """Return what reads one attribute alone."""
    info = kind.model_fields[name]
    annotation: Any = info.annotation
    for constraint in info.metadata:
        annotation = Annotated[annotation, constraint]
    return TypeAdapter(annotation).validator
