"""What tools say of an attribute: its type in words, its constraints.

New keys of the language need nothing here: whatever field of `Attribute` says neither what an
attribute is called nor what it holds is a constraint.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields, replace

from miren.base.quantities import Duration, Quantity
from miren.schemagen.model import Attribute, ClassName, Component, Schema
from miren.schemagen.rules import PATTERNS

__all__ = [
    "STRUCTURE",
    "Components",
    "attribute_in",
    "components_of",
    "facts_of",
    "leaf_of",
    "must_be_given",
    "pattern_of",
    "plain_default",
    "shape_of",
    "type_of",
]

Components = Mapping[ClassName, Component]

#: What names an attribute or says what it holds; all else constrains it.
STRUCTURE = frozenset(
    {"name", "wire", "at", "type", "doc", "many", "status", "enum", "component", "of", "required"}
)
_TEXTS = frozenset({"keyword", "label"})


def shape_of(attribute: Attribute) -> tuple[str, ...]:
    """Return how values are nested, from the outside: a map of lists is `("map", "list")`."""
    if attribute.of is not None:
        return ("map", *shape_of(attribute.of))
    if attribute.is_labels:
        return ("map",)
    return ("list",) if attribute.is_listed else ()


def must_be_given(attribute: Attribute) -> bool:
    """Return whether a document without it is invalid: left out, a list or map is empty."""
    is_many = bool(shape_of(attribute))
    is_refused_empty = is_many and bool(attribute.min_length) and attribute.default is None
    return attribute.required or is_refused_empty


def leaf_of(attribute: Attribute) -> Attribute:
    """Return what the innermost list or map holds, as an attribute of its own."""
    if attribute.is_labels:
        return replace(attribute, type="string", many=False)
    return attribute.leaf


def type_of(attribute: Attribute) -> str:
    """Return the type in words: `int`, `[]Port`, `map[string]EnvValue`."""
    if attribute.is_labels:
        return "map[string]string"
    if attribute.of is not None:
        return f"map[string]{type_of(attribute.of)}"
    name = "string" if attribute.type in _TEXTS else attribute.type
    name = attribute.component.name if attribute.component else name
    return f"[]{name}" if attribute.is_listed else name


def pattern_of(attribute: Attribute) -> str | None:
    """Return the regular expression that texts must match, the type's own where none is given."""
    return attribute.pattern or (None if attribute.is_labels else PATTERNS.get(attribute.type))


def facts_of(attribute: Attribute, components: Components) -> dict[str, object]:
    """Return the constraints by the language's keys, told with names on the wire."""
    facts: dict[str, object] = {}
    if attribute.of is not None:
        facts |= facts_of(attribute.of, components)
    for known in fields(Attribute):
        value = getattr(attribute, known.name)
        is_given = value is not None and value is not False and value not in ((), {}, [])
        if known.name not in STRUCTURE and is_given:
            facts[known.name] = value
    if attribute.default not in (None, (), {}, ""):
        facts["default"] = plain_default(attribute, components)
    if attribute.to:
        facts["to"] = tuple(target.kind for target in attribute.to)
    if (pattern := pattern_of(attribute)) is not None:
        facts["pattern"] = pattern
    component = components.get(attribute.component) if attribute.component else None
    if component is not None:
        for key, name in (("merge_key", attribute.merge_key), ("shorthand", component.shorthand)):
            if name is not None:
                facts[key] = attribute_in(component, name).wire
    return facts


def plain_default(attribute: Attribute, components: Components) -> object:
    """Return the default as documents would have it."""
    return _plain(attribute, attribute.default, components)


def _plain(attribute: Attribute, value: object, components: Components) -> object:
    if isinstance(value, Quantity | Duration):
        return str(value)
    if isinstance(value, tuple):
        return tuple(_plain(attribute, item, components) for item in value)
    if isinstance(value, dict) and attribute.of is not None:
        return {key: _plain(attribute.of, item, components) for key, item in value.items()}
    if isinstance(value, dict) and attribute.component is not None:
        inside = {each.name: each for each in components[attribute.component].attributes}
        return {
            inside[name].wire: _plain(inside[name], item, components)
            for name, item in value.items()
        }
    return value


def attribute_in(component: Component, name: str) -> Attribute:
    """Return the attribute of a component that another key of the schema names."""
    return next(each for each in component.attributes if name in each.spellings())


def components_of(schemas: Iterable[Schema]) -> dict[ClassName, Component]:
    """Return the components of all schemas by their class."""
    return {part.known: part for schema in schemas for part in schema.components}
