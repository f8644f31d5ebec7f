"""The envelope every entity travels in: metadata, spec, status, conditions.

    class GreetingSpec(Model):
        text: str
    class GreetingStatus(Model):
        shout: str = ""
    class Greeting(Entity[GreetingSpec, GreetingStatus], api="example.dev/v1"): ...

The names on the wire are Kubernetes'. `conditions`, `observedGeneration` and `handled` are
reserved inside status: the engine writes them, whatever the kind.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from functools import cache
from operator import is_
from typing import (
    Annotated,
    Any,
    ClassVar,
    Generic,
    Literal,
    Self,
    TypeVar,
    cast,
    get_args,
    get_origin,
)

from pydantic import TypeAdapter, ValidationError

from miren.base.errors import InvalidInput, Problem
from miren.base.words import plural as plural_of
from miren.entities.arguments import document, metadata
from miren.entities.conversions import Converter
from miren.entities.kind import Column, Kind, Scope
from miren.entities.model import FrozenDict, Map, Model, wire_names
from miren.entities.model import field as attribute
from miren.entities.reading import problems_of, read
from miren.entities.secrets import REVEALING

__all__ = [
    "RESERVED",
    "Condition",
    "ConditionStatus",
    "Entity",
    "Metadata",
    "OwnerReference",
    "Partial",
]

S = TypeVar("S", bound=Model, covariant=True)
T = TypeVar("T", bound=Model, covariant=True)
E = TypeVar("E", bound="Entity[Model, Model]")
M = TypeVar("M", bound=Model)

#: RFC 1123 labels, as Kubernetes names are, so that a name fits a host name and a path.
NAME = r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?"


class OwnerReference(Model):
    """Who this entity exists for; it goes when the owner goes."""

    api_version: str
    kind: str
    name: str
    uid: str

    @classmethod
    def of(cls, owner: Entity[Any, Any]) -> OwnerReference:
        """Return the reference that makes a stored entity an owner."""
        kind = owner.kind
        return cls(api_version=kind.api_version, kind=kind.name, name=owner.name, uid=owner.uid)


class ConditionStatus(StrEnum):
    """Whether a condition holds; Unknown is an answer."""

    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"


class Condition(Model):
    """One thing that is known about an entity, as Kubernetes' metav1.Condition."""

    type: str
    status: ConditionStatus
    reason: str = ""
    message: str = ""
    observed_generation: int = 0
    last_transition_time: datetime | None = None


class Metadata(Model, validate_default=False):  # they are right, and there are many of these
    """What is known of every entity. Everything below `annotations` is the server's to write."""

    name: str = attribute(pattern=NAME, doc="Unique within kind and project.")
    project: str = attribute(default="", doc="Empty for cluster-scoped kinds.")
    labels: Map[str] = attribute(default=FrozenDict())
    annotations: Map[str] = attribute(default=FrozenDict())
    finalizers: tuple[str, ...] = ()
    owner_references: tuple[OwnerReference, ...] = ()
    uid: str = ""
    resource_version: str = attribute(default="", doc="The store's revision; opaque to clients.")
    generation: int = attribute(default=0, doc="Counts changes of the spec.")
    creation_timestamp: datetime | None = None
    deletion_timestamp: datetime | None = None


#: What stands in every status, whatever the kind.
RESERVED = ("conditions", "observedGeneration", "handled")


