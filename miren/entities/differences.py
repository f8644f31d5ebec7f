"""What differs between two versions of an entity, attribute by attribute.

Most updates change one attribute of many. So the others are recognised, mostly by being the very
same objects, and only what differs is validated, written down and compared with what managers own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
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

_PLAIN = frozenset({str, int, bool})


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
    wires = wire_names(kind)
    if new.__dict__.keys() != old.__dict__.keys():
        return Difference(old, {}, {}, {}, tuple(_misnamed(old, new, part)))
    others = [name for name, value in new.__dict__.items() if value is not old.__dict__[name]]
    try:
        given = _dumped(new, others)
        written = _differing(old, new, known, {name: given.get(wires[name]) for name in others})
        read = _read(old, new, written, known)
    except (ValidationError, _Refused) as error:
        found = error.errors() if isinstance(error, ValidationError) else error.found
        return Difference(old, {}, {}, {}, problems_of(kind, found, (part,)))
    except (TypeError, ValueError) as error:
        return Difference(old, {}, {}, {}, (unwritable(error, part),))
    if not read:
        return Difference(old, {}, {}, known)
    # What says the same stays: it is of the right types, and nobody changes it.
    model = old.model_copy(update=read)
    changed = [wires[name] for name in read]
    if all(_is_same(value, new.__dict__[name]) for name, value in read.items()):
        after = {wire: given[wire] for wire in changed if wire in given}
    else:
        after = _dumped(model, read)  # an int where a float belongs is written as one
    before = {wire: known[wire] for wire in changed if wire in known}
    whole = {**known, **after}
    for wire in before.keys() - after.keys():
        del whole[wire]
    return Difference(model, before, after, whole)


def _misnamed(old: Model, new: Model, part: str) -> Iterator[Problem]:
    """Yield a problem for each attribute that only one of two models of one type has."""
    for name in new.__dict__.keys() - old.__dict__.keys():
        yield Problem(f"unknown attribute {name!r}", (part, name))
    for name in old.__dict__.keys() - new.__dict__.keys():
        yield Problem(f"attribute {name!r} is missing", (part, name))


def misfit(model: object, kind: type[Model], part: str) -> Problem:
    """Return the problem with a part that is of another type than its kind says."""
    return Problem(f"must be a {kind.__name__}, not a {type(model).__name__}", (part,))


def unwritable(error: Exception, part: str) -> Problem:
    """Return the problem with what cannot even be written down."""
    is_deep = "recursion" in str(error).lower() or "circular" in str(error).lower()
    told = f"nested more than {MAX_DEPTH} levels deep" if is_deep else str(error)
    return Problem(told, (part,))


def _differing(old: Model, new: Model, known: Mapping[str, Any], given: Plain) -> dict[str, bytes]:
    """Return which attributes of `new`, of those `given` as plain data, differ, with their JSON.

    They are compared as JSON: Python takes `True` for 1 and a text for an enum.
    """
    wires = wire_names(type(old))
    found = {}
    for name, plain in given.items():
        json = _bytes(plain)
        if json != _bytes(known.get(wires[name])):
            found[name] = json
    before, after = old.__dict__, new.__dict__
    if all(_are_plain(before[name], after[name]) for name in found):
        return {name: json for name, json in found.items() if before[name] != after[name]}
    # `known` may be older than the model, and lack a default that came since.
    was = _dumped(old, found)
    return {name: json for name, json in found.items() if json != _bytes(was.get(wires[name]))}


def _is_same(one: object, other: object) -> bool:
    """Return whether both are surely written alike."""
    return one is other or (_are_plain(one, other) and one == other)


def _are_plain(one: object, other: object) -> bool:
    """Return whether both are of one type of which only what is equal is written alike."""
    return type(one) is type(other) and type(one) in _PLAIN


def _dumped(model: Model, names: Iterable[str]) -> Plain:
    return model.model_dump(
        mode="json", exclude_none=True, include=set(names), context=REVEALING, warnings=False
    )


def _bytes(plain: object) -> bytes:
    return orjson.dumps(plain, option=orjson.OPT_SORT_KEYS)


class _Refused(Exception):
    def __init__(self, found: list[ErrorDetails]) -> None:
        super().__init__(found)
        self.found = found


def _read(
    old: Model, new: Model, written: Mapping[str, bytes], known: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the attributes that differ as reading their JSON gives them.

    Only these are read, unless somebody wrote validators, which may look at all and change it.
    """
    kind = type(new)
    if written and _has_validators(kind):
        wires = wire_names(kind)
        news = {wires[name]: orjson.Fragment(json) for name, json in written.items()}
        new = kind.model_validate_json(orjson.dumps({**known, **news}), strict=True)
        plain = _dumped(new, new.__dict__)
        given = {name: plain.get(wire) for name, wire in wires.items()}
        return {name: new.__dict__[name] for name in _differing(old, new, known, given)}
    read: dict[str, Any] = {}
    wrong: list[ErrorDetails] = []
    for name, json in written.items():
        try:
            read[name] = _reader(kind, name).validate_json(json, strict=True)
        except ValidationError as error:
            wire = wire_names(kind)[name]
            wrong += ({**each, "loc": (wire, *each["loc"])} for each in error.errors())
    if wrong:
        raise _Refused(wrong)
    return read


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
