"""Where a kind keeps secrets, and documents changed at exactly these places.

The places follow from the annotations of the kind's models: `SecretText`, alone, optional, in
maps, lists and components. Documents are plain data in camelCase; a change builds anew what is
on the way to a secret and shares all the rest.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, Union, get_args, get_origin

from miren.base.errors import InvalidInput, Problem
from miren.entities.kind import Kind
from miren.entities.model import Model, Options, wire_names
from miren.entities.secrets import MASK, SecretText

__all__ = ["has_secrets", "holds_secrets_at", "keep_masked", "mask_document", "rewrite"]

Path = tuple[str | int, ...]
Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Secret:
    """A secret is right here."""


@dataclass(frozen=True, slots=True)
class _Fields:
    """A component in which there are secrets, here or further down."""

    model: type[Model]


@dataclass(frozen=True, slots=True)
class _Each:
    """A list or a map whose every value has secrets in it; `merge_key` tells elements apart."""

    inside: _Place
    merge_key: str | None = None  # on the wire
    default: object = None  # the key of an element that does not say it


_Place = _Secret | _Fields | _Each


def has_secrets(kind: Kind) -> bool:
    """Return whether entities of this kind can hold secrets."""
    return bool(_parts(kind))


def holds_secrets_at(kind: Kind, steps: Iterable[str]) -> bool:
    """Return whether there is a secret at a path, or below it; a step into a list is any text."""
    place: _Place | None = None
    for number, step in enumerate(steps):
        match place:
            case _Fields(model):
                place = _inside(model).get(step)
            case _Each(inside):
                place = inside
            case _:
                place = None if number else _parts(kind).get(step)
    return place is not None


def rewrite(kind: Kind, document: Document, change: Callable[[Path, Any], Any]) -> Document:
    """Return the document with `change(path, value)` in the place of every secret's value."""
    parts = _parts(kind)
    return {
        name: _rewritten(parts.get(name), part, (name,), change) for name, part in document.items()
    }


def mask_document(kind: Kind, document: Document) -> Document:
    """Return the document, sealed or in the clear, with the mask in place of every secret."""
    return rewrite(kind, document, lambda _path, _value: MASK)


def keep_masked(kind: Kind, new: Document, old: Document | None) -> Document:
    """Return `new` with what `old`, in the clear, holds in the place of every mask.

    Elements of a list are found again by their merge key, or by position while the list keeps
    its length. `new` may be a part of a document. Raises InvalidInput with the path of each
    mask for which nothing is stored.
    """
    problems: list[Problem] = []
    parts = _parts(kind)
    kept = {
        name: _kept(parts.get(name), part, _member(old, name), (name,), problems)
        for name, part in new.items()
    }
    if problems:
        raise InvalidInput(problems)
    return kept


# -- the places of a kind --------------------------------------------------------------------


@cache
def _parts(kind: Kind) -> Mapping[str, _Place]:
    parts = {"spec": kind.spec, "status": kind.status}
    return {name: _Fields(model) for name, model in parts.items() if _holds_secrets(model)}


@cache
def _inside(model: type[Model]) -> Mapping[str, _Place]:
    """Return the attributes that are or have secrets in them, by their names on the wire."""
    found = {}
    for name, wire in wire_names(model).items():
        info = model.model_fields[name]
        keys = [each.merge_key for each in info.metadata if isinstance(each, Options)]
        place = _place(info.annotation, next((key for key in keys if key), None))
        if place is not None:
            found[wire] = place
    return found


@cache
def _holds_secrets(model: type[Model]) -> bool:
    """Return whether there is a secret anywhere below a model, which may hold itself."""
    seen: set[type[Model]] = set()
    rest = [model]
    while rest:
        here = rest.pop()
        if here in seen:
            continue
        seen.add(here)
        wire_names(here)  # completes a model that named a class before it was there
        for info in here.model_fields.values():
            for each in _classes(info.annotation):
                if each is SecretText:
                    return True
                if issubclass(each, Model):
                    rest.append(each)
    return False


def _classes(annotation: Any) -> Iterator[type]:
    """Yield every class that an annotation names."""
    if get_origin(annotation) is not None:
        for each in get_args(annotation):
            yield from _classes(each)
    elif isinstance(annotation, type):
        yield annotation


