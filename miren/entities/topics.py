"""A model as topics: what each attribute is called, its type and doc, and what it may hold."""

from __future__ import annotations

import base64
import types
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import datetime, timedelta
from enum import Enum
from functools import cache
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

from annotated_types import Ge, Le, MaxLen, MinLen
from pydantic import AfterValidator
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from miren.base.quantities import Duration, Quantity
from miren.entities.entity import Condition, Metadata
from miren.entities.model import Model, Options, Ref, Within, wire_names
from miren.entities.secrets import Bounds, SecretText

__all__ = ["Topic", "envelope", "topics_of"]

Inside = Callable[[], "tuple[Topic, ...]"]


def _nothing() -> tuple[Topic, ...]:
    return ()


@dataclass(frozen=True, slots=True)
class Topic:
    """An attribute, or a part of the envelope.

    `facts` are its constraints by the schema language's keys. `component` names what `open`
    shows, empty for what has nothing inside.
    """

    name: str  # on the wire
    type: str  # `int`, `[]Port`, `map[string]EnvValue`
    doc: str = ""
    required: bool = False
    facts: Mapping[str, object] = field(default_factory=dict, hash=False)
    component: str = ""
    open: Inside = field(default=_nothing, repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class _Type:
    text: str
    model: type[Model] | None = None
    facts: Mapping[str, object] = field(default_factory=dict, hash=False)


#: What is the same in every kind and has no doc in its model.
_ENVELOPE = {
    "labels": "What selectors choose by.",
    "annotations": "Notes of tools, never selected on.",
    "finalizers": "Who must finish before it is gone.",
    "ownerReferences": "Whom it exists for; it goes when they go.",
    "uid": "The identity that never repeats.",
    "creationTimestamp": "When it was created.",
    "deletionTimestamp": "When its deletion began.",
}


def envelope(spec: Inside, status: Inside) -> tuple[Topic, ...]:
    """Return the topics of a document; `spec` and `status` are the kind's own."""
    return (
        Topic("apiVersion", "string", "The domain and the version of the kind."),
        Topic("kind", "string", "The name of the kind."),
        Topic("metadata", "Metadata", "What every entity has.", False, {}, "Metadata", _metadata),
        Topic("spec", "Spec", "What the user wants.", False, {}, ".spec", spec),
        Topic(
            "status",
            "Status",
            "What controllers saw; read only.",
            False,
            {},
            ".status",
            lambda: (*status(), *_reserved()),
        ),
    )


def _metadata() -> tuple[Topic, ...]:
    return tuple(
        topic if topic.doc else replace(topic, doc=_ENVELOPE.get(topic.name, ""))
        for topic in topics_of(Metadata)
    )


def _reserved() -> tuple[Topic, ...]:
    return (
        Topic(
            "conditions",
            "[]Condition",
            "What is known of it, each with when and why.",
            False,
            {"merge_key": "type"},
            "Condition",
            lambda: topics_of(Condition),
        ),
        Topic("observedGeneration", "int", "The generation that controllers last acted on."),
        Topic("handled", "map[string]json", "What controllers note for themselves."),
    )


@cache
def topics_of(model: type[Model]) -> tuple[Topic, ...]:
    """Return the attributes of a model as topics, in the order in which it declares them."""
    names = wire_names(model)
    return tuple(_topic(names[name], info) for name, info in model.model_fields.items())


def _topic(name: str, info: FieldInfo) -> Topic:
    shape = _shape(info.annotation)
    facts = {**_constraints(info.metadata), **shape.facts, **_default(info)}
    if shape.text.endswith("secret"):
        facts.pop("secret", None)  # the type says it
    inner = shape.model
    if inner is not None and inner.__shorthand__:
        facts["shorthand"] = wire_names(inner)[inner.__shorthand__]
    return Topic(
        name=name,
        type=shape.text,
        doc=info.description or "",
        required=info.is_required(),
        facts=facts,
        component=inner.__name__ if inner else "",
        open=_nothing if inner is None else lambda: topics_of(inner),
    )


def _default(info: FieldInfo) -> dict[str, object]:
    if info.default_factory is not None or info.default is PydanticUndefined:
        return {}
    default = _plain(info.default)
    return {} if default in (None, (), {}, "") else {"default": default}


def _plain(value: object) -> object:
    """Return a value as documents and schema files write it."""
    match value:
        case Enum():
            return value.value
        case bytes():
            return base64.b64encode(value).decode()
        case datetime():
            return value.isoformat()
        case Model():
            return value.model_dump(mode="json", exclude_unset=True)
        case tuple():
            return tuple(map(_plain, value))
        case Mapping():
            return {key: _plain(item) for key, item in value.items()}
    return value


# -- types -------------------------------------------------------------------------------------

_SCALARS: Mapping[Any, str] = {
    str: "string",
    int: "int",
    float: "float",
    bool: "bool",
    bytes: "bytes",
    datetime: "time",
    timedelta: "duration",
    Duration: "duration",
    Quantity: "quantity",
    Ref: "ref",
    SecretText: "secret",
    object: "json",
    Any: "json",
}


def _shape(annotation: Any) -> _Type:
    """Return the type of an annotation, and the constraints on what it holds."""
    origin, args = get_origin(annotation), get_args(annotation)
    if isinstance(annotation, TypeVar):
        return _Type("json")
    if origin is Annotated:
        inner = _shape(args[0])
        facts = _constraints(part for each in args[1:] for part in _flattened(each))
        return _Type(inner.text, inner.model, {**facts, **inner.facts})
    if origin in (Union, types.UnionType):
        parts = [_shape(part) for part in args if part is not type(None)]
        return parts[0] if len(parts) == 1 else _Type(" | ".join(part.text for part in parts))
    if origin is tuple:
        inner = _shape(args[0])
        return _Type(f"[]{inner.text}", inner.model, inner.facts)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        inner = _shape(args[1])
        return _Type(f"map[string]{inner.text}", inner.model, inner.facts)
    return _scalar(annotation)


def _flattened(part: object) -> Iterable[object]:
    return part.metadata if isinstance(part, FieldInfo) else (part,)


def _scalar(annotation: Any) -> _Type:
    if annotation in _SCALARS:
        return _Type(_SCALARS[annotation])
    if isinstance(annotation, type):
        if issubclass(annotation, Model):
            return _Type(annotation.__name__, annotation)
        if issubclass(annotation, Enum):
            choices = tuple(str(choice.value) for choice in annotation)
            return _Type("enum", None, {"choices": choices})
        for base in annotation.__mro__:
            if base in _SCALARS and base is not object:
                return _Type(_SCALARS[base])
        return _Type(annotation.__name__)
    return _Type(str(annotation))


def _constraints(metadata: Iterable[object]) -> dict[str, object]:
    """Return what pydantic and the entity layer were told about an attribute."""
    facts: dict[str, object] = {}
    for part in metadata:
        match part:
            case Options():
                facts |= {
                    each.name: value
                    for each in fields(Options)
                    if (value := getattr(part, each.name)) != each.default
                }
            case Ge():
                facts["min"] = part.ge
            case Le():
                facts["max"] = part.le
            case MinLen():
                facts["min_length"] = part.min_length
            case MaxLen():
                facts["max_length"] = part.max_length
            case AfterValidator(func=Bounds() as bounds):
                facts |= {each.name: getattr(bounds, each.name) for each in fields(Bounds)}
            case AfterValidator(func=Within() as within):
                facts |= {"min": within.least, "max": within.most}
            case _ if (pattern := getattr(part, "pattern", None)) is not None:
                facts["pattern"] = pattern.removeprefix("^(?:").removesuffix(")$")
    return facts
