"""Which class needs which: Python reads a module from the top, and imports go one way.

A component comes after those it holds, unless they hold each other: then one of them names the
other before it is there. Modules must not need each other's components. References are no such
need: they name their kind in quotes.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from miren.schemagen.describing import components_of
from miren.schemagen.model import Attribute, ClassName, Component, Path, Schema

__all__ = ["circles", "in_order"]

N = TypeVar("N", bound=Hashable)

#: What cannot be said of attributes whose paths have no end.
_REFUSED = ("indexed", "immutable", "to", "tags", "on_delete")


def in_order(schema: Schema, schemas: Sequence[Schema]) -> Schema:
    """Return `schema` with each component after those it holds, as far as there is an order."""
    parts = components_of(schemas)
    done: dict[ClassName, Component] = {}
    begun: set[ClassName] = set()

    def place(component: Component) -> None:
        if component.known in begun:
            return
        begun.add(component.known)
        for name in _held(component.attributes):
            place(parts[name])
        done[component.known] = component

    for component in schema.components:
        place(component)
    mine = tuple(part for part in done.values() if part.module == schema.module)
    return replace(schema, components=mine)


def circles(schema: Schema, schemas: Sequence[Schema]) -> Iterator[tuple[Path, str]]:
    """Yield the path and the message where a circle of components or modules cannot be."""
    parts = components_of(schemas)
    modules = {
        other.module: {name.module for name in _held(other.attributes())} - {other.module}
        for other in schemas
    }
    if schema.module in _reachable(modules, schema.module):
        message = "this file and another need each other's components: move the shared ones"
        yield ("components",), message
        return
    holds = {name: set(_held(part.attributes)) for name, part in parts.items()}
    reached = {name: _reachable(holds, name) for name in parts}
    endless = {name for circle in parts if circle in reached[circle] for name in reached[circle]}
    needs = {name: set(_needed(part.attributes)) for name, part in parts.items()}
    for component in schema.components:
        if component.known in _reachable(needs, component.known):
            yield component.at, f"a {component.name} can never be whole: it needs another one"
        if component.known in endless:
            yield from _refused(component)
        yield from _defaults(component, reached)


def _refused(component: Component) -> Iterator[tuple[Path, str]]:
    for attribute in component.attributes:
        leaf = attribute.leaf
        for key in _REFUSED:
            if getattr(attribute, key) or getattr(leaf, key):
                at = attribute.at if getattr(attribute, key) else leaf.at
                message = f"{key} has no effect inside a component that holds itself"
                yield (*at, key), message
        if leaf.type == "secret":
            yield (*leaf.at, "type"), "no secret inside a component that holds itself"


def _defaults(
    component: Component, reached: Mapping[ClassName, set[ClassName]]
) -> Iterator[tuple[Path, str]]:
    for attribute in component.attributes:
        held = attribute.leaf.component
        # An empty list or map makes no component; an empty component is one.
        is_one = attribute.type == "component" and not attribute.many
        makes_some = attribute.default is not None if is_one else attribute.default
        if held is not None and makes_some and component.known in reached.get(held, ()):
            message = "no default inside a component that holds itself"
            yield (*attribute.at, "default"), message


def _held(attributes: Iterable[Attribute]) -> Iterator[ClassName]:
    for attribute in attributes:
        if attribute.leaf.component is not None:
            yield attribute.leaf.component


def _needed(attributes: Iterable[Attribute]) -> Iterator[ClassName]:
    for attribute in attributes:
        if attribute.required and not attribute.many and attribute.component is not None:
            yield attribute.component


def _reachable(needs: Mapping[N, set[N]], start: N) -> set[N]:
    found: set[N] = set()
    rest = list(needs.get(start, ()))
    while rest:
        name = rest.pop()
        if name not in found:
            found.add(name)
            rest.extend(needs.get(name, ()))
    return found
