"""Schemas to Kubernetes CRDs: one CRD a kind, with every version of it that is given.

The schemas inside are structural, as `apiextensions.k8s.io/v1` demands: every node has a type,
but for those that take any value. What a CRD cannot say is listed in `crd.DEVIATIONS`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from miren.base.errors import InvalidInput, NotFound, Problem
from miren.base.suggestions import closest
from miren.base.words import plural
from miren.schemagen.crd import API_VERSION, INT32, INT_OR_STRING, QUANTITY, RESERVED_STATUS
from miren.schemagen.crd import as_search as searched
from miren.schemagen.describing import (
    Components,
    attribute_in,
    components_of,
    must_be_given,
    pattern_of,
    plain_default,
)
from miren.schemagen.model import Attribute, Component, Kind, Schema
from miren.schemagen.names import version_order

__all__ = ["export_crds"]

Node = dict[str, Any]

_SCALARS: Mapping[str, Node] = {
    "string": {"type": "string"},
    "keyword": {"type": "string"},
    "label": {"type": "string"},
    "enum": {"type": "string"},
    "secret": {"type": "string", "format": "password"},
    "ref": {"type": "string", "pattern": r"^[^/\s]+(/[^/\s]+){0,2}$"},
    "int": {"type": "integer", "format": "int64"},
    "float": {"type": "number", "format": "double"},
    "bool": {"type": "boolean"},
    "bytes": {"type": "string", "format": "byte"},
    "time": {"type": "string", "format": "date-time"},
    "duration": {"type": "string", "format": "duration"},
    "quantity": {
        "anyOf": INT_OR_STRING,
        "pattern": QUANTITY,
        "x-kubernetes-int-or-string": True,
    },
    "json": {"x-kubernetes-preserve-unknown-fields": True},
}
_COLUMN_TYPES = {"int": "integer", "float": "number", "bool": "boolean", "time": "date"}
_METADATA_COLUMNS = {"generation": "integer", "creationTimestamp": "date"}
_AGE = {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}


def export_crds(schemas: Sequence[Schema], *, kind: str | None = None) -> list[dict[str, Any]]:
    """Return a CRD a kind, by name; of `kind` alone where one is named.

    Raises InvalidInput with everything that no CRD can be for, NotFound for an unknown kind.
    """
    versions: dict[tuple[str, str], list[tuple[Schema, Kind]]] = {}
    for schema in schemas:
        for each in schema.kinds:
            versions.setdefault((each.name, schema.domain), []).append((schema, each))
    if kind is not None:
        wanted = {key: value for key, value in versions.items() if _is(key[0], kind)}
        if not wanted:
            hint = closest(kind, [name for name, _ in versions])
            raise NotFound(f"no kind {kind!r} in these schemas", hint=hint)
        versions = wanted
    export = _Export(components_of(schemas))
    crds = [export.crd(each) for _, each in sorted(versions.items(), key=lambda item: item[0])]
    if export.problems:
        raise InvalidInput(export.problems)
    return crds


def _is(name: str, word: str) -> bool:
    return name.lower() == word.lower().replace("-", "").replace("_", "")


class _Export:
    """Writes CRDs; what cannot be written goes to the problems."""

    def __init__(self, components: Components) -> None:
        self._components = components
        self._open: list[Component] = []
        self.problems: list[Problem] = []

    def crd(self, versions: Sequence[tuple[Schema, Kind]]) -> dict[str, Any]:
        """Return the CRD of one kind; the newest version is the one that is stored."""
        ordered = sorted(versions, key=lambda pair: version_order(pair[0].version))
        schema, newest = ordered[-1]
        words = plural(newest.name.lower()) if newest.plural is None else newest.plural
        names: Node = {
            "kind": newest.name,
            "listKind": f"{newest.name}List",
            "plural": words,
            "singular": newest.name.lower(),
        }
        if newest.short:
            names["shortNames"] = list(newest.short)
        return {
            "apiVersion": API_VERSION,
            "kind": "CustomResourceDefinition",
            "metadata": {"name": f"{words}.{schema.domain}"},
            "spec": {
                "group": schema.domain,
                "names": names,
                "scope": "Cluster" if newest.scope == "cluster" else "Namespaced",
                "versions": [
                    self._version(each.version, kind, is_stored=kind is newest)
                    for each, kind in ordered
                ],
            },
        }

    def _version(self, name: str, kind: Kind, *, is_stored: bool) -> Node:
        path = (kind.name, name)
        spec = self._object(kind.spec, (*path, "spec"))
        status = self._object(kind.status, (*path, "status"))
        status["properties"] = {**status.get("properties", {}), **RESERVED_STATUS}
        root: Node = {"description": kind.doc} if kind.doc else {}
        root["type"] = "object"
        root["properties"] = {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object"},
            "spec": spec,
            "status": status,
        }
        if spec.get("required"):
            root["required"] = ["spec"]
        return {
            "name": name,
            "served": True,
            "storage": is_stored,
            "schema": {"openAPIV3Schema": root},
            "subresources": {"status": {}},
            "additionalPrinterColumns": [*self._columns(kind), dict(_AGE)],
        }

    def _columns(self, kind: Kind) -> Iterable[Node]:
        for column in kind.columns:
            if column.path != "metadata.creationTimestamp":
                type_ = self._column_type(kind, column.path.split("."))
                yield {"name": column.title, "type": type_, "jsonPath": f".{column.path}"}

    def _column_type(self, kind: Kind, steps: Sequence[str]) -> str:
        part, *rest = steps
        if part == "metadata":
            return _METADATA_COLUMNS.get(rest[0], "string")
        attributes = kind.spec if part == "spec" else kind.status
        found: Attribute | None = None
        for step in rest:
            found = next((each for each in attributes if each.wire == step), None)
            known = found.component if found else None
            attributes = self._components[known].attributes if known else ()
        if found is None or found.many or found.of is not None:
            return "string"
        return _COLUMN_TYPES.get(found.type, "string")

    # -- nodes -----------------------------------------------------------------------------

    def _object(self, attributes: Iterable[Attribute], path: tuple[str, ...]) -> Node:
        node: Node = {"type": "object"}
        properties = {each.wire: self._attribute(each, (*path, each.wire)) for each in attributes}
        required = [each.wire for each in attributes if must_be_given(each)]
        if properties:
            node["properties"] = properties
        if required:
            node["required"] = required
        return node

    def _attribute(self, attribute: Attribute, path: tuple[str, ...]) -> Node:
        node = self._described(attribute, path)
        if attribute.doc:
            node = {"description": attribute.doc, **node}
        if attribute.default is not None:
            node["default"] = _listed(plain_default(attribute, self._components))
        if attribute.example is not None:
            node["example"] = attribute.example
        return node

    def _described(self, attribute: Attribute, path: tuple[str, ...]) -> Node:
        if attribute.of is not None or attribute.is_labels:
            inner = self._attribute(attribute.of, path) if attribute.of else {"type": "string"}
            node: Node = {"type": "object", "additionalProperties": inner}
            return node | _lengths(attribute, "Properties")
        if attribute.is_listed:
            node = {"type": "array", "items": self._value(attribute, path)}
            return node | _lengths(attribute, "Items") | self._merged(attribute, path)
        node = self._value(attribute, path)
        if node.get("type") == "string" and attribute.type != "bytes":
            node |= _lengths(attribute, "Length")
        return node

    def _value(self, attribute: Attribute, path: tuple[str, ...]) -> Node:
        """Return the node of a single value."""
        if attribute.component is not None:
            return self._component(self._components[attribute.component], path)
        node = dict(_SCALARS[attribute.type])
        if attribute.choices:
            node["enum"] = list(attribute.choices)
        if (pattern := pattern_of(attribute)) is not None:
            node["pattern"] = searched(pattern)
        if attribute.type in ("int", "float"):
            node |= _bounds(attribute)
        return node

    def _component(self, component: Component, path: tuple[str, ...]) -> Node:
        if component in self._open:
            message = f"component {component.name} holds itself, which no CRD can say"
            self.problems.append(Problem(message, path, hint="make the attribute json"))
            return {"type": "object"}
        self._open.append(component)
        node = self._object(component.attributes, path)
        self._open.pop()
        return node

    def _merged(self, attribute: Attribute, path: tuple[str, ...]) -> Node:
        if attribute.merge_key is None or attribute.component is None:
            return {}
        key = attribute_in(self._components[attribute.component], attribute.merge_key)
        if not key.required and key.default is None:
            hint = "give it a default, or make it required"
            message = f"merge_key {key.wire!r} may be left out, which no CRD can say"
            self.problems.append(Problem(message, path, hint=hint))
        return {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": [key.wire]}


def _bounds(attribute: Attribute) -> Node:
    least, most = attribute.min, attribute.max
    node: Node = {}
    is_short = (
        attribute.type == "int"
        and isinstance(least, int)
        and isinstance(most, int)
        and INT32[0] <= least
        and most <= INT32[1]
    )
    if is_short:
        node["format"] = "int32"
    if least is not None and not (is_short and least == INT32[0]):
        node["minimum"] = least
    if most is not None and not (is_short and most == INT32[1]):
        node["maximum"] = most
    return node


def _lengths(attribute: Attribute, what: str) -> Node:
    node: Node = {}
    if attribute.min_length:
        node[f"min{what}"] = attribute.min_length
    if attribute.max_length is not None:
        node[f"max{what}"] = attribute.max_length
    return node


def _listed(value: object) -> object:
    """Return a value with lists for tuples, as YAML writes it."""
    if isinstance(value, tuple | list):
        return [_listed(item) for item in value]
    if isinstance(value, dict):
        return {key: _listed(item) for key, item in value.items()}
    return value
