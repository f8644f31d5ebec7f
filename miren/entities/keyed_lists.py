"""Lists whose elements have a name, seen as maps by that name, so that managers can share them.

An attribute with `merge_key` holds components told apart by one of their attributes. For merging
such a list is a map from that attribute's text to the element; elsewhere it stays a list. A list
in which that attribute is missing or repeated cannot be told apart and stays one whole.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from pydantic.alias_generators import to_camel

from miren.entities.model import Model, Options
from miren.entities.reading import Child, children

__all__ = ["keyed", "listed"]


@dataclass(frozen=True, slots=True)
class _Member:
    """One attribute: what it holds, and its elements' key and that key's default, if any."""

    child: Child
    key: str | None = None
    default: object = None


def keyed(model: type[Model], value: object) -> Any:
    """Return a document of `model`, in camelCase and expanded, with keyed lists as maps."""
    if not isinstance(value, Mapping):
        return value
    members = _members(model)
    return {
        name: _keyed(members[name], item) if name in members else item
        for name, item in value.items()
    }


def listed(model: type[Model], value: object) -> Any:
    """Return what `keyed` was given. An element without its key is left out: it was removed."""
    if not isinstance(value, Mapping):
        return value
    members = _members(model)
    return {
        name: _listed(members[name], item) if name in members else item
        for name, item in value.items()
    }


def _keyed(member: _Member, item: object) -> Any:
    inside = member.child.model
    if isinstance(item, list | tuple):
        names = [_name(member, element) for element in item] if member.key else [None]
        if None in names or len(set(names)) != len(names):
            return item
        return {name: keyed(inside, element) for name, element in zip(names, item, strict=True)}
    if member.child.keyed and isinstance(item, Mapping):
        return {name: keyed(inside, element) for name, element in item.items()}
    return item if member.child.many else keyed(inside, item)


def _listed(member: _Member, item: object) -> Any:
    inside = member.child.model
    if member.child.many:
        if member.key is None or not isinstance(item, Mapping):
            return item
        found = [element for element in item.values() if _name(member, element) is not None]
        return [listed(inside, element) for element in found]
    if member.child.keyed and isinstance(item, Mapping):
        return {name: listed(inside, element) for name, element in item.items()}
    return listed(inside, item)


def _name(member: _Member, element: object) -> str | None:
    if not isinstance(element, Mapping) or member.key is None:
        return None
    value = element.get(member.key, member.default)
    return str(value) if isinstance(value, str | int) else None


@cache
def _members(model: type[Model]) -> Mapping[str, _Member]:
    inside = children(model)
    found = {}
    for name, info in model.model_fields.items():
        child = inside[to_camel(name)]
        keys = [each.merge_key for each in info.metadata if isinstance(each, Options)]
        key = next((key for key in keys if key is not None), None)
        if key is None or not child.many:
            found[to_camel(name)] = _Member(child)
        else:
            default = child.model.model_fields[key].get_default()
            found[to_camel(name)] = _Member(child, to_camel(key), default)
    return found
