"""What a schema says, once it has been read and checked: the generator's only input.

Every name is settled here (snake_case attributes, CamelCase classes, module names), every
component is resolved, so that emitters decide about text only.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from miren.base.quantities import Duration, Quantity

__all__ = ["Attribute", "Column", "Component", "Kind", "Schema"]


@dataclass(frozen=True, slots=True)
class Attribute:
    """One attribute of a component or kind.

    `type` is a scalar type of the language, `map` (whose values are `of`) or `component`
    (whose class is `component`). `default` None means that there is none.
    """

    name: str
    type: str
    doc: str = ""
    many: bool = False
    required: bool = False
    status: bool = False
    default: object = None
    example: object = None
    enum: str = ""  # the class of an enum
    choices: tuple[str, ...] = ()
    component: str = ""
    of: Attribute | None = None
    to: tuple[str, ...] = ()  # CamelCase kinds
    min: int | float | Quantity | Duration | None = None
    max: int | float | Quantity | Duration | None = None
    min_length: int | None = None
    max_length: int | None = None
    pattern: str | None = None
    indexed: bool = False
    immutable: bool = False
    owner: bool = False
    unique: str | None = None
    merge_key: str | None = None


@dataclass(frozen=True, slots=True)
class Component:
    """A named group of attributes; it becomes one class in `module`."""

    name: str
    module: str
    attributes: tuple[Attribute, ...]
    doc: str = ""
    shorthand: str | None = None
    written: str = ""  # the name as the file has it; empty when an attribute defines it


@dataclass(frozen=True, slots=True)
class Column:
    """A column of `miren get`: a heading and the dotted camelCase path it shows."""

    title: str
    path: str


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind: its names and its attributes, the user's (`spec`) and the controllers'."""

    name: str
    module: str
    spec: tuple[Attribute, ...]
    status: tuple[Attribute, ...]
    doc: str = ""
    plural: str | None = None
    short: tuple[str, ...] = ()
    scope: str = "project"
    columns: tuple[Column, ...] = ()
    written: str = ""  # the name as the file has it


@dataclass(frozen=True, slots=True)
class Schema:
    """One schema file: a module of classes. Components come before those that hold them."""

    file: str
    module: str
    domain: str
    version: str
    doc: str = ""
    aliases: tuple[str, ...] = ()
    components: tuple[Component, ...] = ()
    kinds: tuple[Kind, ...] = field(default=())

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
