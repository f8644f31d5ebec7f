"""Defaults as values of their attribute's type, lists, maps and components included.

They can only be read once every component is known, so attributes first hold what the file says.
"""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from miren.base.suggestions import closest
from miren.schemagen.model import Attribute, ClassName, Component, Path
from miren.schemagen.rules import TEXTS, pattern_of
from miren.schemagen.values import converted, labels

__all__ = ["Unsettled", "settled"]

Report = Callable[..., None]


@dataclass(frozen=True, slots=True)
class Unsettled:
    """A default as it is written, where, and whom to tell what is wrong with it."""

    value: object
    path: Path
    report: Report


def settled(
    attributes: Iterable[Attribute], components: Mapping[ClassName, Component]
) -> tuple[Attribute, ...]:
    """Return the attributes with their defaults converted; problems are reported."""
    return tuple(_settled(attribute, components) for attribute in attributes)


def _settled(attribute: Attribute, components: Mapping[ClassName, Component]) -> Attribute:
    default = attribute.default
    if not isinstance(default, Unsettled):
        return attribute
    value = _Reader(components, default.report).read(attribute, default.value, default.path)
    return replace(attribute, default=value)


class _Reader:
    """Reads one default. What is wrong is reported, and what is returned then is of no use."""

    def __init__(self, components: Mapping[ClassName, Component], report: Report) -> None:
        self._components = components
        self._report = report

    def read(self, attribute: Attribute, value: object, path: Path) -> object:
        if attribute.of is not None:
            return self._map(attribute, attribute.of, value, path)
        if attribute.is_labels:
            return self._labels(attribute, value, path)
        if not attribute.many:
            return self._single(attribute, value, path)
        if not isinstance(value, list):
            return self._report(path, "the default of a list is a list")
        self._check_length(attribute, len(value), path)
        single = replace(attribute, many=False, min_length=None, max_length=None)
        return tuple(self._single(single, item, (*path, n)) for n, item in enumerate(value))

    def _map(self, attribute: Attribute, of: Attribute, value: object, path: Path) -> object:
        if not isinstance(value, dict):
            return self._report(path, "the default of a map is a mapping")
        self._check_length(attribute, len(value), path)
        return {key: self.read(of, item, (*path, key)) for key, item in value.items()}

    def _labels(self, attribute: Attribute, value: object, path: Path) -> object:
        try:
            found = labels(value)
        except ValueError as error:
            return self._report(path, str(error))
        self._check_length(attribute, len(found), path)
        return found

    def _single(self, attribute: Attribute, value: object, path: Path) -> object:
        if attribute.type == "component":
            return self._component(attribute, value, path)
        if attribute.type == "json":
            return value
        if attribute.type == "secret":
            return self._report(path, "a secret stands in no schema")
        try:
            found: Any = converted(attribute, value)
        except ValueError as error:
            known = attribute.choices if attribute.type == "enum" else ()
            return self._report(path, str(error), hint=closest(str(value), known))
        self._check_bounds(attribute, found, path)
        return found

    def _component(self, attribute: Attribute, value: object, path: Path) -> object:
        component = self._components.get(attribute.component) if attribute.component else None
        if component is None:
            return None  # it has problems of its own, which are said
        if not isinstance(value, dict):
            if component.shorthand is None or isinstance(value, list):
                return self._report(path, "the default of a component is a mapping")
            meant = next((a for a in component.attributes if a.name == component.shorthand), None)
            if meant is None:
                return None  # its shorthand is no attribute of it, which is said
            return {meant.name: self.read(meant, value, path)}
        found = {}
        for key, item in value.items():
            known = next((a for a in component.attributes if key in a.spellings()), None)
            if known is None:
                hint = closest(key, [a.wire for a in component.attributes])
                self._report((*path, key), f"no attribute {key!r}", hint=hint, key=True)
            elif item is not None:
                found[known.name] = self.read(known, item, (*path, key))
        missing = [a.wire for a in component.attributes if a.required and a.name not in found]
        if missing:
            self._report(path, f"the default has no {', '.join(missing)}, which is required")
        return found

    def _check_bounds(self, attribute: Attribute, value: Any, path: Path) -> None:
        if attribute.min is not None and value < attribute.min:
            self._report(path, f"the default is below min {attribute.min}")
        if attribute.max is not None and value > attribute.max:
            self._report(path, f"the default is above max {attribute.max}")
        pattern = pattern_of(attribute)
        if pattern and not re.fullmatch(pattern, str(value)):
            self._report(path, f"the default does not match {pattern}")
        if attribute.type in TEXTS:
            text = b64decode(value) if attribute.type == "bytes" else value
            self._check_length(attribute, len(text), path)

    def _check_length(self, attribute: Attribute, length: int, path: Path) -> None:
        if attribute.min_length is not None and length < attribute.min_length:
            self._report(path, f"the default is shorter than min_length {attribute.min_length}")
        if attribute.max_length is not None and length > attribute.max_length:
            self._report(path, f"the default is longer than max_length {attribute.max_length}")
