"""A kind's attributes as data: where each is, and what the entity layer makes of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import get_args

from miren.entities.kinds import Kind
from miren.entities.model import Model, Options, Ref, wire_names
from miren.entities.reading import Child, children

__all__ = ["EVERY", "Attribute", "attributes", "found_at", "values_at"]

Path = tuple[str, ...]

#: The step of a path that stands for every key of a map.
EVERY = "*"

#: The last step of a path whose labels count one by one, as `key=value`.
LABELS = "*="


@dataclass(frozen=True, slots=True)
class Attribute:
    """One attribute with options. `path` has wire names, from `spec` or `status` on.

    A map on the way is the step `*`, for each of its values; a list is no step.
    """

    path: Path
    options: Options
    is_ref: bool = False

    @property
    def dotted(self) -> str:
        """The path as selectors write it, maps being no step either: `spec.node`."""
        return ".".join(step for step in self.path if step not in (EVERY, LABELS))


@cache
def attributes(kind: Kind) -> tuple[Attribute, ...]:
    """Return every attribute of a kind that carries options or refers, nested ones too.

    Raises TypeError for options that would have no effect, which only kinds written in Python
    can have, and for options inside a model that holds itself: its paths have no end.
    """
    found = (*_walk(kind.spec, ("spec",), ()), *_walk(kind.status, ("status",), ()))
    for attribute in found:
        reason = _misplaced(attribute)
        if reason is not None:
            raise TypeError(f"{kind.name}, {attribute.dotted}: {reason}")
    return found


def _misplaced(attribute: Attribute) -> str | None:
    """Return what is wrong with an attribute's options, as the schema language says it too."""
    options = attribute.options
    in_status = attribute.path[0] == "status" and attribute.dotted.count(".") == 1
    if options.secret and (options.indexed or options.unique):
        return "a secret cannot be indexed or unique"
    if (options.session or options.bind_to) and not in_status:
        return "session and bind_to are for attributes of a status"
    if (options.tags or options.on_delete) and not attribute.is_ref:
        return "tags and on_delete are for references"
    return None


def _walk(model: type[Model], path: Path, above: tuple[type[Model], ...]) -> Iterator[Attribute]:
    if model in above:
        _refuse_options(model)
        return
    inside = children(model)
    for name, wire in wire_names(model).items():
        here, child = (*path, wire), inside[wire]
        deep = (*here, *_maps(child))
        info = model.model_fields[name]
        given = next((each for each in info.metadata if isinstance(each, Options)), None)
        is_ref = _refers(info.annotation)
        if given is not None or is_ref:
            yield from _split(here, deep, given or _NONE, is_ref=is_ref)
        yield from _walk(child.model, deep, (*above, model))


def _maps(child: Child) -> Path:
    """Return the steps from an attribute to what its maps hold."""
    if child.labels:
        return (LABELS,)
    inner = _maps(child.element) if child.element is not None else ()
    return (EVERY, *inner) if child.keyed else inner


def _split(here: Path, deep: Path, options: Options, *, is_ref: bool) -> Iterator[Attribute]:
    """Yield a map's options where they count: for the whole map, and for each of its values."""
    if here == deep:
        yield Attribute(here, options, is_ref)
        return
    whole = replace(options, **{name: getattr(_NONE, name) for name in _OF_VALUES})
    every = replace(_NONE, **{name: getattr(options, name) for name in _OF_VALUES})
    if whole != _NONE:
        yield Attribute(here, whole)
    if every != _NONE or is_ref:
        yield Attribute(deep, every, is_ref)


def _refuse_options(model: type[Model]) -> None:
    """Raise TypeError when something inside a model that holds itself has options."""
    rest, seen = [model], {model}
    for held in rest:
        for name, info in held.model_fields.items():
            options = [each for each in info.metadata if isinstance(each, Options)]
            if any(replace(each, merge_key=None, example=None) != _NONE for each in options):
                raise TypeError(f"{model.__name__} holds itself: {name} inside it has no options")
        inside = [child.model for child in children(held).values() if child.model not in seen]
        seen.update(inside)
        rest.extend(inside)


_NONE = Options()

#: What is said of the values of a map rather than of the map.
_OF_VALUES = ("indexed", "unique", "to", "on_delete", "secret", "tags")


def _refers(annotation: object) -> bool:
    """Return whether an annotation is of references, one, many or keyed."""
    if isinstance(annotation, type) and issubclass(annotation, Ref):
        return True
    return any(map(_refers, get_args(annotation)))


def values_at(document: object, path: Path) -> Iterator[str]:
    """Yield what is at a path as text: scalars as they are, mappings as `key=value,key=value`.

    Lists on the way give one value an element, and `*` one an entry.
    """
    for value in found_at(document, path):
        yield _text(value)


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping):
        return ",".join(f"{key}={_text(item)}" for key, item in sorted(value.items()))
    if isinstance(value, list | tuple):
        return f"[{','.join(map(_text, value))}]"
    return str(value)


def found_at(document: object, path: Path) -> Iterator[object]:
    """Yield what is at a path; lists, maps and labels on the way give one value an element."""
    while path and type(document) is dict and path[0] not in (EVERY, LABELS):
        document, path = document.get(path[0]), path[1:]
    if isinstance(document, list | tuple):
        for item in document:
            yield from found_at(item, path)
    elif not path:
        if document is not None:
            yield document
    elif isinstance(document, Mapping) and path[0] == EVERY:
        for item in document.values():
            yield from found_at(item, path[1:])
    elif isinstance(document, Mapping) and path[0] == LABELS:
        yield from (f"{key}={text}" for key, text in document.items())
    elif isinstance(document, Mapping):
        yield from found_at(document.get(path[0]), path[1:])
