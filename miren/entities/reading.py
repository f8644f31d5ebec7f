"""From untyped documents to models: shorthands, strict types, and every problem at once."""

from __future__ import annotations

import types
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

import orjson
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from miren.base.errors import InvalidInput, Position, Problem
from miren.base.suggestions import closest
from miren.entities.model import Model, labels_of, spellings, wire_names

__all__ = ["children", "closest", "expand", "problems_of", "read"]

M = TypeVar("M", bound=Model)
Path = tuple[str | int, ...]

_MAPPING = (dict, Mapping)  # whether something is a dict is quicker to tell

#: Where a path stands in a file: its value, or (True) the key it is given under.
Locate = Callable[[Path, bool], Position | None]


def read(model: type[M], value: object, *, path: Path = (), locate: Locate | None = None) -> M:
    """Return `value`, plain JSON data, as a `model`.

    Nothing is coerced: `"8080"` is no number. Both spellings of attributes and the
    shorthands of components are accepted. Raises InvalidInput with every problem; `path`
    is put before the path of each, and `locate` says where a path stands in a file.
    """
    try:
        # JSON mode is what lets strict validation take a list for a tuple, a text for an enum.
        return model.model_validate_json(orjson.dumps(value), strict=True)
    except (ValidationError, TypeError):
        pass  # most documents need no expanding: look closer at the others only
    try:
        return model.model_validate_json(orjson.dumps(expand(model, value)), strict=True)
    except ValidationError as error:
        raise InvalidInput(problems_of(model, error.errors(), path, locate)) from None
    except TypeError as error:  # half a character, say, or a number of more than 64 bits
        raise InvalidInput([Problem(str(error), path)]) from None


def expand(model: type[Model], value: object) -> object:
    """Return `value` with every shorthand written out and attributes by their wire names."""
    if not isinstance(value, _MAPPING):
        if model.__shorthand__ is None or isinstance(value, list | tuple) or value is None:
            return value
        return {wire_names(model)[model.__shorthand__]: value}
    known = children(model)
    result: dict[str, object]
    if value.keys() <= known.keys():
        result = dict(value)
    else:
        names = spellings(model)
        result = {names.get(key, key): item for key, item in value.items()}
    for name, child in _not_plain(model):
        if name in result:
            result[name] = _expand_child(child, result[name])
    return result


def _expand_child(child: Child, item: object) -> object:
    if child.labels:
        return labels_of(item)
    if child.element is None:
        return expand(child.model, item)
    if child.many and isinstance(item, list | tuple):
        return [_expand_child(child.element, element) for element in item]
    if child.keyed and isinstance(item, Mapping):
        return {key: _expand_child(child.element, element) for key, element in item.items()}
    return item


class Child:
    """What an attribute holds: one value, or a list or a map of what its `element` says.

    `model` is the model at the very inside, a stand-in without attributes for a scalar.
    """

    __slots__ = ("element", "is_plain", "keyed", "labels", "many", "model")

    def __init__(
        self,
        model: type[Model],
        *,
        many: Child | None = None,
        keyed: Child | None = None,
        labels: bool = False,
    ) -> None:
        self.model = model
        self.many = many is not None
        self.keyed = keyed is not None
        self.element = many or keyed
        self.labels = labels  # a list of `key=value` stands for a mapping
        #: Whether it is written in one way only, so that there is nothing to expand.
        self.is_plain: bool = not labels and (
            model is _Scalar if self.element is None else self.element.is_plain
        )


class _Scalar(Model):
    """Stands for an attribute without a model inside: nothing to expand."""


@cache
def children(model: type[Model]) -> Mapping[str, Child]:
    """Return the attributes of `model` by wire name."""
    return {
        wire: _child(info.annotation, info.metadata)
        for (name, wire) in wire_names(model).items()
        for info in (model.model_fields[name],)
    }


