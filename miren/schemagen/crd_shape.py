"""The shape of a CRD as a JSON Schema: which keywords are there, and of which type.

It is checked first, so that what reads a CRD afterwards can rely on it. Keywords that are not
here may have any form: they are refused by name.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

from miren.base.errors import Problem
from miren.base.yaml import Located

__all__ = ["misshapen"]

_TEXT = {"type": "string"}
_LENGTH = {"type": "integer", "minimum": 0}
_NUMBER = {"type": "number"}
_FLAG = {"type": "boolean"}
_TEXTS = {"type": "array", "items": _TEXT}
_NODE = {"$ref": "#/$defs/node"}

_NODES: dict[str, Any] = {
    "type": "object",
    "properties": {
        "type": _TEXT,
        "format": _TEXT,
        "description": _TEXT,
        "pattern": _TEXT,
        "nullable": _FLAG,
        "enum": {"type": "array", "minItems": 1},
        "required": _TEXTS,
        "properties": {"type": "object", "additionalProperties": _NODE},
        "items": _NODE,
        "additionalProperties": {"anyOf": [_FLAG, _NODE]},
        "minimum": _NUMBER,
        "maximum": _NUMBER,
        **{
            f"{bound}{what}": _LENGTH
            for bound in ("min", "max")
            for what in ("Length", "Items", "Properties")
        },
        "x-kubernetes-list-type": _TEXT,
        "x-kubernetes-list-map-keys": _TEXTS,
        "x-kubernetes-int-or-string": _FLAG,
        "x-kubernetes-preserve-unknown-fields": _FLAG,
    },
}

_VERSION: dict[str, Any] = {
    "type": "object",
    "required": ["name", "served", "storage", "schema"],
    "properties": {
        "name": _TEXT,
        "served": _FLAG,
        "storage": _FLAG,
        "schema": {
            "type": "object",
            "required": ["openAPIV3Schema"],
            "properties": {"openAPIV3Schema": _NODE},
        },
        "subresources": {"type": "object"},
        "additionalPrinterColumns": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["name", "jsonPath"],
                "properties": {"name": {**_TEXT, "minLength": 1}, "jsonPath": _TEXT},
            },
        },
    },
}

_CRD: dict[str, Any] = {
    "type": "object",
    "required": ["apiVersion", "kind", "spec"],
    "properties": {
        "apiVersion": {"const": "apiextensions.k8s.io/v1"},
        "kind": {"const": "CustomResourceDefinition"},
        "spec": {
            "type": "object",
            "required": ["group", "names", "scope", "versions"],
            "properties": {
                "group": {**_TEXT, "minLength": 1},
                "scope": {"enum": ["Namespaced", "Cluster"]},
                "names": {
                    "type": "object",
                    "required": ["kind", "plural"],
                    "properties": {
                        "kind": {**_TEXT, "pattern": "^[A-Z][A-Za-z0-9]*$"},
                        "plural": {**_TEXT, "minLength": 1},
                        "shortNames": _TEXTS,
                    },
                },
                "versions": {"type": "array", "items": _VERSION, "minItems": 1},
            },
        },
    },
    "$defs": {"node": _NODES},
}


def misshapen(document: Located) -> Iterator[Problem]:
    """Yield what is wrong with the shape of a CRD, with its place."""
    for error in _validator().iter_errors(document.value):
        path = tuple(error.absolute_path)
        yield Problem(error.message, path, document.position(path))


@cache
def _validator() -> Any:
    import jsonschema

    return jsonschema.Draft202012Validator(_CRD)
