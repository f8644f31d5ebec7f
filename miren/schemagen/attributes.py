"""From one attribute as it is written to one as it is meant, with every check on the way."""

from __future__ import annotations

import keyword
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from miren.base.errors import Problem
from miren.base.suggestions import closest
from miren.base.yaml import Located
from miren.schemagen.language import REFUSED_TYPES, SCALARS
from miren.schemagen.model import Attribute, Component
from miren.schemagen.names import camel, member_name, pascal, singular, snake
from miren.schemagen.rules import NUMBERS, misplaced
from miren.schemagen.values import converted

__all__ = ["AttributeReader", "Scope"]

Path = tuple[str | int, ...]


#: Class bodies evaluate their annotations where an attribute of that name would hide these.
_USED = frozenset({"bool", "bytes", "datetime", "field", "float", "int", "str", "tuple"})


@dataclass(slots=True)
class Scope:
    """What the names in one schema file mean, and where its problems are collected.

    `classes` maps the components that can be named as a type to their class; `made` takes the
    components that attributes with `attrs` define on the way.
    """

    document: Located
    module: str
    kinds: Mapping[str, str]  # folded name -> CamelCase kind
    classes: Mapping[str, str]
    components: dict[str, Component]
    problems: list[Problem] = field(default_factory=list)
    made: list[Component] = field(default_factory=list)
    later: list[Callable[[], None]] = field(default_factory=list)

    def add(self, component: Component) -> None:
        """Take a component that this file defines."""
        self.made.append(component)
        self.components[component.name] = component

    def problem(
        self, path: Path, message: str, *, hint: str | None = None, key: bool = False
    ) -> None:
        """Record a problem with what stands at `path`."""
        position = self.document.position(path, key=key)
        self.problems.append(Problem(message, path, position, hint))