@dataclass(frozen=True)
class Entity(Generic[S, T]):
    """Base of every kind. Immutable: change one with `dataclasses.replace` or the client."""

    metadata: Metadata
    spec: S
    status: T
    conditions: tuple[Condition, ...] = ()
    observed_generation: int = 0
    handled: Mapping[str, Mapping[str, object]] = field(default=FrozenDict(), hash=False)

    kind: ClassVar[Kind]

    def __init_subclass__(
        cls,
        *,
        api: str | None = None,
        name: str | None = None,
        plural: str | None = None,
        short: Sequence[str] = (),
        scope: Scope = Scope.PROJECT,
        columns: Sequence[Column] = (),
        aliases: Sequence[str] = (),
        converts: Mapping[str, Converter] | None = None,
        **kwargs: object,
    ) -> None:
        super().__init_subclass__(**kwargs)
        if api is None:
            return
        spec, status = _models_of(cls)
        domain, _, version = api.rpartition("/")
        if not domain or not version:
            raise TypeError(f"{cls.__name__}: api={api!r} must be '<domain>/<version>'")
        cls.kind = Kind(
            domain=domain,
            version=version,
            name=name or cls.__name__,
            plural=plural or plural_of((name or cls.__name__).lower()),
            short=tuple(short),
            scope=scope,
            columns=tuple(columns),
            doc=(cls.__doc__ or "").strip(),
            entity=cast("type[Entity[Model, Model]]", cls),
            spec=spec,
            status=status,
            aliases=tuple(aliases),
            converts=dict(converts or {}),
        )

    # -- who it is -----------------------------------------------------------------------

    @property
    def name(self) -> str:
        """The name, unique within kind and project."""
        return self.metadata.name

    @property
    def project(self) -> str:
        """The project, empty for cluster-scoped kinds."""
        return self.metadata.project

    @property
    def uid(self) -> str:
        """The identity that never repeats, empty until the entity is stored."""
        return self.metadata.uid

    @property
    def revision(self) -> int:
        """The store's revision of this version, 0 until it is stored."""
        version = self.metadata.resource_version
        if version and not version.isdecimal():
            at = ("metadata", "resourceVersion")
            raise InvalidInput([Problem(f"{version!r} is none that a store gave", at)])
        return int(version or 0)

    @property
    def is_deleting(self) -> bool:
        """Whether deletion has begun and only finalizers hold the entity."""
        return self.metadata.deletion_timestamp is not None

    def __str__(self) -> str:
        return f"{self.kind.name.lower()}/{self.metadata.name}"

    def condition(self, type: str) -> Condition | None:
        """Return the condition of that type, or None while nobody has set it."""
        return next((known for known in self.conditions if known.type == type), None)

    # -- making one ----------------------------------------------------------------------

    @classmethod
    def new(
        cls,
        name: str,
        *,
        project: str = "",
        labels: Mapping[str, str] | None = None,
        annotations: Mapping[str, str] | None = None,
        **spec: object,
    ) -> Self:
        """Return a complete entity; `spec` is the kind's attributes in snake_case.

        Raises InvalidInput with every problem when the spec is not valid.
        """
        known = metadata(name, project=project, labels=labels, annotations=annotations)
        return cls.from_document(document(known, **spec))

    @classmethod
    def partial(
        cls,
        name: str,
        *,
        project: str = "",
        labels: Mapping[str, str] | None = None,
        annotations: Mapping[str, str] | None = None,
        **spec: object,
    ) -> Partial[Self]:
        """Return only what is named here, for `Client.apply`. Nothing is required."""
        known = metadata(name, project=project, labels=labels, annotations=annotations)
        return Partial(cls, document(known, **spec))

    # -- documents -----------------------------------------------------------------------

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Self:
        """Return the entity a plain document describes; raise InvalidInput if it is none."""
        status = dict(document.get("status") or {})
        reserved = {name: status.pop(name) for name in RESERVED if name in status}
        found: list[Problem] = []
        parts: list[Model] = []
        for model, name, value in (
            (Metadata, "metadata", document.get("metadata", {})),
            (cls.kind.spec, "spec", {} if document.get("spec") is None else document["spec"]),
            (cls.kind.status, "status", status),
            (_Reserved, "status", reserved),
        ):
            try:
                is_nothing = model is _Reserved and not value
                parts.append(_NOTHING_RESERVED if is_nothing else read(model, value, path=(name,)))
            except InvalidInput as error:
                found.extend(error.problems)
        if found:
            raise InvalidInput(found)
        metadata, spec, kind_status, rest = cast("tuple[Metadata, Model, Model, _Reserved]", parts)
        return cls(
            metadata,
            cast("Any", spec),
            cast("Any", kind_status),
            rest.conditions,
            rest.observed_generation,
            rest.handled,
        )

    @classmethod
    def from_stored(
        cls, document: Mapping[str, Any], *, revision: int, lenient: bool = False
    ) -> Self:
        """Return the entity that `to_document` wrote, as of `revision`. Trusts its input.

        With `lenient` attributes that the kind does not have are passed over.
        """
        head = {**document["metadata"], "resourceVersion": str(revision)}
        return cls.from_parts(head, document["spec"], document.get("status"), lenient=lenient)

    @classmethod
    def from_parts(
        cls,
        head: Mapping[str, Any],
        body: Mapping[str, Any],
        given: Mapping[str, Any] | None,
        *,
        lenient: bool = False,
    ) -> Self:
        """Return the entity of this metadata, spec and status; see `from_stored`."""
        extra: Literal["ignore"] | None = "ignore" if lenient else None
        metadata: Metadata = _validated(Metadata, head, extra)
        spec = _validated(cls.kind.spec, body, extra)
        if not given:
            return cls(metadata, cast("Any", spec), cast("Any", _nothing(cls.kind.status)))
        status = dict(given)
        reserved = {name: status.pop(name) for name in RESERVED if name in status}
        rest = _validated(_Reserved, reserved, extra) if reserved else _NOTHING_RESERVED
        return cls(
            metadata,
            cast("Any", spec),
            cast("Any", _validated(cls.kind.status, status, extra)),
            rest.conditions,
            rest.observed_generation,
            rest.handled,
        )

    def to_document(self, *, reveal: bool = False) -> dict[str, Any]:
        """Return the entity as it is shown and sent: plain data, camelCase, nothing empty.

        Secrets are masked, unless `reveal`, which is for what is about to be stored.
        """
        document: dict[str, Any] = {
            "apiVersion": self.kind.api_version,
            "kind": self.kind.name,
            "metadata": self.metadata.model_dump(
                mode="json", exclude_none=True, exclude_defaults=True, warnings=False
            ),
            "spec": _dump(self.spec, reveal=reveal),
        }
        status = {**_dump(self.status, reveal=reveal), **self.reserved_document()}
        if status:
            document["status"] = status
        return document

    def reserved_document(self) -> dict[str, Any]:
        """Return what every kind's status has beside its own attributes, as plain data."""
        found: dict[str, Any] = {}
        if self.observed_generation:
            found["observedGeneration"] = self.observed_generation
        if self.conditions:
            found["conditions"] = [_dump(condition) for condition in self.conditions]
        if self.handled:
            found["handled"] = {name: dict(value) for name, value in self.handled.items()}
        return found

    def has_status_of(self, other: Entity[Any, Any]) -> bool:
        """Return whether all of the status is the very same objects as the other's."""
        return (
            self.status is other.status
            and self.conditions is other.conditions
            and self.handled is other.handled
            and self.observed_generation == other.observed_generation
        )

    def with_spec(self, spec: Model) -> Self:
        """Return a copy with another spec, which must be of the kind's own type."""
        return replace(self, spec=cast("Any", _checked(spec, self.kind.spec)))

    def with_status(self, status: Model) -> Self:
        """Return a copy with another status, which must be of the kind's own type."""
        return replace(self, status=cast("Any", _checked(status, self.kind.status)))

    def with_status_of(self, other: Self) -> Self:
        """Return a copy with all of the other's status, conditions and what was handled.

        Raises InvalidInput where the latter could not be read again; the status itself is looked
        at when it is written.
        """
        parts = (other.conditions, other.observed_generation, other.handled)
        known = (self.conditions, self.observed_generation, self.handled)
        if not all(map(is_, parts, known)):
            parts = _reserved(*parts)
        return replace(
            self,
            status=other.status,
            conditions=parts[0],
            observed_generation=parts[1],
            handled=parts[2],
        )

    def with_metadata(self, **changes: object) -> Self:
        """Return a copy with these metadata attributes changed, in a form that nobody can change.

        Raises InvalidInput for values that these attributes cannot have.
        """
        given = {name: _metadata_value(name, value) for name, value in changes.items()}
        return self.made_of(metadata=self.metadata.model_copy(update=given))

    def made_of(self, *, metadata: Metadata, spec: Any = None) -> Self:
        """Return a copy of other parts, which must be of the kind's own types."""
        return type(self)(
            metadata,
            self.spec if spec is None else spec,
            self.status,
            self.conditions,
            self.observed_generation,
            self.handled,
        )


