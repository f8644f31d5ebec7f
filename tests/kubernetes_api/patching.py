"""What the four kinds of patches make of an object."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any

import jsonpatch
import jsonpointer

from tests.kubernetes_api.refusals import Refusal

Document = dict[str, Any]
Fields = frozenset[tuple[str, ...]]


def merged(document: Any, patch: Any) -> Any:
    """RFC 7396."""
    if not isinstance(patch, dict):
        return patch
    result = dict(document) if isinstance(document, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = merged(result.get(name), value)
    return result


def operated(document: Document, operations: Any) -> Document:
    """RFC 6902."""
    try:
        patched: Document = jsonpatch.apply_patch(copy.deepcopy(document), operations)
    except (jsonpatch.JsonPatchException, jsonpointer.JsonPointerException) as error:
        message = "the server rejected our request due to an error in our request"
        raise Refusal(422, f"{message}: {error}") from error
    return patched


def applied(
    document: Document, wanted: Document, managers: Mapping[str, Fields], *, manager: str
) -> tuple[Document, Fields]:
    """Server-side apply: the manager's fields are exactly these. Lists are atomic but owners.

    Whether others' fields are taken over is for `conflicts` to say.
    """
    fields = fields_of(wanted)
    result = copy.deepcopy(document)
    held = {field for other, theirs in managers.items() if other != manager for field in theirs}
    for field in managers.get(manager, frozenset()) - fields - held:
        _remove(result, field)
    owners = _joined(document, wanted)
    result = merged(result, {name: wanted[name] for name in wanted if name != "metadata"})
    known = {
        name: value
        for name, value in wanted.get("metadata", {}).items()
        if name in ("labels", "annotations", "finalizers")
    }
    result["metadata"] = merged(result.get("metadata", {}), known)
    if owners:
        result["metadata"]["ownerReferences"] = owners
    return result, fields


def conflicts(
    document: Document, wanted: Document, managers: Mapping[str, Fields], *, manager: str
) -> list[tuple[str, str]]:
    """Return the fields, dotted, that another manager has with another value."""
    return [
        (".".join(field), other)
        for other, theirs in managers.items()
        if other != manager
        for field in sorted(fields_of(wanted) & theirs)
        if at(document, field) != at(wanted, field)
    ]


def fields_of(document: Mapping[str, Any]) -> Fields:
    """Return the leaves that can be managed."""
    return frozenset(_leaves(_managed(document), ()))


def changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    """Yield the leaves that can be managed and are not the same, in both or in one of them."""
    return _differing(_managed(old), _managed(new), ())


def at(document: Any, field: tuple[str, ...]) -> Any:
    for step in field:
        document = document.get(step) if isinstance(document, dict) else None
    return document


def _managed(document: Mapping[str, Any]) -> Document:
    metadata = document.get("metadata", {})
    kept = {name: metadata[name] for name in ("labels", "annotations") if name in metadata}
    return {"metadata": kept, "spec": document.get("spec", {})}


def _differing(old: Any, new: Any, above: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    if old == new:
        return
    if isinstance(old, dict) and isinstance(new, dict):
        for name in {**old, **new}:
            yield from _differing(old.get(name), new.get(name), (*above, name))
    else:
        for value in (old, new):
            if value is not None:
                yield from _leaves(value, above)


def _leaves(value: Any, above: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _leaves(inner, (*above, name))
    else:
        yield above


def _remove(document: Document, field: tuple[str, ...]) -> None:
    *above, last = field
    inner = at(document, tuple(above))
    if isinstance(inner, dict):
        inner.pop(last, None)


def _joined(document: Document, wanted: Document) -> list[Any]:
    known = {
        owner["uid"]: owner
        for side in (document, wanted)
        for owner in side.get("metadata", {}).get("ownerReferences", ())
    }
    return list(known.values())
