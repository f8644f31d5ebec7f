"""Dotted paths into a kind, as print columns and bound attributes have them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from miren.base.suggestions import closest
from miren.schemagen.model import Attribute, ClassName, Component, Kind
from miren.schemagen.names import camel, snake
from miren.schemagen.naming import Unknown

__all__ = ["METADATA", "follow"]

#: What every entity's metadata has, and the types that fit it.
METADATA = {
    "name": "string",
    "project": "string",
    "uid": "string",
    "generation": "int",
    "creationTimestamp": "time",
    "deletionTimestamp": "time",
    "resourceVersion": "string",
    "labels": "labels",
    "annotations": "labels",
}


def follow(
    dotted: str, kind: Kind, components: Mapping[ClassName, Component]
) -> tuple[str, Attribute | None]:
    """Return a path as documents spell it, `*` for each entry of a map, and what it leads to.

    What is in the metadata is no attribute of the kind. Raises Unknown with a hint.
    """
    first, *steps = dotted.split(".")
    parts = {"spec": kind.spec, "status": kind.status}
    if first == "metadata" and len(steps) == 1:
        name = camel(snake(steps[0]))
        if name not in METADATA:
            raise Unknown(f"no {dotted!r} in {kind.name}", "metadata: " + ", ".join(METADATA))
        return f"metadata.{name}", None
    if first not in parts or not steps:
        hint = "a path begins with spec., status. or metadata."
        raise Unknown(f"no {dotted!r} in {kind.name}", hint)
    attributes: Sequence[Attribute] = parts[first]
    path, found = [first], None
    for step in steps:
        found = next((a for a in attributes if {step, snake(step)} & a.spellings()), None)
        if found is None:
            names = [attribute.wire for attribute in attributes]
            hint = closest(step, names) or "it has " + (", ".join(names) or "nothing")
            raise Unknown(f"no {dotted!r} in {kind.name}", hint)
        path += [found.wire, *("*" for _ in range(_maps(found)))]
        component = components.get(found.leaf.component) if found.leaf.component else None
        attributes = component.attributes if component else ()
    return ".".join(path), found


def _maps(attribute: Attribute) -> int:
    return 0 if attribute.of is None else 1 + _maps(attribute.of)