class _Reserved(Model):
    conditions: tuple[Condition, ...] = ()
    observed_generation: int = 0
    handled: Map[Map[Any]] = attribute(default={})


_NOTHING_RESERVED = _Reserved()


def _validated(model: type[M], value: object, extra: Literal["ignore"] | None) -> M:
    """Return `model.model_validate(value, extra=extra)`, without what that costs around it."""
    found: M = model.__pydantic_validator__.validate_python(value, extra=extra)
    return found


@cache
def _nothing(model: type[Model]) -> Model:
    """Return the one that was given nothing: models are frozen, so one is enough for all."""
    return model.model_validate({})


_Parts = tuple[tuple[Condition, ...], int, Mapping[str, Mapping[str, object]]]


def _reserved(
    conditions: tuple[Condition, ...],
    observed_generation: int,
    handled: Mapping[str, Mapping[str, object]],
) -> _Parts:
    """Return these as reading them gives them; raise InvalidInput where nobody could."""
    given = _Reserved.model_construct(
        conditions=conditions, observed_generation=observed_generation, handled=handled
    )
    try:
        plain = given.model_dump(mode="json", exclude_none=True, warnings=False)
    except (TypeError, ValueError) as error:
        raise InvalidInput([Problem(str(error), ("status",))]) from None
    found = read(_Reserved, plain, path=("status",))
    return found.conditions, found.observed_generation, found.handled


