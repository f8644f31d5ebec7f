"""The language of schema.yml as a JSON Schema, and the words it knows but does not take.

The shape of a file (which keys, of which type) is checked by JSON Schema; what the keys mean
together is checked where schemas are compiled.
"""

from __future__ import annotations

from typing import Any

__all__ = ["LANGUAGE", "REFUSED_KEYS", "REFUSED_TYPES", "SCALARS"]

#: The types that stand for one value.
SCALARS = (
    "string",
    "keyword",
    "label",
    "int",
    "float",
    "bool",
    "bytes",
    "time",
    "duration",
    "quantity",
    "enum",
    "ref",
    "json",
)

#: Keys that other versions of the language have. Taking them without their effect would be
#: worse than not taking them.
REFUSED_KEYS = {
    "session": "leased attributes are not supported: keep it in the status, with a time",
    "bind_to": "attributes bound to others are not supported: use metadata or a status attribute",
    "on_delete": "deletion rules are not supported: with owner: true it goes when its target goes",
    "tags": "tags are not supported: labels select, owner: true cascades a deletion",
    "attr": "attributes have no other id than their name: rename the attribute",
    "kind-major": "it has no effect: remove it",
}

REFUSED_TYPES = {"secret": "sealed attributes are not supported: name a Secret in a ref instead"}

_NAME = r"^[A-Za-z][A-Za-z0-9]*([_-][A-Za-z0-9]+)*$"
_TEXT = {"type": "string", "minLength": 1}
_FLAG = {"type": "boolean"}
_BOUND = {"type": ["number", "string"]}
_LENGTH = {"type": "integer", "minimum": 0}
_TEXTS = {"type": "array", "items": _TEXT, "minItems": 1}

_ATTRIBUTES: dict[str, Any] = {
    "type": "object",
    "propertyNames": {"pattern": _NAME},
    "additionalProperties": {"$ref": "#/$defs/attribute"},
}

LANGUAGE: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "A Miren schema file",
    "type": "object",
    "required": ["domain", "version"],
    "additionalProperties": False,
    "properties": {
        "domain": {"type": "string", "pattern": r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"},
        "version": {"type": "string", "pattern": r"^v[0-9]+([a-z]+[0-9]*)?$"},
        "doc": _TEXT,
        "aliases": {
            "type": "array",
            "items": {"type": "string", "pattern": r"^[a-z0-9][-a-z0-9.]*(/[a-z0-9]+)?$"},
        },
        "components": {
            "type": "object",
            "propertyNames": {"pattern": _NAME},
            "additionalProperties": {"$ref": "#/$defs/component"},
        },
        "kinds": {
            "type": "object",
            "propertyNames": {"pattern": _NAME},
            "additionalProperties": {"$ref": "#/$defs/kind"},
        },
    },
    "$defs": {
        "attribute": {
            "type": "object",
            "required": ["type"],
            "additionalProperties": False,
            "properties": {
                "type": _TEXT,
                "doc": _TEXT,
                "many": _FLAG,
                "required": _FLAG,
                "status": _FLAG,
                "default": {},
                "example": {},
                "choices": {**_TEXTS, "uniqueItems": True},
                "attrs": _ATTRIBUTES,
                "of": {"oneOf": [_TEXT, {"$ref": "#/$defs/attribute"}]},
                "to": {"oneOf": [_TEXT, _TEXTS]},
                "indexed": _FLAG,
                "immutable": _FLAG,
                "owner": _FLAG,
                "unique": {"enum": ["project", "cluster"]},
                "merge_key": _TEXT,
                "shorthand": _TEXT,
                "min": _BOUND,
                "max": _BOUND,
                "min_length": _LENGTH,
                "max_length": _LENGTH,
                "pattern": _TEXT,
            },
        },
        "component": {
            **_ATTRIBUTES,
            "properties": {
                "$options": {
                    "type": "object",
                    "additionalProperties": False,
                    "properties": {"doc": _TEXT, "shorthand": _TEXT},
                }
            },
            "propertyNames": {"anyOf": [{"pattern": _NAME}, {"const": "$options"}]},
        },
        "kind": {
            **_ATTRIBUTES,
            "properties": {
                "$options": {
                    "type": "object",
                    "additionalProperties": False,
                    "properties": {
                        "doc": _TEXT,
                        "short": {"oneOf": [_TEXT, _TEXTS]},
                        "plural": _TEXT,
                        "scope": {"enum": ["project", "cluster"]},
                        "printcolumns": {"type": "object", "additionalProperties": _TEXT},
                        "include": _TEXT,
                    },
                }
            },
            "propertyNames": {"anyOf": [{"pattern": _NAME}, {"const": "$options"}]},
        },
    },
}
