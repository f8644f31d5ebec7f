"""An attribute in Python: its annotation, its default, and what `field` and callers are told."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from miren.schemagen.emit import Group, Item, quote
from miren.schemagen.imports import Imports
from miren.schemagen.literals import Literals, json_literal
from miren.schemagen.model import Attribute, ClassName, Component, Schema
from miren.schemagen.names import pascal
from miren.schemagen.rules import pattern_of

__all__ = ["PythonTypes", "element_of"]

_TYPES = {
    "string": "str",
    "keyword": "str",
    "label": "str",
    "int": "int",
    "float": "float",
    "bool": "bool",
    "bytes": "Base64",
    "time": "datetime",
    "duration": "Duration",
    "quantity": "Quantity",
    "json": "Json",
    "secret": "SecretText",
}

#: What callers of `new` may pass, where it is more than the attribute's own type.
_ACCEPTED = {
    "bytes": "bytes",
    "duration": "Duration | str",
    "quantity": "Quantity | str | int",
    "json": "object",
    "secret": "SecretText | str",
}


class PythonTypes:
    """Writes the attributes of one module; what they need goes to its imports."""

    def __init__(
        self, schema: Schema, schemas: Iterable[Schema], imports: Imports, taken: Iterable[str]
    ) -> None:
        self._module = schema.module
        self._imports = imports
        self._components = {part.known: part for other in schemas for part in other.components}
        self._literals = Literals(imports, self._components)
        self._taken = set(taken)
        self._aliases: dict[tuple[str, str, int], str] = {}
        self._later = {part.name for part in schema.components}

    def define(self, component: Component) -> None:
        """Note that the class of a component is there from now on."""
        self._later.discard(component.name)

    def is_forward(self, attribute: Attribute) -> bool:
        """Return whether the annotation names a class that is not there yet."""
        held = attribute.leaf.component
        return held is not None and held.module == self._module and held.name in self._later

    def annotation(self, owner: str, attribute: Attribute) -> str:
        """Return the annotation of an attribute of the class `owner`."""
        text = self.value(owner, attribute)
        is_single = element_of(attribute) is None and not attribute.is_labels
        if is_single and not attribute.required and attribute.default is None:
            text = text if attribute.type == "json" else f"{text} | None"
        return quote(text) if self.is_forward(attribute) else text

    def value(self, owner: str, attribute: Attribute, depth: int = 1) -> str:
        """Return the annotation of a value that is there."""
        if attribute.is_labels:
            return self._imports.use("Labels")
        element = element_of(attribute)
        if element is None:
            return self._scalar(attribute)
        if self.constraints(element):
            inner = self.alias(owner, attribute, depth)
        else:
            inner = self.value(owner, element, depth + 1)
        if attribute.of is not None:
            return f"{self._imports.use('Map')}[{inner}]"
        return f"tuple[{inner}, ...]"

    def alias(self, owner: str, attribute: Attribute, depth: int) -> str:
        """Return the name of what a list or map of the class `owner` holds."""
        key = (owner, attribute.name, depth)
        if key not in self._aliases:
            name = owner + pascal(attribute.name) + "Item" * depth
            while name in self._taken:
                name += "_"
            self._taken.add(name)
            self._aliases[key] = name
        return self._aliases[key]

    def _scalar(self, attribute: Attribute) -> str:
        match attribute.type:
            case "enum" if attribute.enum is not None:
                return self._imports.need(*attribute.enum)
            case "component":
                return self._component_name(attribute.component)
            case "ref":
                return self._ref(attribute)
        return self._imports.use_all(_TYPES[attribute.type])

    def _component_name(self, known: ClassName | None) -> str:
        assert known is not None  # of every component of a checked schema
        return self._imports.need(known.module, known.name)

    def _ref(self, attribute: Attribute) -> str:
        names = [self._imports.mention(*target.known) for target in attribute.to]
        target = " | ".join(names) or self._imports.use_all("Entity[Model, Model]")
        return f"{self._imports.use('Ref')}[{quote(target)}]"

    def default(self, attribute: Attribute) -> Item | None:
        """Return `default=...` for `field`, None for what is required."""
        if attribute.default is not None:
            return self._literals.of(attribute, attribute.default, "default=")
        if attribute.required:
            return None
        if attribute.of is not None or attribute.is_labels:
            return "default={}"
        return "default=()" if attribute.many else "default=None"

    def options(self, attribute: Attribute) -> list[Item]:
        """Return everything `field` is told besides the default."""
        leaf = attribute.leaf
        options = self.constraints(attribute)
        for name in ("indexed", "immutable", "owner", "session"):
            if getattr(attribute, name) or (name == "indexed" and leaf.indexed):
                options.append(f"{name}=True")
        if leaf.type == "secret":
            options.append("secret=True")
        for name in ("unique", "merge_key", "bind_to"):
            if text := getattr(attribute, name):
                options.append(f"{name}={quote(text)}")
        if leaf.on_delete:
            options.append(f"on_delete={quote(leaf.on_delete)}")
        if leaf.to:
            kinds = dict.fromkeys(quote(target.kind) for target in leaf.to)
            options.append(Group("to=(", tuple(kinds), ")"))
        if leaf.tags:
            options.append(Group("tags=(", tuple(map(quote, leaf.tags)), ")"))
        if attribute.example is not None:
            options.append(json_literal(attribute.example, "example="))
        if attribute.doc:
            options.append(f"doc={quote(' '.join(attribute.doc.split()))}")
        return options

    def constraints(self, attribute: Attribute) -> list[Item]:
        """Return what must hold of a value, besides its type."""
        options = [] if element_of(attribute) is not None else self._bounds(attribute)
        for name in ("min_length", "max_length"):
            if (length := getattr(attribute, name)) is not None:
                options.append(f"{name}={length}")
        return options

    def element_options(self, element: Attribute) -> list[Item]:
        """Return what `field` is told of the elements of a list or map."""
        secret = ["secret=True"] if element.type == "secret" else []
        return [*self.constraints(element), *secret]

    def _bounds(self, attribute: Attribute) -> list[Item]:
        bounds: list[Item] = [
            f"{name}={self._literals.constant(value)}"
            for name in ("min", "max")
            if (value := getattr(attribute, name)) is not None
        ]
        # `Labels` checks its own.
        pattern = None if attribute.is_labels else pattern_of(attribute)
        return [*bounds, f"pattern={_regex(pattern)}"] if pattern else bounds

    def accepted(self, attribute: Attribute) -> str:
        """Return the annotation of what a caller may pass for an attribute."""
        if attribute.is_labels:
            return f"{self._imports.use('Mapping')}[str, str]"
        if attribute.of is not None:
            return f"{self._imports.use('Mapping')}[str, {self.accepted(attribute.of)}]"
        if attribute.type == "component":
            accepted = self._accepted_component(attribute.component)
        elif attribute.enum is not None:
            module, name = attribute.enum
            texts = self._imports.need(module, f"{name}Text")
            accepted = f"{self._imports.need(module, name)} | {texts}"
        elif attribute.type == "ref":
            accepted = "str"
        else:
            known = _ACCEPTED.get(attribute.type) or _TYPES[attribute.type]
            accepted = self._imports.use_all(known)
        return f"{self._imports.use('Sequence')}[{accepted}]" if attribute.many else accepted

    def _accepted_component(self, known: ClassName | None) -> str:
        name = self._component_name(known)
        accepted = f"{name} | {self._imports.use('Mapping')}[str, object]"
        component = self._components[known] if known else None
        for attribute in component.attributes if component else ():
            if component is not None and attribute.name == component.shorthand:
                scalar = self.accepted(attribute)
                accepted += "".join(
                    f" | {part}" for part in scalar.split(" | ") if part not in accepted
                )
        return accepted


def element_of(attribute: Attribute) -> Attribute | None:
    """Return what a list or map holds; None for a single value."""
    if attribute.of is not None:
        return attribute.of
    if not attribute.is_listed:
        return None
    return replace(attribute, many=False, min_length=None, max_length=None)


def _regex(pattern: str) -> str:
    is_raw = "\\" in pattern and '"' not in pattern and pattern.isprintable()
    if is_raw and not pattern.endswith("\\"):
        return f'r"{pattern}"'
    return quote(pattern)
