"""Values of a schema as Python source: defaults, examples and bounds."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import replace

from miren.base.quantities import Duration, Quantity
from miren.schemagen.emit import Group, Item, quote
from miren.schemagen.imports import Imports
from miren.schemagen.model import Attribute, ClassName, Component
from miren.schemagen.names import member_name

__all__ = ["Literals", "json_literal"]


class Literals:
    """Writes values of attributes; what they need goes to the imports of the module."""

    def __init__(self, imports: Imports, components: Mapping[ClassName, Component]) -> None:
        self._imports = imports
        self._components = components

    def of(self, attribute: Attribute, value: object, prefix: str = "") -> Item:
        """Return a converted value of the attribute as source, with `prefix` before it."""
        if attribute.of is not None and isinstance(value, dict):
            return self._map(attribute.of, value, prefix)
        if attribute.type == "json" and not attribute.many:
            return json_literal(value, prefix)
        if isinstance(value, tuple):
            single = replace(attribute, many=False)
            return Group(f"{prefix}(", tuple(self.of(single, item) for item in value), ")")
        if attribute.is_labels:
            return json_literal(value, prefix)
        if attribute.component is not None and isinstance(value, dict):
            return self._component(attribute.component, value, prefix)
        return prefix + self._scalar(attribute, value)

    def _map(self, of: Attribute, value: Mapping[str, object], prefix: str) -> Group:
        items = (self.of(of, item, f"{quote(key)}: ") for key, item in value.items())
        return Group(f"{prefix}{{", tuple(items), "}")

    def _component(self, known: ClassName, value: Mapping[str, object], prefix: str) -> Group:
        name = self._imports.need(known.module, known.name)
        attributes = {a.name: a for a in self._components[known].attributes}
        items = (self.of(attributes[key], item, f"{key}=") for key, item in value.items())
        return Group(f"{prefix}{name}(", tuple(items), ")")

    def _scalar(self, attribute: Attribute, value: object) -> str:
        match attribute.type:
            case "enum":
                enum = self._imports.need(*attribute.enum) if attribute.enum else ""
                return f"{enum}.{member_name(str(value))}"
            case "ref":
                return f"{self._imports.use('Ref')}({quote(str(value))})"
            case "time":
                return f"{self._imports.use('datetime')}.fromisoformat({quote(str(value))})"
            case "bytes":
                return _bytes(base64.b64decode(str(value)))
        return self.constant(value)

    def constant(self, value: object) -> str:
        """Return an amount, a span of time, a text or a number as source."""
        match value:
            case Quantity():
                return f"{self._imports.use('Quantity')}({quote(str(value))})"
            case Duration():
                return f"{self._imports.use('Duration')}.parse({quote(str(value))})"
            case str():
                return quote(value)
        return repr(value)


def json_literal(value: object, prefix: str = "") -> Item:
    """Return JSON data as source."""
    match value:
        case str():
            return prefix + quote(value)
        case list() | tuple():
            return Group(f"{prefix}[", tuple(json_literal(item) for item in value), "]")
        case dict():
            items = (json_literal(item, f"{quote(str(key))}: ") for key, item in value.items())
            return Group(f"{prefix}{{", tuple(items), "}")
    return prefix + repr(value)


def _bytes(data: bytes) -> str:
    plain = {byte for byte in range(0x20, 0x7F) if byte not in b'"\\'}
    return 'b"' + "".join(chr(b) if b in plain else f"\\x{b:02x}" for b in data) + '"'
