"""JSON Schema of a kind's documents, for editors and for checks outside of Python."""

from __future__ import annotations

from typing import Any

from pydantic.json_schema import GenerateJsonSchema

from miren.entities.entity import Metadata
from miren.entities.kinds import Kind
from miren.entities.model import Model

__all__ = ["json_schema"]


def json_schema(kind: Kind) -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of documents of this kind, as `apply` takes them.

    Names are in camelCase and shorthands are allowed. It has no `status`, which is written
    by controllers only.
    """
    definitions: dict[str, Any] = {}
    spec = _schema_of(kind.spec, definitions)
    metadata = _schema_of(Metadata, definitions)
    required = ["kind", "metadata"] + (["spec"] if spec.get("required") else [])
    return {
        "$schema": GenerateJsonSchema.schema_dialect,
        "$id": f"{kind.api_version}/{kind.name}",
        "title": kind.name,
        "description": kind.doc,
        "type": "object",
        "properties": {
            "apiVersion": {"enum": [kind.api_version]},
            "kind": {"enum": [kind.name]},
            "metadata": metadata,
            "spec": spec,
        },
        "required": required,
        "additionalProperties": False,
        "$defs": definitions,
    }


def _schema_of(model: type[Model], definitions: dict[str, Any]) -> dict[str, Any]:
    """Return a model's schema; what it holds goes to the `definitions` of the whole."""
    schema = model.model_json_schema(schema_generator=_Untitled)
    definitions.update(schema.pop("$defs", {}))
    return schema


class _Untitled(GenerateJsonSchema):
    """Leaves out titles, which would only say an attribute's name again."""

    def field_title_should_be_set(self, _schema: object, /) -> bool:
        return False
