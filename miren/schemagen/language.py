"""The language of schema.yml as a JSON Schema, for the loader and for editors.

The shape of a file (which keys, of which type) is checked by JSON Schema; what the keys mean
together is checked where schemas are compiled.
"""

from __future__ import annotations

from typing import Any

__all__ = ["COMPOUNDS", "LANGUAGE", "SCALARS"]

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
    "secret",
)

#: What has more to it than one value.
COMPOUNDS = ("map", "component")

_NAME = r"^[A-Za-z][A-Za-z0-9]*([_-][A-Za-z0-9]+)*$"
_WIRE = r"^[A-Za-z][A-Za-z0-9_-]*$"
_VERSION = r"^v[0-9]+([a-z]+[0-9]*)?$"


def _text(doc: str) -> dict[str, Any]:
    return {"type": "string", "minLength": 1, "description": doc}


def _flag(doc: str) -> dict[str, Any]:
    return {"type": "boolean", "default": False, "description": doc}


def _length(doc: str) -> dict[str, Any]:
    return {"type": "integer", "minimum": 0, "description": doc}


def _texts(doc: str) -> dict[str, Any]:
    items = {"type": "string", "minLength": 1}
    return {"type": "array", "items": items, "minItems": 1, "description": doc}


def _text_or_texts(doc: str) -> dict[str, Any]:
    return {"oneOf": [_text(doc), _texts(doc)], "description": doc}


def _choice(doc: str, *choices: str) -> dict[str, Any]:
    return {"enum": list(choices), "description": doc}


def _bound(doc: str) -> dict[str, Any]:
    return {"type": ["number", "string"], "description": doc}


_ATTRIBUTES: dict[str, Any] = {
    "type": "object",
    "propertyNames": {"pattern": _NAME},
    "additionalProperties": {"$ref": "#/$defs/attribute"},
}

_TYPE = {
    "type": "string",
    "minLength": 1,
    "examples": [*SCALARS, *COMPOUNDS],
    "description": "A type of the language, or a component of these schemas.",
}

_ATTRIBUTE: dict[str, Any] = {
    "type": _TYPE,
    "doc": _text("One sentence, shown by `explain` and editors."),
    "attr": {
        "type": "string",
        "pattern": _WIRE,
        "description": "What documents call it, where that is not its name in camelCase.",
    },
    "many": _flag("A list of them; of labels, a mapping."),
    "required": _flag("A document without it is invalid."),
    "status": _flag("Written by controllers, not by users."),
    "session": _flag("In the status, and forgotten when its holder falls silent."),
    "bind_to": _text("In the status: a view of another value, such as `metadata.uid`."),
    "default": {"description": "What it is where a document does not say."},
    "example": {"description": "A value, for documentation."},
    "choices": {**_texts("The values of an enum."), "uniqueItems": True},
    "attrs": {**_ATTRIBUTES, "description": "The attributes of a component."},
    "of": {
        "oneOf": [{"type": "string", "minLength": 1}, {"$ref": "#/$defs/attribute"}],
        "description": "What a map holds: a type, or an attribute without a name.",
    },
    "to": _text_or_texts("The kinds that a ref may name."),
    "tags": _text_or_texts("Groups of refs that can be asked for together."),
    "owner": _flag("The target of the ref owns this entity, which goes when the target goes."),
    "on_delete": _choice("What deleting the target of the ref means.", "restrict", "unset"),
    "indexed": _flag("Can be selected on."),
    "immutable": _flag("Cannot change once it is set."),
    "unique": _choice("No two entities share a value.", "project", "cluster"),
    "merge_key": _text("The attribute that tells the elements of a list apart."),
    "shorthand": _text("The attribute that a bare scalar stands for."),
    "min": _bound("The least value."),
    "max": _bound("The greatest value."),
    "min_length": _length("The least number of characters, elements or entries."),
    "max_length": _length("The greatest number of characters, elements or entries."),
    "pattern": _text("A regular expression that the whole text matches."),
}

_KIND_OPTIONS = {
    "doc": _text("One sentence."),
    "short": _text_or_texts("Short words for it on the command line."),
    "plural": _text("Its plural on the command line."),
    "scope": {
        **_choice("Where its names are unique.", "project", "cluster"),
        "default": "project",
    },
    "printcolumns": {
        "type": "object",
        "additionalProperties": {"type": "string", "minLength": 1},
        "description": "Columns of `get`: a heading and the path that it shows.",
    },
    "include": _text("A component whose attributes are the kind's own too."),
}

_COMPONENT_OPTIONS = {
    "doc": _text("One sentence."),
    "shorthand": _text("The attribute that a bare scalar stands for."),
}


def _with_options(options: dict[str, Any]) -> dict[str, Any]:
    about = {"type": "object", "additionalProperties": False, "properties": options}
    return {
        **_ATTRIBUTES,
        "properties": {"$options": about},
        "propertyNames": {"anyOf": [{"pattern": _NAME}, {"const": "$options"}]},
    }


def _named(definition: str, doc: str) -> dict[str, Any]:
    return {
        "type": "object",
        "propertyNames": {"pattern": _NAME},
        "additionalProperties": {"$ref": f"#/$defs/{definition}"},
        "description": doc,
    }


LANGUAGE: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "A Miren schema file",
    "type": "object",
    "required": ["domain", "version"],
    "additionalProperties": False,
    "properties": {
        "domain": {
            "type": "string",
            "pattern": r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$",
            "description": "The DNS name that its kinds belong to.",
        },
        "version": {
            "type": "string",
            "pattern": _VERSION,
            "description": "The version of that domain.",
        },
        "doc": _text("What the file is about."),
        "kind-major": _text("The kind that comes first in listings and references."),
        "aliases": {
            "type": "array",
            "items": {"type": "string", "pattern": r"^[a-z0-9][-a-z0-9.]*(/[a-z0-9]+)?$"},
            "description": "Other names of the domain, read on input only.",
        },
        "components": _named("component", "Groups of attributes that can be named as a type."),
        "kinds": _named("kind", "What entities there are."),
        "conversions": {
            "type": "object",
            "propertyNames": {"pattern": _VERSION},
            "additionalProperties": {
                "type": "object",
                "propertyNames": {"pattern": _NAME},
                "additionalProperties": {"type": "array", "items": {"type": "object"}},
            },
            "description": "How entities of other versions become this one's, by kind.",
        },
    },
    "$defs": {
        "attribute": {
            "type": "object",
            "required": ["type"],
            "additionalProperties": False,
            "properties": _ATTRIBUTE,
        },
        "component": _with_options(_COMPONENT_OPTIONS),
        "kind": _with_options(_KIND_OPTIONS),
    },
}
