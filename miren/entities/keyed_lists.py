"""Lists whose elements have a name, seen as maps by that name, so that managers can share them.

An attribute with `merge_key` holds components told apart by one of their attributes. For merging
such a list is a map from that attribute's text to the element; elsewhere it stays a list. A list
in which that attribute is missing or repeated cannot be told apart and stays one whole.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, get_args

from miren.base.pointers import escaped
from miren.entities.model import Model, Options, wire_names
from miren.entities.reading import Child, children

__all__ = ["keyed", "listed"]

_MAPPING = (dict, Mapping)  # whether something is a dict is quicker to tell
_KEYS = (str, int)


@dataclass(frozen=True, slots=True)
class _Member:
    """One attribute: what it holds, and its elements' key and that key's default, if any."""

    child: Child
    key: str | None = None
    default: object = None
    is_number: bool = False  # whether that key is a number
    element: _Member | None = None  # what a list or map holds
    holds_keyed: bool = False  # whether there is a keyed list at any depth


def keyed(model: type[Model], value: object) -> Any:
    """Return a document of `model`, in camelCase and expanded, with keyed lists as maps.

    Parts without keyed lists are the very same objects as before.
    """
    if not isinstance(value, _MAPPING) or not _has_keyed(model):
        return value
    result = dict(value)
    for name, member in _keyed_members(model):
        if name in result:
            result[name] = _keyed(member, result[name])
    return result


def listed(
    model: type[Model],
    value: object,
    held: Container[str] = frozenset(),
    pointer: str = "",
) -> Any:
    """Return what `keyed` was given, which stands at `pointer`.

    An element without its key was removed, and is left out, unless it is `held`: somebody else has
    a part of it. Then it gets its key again, which says which element it is.
    """
    if not isinstance(value, Mapping) or not _has_keyed(model):
        return value
    members = _members(model)
    return {
        name: _listed(members[name], item, held, f"{pointer}/{escaped(name)}")
        if name in members
        else item
        for name, item in value.items()
    }


def _keyed(member: _Member, item: object) -> Any:
    child, element = member.child, member.element
    if element is None:
        return keyed(child.model, item)
    if child.keyed and isinstance(item, _MAPPING):
        return {name: _keyed(element, value) for name, value in item.items()}
    if not isinstance(item, list | tuple) or member.key is None:
        return item
    names = [_name(member, value) for value in item]
    if None in names or len(set(names)) != len(names):
        return item
    return {
        name: _keyed(element, value) if element.holds_keyed else value
        for name, value in zip(names, item, strict=True)
    }


def _listed(member: _Member, item: object, held: Container[str], pointer: str) -> Any:
    child, element = member.child, member.element
    if not member.holds_keyed:
        return item
    if element is None:
        return listed(child.model, item, held, pointer)
    if not isinstance(item, Mapping) or (child.many and member.key is None):
        return item
    found = {}
    for name, value in item.items():
        here = f"{pointer}/{escaped(name)}"
        whole = value if child.keyed else _named(member, name, value, is_held=here in held)
        if child.keyed or _name(member, whole) == name:
            found[name] = _listed(element, whole, held, here)
    return found if child.keyed else list(found.values())


def _named(member: _Member, name: str, value: object, *, is_held: bool) -> object:
    """Return an element with the key that it is known by, if it is held without one."""
    if not is_held or not isinstance(value, Mapping) or _name(member, value) == name:
        return value
    return {str(member.key): int(name) if member.is_number else name, **value}


def _name(member: _Member, element: object) -> str | None:
    if not isinstance(element, _MAPPING) or member.key is None:
        return None
    value = element.get(member.key, member.default)
    return str(value) if isinstance(value, _KEYS) else None


@cache
def _has_keyed(model: type[Model]) -> bool:
    """Return whether there is a keyed list in a model, at any depth."""
    seen: set[type[Model]] = set()
    rest = [model]
    while rest:
        here = rest.pop()
        if here in seen:
            continue
        seen.add(here)
        if _merge_keys(here):
            return True
        rest += (child.model for child in children(here).values())
    return False


@cache
def _merge_keys(model: type[Model]) -> Mapping[str, tuple[str, object, bool]]:
    """Return the keyed lists of a model: the key, its default, and whether it is a number."""
    inside, found = children(model), {}
    for name, wire in wire_names(model).items():
        given = (each for each in model.model_fields[name].metadata if isinstance(each, Options))
        key = next((each.merge_key for each in given if each.merge_key is not None), None)
        if key is not None and inside[wire].many:
            element = inside[wire].model
            info = element.model_fields[key]
            is_number = int in (info.annotation, *get_args(info.annotation))
            found[wire] = (wire_names(element)[key], info.get_default(), is_number)
    return found


@cache
def _members(model: type[Model]) -> Mapping[str, _Member]:
    keys = _merge_keys(model)
    return {
        wire: _member(child, *keys.get(wire, (None, None, False)))
        for wire, child in children(model).items()
    }


@cache
def _keyed_members(model: type[Model]) -> tuple[tuple[str, _Member], ...]:
    """Return the attributes with a keyed list at any depth."""
    return tuple((wire, each) for wire, each in _members(model).items() if each.holds_keyed)


def _member(
    child: Child,
    key: str | None = None,
    default: object = None,
    is_number: bool = False,
) -> _Member:
    element = None if child.element is None else _member(child.element)
    holds = key is not None or _has_keyed(child.model)
    return _Member(child, key, default, is_number, element, holds)
