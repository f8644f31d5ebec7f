"""What another version of a kind cannot hold, kept in annotations until the way back.

One annotation an attribute, `converted.miren.dev/<path>`, holds the value as JSON; below a list
or map a mapping from JSON pointers to [what was beside it, value].
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from miren.base.pointers import pointer_of
from miren.entities.document_paths import ABSENT, EACH, parse, put, take

__all__ = ["Kept", "annotation_pointer", "digest", "keep", "pop_kept"]

#: JSON pointer -> (digest of its list element's other attributes, empty outside lists; value)
Kept = dict[str, tuple[str, Any]]

_PREFIX = "converted.miren.dev/"
_LONGEST_NAME = 63  # of an annotation, as Kubernetes has it


def annotation_pointer(path: str) -> str:
    """Return the JSON pointer of the annotation that keeps what is at a path."""
    return pointer_of(("metadata", "annotations", _name(path)))


def keep(document: dict[str, Any], path: str, kept: Kept) -> None:
    """Put what was kept into the document's annotations; nothing leaves no trace."""
    for _, value in kept.values():
        told = kept if EACH in path else value
        put(document, ("metadata", "annotations", _name(path)), json.dumps(told))


def pop_kept(document: dict[str, Any], path: str) -> Kept:
    """Return what was kept, and take it off the document.

    A text that is none of ours, since anybody can write annotations, is dropped.
    """
    text = take(document, ("metadata", "annotations", _name(path)))
    try:
        found = json.loads(text) if isinstance(text, str) else ABSENT
    except ValueError:
        return {}
    if EACH not in path:
        return {} if found is ABSENT else {pointer_of(parse(path)): ("", found)}
    if not isinstance(found, dict):
        return {}
    pairs = {at: each for at, each in found.items() if isinstance(each, list) and len(each) == 2}
    return {at: (str(beside), value) for at, (beside, value) in pairs.items()}


def digest(element: Mapping[str, Any]) -> str:
    """Return what tells one element of a list from another."""
    return hashlib.sha256(json.dumps(element, sort_keys=True).encode()).hexdigest()[:12]


def _name(path: str) -> str:
    name = path.replace(EACH, "")
    if len(name) > _LONGEST_NAME:
        name = f"{name[: _LONGEST_NAME - 13]}-{hashlib.sha256(path.encode()).hexdigest()[:12]}"
    return _PREFIX + name
