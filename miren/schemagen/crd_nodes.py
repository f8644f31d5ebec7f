"""One node of an OpenAPI v3 schema as an attribute of the schema language.

Whatever the language cannot express is refused by name, with its path; nothing is dropped but
what `crd.DEVIATIONS` lists. A node's keywords are taken one by one, and those that are left over
are the ones that nobody understood.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from miren.base.errors import Problem
from miren.base.yaml import Located
from miren.schemagen.crd import INT32, INT_OR_STRING, QUANTITY, as_whole
from miren.schemagen.language import LANGUAGE
from miren.schemagen.names import camel, snake

__all__ = ["NodeReader", "key_of"]

Path = tuple[str | int, ...]
Written = dict[str, Any]

_WHY: Mapping[str, str] = {
    "oneOf": "the language has no alternatives",
    "anyOf": "the language has no alternatives",
    "allOf": "the language has no combined conditions",
    "not": "the language has no exclusions",
    "x-kubernetes-validations": "the language has no rules in CEL",
    "exclusiveMinimum": "bounds are inclusive",
    "exclusiveMaximum": "bounds are inclusive",
    "multipleOf": "the language has no steps",
    "uniqueItems": "lists are no sets",
    "x-kubernetes-map-type": "components are merged attribute by attribute",
    "$ref": "a structural schema has no references",
}
_FORMATS = {"date-time": "time", "byte": "bytes", "duration": "duration", "password": "secret"}
_NUMBERS = {"integer": ("", "int32", "int64"), "number": ("", "float", "double")}
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9]*([_-][A-Za-z0-9]+)*")
_INITIALS = re.compile(r"([A-Z]{2,})s(?![a-z])")
_ABSENT: Any = object()
_ORDER = tuple(LANGUAGE["$defs"]["attribute"]["properties"])


def key_of(name: str) -> str:
    """Return the key of an attribute in a schema file: `emailSANs` as `email_sans`."""
    return snake(_INITIALS.sub(lambda found: found[1].capitalize() + "s", name))


class _Keywords:
    """The keywords of a node that nobody has taken yet. Those that say nothing never count."""

    def __init__(self, node: Mapping[str, Any]) -> None:
        self.rest = {key: value for key, value in node.items() if not _is_idle(key, value)}

    def take(self, key: str, default: Any = None) -> Any:
        return self.rest.pop(key, default)


def _is_idle(key: str, value: object) -> bool:
    if value is False and key not in ("default", "example"):
        return True
    if key in ("minLength", "minItems", "minProperties") and value == 0:
        return True
    return (key, value) in (
        ("description", ""),
        ("x-kubernetes-list-type", "atomic"),
        ("x-kubernetes-map-type", "granular"),
    )


class NodeReader:
    """Reads the nodes of one CRD; what is refused goes to `problems`, with its place."""

    def __init__(self, document: Located, problems: list[Problem]) -> None:
        self._document = document
        self._problems = problems

    def refuse(self, path: Path, message: str, hint: str | None = None) -> None:
        """Record that something cannot be expressed."""
        position = self._document.position(path, key=True)
        self._problems.append(Problem(message, path, position, hint))

    def attributes(self, node: Mapping[str, Any], path: Path) -> dict[str, Written]:
        """Return the attributes of an object's `properties`, as a schema file has them."""
        required = node.get("required") or ()
        found: dict[str, Written] = {}
        for name, inner in (node.get("properties") or {}).items():
            here = (*path, "properties", name)
            key = key_of(name)
            if not _NAME.fullmatch(key):
                self.refuse(here, f"{name!r} is no name of letters, digits and _")
            elif key in found:
                self.refuse(here, f"{name!r} and another attribute are one name in Python")
            else:
                found[key] = self.attribute(inner, here, is_required=name in required)
                if camel(key) != name:
                    found[key] = {"type": found[key].pop("type"), "attr": name, **found[key]}
        return found

    def attribute(
        self, node: Mapping[str, Any], path: Path, *, is_required: bool = False
    ) -> Written:
        """Return one attribute as a schema file has it."""
        keywords = _Keywords(node)
        about = {"doc": keywords.take("description"), "example": keywords.take("example")}
        default = keywords.take("default", _ABSENT)
        is_nullable = keywords.take("nullable", False)
        keywords.take("title")
        written = self._typed(keywords, path, str(about["doc"]))
        self._refuse_rest(keywords, path)
        if default is not _ABSENT:
            written["default"] = default
        elif is_required:
            written["required"] = True
        is_optional = default is _ABSENT and not is_required
        if is_optional and _is_many(written) and written.get("min_length"):
            key = "minProperties" if written["type"] == "map" else "minItems"
            message = f"{key} of what may be left out cannot be expressed: left out is empty"
            self.refuse((*path, key), message)
        if is_nullable and not (is_optional and not _is_many(written)):
            self.refuse(
                (*path, "nullable"), "only what is optional and has no default can be null"
            )
        written |= {key: value for key, value in about.items() if value is not None}
        return {key: written[key] for key in _ORDER if key in written}

    def _refuse_rest(self, keywords: _Keywords, path: Path) -> None:
        for key in keywords.rest:
            why = _WHY.get(key)
            self.refuse((*path, key), f"{key} cannot be expressed" + (f": {why}" if why else ""))

    # -- types -----------------------------------------------------------------------------

    def _typed(self, keywords: _Keywords, path: Path, doc: str) -> Written:
        if keywords.take("x-kubernetes-int-or-string"):
            return self._quantity(keywords, path, doc)
        if keywords.take("x-kubernetes-preserve-unknown-fields"):
            if keywords.take("type", "object") != "object":
                self.refuse(path, "x-kubernetes-preserve-unknown-fields stands on objects only")
            return {"type": "json"}
        match keywords.take("type"):
            case "string":
                return self._text(keywords, path)
            case "integer" | "number" as type_:
                return self._number(type_, keywords, path)
            case "boolean":
                return {"type": "bool"}
            case "array":
                return self._list(keywords, path)
            case "object":
                return self._object(keywords, path)
            case None:
                self.refuse(path, "a node without a type cannot be expressed")
            case other:
                self.refuse((*path, "type"), f"type {other!r} cannot be expressed")
        keywords.rest.clear()
        return {"type": "json"}

    def _quantity(self, keywords: _Keywords, path: Path, doc: str) -> Written:
        if keywords.rest.get("anyOf") == INT_OR_STRING:
            keywords.take("anyOf")
        keywords.take("type")
        is_named = "pattern" not in keywords.rest and "quantity" in doc.lower()
        if keywords.take("pattern") != QUANTITY and not is_named:
            here = (*path, "x-kubernetes-int-or-string")
            self.refuse(here, "an integer or a text that is no quantity cannot be expressed")
        return {"type": "quantity"}

    def _text(self, keywords: _Keywords, path: Path) -> Written:
        format_ = keywords.take("format", "")
        type_ = _FORMATS.get(format_, "string")
        if format_ and format_ not in _FORMATS:
            self.refuse((*path, "format"), f"format {format_} cannot be expressed")
        choices = keywords.take("enum")
        if choices is not None:
            if all(isinstance(choice, str) and choice for choice in choices):
                return {"type": "enum", "choices": list(choices)}
            self.refuse(
                (*path, "enum"), "choices that are no texts, or empty, cannot be expressed"
            )
            return {"type": "string"}
        written: Written = {"type": type_}
        if type_ in ("string", "secret"):
            written |= _lengths(keywords, "Length")
            if (pattern := keywords.take("pattern")) is not None:
                written["pattern"] = as_whole(pattern)
        return written

    def _number(self, type_: str, keywords: _Keywords, path: Path) -> Written:
        format_ = keywords.take("format", "")
        if format_ not in _NUMBERS[type_]:
            self.refuse((*path, "format"), f"format {format_} cannot be expressed")
        least, most = keywords.take("minimum"), keywords.take("maximum")
        if format_ == "int32":
            least, most = INT32[0] if least is None else least, INT32[1] if most is None else most
        written: Written = {"type": "int" if type_ == "integer" else "float"}
        if least is not None:
            written["min"] = least
        if most is not None:
            written["max"] = most
        return written

    def _list(self, keywords: _Keywords, path: Path) -> Written:
        here = (*path, "items")
        items = dict(keywords.take("items") or {})
        items.pop("description", None)
        inner = self.attribute(items, here)
        if inner["type"] in ("map", "json") or inner.get("many"):
            text = "lists" if inner.get("many") else f"values of type {inner['type']}"
            self.refuse(here, f"a list of {text} cannot be expressed")
        for key in ("min_length", "max_length", "default"):
            if key in inner:
                name = {"min_length": "minLength", "max_length": "maxLength"}.get(key, key)
                self.refuse((*here, name), f"{name} of what a list holds cannot be expressed")
                del inner[key]
        written = {**inner, "many": True, **_lengths(keywords, "Items")}
        return written | self._merged(keywords, path)

    def _merged(self, keywords: _Keywords, path: Path) -> Written:
        kind, keys = keywords.take("x-kubernetes-list-type"), keywords.take(_KEYS, ())
        if kind is None:
            return {}
        if kind != "map":
            message = f"x-kubernetes-list-type: {kind} cannot be expressed"
            self.refuse((*path, "x-kubernetes-list-type"), message)
        elif len(keys) != 1:
            self.refuse((*path, _KEYS), "a merge key is one attribute, not several")
        else:
            return {"merge_key": key_of(keys[0])}
        return {}

    def _object(self, keywords: _Keywords, path: Path) -> Written:
        values = keywords.take("additionalProperties")
        if values is not None:
            if values is True:
                return {"type": "map", "of": {"type": "json"}, **_lengths(keywords, "Properties")}
            inner = self.attribute(values, (*path, "additionalProperties"))
            of = inner["type"] if set(inner) == {"type"} else inner
            return {"type": "map", "of": of, **_lengths(keywords, "Properties")}
        node = {"properties": keywords.take("properties"), "required": keywords.take("required")}
        if not node["properties"]:
            hint = "x-kubernetes-preserve-unknown-fields makes it json"
            self.refuse(path, "an object without properties cannot be expressed", hint)
            return {"type": "json"}
        return {"type": "component", "attrs": self.attributes(node, path)}


_KEYS = "x-kubernetes-list-map-keys"


def _is_many(written: Written) -> bool:
    return bool(written.get("many")) or written["type"] == "map"


def _lengths(keywords: _Keywords, what: str) -> Written:
    written: Written = {}
    for name, key in ((f"min{what}", "min_length"), (f"max{what}", "max_length")):
        if (length := keywords.take(name)) is not None:
            written[key] = length
    return written
