"""What a Kubernetes CRD and a schema both say, and where they differ.

A schema that was imported says exactly what its CRD did, in the sense of `normalised`: two CRDs
are the same when their normal forms are equal. What the normal form leaves out is listed here
and nowhere else, in `DEVIATIONS`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from miren.base.quantities import Duration, Quantity

__all__ = [
    "API_VERSION",
    "CONDITION",
    "DEVIATIONS",
    "INT32",
    "INT_OR_STRING",
    "QUANTITY",
    "RESERVED_STATUS",
    "as_search",
    "as_whole",
    "normalised",
]

API_VERSION = "apiextensions.k8s.io/v1"

#: What import and export do not keep, because one side follows from the other.
DEVIATIONS = (
    "the CRD's own labels, annotations and status, which belong to whoever installs it",
    "descriptions of apiVersion, kind, metadata, spec, status, of what lists hold, of columns",
    "status.conditions, .observedGeneration and .handled: every kind has them, in our form",
    "subresources.status: every kind has a status, so every exported CRD has it",
    "root `required`: a spec must be there when something in it is required",
    "the Age column: every table has it",
    "the type and format of a column, which follow from what it shows",
    "nullable: what is optional and has no default can be null",
    "number formats: an int has 64 bits, and int32 is kept as its bounds",
    "a quantity's pattern: ours is a subset (no exponents, no n and u)",
    "type: object beside x-kubernetes-preserve-unknown-fields: json takes any value",
    "singular, listKind: they follow from the kind",
    "export only: bounds of quantities and durations, lengths of bytes, immutable, indexed, "
    "unique, to, owner, on_delete, tags, session, bind_to, shorthand: no CRD's schema says them",
)

INT32 = (-(2**31), 2**31 - 1)
INT_OR_STRING = [{"type": "integer"}, {"type": "string"}]

#: The pattern that Kubernetes' own generator writes for a resource.Quantity.
QUANTITY = (
    r"^(\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))(([KMGTPE]i)|[numkMGTPE]"
    r"|([eE](\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))))?$"
)

#: The attributes of a condition, as metav1.Condition has them.
CONDITION: Mapping[str, Any] = {
    "type": {"type": "string"},
    "status": {"type": "string", "enum": ["True", "False", "Unknown"]},
    "reason": {"type": "string"},
    "message": {"type": "string"},
    "observedGeneration": {"type": "integer", "format": "int64"},
    "lastTransitionTime": {"type": "string", "format": "date-time"},
}

#: What every status holds.
RESERVED_STATUS: Mapping[str, Any] = {
    "conditions": {
        "description": "What is known of it, each with when and why.",
        "type": "array",
        "items": {"type": "object", "properties": CONDITION, "required": ["type", "status"]},
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["type"],
    },
    "observedGeneration": {
        "description": "The generation that controllers last acted on.",
        "type": "integer",
        "format": "int64",
    },
    "handled": {
        "description": "What controllers note for themselves.",
        "type": "object",
        "additionalProperties": {"x-kubernetes-preserve-unknown-fields": True},
    },
}


# -- patterns ----------------------------------------------------------------------------------

_ANYWHERE = r"[\s\S]*(?:{})[\s\S]*"
_IS_ANYWHERE = re.compile(r"\[\\s\\S\]\*\(\?:(.*)\)\[\\s\\S\]\*", re.DOTALL)


def as_whole(pattern: str) -> str:
    """Return a pattern that is searched for as one that the whole text must match."""
    inner = pattern[1:-1]
    if pattern.startswith("^(?:") and pattern.endswith(")$") and _closes_last(inner):
        return pattern[4:-2]
    if pattern.startswith("^") and _ends(pattern) and not _has_choice(inner):
        return inner
    return _ANYWHERE.format(pattern)


def as_search(pattern: str) -> str:
    """Return a pattern that the whole text must match as one to search for."""
    if (found := _IS_ANYWHERE.fullmatch(pattern)) is not None:
        return found[1]
    return f"^(?:{pattern})$" if _has_choice(pattern) else f"^{pattern}$"


def _ends(pattern: str) -> bool:
    """Return whether a pattern ends with an anchor, not with a dollar sign."""
    slashes = len(pattern[:-1]) - len(pattern[:-1].rstrip("\\"))
    return len(pattern) > 1 and pattern.endswith("$") and slashes % 2 == 0


def _depths(pattern: str) -> list[tuple[str, int]]:
    """Return each character outside of classes and escapes, with its depth in groups."""
    found: list[tuple[str, int]] = []
    depth, in_class, is_escaped = 0, False, False
    for character in pattern:
        if is_escaped or character == "\\":
            is_escaped = not is_escaped
            found.append(("\\", depth))
        elif in_class:
            in_class = character != "]"
            found.append(("", depth))
        else:
            in_class = character == "["
            depth += {"(": 1, ")": -1}.get(character, 0)
            found.append((character, depth))
    return found


def _has_choice(pattern: str) -> bool:
    """Return whether a bar or an anchor stands outside of every group."""
    return any(
        depth == 0 and character in "|^$" and character for character, depth in _depths(pattern)
    )


def _closes_last(pattern: str) -> bool:
    """Return whether the group that a pattern begins with ends with the pattern."""
    return all(depth > 0 for _, depth in _depths(pattern)[:-1])


# -- normal forms ------------------------------------------------------------------------------


def normalised(crd: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a CRD says, without what `DEVIATIONS` lists."""
    spec = crd["spec"]
    names = spec["names"]
    return {
        "group": spec["group"],
        "kind": names["kind"],
        "plural": names["plural"],
        "short": sorted(names.get("shortNames") or ()),
        "scope": spec["scope"],
        "versions": {version["name"]: _version(version) for version in spec["versions"]},
    }