def _place(annotation: Any, merge_key: str | None = None) -> _Place | None:
    origin, args = get_origin(annotation), get_args(annotation)
    if annotation is SecretText:
        return _Secret()
    if isinstance(annotation, type) and issubclass(annotation, Model):
        return _Fields(annotation) if _holds_secrets(annotation) else None
    if origin is Annotated:
        return _place(args[0], merge_key)
    if not any(
        each is SecretText or (issubclass(each, Model) and _holds_secrets(each))
        for each in _classes(annotation)
    ):
        return None
    if origin in (Union, types.UnionType):
        inner = [each for each in args if each is not type(None)]
        if len(inner) == 1:
            return _place(inner[0], merge_key)
    elif origin is tuple:
        return _list(args[0], merge_key)
    elif isinstance(origin, type) and issubclass(origin, Mapping):
        inside = _place(args[1])
        return None if inside is None else _Each(inside)
    raise TypeError(f"secrets cannot be kept in {annotation}: use a tuple, a Map or a component")


def _list(element: Any, merge_key: str | None) -> _Place | None:
    inside = _place(element)
    if inside is None or merge_key is None:
        return None if inside is None else _Each(inside)
    key = element.model_fields[merge_key]
    return _Each(inside, wire_names(element)[merge_key], key.get_default())


# -- documents -------------------------------------------------------------------------------


def _rewritten(
    place: _Place | None, value: Any, path: Path, change: Callable[[Path, Any], Any]
) -> Any:
    if place is None or value is None:
        return value
    match place, value:
        case _Secret(), _:
            return change(path, value)
        case _Fields(model), Mapping():
            inside = _inside(model)
            return {
                key: _rewritten(inside.get(key), item, (*path, key), change)
                for key, item in value.items()
            }
        case _Each(each), Mapping():
            return {
                key: _rewritten(each, item, (*path, key), change) for key, item in value.items()
            }
        case _Each(each), list() | tuple():
            return [
                _rewritten(each, item, (*path, index), change) for index, item in enumerate(value)
            ]
    return value


def _kept(place: _Place | None, new: Any, old: Any, path: Path, problems: list[Problem]) -> Any:
    if place is None:
        return new
    match place, new:
        case _Secret(), str() if new == MASK:
            return _stored(old, path, problems)
        case _Fields(model), Mapping():
            inside = _inside(model)
            return {
                key: _kept(inside.get(key), item, _member(old, key), (*path, key), problems)
                for key, item in new.items()
            }
        case _Each(each), Mapping():
            return {
                key: _kept(each, item, _member(old, key), (*path, key), problems)
                for key, item in new.items()
            }
        case _Each(each), list() | tuple():
            partners = _partners(place, new, old)
            return [
                _kept(each, item, partners[index], (*path, index), problems)
                for index, item in enumerate(new)
            ]
    return new


def _stored(old: Any, path: Path, problems: list[Problem]) -> Any:
    if isinstance(old, str):
        return old  # the mask itself, where what is stored cannot be opened
    if isinstance(old, _Shifted):
        message = f"is {MASK}, and in a list of another length it cannot be told which one"
    else:
        message = f"is {MASK}, which keeps what is stored, and nothing is stored here"
    problems.append(Problem(message, path, hint="write the secret itself"))
    return MASK


class _Shifted:
    """Stands for what an element of a list was: unknown, because the list has another length."""


def _member(old: Any, key: str) -> Any:
    if isinstance(old, _Shifted):
        return old
    return old.get(key) if isinstance(old, Mapping) else None


def _partners(place: _Each, new: list[Any] | tuple[Any, ...], old: Any) -> list[Any]:
    """Return for each new element the stored one that it continues, None where it is new."""
    if isinstance(old, _Shifted):
        return [old] * len(new)
    before = list(old) if isinstance(old, list | tuple) else []
    if place.merge_key is not None:
        known = {_name(item, place): item for item in before}
        return [known.get(_name(item, place)) for item in new]
    if len(before) == len(new):
        return before
    return [_Shifted() if before else None] * len(new)


def _name(item: Any, place: _Each) -> str | None:
    if place.merge_key is None or not isinstance(item, Mapping):
        return None
    return str(item.get(place.merge_key, place.default))