class AttributeReader:
    """Reads the attributes of one class, `owner`."""

    def __init__(self, scope: Scope, owner: str, *, is_kind: bool) -> None:
        self._scope = scope
        self._owner = owner
        self._is_kind = is_kind

    def read_all(self, written: Mapping[str, Any], path: Path) -> tuple[Attribute, ...]:
        """Return the attributes of a mapping; those with problems are read as far as it goes."""
        found: dict[str, Attribute] = {}
        for name, options in written.items():
            if name == "$options":
                continue
            here = (*path, name)
            attribute = self.read(snake(name), options, here)
            clash = next((key for key in found if camel(key) == camel(attribute.name)), None)
            if clash is not None:
                self._scope.problem(here, f"{name!r} and {clash!r} are one name", key=True)
            found[attribute.name] = attribute
        return tuple(found.values())

    def read(self, name: str, written: Mapping[str, Any], path: Path) -> Attribute:
        """Return one attribute; what is wrong with it goes to the scope's problems."""
        self._check_name(name, path)
        type_ = self._type(written, path)
        many = bool(written.get("many"))
        attribute = Attribute(
            name=name,
            type=type_ if type_ in SCALARS or type_ in ("map", "component") else "component",
            doc=written.get("doc", ""),
            many=many,
            required=bool(written.get("required")),
            status=bool(written.get("status")),
            example=written.get("example"),
            enum=self._class_name(name, many=many),
            choices=tuple(written.get("choices", ())),
            component=self._component(name, type_, written, path),
            to=self._targets(written, path),
            min_length=written.get("min_length"),
            max_length=written.get("max_length"),
            pattern=written.get("pattern"),
            indexed=bool(written.get("indexed")),
            immutable=bool(written.get("immutable")),
            owner=bool(written.get("owner")),
            unique=written.get("unique"),
            merge_key=self._snake_or_none(written.get("merge_key")),
        )
        attribute = replace(attribute, of=self._values(attribute, written, path))
        attribute = replace(
            attribute,
            min=self._bound("min", attribute, written, path),
            max=self._bound("max", attribute, written, path),
        )
        self._check(attribute, written, path)
        return replace(attribute, default=self._default(attribute, written, path))

    # -- names -----------------------------------------------------------------------------

    def _check_name(self, name: str, path: Path) -> None:
        from pydantic import BaseModel

        if keyword.iskeyword(name):
            self._scope.problem(path, f"{name!r} is a keyword of Python", key=True)
        elif name in _USED:
            self._scope.problem(path, f"{name!r} is a name that generated code uses", key=True)
        elif hasattr(BaseModel, name) or name.startswith("model_"):
            self._scope.problem(path, f"{name!r} is a name every model has already", key=True)

    def _class_name(self, name: str, *, many: bool) -> str:
        """Return the class for an enum or component that an attribute defines."""
        class_name = self._owner + pascal(singular(name) if many else name)
        # A kind has a class Spec and a class Status of its own.
        return f"{class_name}Value" if self._is_kind and name in ("spec", "status") else class_name

    def _type(self, written: Mapping[str, Any], path: Path) -> str:
        type_: str = written["type"]
        known = [*SCALARS, "map", "component", *self._scope.classes]
        if type_ in REFUSED_TYPES:
            self._scope.problem((*path, "type"), f"type {type_}", hint=REFUSED_TYPES[type_])
            return "string"
        if type_ not in known:
            hint = closest(type_, known) or "types: " + ", ".join(known)
            self._scope.problem((*path, "type"), f"unknown type {type_!r}", hint=hint)
            return "string"
        return type_

    def _component(self, name: str, type_: str, written: Mapping[str, Any], path: Path) -> str:
        if type_ in self._scope.classes:
            return self._scope.classes[type_]
        if type_ != "component":
            return ""
        if not written.get("attrs"):
            hint = "write them under attrs, or name a component as the type"
            self._scope.problem(path, "a component needs attributes", hint=hint, key=True)
            return ""
        class_name = self._class_name(name, many=bool(written.get("many")))
        reader = AttributeReader(self._scope, class_name, is_kind=False)
        attributes = reader.read_all(written["attrs"], (*path, "attrs"))
        shorthand = self._snake_or_none(written.get("shorthand"))
        self.check_shorthand(shorthand, attributes, (*path, "shorthand"))
        doc = written.get("doc", "")
        self._scope.add(Component(class_name, self._scope.module, attributes, doc, shorthand))
        return class_name

    def check_shorthand(
        self, shorthand: str | None, attributes: tuple[Attribute, ...], path: Path
    ) -> None:
        """Record a problem unless `shorthand` can be what a bare scalar stands for."""
        if shorthand is None:
            return
        meant = next((known for known in attributes if known.name == shorthand), None)
        if meant is None:
            hint = closest(shorthand, [known.name for known in attributes])
            self._scope.problem(path, f"no attribute {shorthand!r}", hint=hint)
        elif meant.many or meant.type in ("map", "component", "json"):
            self._scope.problem(path, f"{shorthand!r} is no single scalar")
        others = [a.name for a in attributes if a.required and a.name != shorthand]
        if meant is not None and others:
            text = f"a shorthand leaves out {', '.join(others)}, which is required"
            self._scope.problem(path, text)

    def _targets(self, written: Mapping[str, Any], path: Path) -> tuple[str, ...]:
        names = written.get("to", ())
        result = []
        for name in [names] if isinstance(names, str) else names:
            kind = self._scope.kinds.get(pascal(name).lower())
            if kind is None:
                hint = closest(pascal(name), self._scope.kinds.values())
                self._scope.problem((*path, "to"), f"unknown kind {name!r}", hint=hint)
            else:
                result.append(kind)
        return tuple(result)

    def _values(
        self, attribute: Attribute, written: Mapping[str, Any], path: Path
    ) -> Attribute | None:
        of = written.get("of")
        if attribute.type != "map":
            return None
        if of is None:
            self._scope.problem(path, "a map needs of: the type of its values", key=True)
            of = "string"
        if isinstance(of, str):
            of = {"type": of}
        value = self.read(attribute.name, of, (*path, "of"))
        if value.type == "map" or value.many:
            self._scope.problem((*path, "of"), "a map of lists or maps is not supported")
            return replace(value, type="string", many=False, of=None)
        return value

    @staticmethod
    def _snake_or_none(name: str | None) -> str | None:
        return None if name is None else snake(name)

    # -- what goes together ----------------------------------------------------------------

    def _check(self, attribute: Attribute, written: Mapping[str, Any], path: Path) -> None:
        for key, message in misplaced(attribute, written, is_kind=self._is_kind):
            self._scope.problem((*path, key), message, key=True)
        if attribute.type == "enum":
            self._check_choices(attribute, path)
        if attribute.pattern is not None:
            self._check_pattern(attribute.pattern, (*path, "pattern"))
        if attribute.merge_key:
            here = (*path, "merge_key")
            self._scope.later.append(lambda: self._check_merge_key(attribute, here))
        for low, high in (("min", "max"), ("min_length", "max_length")):
            least, most = getattr(attribute, low), getattr(attribute, high)
            if least is not None and most is not None and least > most:
                self._scope.problem((*path, high), f"{high} is below {low}")

    def _check_choices(self, attribute: Attribute, path: Path) -> None:
        if not attribute.choices:
            self._scope.problem(path, "an enum needs choices", key=True)
        seen: dict[str, str] = {}
        for number, choice in enumerate(attribute.choices):
            other = seen.setdefault(member_name(choice), choice)
            if other != choice:
                message = f"{choice!r} and {other!r} are one name in Python"
                self._scope.problem((*path, "choices", number), message)

    def _check_pattern(self, pattern: str, path: Path) -> None:
        from pydantic_core import SchemaError, SchemaValidator, core_schema

        try:
            SchemaValidator(core_schema.str_schema(pattern=f"^(?:{pattern})$"))
            re.compile(pattern)
        except (SchemaError, re.error) as error:
            reason = str(error).strip().splitlines()[-1]
            hint = "look-around and back-references are not supported"
            self._scope.problem(path, f"no usable regular expression: {reason}", hint=hint)

    def _check_merge_key(self, attribute: Attribute, path: Path) -> None:
        component = self._scope.components.get(attribute.component)
        if component is None:
            return  # it has problems of its own, which are said
        names = [known.name for known in component.attributes]
        if attribute.merge_key not in names:
            hint = closest(str(attribute.merge_key), names)
            self._scope.problem(path, f"no attribute {attribute.merge_key!r}", hint=hint)

    # -- values ----------------------------------------------------------------------------

    def _bound(
        self, name: str, attribute: Attribute, written: Mapping[str, Any], path: Path
    ) -> Any:
        if name not in written or attribute.type not in NUMBERS:
            return None
        return self._converted(attribute, written[name], (*path, name))

    def _default(self, attribute: Attribute, written: Mapping[str, Any], path: Path) -> object:
        if written.get("default") is None:
            return None
        value, here = written["default"], (*path, "default")
        if attribute.type in ("component", "json") or (
            attribute.of is not None and attribute.of.type in ("component", "json")
        ):
            hint = "give the attributes inside it defaults"
            self._scope.problem(here, f"a {attribute.type} takes no default", hint=hint)
            return None
        if attribute.of is not None or (attribute.type == "label" and attribute.many):
            if not isinstance(value, dict):
                self._scope.problem(here, "the default of a map is a mapping")
                return None
            inner = attribute.of or attribute
            return {key: self._converted(inner, v, (*here, key)) for key, v in value.items()}
        if not attribute.many:
            return self._bounded(attribute, value, here)
        if not isinstance(value, list):
            self._scope.problem(here, "the default of a list is a list")
            return None
        return tuple(self._bounded(attribute, v, (*here, n)) for n, v in enumerate(value))

    def _bounded(self, attribute: Attribute, value: object, path: Path) -> object:
        converted: Any = self._converted(attribute, value, path)
        if converted is None:
            return None
        if attribute.min is not None and converted < attribute.min:
            self._scope.problem(path, f"the default is below min {attribute.min}")
        if attribute.max is not None and converted > attribute.max:
            self._scope.problem(path, f"the default is above max {attribute.max}")
        if attribute.pattern and not re.fullmatch(attribute.pattern, str(converted)):
            self._scope.problem(path, f"the default does not match {attribute.pattern}")
        return converted

    def _converted(self, attribute: Attribute, value: object, path: Path) -> Any:
        try:
            return converted(attribute, value)
        except ValueError as error:
            hint = None
            if attribute.type == "enum":
                hint = closest(str(value), attribute.choices)
            self._scope.problem(path, str(error), hint=hint)
            return None