def _version(version: Mapping[str, Any]) -> dict[str, Any]:
    root = version["schema"]["openAPIV3Schema"]
    parts = root.get("properties") or {}
    status = dict((parts.get("status") or {}).get("properties") or {})
    for name in RESERVED_STATUS:
        status.pop(name, None)
    columns = version.get("additionalPrinterColumns") or ()
    return {
        "stored": version["storage"],
        "description": root.get("description"),
        "columns": [
            (column["name"], column["jsonPath"])
            for column in columns
            if column["jsonPath"] != ".metadata.creationTimestamp"
        ],
        "spec": _node(_undescribed(parts.get("spec") or {"type": "object"})),
        "status": {name: _node(node) for name, node in status.items()},
    }


def _undescribed(node: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in node.items() if key != "description"}


def _node(node: Mapping[str, Any]) -> dict[str, Any]:
    """Return the normal form of one node of a schema."""
    result = {key: value for key, value in node.items() if not _says_nothing(key, value)}
    if result.pop("x-kubernetes-int-or-string", False):
        result = {"type": "quantity", **_kept(result, "description", "default")}
    if result.pop("x-kubernetes-preserve-unknown-fields", False):
        result = {"type": "json", **_kept(result, "description", "default")}
    _number(result)
    if "pattern" in result:
        result["pattern"] = as_whole(result["pattern"])
    if "default" in result:
        result["default"] = _default(result)
    if "items" in result:
        result["items"] = _node(_undescribed(result["items"]))
    if (values := result.get("additionalProperties")) is not None:
        result["additionalProperties"] = {"type": "json"} if values is True else _node(values)
    if "properties" in result:
        _properties(result)
    return result


def _says_nothing(key: str, value: object) -> bool:
    if key in ("nullable", "title"):
        return True
    if value is False and key not in ("default", "example"):
        return True
    if key in ("minLength", "minItems", "minProperties") and value == 0:
        return True
    if (key, value) == ("required", []) or (key, value) == ("properties", {}):
        return True
    return (key, value) in (
        ("x-kubernetes-list-type", "atomic"),
        ("x-kubernetes-map-type", "granular"),
        ("description", ""),
    )


def _kept(node: Mapping[str, Any], *keys: str) -> dict[str, Any]:
    return {key: node[key] for key in keys if key in node}


def _number(node: dict[str, Any]) -> None:
    if node.get("type") == "integer" and node.pop("format", "int64") == "int32":
        node.setdefault("minimum", INT32[0])
        node.setdefault("maximum", INT32[1])
    if node.get("type") == "number":
        node.pop("format", None)


def _default(node: Mapping[str, Any]) -> object:
    value = node["default"]
    match node.get("type"), node.get("format"):
        case "quantity", _:
            return str(Quantity(value))
        case "string", "duration":
            return str(Duration.parse(value))
        case "string", "date-time":
            return datetime.fromisoformat(value).isoformat()
    return value


def _properties(node: dict[str, Any]) -> None:
    properties = {name: _node(inner) for name, inner in node["properties"].items()}
    required = [n for n in node.get("required", ()) if "default" not in properties.get(n, {})]
    node["properties"] = properties
    node.pop("required", None)
    if required:
        node["required"] = sorted(required)
