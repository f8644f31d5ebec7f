"""An attribute in Python: its annotation, its default, and what `field` and callers are told."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import replace

from miren.base.quantities import Duration, Quantity
from miren.schemagen.emit import Group, quote
from miren.schemagen.imports import Imports
from miren.schemagen.model import Attribute, Schema
from miren.schemagen.names import member_name, pascal

__all__ = ["PythonTypes", "alias_of", "element_of"]

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
}

#: What a text of these types looks like; `pattern` in the schema takes its place.
_PATTERNS = {"keyword": r"\S+", "label": r"[^=\s]+=.*"}

#: What callers of `new` may pass, where it is more than the attribute's own type.
_ACCEPTED = {
    "bytes": "bytes",
    "duration": "Duration | str",
    "quantity": "Quantity | str | int",
    "json": "object",
}


class PythonTypes:
    """Writes the attributes of one module; what they need goes to its imports."""

    def __init__(self, schema: Schema, schemas: Sequence[Schema], imports: Imports) -> None:
        self._module = schema.module
        self._imports = imports
        self._components = {part.name: part for other in schemas for part in other.components}
        self._kind_modules = {kind.name: kind.module for s in schemas for kind in s.kinds}

    def annotation(self, owner: str, attribute: Attribute) -> str:
        """Return the annotation of an attribute of the class `owner`."""
        if attribute.type == "label" and attribute.many:
            return self._imports.use("Labels")
        element = element_of(attribute)
        if element is None:
            scalar = self.scalar(attribute)
            optional = not attribute.required and attribute.default is None
            return f"{scalar} | None" if optional and attribute.type != "json" else scalar
        inner = alias_of(owner, attribute) if self.bounds(element) else self.scalar(element)
        if attribute.of is not None:
            return f"{self._imports.use('Map')}[{inner}]"
        return f"tuple[{inner}, ...]"

    def scalar(self, attribute: Attribute) -> str:
        """Return the annotation of a single value."""
        match attribute.type:
            case "enum":
                return attribute.enum
            case "component":
                return self._component_name(attribute.component)
            case "ref":
                return self._ref(attribute)
        return self._imports.use_all(_TYPES[attribute.type])

    def _component_name(self, name: str) -> str:
        module = self._components[name].module
        if module != self._module:
            self._imports.need(module, name)
        return name

    def _ref(self, attribute: Attribute) -> str:
        for name in attribute.to:
            if self._kind_modules[name] != self._module:
                self._imports.mention(self._kind_modules[name], name)
        target = " | ".join(attribute.to) or self._imports.use_all("Entity[Model, Model]")
        return f"{self._imports.use('Ref')}[{quote(target)}]"

    def default(self, attribute: Attribute) -> str | None:
        """Return the default as source, None for what is required."""
        if attribute.default is not None:
            return self._literal(attribute, attribute.default)
        if attribute.required:
            return None
        if attribute.of is not None or (attribute.type == "label" and attribute.many):
            return "{}"
        return "()" if attribute.many else "None"

    def _literal(self, attribute: Attribute, value: object) -> str:
        if isinstance(value, tuple):
            items = [self._literal(attribute, item) for item in value]
            return f"({', '.join(items)}{',' if len(items) == 1 else ''})"
        if isinstance(value, dict):
            inner = attribute.of or attribute
            pairs = [f"{quote(key)}: {self._literal(inner, item)}" for key, item in value.items()]
            return "{" + ", ".join(pairs) + "}"
        match attribute.type:
            case "enum":
                return f"{attribute.enum}.{member_name(str(value))}"
            case "ref":
                return f"{self._imports.use('Ref')}({quote(str(value))})"
            case "time":
                return f"{self._imports.use('datetime')}.fromisoformat({quote(str(value))})"
            case "bytes":
                return _bytes(base64.b64decode(str(value)))
        return self._constant(value)

    def _constant(self, value: object) -> str:
        match value:
            case Quantity():
                return f"{self._imports.use('Quantity')}({quote(str(value))})"
            case Duration():
                return f"{self._imports.use('Duration')}.parse({quote(str(value))})"
            case str():
                return quote(value)
        return repr(value)

    def options(self, attribute: Attribute) -> list[str]:
        """Return everything `field` is told besides the default."""
        options = [] if element_of(attribute) is not None else self.bounds(attribute)
        for name in ("min_length", "max_length"):
            if (length := getattr(attribute, name)) is not None:
                options.append(f"{name}={length}")
        for name in ("indexed", "immutable", "owner"):
            if getattr(attribute, name):
                options.append(f"{name}=True")
        for name in ("unique", "merge_key"):
            if text := getattr(attribute, name):
                options.append(f"{name}={quote(text)}")
        if attribute.to:
            options.append(f"to={Group('(', tuple(map(quote, attribute.to)), ')')}")
        if attribute.example is not None:
            options.append(f"example={_data(attribute.example)}")
        if attribute.doc:
            options.append(f"doc={quote(' '.join(attribute.doc.split()))}")
        return options

    def bounds(self, attribute: Attribute) -> list[str]:
        """Return the constraints on a single value."""
        bounds = [
            f"{name}={self._constant(value)}"
            for name in ("min", "max")
            if (value := getattr(attribute, name)) is not None
        ]
        pattern = attribute.pattern or _PATTERNS.get(attribute.type)
        if attribute.many and attribute.type == "label":
            pattern = None  # `Labels` checks its own
        return [*bounds, f"pattern={_regex(pattern)}"] if pattern else bounds

    def accepted(self, attribute: Attribute) -> str:
        """Return the annotation of what a caller may pass for an attribute."""
        if attribute.type == "label" and attribute.many:
            return f"{self._imports.use('Mapping')}[str, str]"
        if attribute.of is not None:
            return f"{self._imports.use('Mapping')}[str, {self.accepted(attribute.of)}]"
        if attribute.type == "component":
            accepted = self._accepted_component(attribute.component)
        elif attribute.type == "enum":
            accepted = f"{attribute.enum} | {attribute.enum}Text"
        elif attribute.type == "ref":
            accepted = "str"
        else:
            known = _ACCEPTED.get(attribute.type) or _TYPES[attribute.type]
            accepted = self._imports.use_all(known)
        return f"{self._imports.use('Sequence')}[{accepted}]" if attribute.many else accepted

    def _accepted_component(self, name: str) -> str:
        component = self._components[name]
        accepted = f"{self._component_name(name)} | {self._imports.use('Mapping')}[str, object]"
        for attribute in component.attributes:
            if attribute.name == component.shorthand:
                scalar = self.accepted(attribute)
                accepted += "".join(
                    f" | {part}" for part in scalar.split(" | ") if part not in accepted
                )
        return accepted


def element_of(attribute: Attribute) -> Attribute | None:
    """Return what a list or map holds; None for a single value."""
    if attribute.of is not None:
        return attribute.of
    is_list = attribute.many and attribute.type != "label"
    return replace(attribute, many=False) if is_list else None


def alias_of(owner: str, attribute: Attribute) -> str:
    """Return the name of what a list or map of the class `owner` holds."""
    return f"{owner}{pascal(attribute.name)}Item"


def _regex(pattern: str) -> str:
    is_raw = "\\" in pattern and '"' not in pattern and pattern.isprintable()
    if is_raw and not pattern.endswith("\\"):
        return f'r"{pattern}"'
    return quote(pattern)


def _bytes(data: bytes) -> str:
    plain = {byte for byte in range(0x20, 0x7F) if byte not in b'"\\'}
    return 'b"' + "".join(chr(b) if b in plain else f"\\x{b:02x}" for b in data) + '"'


def _data(value: object) -> str:
    """Return JSON data as Python source, with texts in double quotes."""
    match value:
        case str():
            return quote(value)
        case list():
            return f"[{', '.join(map(_data, value))}]"
        case dict():
            return "{" + ", ".join(f"{quote(k)}: {_data(item)}" for k, item in value.items()) + "}"
    return str(value) if isinstance(value, Quantity | Duration) else repr(value)
