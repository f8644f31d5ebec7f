"""Which class needs which: Python reads a module from the top, and imports go one way.

A component must come after those it holds, and modules must not need each other's components.
References are no such need: they name their kind in quotes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from miren.schemagen.model import Attribute, Component, Schema

__all__ = ["circles", "in_order"]


def in_order(schema: Schema, schemas: Sequence[Schema]) -> Schema:
    """Return `schema` with each component after those it holds. There must be no circle."""
    parts = _parts(schemas)
    done: dict[str, Component] = {}

    def place(component: Component) -> None:
        if component.name in done:
            return
        for name in _held(component.attributes):
            place(parts[name])
        done[component.name] = component

    for component in schema.components:
        place(component)
    mine = tuple(part for part in done.values() if part.module == schema.module)
    return replace(schema, components=mine)


def circles(schema: Schema, schemas: Sequence[Schema]) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield the path and the message where components hold themselves or modules each other."""
    parts = _parts(schemas)
    holds = {name: set(_held(part.attributes)) for name, part in parts.items()}
    for component in schema.components:
        if component.name in _reachable(holds, component.name):
            path = ("components", component.written)
            yield path, f"component {component.name} holds itself"
    needs = {
        other.module: {parts[name].module for name in _held(other.attributes())} - {other.module}
        for other in schemas
    }
    if schema.module in _reachable(needs, schema.module):
        message = "this file and another need each other's components: move the shared ones"
        yield ("components",), message


def _parts(schemas: Iterable[Schema]) -> dict[str, Component]:
    return {part.name: part for schema in schemas for part in schema.components}


def _held(attributes: Iterable[Attribute]) -> Iterator[str]:
    for attribute in attributes:
        inner = attribute.of or attribute
        if inner.component:
            yield inner.component


def _reachable(needs: Mapping[str, set[str]], start: str) -> set[str]:
    found: set[str] = set()
    rest = list(needs.get(start, ()))
    while rest:
        name = rest.pop()
        if name not in found:
            found.add(name)
            rest.extend(needs.get(name, ()))
    return found