@dataclass(frozen=True)
class Partial(Generic[E]):
    """What one manager wants of an entity, and nothing else: the input of `Client.apply`."""

    type: type[E]
    document: Mapping[str, Any] = field(hash=False, repr=False)  # secrets are in the clear in it

    @property
    def name(self) -> str:
        """The name it is about."""
        return str(self.document["metadata"]["name"])

    @property
    def project(self) -> str:
        """The project it is about, empty where the document leaves it to the client."""
        return str(self.document["metadata"].get("project", ""))


def _dump(model: Model, *, reveal: bool = False) -> dict[str, Any]:
    # What `model_copy` made may be of other types: writing it says so, looking at it does not.
    context = REVEALING if reveal else None
    return model.model_dump(mode="json", exclude_none=True, context=context, warnings=False)


def _metadata_value(name: str, value: object) -> object:
    try:
        return _metadata_reader(name).validate_python(value)
    except ValidationError as error:
        wire = wire_names(Metadata)[name]
        found = ({**each, "loc": (wire, *each["loc"])} for each in error.errors())
        raise InvalidInput(problems_of(Metadata, found, ("metadata",))) from None  # type: ignore[arg-type]  # of TypedDicts


@cache
def _metadata_reader(name: str) -> TypeAdapter[Any]:
    info = Metadata.model_fields[name]
    annotation: Any = info.annotation
    for constraint in info.metadata:
        annotation = Annotated[annotation, constraint]
    return TypeAdapter(annotation)


def _checked(value: Model, wanted: type[Model]) -> Model:
    if type(value) is not wanted:
        raise TypeError(f"needs a {wanted.__name__}, not a {type(value).__name__}")
    return value


def _models_of(cls: type) -> tuple[type[Model], type[Model]]:
    for base in getattr(cls, "__orig_bases__", ()):
        if get_origin(base) is Entity:
            spec, status = get_args(base)
            return spec, status
    raise TypeError(f"class {cls.__name__} must derive from Entity[Spec, Status]")
