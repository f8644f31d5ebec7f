"""What a schema says, once it has been read and checked: the generator's only input.

Every name is settled here (snake_case attributes, CamelCase classes, module names), every
component is resolved, so that emitters decide about text only.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from miren.base.quantities import Duration, Quantity
from miren.schemagen.names import camel

__all__ = ["Attribute", "ClassName", "Column", "Component", "Kind", "Path", "Schema", "Target"]

Path = tuple[str | int, ...]


class ClassName(NamedTuple):
    """A class that will be generated: the module it is in, and its name there."""

    module: str
    name: str


class Target(NamedTuple):
    """A kind that a reference may name: its class, and what it is called in documents."""

    known: ClassName
    kind: str


@dataclass(frozen=True, slots=True)
class Attribute:
    """One attribute of a component or kind.

    `type` is a scalar type of the language, `map` (whose values are `of`) or `component`
    (whose class is `component`). `default` None means that there is none; before defaults are
    settled it is as the file has it.
    """

    name: str  # in Python
    wire: str  # in documents
    type: str
    doc: str = ""
    many: bool = False
    required: bool = False
    status: bool = False
    default: object = None
    example: object = None
    enum: ClassName | None = None  # the class of an enum
    choices: tuple[str, ...] = ()
    component: ClassName | None = None
    of: Attribute | None = None
    to: tuple[Target, ...] = ()
    min: int | float | Quantity | Duration | None = None
    max: int | float | Quantity | Duration | None = None
    min_length: int | None = None
    max_length: int | None = None
    pattern: str | None = None
    indexed: bool = False
    immutable: bool = False
    owner: bool = False
    on_delete: str | None = None
    unique: str | None = None
    merge_key: str | None = None
    session: bool = False
    bind_to: str | None = None
    tags: tuple[str, ...] = ()
    at: Path = field(default=(), compare=False)  # where its file has it

    @property
    def leaf(self) -> Attribute:
        """What the innermost of nested maps holds; the attribute itself when it is no map."""
        return self if self.of is None else self.of.leaf

    @property
    def is_listed(self) -> bool:
        """Whether it is a list; many labels are a mapping instead."""
        return self.many and self.type != "label"

    @property
    def is_labels(self) -> bool:
        """Whether it is a mapping of labels."""
        return self.many and self.type == "label"

    def spellings(self) -> frozenset[str]:
        """Return every name under which documents may give it."""
        return frozenset({self.name, self.wire, camel(self.name.removesuffix("_"))})


@dataclass(frozen=True, slots=True)
class Component:
    """A named group of attributes; it becomes one class in `module`."""

    name: str
    module: str
    attributes: tuple[Attribute, ...]
    doc: str = ""
    shorthand: str | None = None
    at: Path = ()

    @property
    def known(self) -> ClassName:
        """Where its class is."""
        return ClassName(self.module, self.name)


@dataclass(frozen=True, slots=True)
class Column:
    """A column of `miren get`: a heading and the dotted camelCase path it shows."""

    title: str
    path: str


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind: its names and its attributes, the user's (`spec`) and the controllers'."""

    name: str  # what documents call it
    class_name: str
    module: str
    spec: tuple[Attribute, ...]
    status: tuple[Attribute, ...]
    doc: str = ""
    plural: str | None = None
    short: tuple[str, ...] = ()
    scope: str = "project"
    columns: tuple[Column, ...] = ()
    at: Path = ()


@dataclass(frozen=True, slots=True)
class Schema:
    """One schema file: a module of classes. Components come before those that hold them.

    `conversions` is what the file says of older versions, by version and kind; it is checked
    and used by whoever converts.
    """

    file: str
    module: str
    domain: str
    version: str
    doc: str = ""
    aliases: tuple[str, ...] = ()
    components: tuple[Component, ...] = ()
    kinds: tuple[Kind, ...] = ()
    conversions: Mapping[str, Any] = field(default_factory=dict)

    def attributes(self) -> Iterator[Attribute]:
        """Yield every attribute of the schema, and the values of maps."""
        for part in self.components:
            yield from _with_values(part.attributes)
        for kind in self.kinds:
            yield from _with_values(kind.spec + kind.status)


def _with_values(attributes: tuple[Attribute, ...]) -> Iterator[Attribute]:
    for attribute in attributes:
        yield attribute
        if attribute.of is not None:
            yield from _with_values((attribute.of,))