@cache
def _not_plain(model: type[Model]) -> tuple[tuple[str, Child], ...]:
    """Return the attributes in which there can be something to expand."""
    return tuple((wire, child) for wire, child in children(model).items() if not child.is_plain)


def _child(annotation: Any, metadata: Iterable[object] = ()) -> Child:
    if any(getattr(each, "func", None) is labels_of for each in metadata):
        return Child(_Scalar, labels=True)
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _child(args[0], args[1:])
    if isinstance(annotation, type) and issubclass(annotation, Model):
        return Child(annotation)
    if origin in (Union, types.UnionType):
        inner = [_child(arg) for arg in args if arg is not type(None)]
        return inner[0] if len(inner) == 1 else Child(_Scalar)
    if origin is tuple:
        element = _child(args[0])
        return Child(element.model, many=element)
    if origin is not None and isinstance(origin, type) and issubclass(origin, Mapping):
        element = _child(args[1])
        return Child(element.model, keyed=element)
    return Child(_Scalar)


def problems_of(
    model: type[Model],
    errors: Iterable[ErrorDetails],
    path: Path,
    locate: Locate | None = None,
) -> tuple[Problem, ...]:
    """Return pydantic's findings about a `model` as problems in our words."""
    found = list(errors)
    return tuple(
        _problem(model, error, path, locate)
        for error in found
        if not (error["type"] == "too_short" and _has_inner(error["loc"], found))
    )


def _has_inner(loc: Path, errors: Iterable[ErrorDetails]) -> bool:
    """Return whether something inside `loc` is wrong: pydantic counts only what is right."""
    return any(len(e["loc"]) > len(loc) and e["loc"][: len(loc)] == loc for e in errors)


def _problem(
    model: type[Model], error: ErrorDetails, path: Path, locate: Locate | None
) -> Problem:
    whole = path + error["loc"]
    position = locate(whole, error["type"] == "extra_forbidden") if locate else None
    return Problem(_message(error), whole, position, _hint(model, error))


def _message(error: ErrorDetails) -> str:
    kind, context = error["type"], error.get("ctx", {})
    name = error["loc"][-1] if error["loc"] else "document"
    match kind:
        case "extra_forbidden":
            return f"unknown attribute {name!r}"
        case "dict_type" | "mapping_type" | "model_type" | "model_attributes_type":
            return "must be a mapping"
        case "tuple_type" | "list_type":
            return "must be a list"
        case "missing":
            return f"required attribute {name!r} is missing"
        case "enum" | "literal_error":
            return f"must be one of {context['expected']}"
        case "value_error":
            return str(context["error"])
        case "greater_than_equal":
            return f"must be at least {context['ge']!s}"
        case "less_than_equal":
            return f"must be at most {context['le']!s}"
        case "string_pattern_mismatch":
            return f"must match {context['pattern'].removeprefix('^(?:').removesuffix(')$')}"
        case "too_short":
            return f"needs at least {context['min_length']}"
        case "too_long":
            return f"holds more than {context['max_length']}"
    text = error["msg"].removeprefix("Input should be ")
    return f"must be {text}" if text != error["msg"] else text


def _hint(model: type[Model], error: ErrorDetails) -> str | None:
    if error["type"] == "extra_forbidden":
        inside = _model_at(model, error["loc"][:-1])
        return closest(str(error["loc"][-1]), children(inside)) if inside else None
    if error["type"] in ("enum", "literal_error") and isinstance(error["input"], str):
        choices = error["ctx"]["expected"].replace(" or ", ", ").split(", ")
        return closest(error["input"], [choice.strip("'") for choice in choices])
    if error["type"] == "string_type" and isinstance(error["input"], int | float):
        return "put quotes around it"
    return None


def _model_at(model: type[Model], loc: Path) -> type[Model] | None:
    child: Child | None = Child(model)
    for step in loc:
        if child is not None and child.element is not None:
            child = child.element
        elif child is not None:
            child = children(child.model).get(str(step))
    return child.model if child else None
