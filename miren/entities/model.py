"""`Model` and `field`: how the data of a kind is written, by people and by the generator.

A model is deeply frozen, because caches hand the same object to everybody: scalars, tuples,
`Map` and other models only. Python is snake_case and the wire camelCase; input takes both.
The name on the wire is the field's alias: ask `wire_names`, never derive it from the Python name.
What pydantic does not know of (indexed, unique, ...) rides along as `Options` in the field's
metadata and is read back by `attributes.py`.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from functools import cache
from types import MappingProxyType
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    ClassVar,
    Generic,
    Literal,
    NoReturn,
    TypedDict,
    TypeVar,
    Unpack,
    dataclass_transform,
    overload,
)

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    PlainSerializer,
    WithJsonSchema,
)
from pydantic.alias_generators import to_camel
from pydantic.fields import FieldInfo
from pydantic_core import CoreSchema, PydanticUndefined, core_schema

from miren.entities.secrets import Bounds

__all__ = [
    "Base64",
    "Json",
    "Labels",
    "Map",
    "Model",
    "Options",
    "Ref",
    "field",
    "labels_of",
    "renamed",
    "spellings",
    "wire_name",
    "wire_names",
]

T = TypeVar("T")
E = TypeVar("E")
V = TypeVar("V")


class Ref(str, Generic[E]):
    """A reference by name: `name` (same project), `project/name`; stored as written.

    Where it may name several kinds, the kind comes first: `kind/name`, `kind/project/name`.
    Admission checks that the target exists; a bare name is read in the referrer's project.
    """

    __slots__ = ()

    if not TYPE_CHECKING:

        def __class_getitem__(cls, _target: object) -> type[Ref]:
            """Drop the target: it is for type checkers, and its module may not be loaded yet."""
            return cls

    @property
    def name(self) -> str:
        """The target's name."""
        return self.rpartition("/")[2]

    @property
    def project(self) -> str | None:
        """The target's project, or None where the text does not say."""
        return self.rpartition("/")[0] or None

    @classmethod
    def __get_pydantic_core_schema__(
        cls, _source: object, _handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return core_schema.no_info_after_validator_function(
            cls,
            core_schema.str_schema(min_length=1, pattern=r"^[^/\s]+(/[^/\s]+){0,2}$"),
            serialization=core_schema.to_string_ser_schema(),
        )


class FrozenDict(dict[str, V]):
    """A dict nobody can change. Use the `Map` annotation; values are made by validation."""

    def _refuse(self, *_args: object, **_kwargs: object) -> NoReturn:
        raise TypeError("entities are immutable: build a new one (model_copy, new, partial)")

    __setitem__ = __delitem__ = clear = update = setdefault = pop = popitem = _refuse
    __ior__ = _refuse

    def __hash__(self) -> int:  # type: ignore[override]  # a dict has none; this never changes
        return hash(tuple(sorted(self.items(), key=lambda item: item[0])))

    @classmethod
    def __get_pydantic_core_schema__(
        cls, _source: object, _handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        """Tell pydantic what to make of one where it stands as a default."""
        return core_schema.no_info_after_validator_function(cls, core_schema.dict_schema())


#: An immutable mapping with text keys: `labels: Map[str] = field(default={})`.
Map = Annotated[Mapping[str, V], AfterValidator(FrozenDict)]


def labels_of(value: object) -> object:
    """Return a list of `key=value` texts as the mapping it stands for, all else as it is."""
    if not isinstance(value, list | tuple):
        return value
    pairs = [text.partition("=") for text in value if isinstance(text, str)]
    if len(pairs) != len(value) or not all(key and equals for key, equals, _ in pairs):
        return value
    return {key: text for key, _, text in pairs}


_LABELS_SCHEMA = {
    "anyOf": [
        {"type": "object", "additionalProperties": {"type": "string"}},
        {"type": "array", "items": {"type": "string", "pattern": "^[^=]+="}},
    ]
}

#: Labels: a mapping of texts, also written as a list of `key=value`.
Labels = Annotated[
    Mapping[str, str],
    BeforeValidator(labels_of),
    AfterValidator(FrozenDict),
    WithJsonSchema(_LABELS_SCHEMA),
]


def _decoded(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        return base64.b64decode(value, validate=True)
    except binascii.Error as error:
        raise ValueError(f"must be base64: {error}") from error


def _encoded(value: bytes) -> str:
    return base64.b64encode(value).decode()


#: Bytes, which are base64 text in documents.
Base64 = Annotated[bytes, BeforeValidator(_decoded), PlainSerializer(_encoded, when_used="json")]


def _freeze(value: object) -> object:
    if isinstance(value, Mapping):
        return FrozenDict({key: _freeze(item) for key, item in value.items()})
    if isinstance(value, list | tuple):
        return tuple(_freeze(item) for item in value)
    return value


#: Any JSON value, frozen: lists become tuples.
Json = Annotated[object, AfterValidator(_freeze)]


@dataclass(frozen=True, slots=True)
class Options:
    """What the entity layer, not pydantic, makes of an attribute."""

    indexed: bool = False
    unique: Literal["project", "cluster"] | None = None
    immutable: bool = False
    to: tuple[str, ...] = ()  # the kinds a reference may name
    owner: bool = False
    on_delete: Literal["restrict", "unset"] | None = None  # of the target, on a Ref
    merge_key: str | None = None
    secret: bool = False
    session: bool = False
    bind_to: str | None = None
    tags: tuple[str, ...] = ()
    example: object = None


class FieldOptions(TypedDict, total=False):
    """Everything `field` takes beside a default."""

    doc: str  # one sentence, shown by `explain` and editors
    min: float | Decimal | timedelta
    max: float | Decimal | timedelta
    min_length: int  # of texts and lists
    max_length: int
    pattern: str  # a regular expression that the whole text must match
    indexed: bool  # can be selected on
    unique: Literal["project", "cluster"]  # no two entities may share a value
    immutable: bool  # cannot change once set
    to: tuple[str, ...]  # on a Ref: the kinds it may name; their existence is checked
    owner: bool  # on a Ref: the target owns this entity
    on_delete: Literal["restrict", "unset"]  # on a Ref: what deleting the target means
    merge_key: str  # on a list of components: the attribute that tells them apart
    secret: bool  # sealed at rest, masked everywhere
    session: bool  # in a status: leased, forgotten when its holder falls silent
    bind_to: str  # in a status: a view of another value, filled in on read
    tags: tuple[str, ...]  # on a Ref: groups of references that can be asked for together
    example: object


@overload
def field(*, default: T, **options: Unpack[FieldOptions]) -> T: ...
@overload
def field(*, default_factory: Callable[[], T], **options: Unpack[FieldOptions]) -> T: ...
@overload
def field(**options: Unpack[FieldOptions]) -> Any: ...
def field(
    *,
    default: object = PydanticUndefined,
    default_factory: Callable[[], object] | None = None,
    **options: Unpack[FieldOptions],
) -> Any:
    """Declare an attribute. Without `default` or `default_factory` it is required."""
    least, most = options.get("min"), options.get("max")
    bounds: dict[str, Any] = {
        "description": options.get("doc"),
        "examples": [options["example"]] if "example" in options else None,
        "ge": least if isinstance(least, int | float) else None,
        "le": most if isinstance(most, int | float) else None,
        "min_length": options.get("min_length"),
        "max_length": options.get("max_length"),
        "pattern": f"^(?:{options['pattern']})$" if "pattern" in options else None,
    }
    secret = None
    if options.get("secret"):
        secret = Bounds(
            options.get("min_length"), options.get("max_length"), options.get("pattern")
        )
        bounds |= {"min_length": None, "max_length": None, "pattern": None}
    if default == {} and isinstance(default, dict):
        default = FrozenDict()  # what can change is copied for every entity
    given = {"default_factory": default_factory} if default_factory else {"default": default}
    info: FieldInfo = Field(**given, **bounds)
    if isinstance(least, Decimal | timedelta) or isinstance(most, Decimal | timedelta):
        info.metadata.append(AfterValidator(Within(least, most)))
    if secret is not None and secret != Bounds():
        info.metadata.append(AfterValidator(secret))
    stored = {name: value for name, value in options.items() if name in _STORED}
    if stored:
        info.metadata.append(Options(**stored))  # type: ignore[arg-type]  # names checked above
    return info


@dataclass(frozen=True, slots=True)
class Within:
    """A check of amounts and spans, whose bounds read best as they were written."""

    least: Any
    most: Any

    def __call__(self, value: Any) -> Any:
        """Return `value`; raise ValueError when it is out of bounds."""
        if value is None:
            return value
        if self.least is not None and value < self.least:
            raise ValueError(f"must be at least {self.least!s}")
        if self.most is not None and value > self.most:
            raise ValueError(f"must be at most {self.most!s}")
        return value


_STORED = frozenset(Options.__dataclass_fields__)


def wire_name(name: str) -> str:
    """Return the wire's spelling of a Python name: camelCase, `from_` without its underscore."""
    return to_camel(name.removesuffix("_"))


def renamed(names: Mapping[str, str]) -> Callable[[str], str]:
    """Return an alias generator for attributes whose name on the wire is another.

    `class Box(Model, alias_generator=renamed({"image": "container_image"}))` calls the attribute
    `image` in Python and `container_image` on the wire, and leaves the others as they are.
    """
    return lambda name: names.get(name) or wire_name(name)


@dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(field,))
class Model(BaseModel, frozen=True):
    """Base of everything inside spec and status. Frozen; unknown attributes are errors.

    `class Port(Model, shorthand="port")` lets a bare scalar in a document stand for the
    whole component: `ports: [8080]`.
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(
        extra="forbid",
        alias_generator=wire_name,
        protected_namespaces=(),
        validate_by_name=True,
        validate_by_alias=True,
        serialize_by_alias=True,
        validate_default=True,
        hide_input_in_errors=True,
    )

    #: The attribute that a bare scalar stands for (`ports: [8080]`), set by `shorthand=`.
    __shorthand__: ClassVar[str | None] = None

    def __init_subclass__(cls, *, shorthand: str | None = None, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if shorthand is not None:
            cls.__shorthand__ = shorthand

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler, /
    ) -> dict[str, Any]:
        """Describe the bare scalar too, where one stands for the whole."""
        whole: dict[str, Any] = handler(schema)
        if cls.__shorthand__ is None:
            return whole
        inside = handler.resolve_ref_schema(whole)
        scalar = inside["properties"][wire_names(cls)[cls.__shorthand__]]
        return {"anyOf": [whole, {"$comment": "the shorthand", **scalar}]}


@cache
def wire_names(model: type[Model]) -> Mapping[str, str]:
    """Return the attributes of `model`: their Python names to their names on the wire."""
    if not model.__pydantic_complete__:
        model.model_rebuild()  # it named a class that was not there yet; aliases come with it
    return MappingProxyType(
        {name: info.alias or name for name, info in model.model_fields.items()}
    )


@cache
def spellings(model: type[Model]) -> Mapping[str, str]:
    """Return every name under which input may give an attribute, to its name on the wire.

    These are the wire's own name, the Python name and the camelCase of it.
    """
    names = wire_names(model)
    found = {wire: wire for wire in names.values()}
    for name, wire in names.items():
        for spelling in (name, wire_name(name)):
            found.setdefault(spelling, wire)
    return MappingProxyType(found)
