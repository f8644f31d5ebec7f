"""From one attribute as it is written to one as it is meant, with every check on the way."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from miren.base.errors import Problem
from miren.base.suggestions import closest
from miren.schemagen.defaults import Unsettled
from miren.schemagen.files import SchemaFile
from miren.schemagen.language import COMPOUNDS, SCALARS
from miren.schemagen.model import Attribute, ClassName, Component, Path, Target
from miren.schemagen.names import camel, member_name, pascal, python_name, singular, snake
from miren.schemagen.naming import ClassNames, Meaning, Names, Unknown
from miren.schemagen.rules import NUMBERS, Place, misplaced
from miren.schemagen.values import converted

__all__ = ["AttributeReader", "Scope"]


@dataclass(slots=True)
class Scope:
    """What the names in one schema file mean, and where its problems are collected.

    `module` and `classes` are of the file that classes are made for: when a kind includes a
    component of another file, that is not `file`. `made` takes the components of the module.
    """

    file: SchemaFile
    module: str
    names: Names
    classes: ClassNames
    components: dict[ClassName, Component]
    problems: list[Problem] = field(default_factory=list)
    made: list[Component] = field(default_factory=list)
    later: list[Callable[[], None]] = field(default_factory=list)

    def add(self, component: Component) -> None:
        """Take a component that this file defines."""
        self.made.append(component)
        self.components[component.known] = component

    def problem(
        self, path: Path, message: str, *, hint: str | None = None, key: bool = False
    ) -> None:
        """Record a problem with what stands at `path`."""
        position = self.file.document.position(path, key=key)
        self.problems.append(Problem(message, path, position, hint))


class AttributeReader:
    """Reads the attributes of one class, `owner`."""

    def __init__(self, scope: Scope, owner: str, place: str) -> None:
        self._scope = scope
        self._owner = owner
        self._place = place

    def read_all(self, written: Mapping[str, Any], path: Path) -> tuple[Attribute, ...]:
        """Return the attributes of a mapping; those with problems are read as far as it goes."""
        found: list[Attribute] = []
        for name, options in written.items():
            if name == "$options":
                continue
            attribute = self.read(name, options, (*path, name))
            self.check_clash(attribute, found)
            found.append(attribute)
        return tuple(found)

    def check_clash(self, attribute: Attribute, others: list[Attribute]) -> None:
        """Record a problem if documents could mean another one by this attribute's names."""
        for other in others:
            if other.spellings() & attribute.spellings():
                message = f"{attribute.at[-1]!r} and {other.at[-1]!r} are one name"
                self._scope.problem(attribute.at, message, key=True)
                return

    def read(self, name: str, written: Mapping[str, Any], path: Path) -> Attribute:
        """Return one attribute; what is wrong with it goes to the scope's problems."""
        type_, component = self._type(snake(name), written, path)
        is_view = written.get("bind_to") is not None
        attribute = Attribute(
            name=python_name(name),
            wire=written.get("attr") or camel(snake(name)),
            type=type_,
            doc=written.get("doc", ""),
            many=bool(written.get("many")),
            # With a default a value is always there, so nobody has to give one.
            required=bool(written.get("required")) and written.get("default") is None,
            status=bool(written.get("status") or written.get("session") or is_view),
            example=written.get("example"),
            choices=tuple(written.get("choices", ())),
            component=component,
            to=self._targets(written, path),
            min_length=written.get("min_length"),
            max_length=written.get("max_length"),
            pattern=written.get("pattern"),
            indexed=bool(written.get("indexed")),
            immutable=bool(written.get("immutable")),
            owner=bool(written.get("owner")),
            on_delete=written.get("on_delete"),
            unique=written.get("unique"),
            merge_key=self._python_or_none(written.get("merge_key")),
            session=bool(written.get("session")),
            bind_to=written.get("bind_to"),
            tags=_texts(written.get("tags", ())),
            at=path,
        )
        if type_ == "enum":
            class_name = self._class_name(snake(name), many=attribute.many)
            enum = ClassName(self._scope.module, self._scope.classes.nested(class_name))
            attribute = replace(attribute, enum=enum)
        if type_ == "map":
            attribute = replace(attribute, of=self._values(name, written, path))
        attribute = replace(
            attribute,
            min=self._bound("min", attribute, written, path),
            max=self._bound("max", attribute, written, path),
        )
        self._check(attribute, written, path)
        if written.get("default") is None:
            return attribute
        default = Unsettled(written["default"], (*path, "default"), self._scope.problem)
        return replace(attribute, default=default)

    # -- names -----------------------------------------------------------------------------

    def _class_name(self, name: str, *, many: bool) -> str:
        """Return a class for an enum or component that an attribute defines, if it is free."""
        return self._owner + pascal(singular(name) if many else name)

    def _type(
        self, name: str, written: Mapping[str, Any], path: Path
    ) -> tuple[str, ClassName | None]:
        type_: str = written["type"]
        if type_ == "component":
            return type_, self._nested(name, written, path)
        if type_ in SCALARS or type_ in COMPOUNDS:
            return type_, None
        meaning = self._named_component(type_, path)
        return ("string", None) if meaning is None else ("component", meaning.known)

    def _named_component(self, type_: str, path: Path) -> Meaning | None:
        try:
            meaning = self._scope.names.component(type_, self._scope.file)
        except Unknown as error:
            self._scope.problem((*path, "type"), str(error), hint=error.hint)
            return None
        if meaning is None:
            known = [*SCALARS, *COMPOUNDS, *self._scope.names.component_names()]
            hint = closest(type_, known) or "types: " + ", ".join(known)
            self._scope.problem((*path, "type"), f"unknown type {type_!r}", hint=hint)
        return meaning

    def _nested(self, name: str, written: Mapping[str, Any], path: Path) -> ClassName | None:
        if not written.get("attrs"):
            hint = "write them under attrs, or name a component as the type"
            self._scope.problem(path, "a component needs attributes", hint=hint, key=True)
            return None
        wanted = self._class_name(name, many=bool(written.get("many")))
        class_name = self._scope.classes.nested(wanted)
        reader = AttributeReader(self._scope, class_name, Place.COMPONENT)
        attributes = reader.read_all(written["attrs"], (*path, "attrs"))
        shorthand = self._python_or_none(written.get("shorthand"))
        self.check_shorthand(shorthand, attributes, (*path, "shorthand"))
        doc = written.get("doc", "")
        component = Component(class_name, self._scope.module, attributes, doc, shorthand, path)
        self._scope.add(component)
        return component.known

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
        elif meant.many or meant.type in (*COMPOUNDS, "json"):
            self._scope.problem(path, f"{shorthand!r} is no single scalar")
        others = [a.name for a in attributes if a.required and a.name != shorthand]
        if meant is not None and others:
            text = f"a shorthand leaves out {', '.join(others)}, which is required"
            self._scope.problem(path, text)

    def _targets(self, written: Mapping[str, Any], path: Path) -> tuple[Target, ...]:
        result = []
        for name in _texts(written.get("to", ())):
            try:
                result.append(self._scope.names.kind(name, self._scope.file))
            except Unknown as error:
                self._scope.problem((*path, "to"), str(error), hint=error.hint)
        return tuple(result)

    def _values(self, name: str, written: Mapping[str, Any], path: Path) -> Attribute:
        of = written.get("of")
        if of is None:
            self._scope.problem(path, "a map needs of: the type of its values", key=True)
            of = "string"
        if isinstance(of, str):
            of = {"type": of}
        return AttributeReader(self._scope, self._owner, Place.MAP).read(name, of, (*path, "of"))

    @staticmethod
    def _python_or_none(name: str | None) -> str | None:
        return None if name is None else python_name(name)

    # -- what goes together ----------------------------------------------------------------

    def _check(self, attribute: Attribute, written: Mapping[str, Any], path: Path) -> None:
        for key, message in misplaced(attribute, written, self._place):
            self._scope.problem((*path, key), message, key=True)
        if attribute.type == "enum":
            self._check_choices(attribute, path)
        if attribute.pattern is not None:
            self._check_pattern(attribute.pattern, (*path, "pattern"))
        if attribute.merge_key:
            here = (*path, "merge_key")
            self._scope.later.append(lambda: self._check_merge_key(attribute, here))
        for key, told in (("indexed", "indexed"), ("session", "leased")):
            if attribute.leaf.type == "component" and getattr(attribute, key):
                check = partial(self._check_secrets, attribute.leaf, (*path, key), told)
                self._scope.later.append(check)
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
        component = self._scope.components.get(attribute.component or ClassName("", ""))
        if component is None:
            return  # it has problems of its own, which are said
        key = next((a for a in component.attributes if a.name == attribute.merge_key), None)
        if key is None:
            hint = closest(str(attribute.merge_key), [a.name for a in component.attributes])
            self._scope.problem(path, f"no attribute {attribute.merge_key!r}", hint=hint)
        elif key.many or key.type not in _TELLING:
            self._scope.problem(path, f"a {key.type} tells no elements apart")

    def _check_secrets(self, attribute: Attribute, path: Path, told: str) -> None:
        """Record a problem if there is a secret in a component that is indexed or leased."""
        rest, seen = [attribute.component], {attribute.component}
        for name in rest:
            component = self._scope.components.get(name) if name else None
            for held in component.attributes if component else ():
                if held.leaf.type == "secret":
                    self._scope.problem(path, f"a secret cannot be {told}", key=True)
                    return
                if held.leaf.component not in seen:
                    seen.add(held.leaf.component)
                    rest.append(held.leaf.component)

    # -- values ----------------------------------------------------------------------------

    def _bound(
        self, name: str, attribute: Attribute, written: Mapping[str, Any], path: Path
    ) -> Any:
        if name not in written or attribute.type not in NUMBERS:
            return None
        try:
            return converted(attribute, written[name])
        except ValueError as error:
            self._scope.problem((*path, name), str(error))
            return None


#: Types whose values can tell the elements of a list apart.
_TELLING = frozenset({"string", "keyword", "label", "int", "enum", "ref"})


def _texts(value: str | Iterable[str]) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value)
