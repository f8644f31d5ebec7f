"""What the messages of a request hold, checked. Wrong types are the caller's fault, and named."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from miren.base.errors import InvalidInput, Problem
from miren.base.suggestions import closest
from miren.entities.client import Selection
from miren.entities.entity import NAME, Metadata
from miren.entities.kinds import Kind, Scope
from miren.entities.reading import read

__all__ = [
    "count",
    "document",
    "flag",
    "object_of",
    "optional_text",
    "patch",
    "project",
    "revision",
    "selection",
    "span",
    "text",
    "texts",
]

Message = Mapping[str, Any]

_ENVELOPE = ("apiVersion", "kind", "metadata", "spec", "status")
_PATCHABLE = ("spec", "metadata")
_PATCHABLE_METADATA = ("labels", "annotations")


def text(request: Message, name: str) -> str:
    """Return a text that must be there."""
    value = request.get(name)
    if not isinstance(value, str) or not value:
        raise InvalidInput(f"{name} must be a text")
    return value


def optional_text(request: Message, name: str) -> str | None:
    """Return a text, or None where it is left out or empty."""
    return text(request, name) if request.get(name) not in (None, "") else None


def texts(request: Message, name: str) -> Mapping[str, str]:
    """Return an object of texts, empty where it is left out."""
    value = request.get(name, {})
    if not isinstance(value, dict) or not all(isinstance(item, str) for item in value.values()):
        raise InvalidInput(f"{name} must be an object of texts")
    return value


def object_of(request: Message, name: str) -> dict[str, Any]:
    """Return an object that must be there."""
    value = request.get(name)
    if not isinstance(value, dict):
        raise InvalidInput(f"{name} must be an object")
    return value


def flag(request: Message, name: str) -> bool:
    """Return a boolean, false where it is left out."""
    value = request.get(name, False)
    if not isinstance(value, bool):
        raise InvalidInput(f"{name} must be true or false")
    return value


def count(request: Message, name: str) -> int | None:
    """Return a whole number from 0 on, or None where it is left out."""
    value = request.get(name)
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise InvalidInput(f"{name} must be a whole number from 0 on")
    return value


def span(request: Message, name: str, *, default: float, most: float) -> float:
    """Return a time in seconds, more than none."""
    value = request.get(name, default)
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value <= most:
        raise InvalidInput(f"{name} must be a number of seconds up to {most:g}")
    return float(value)


def revision(value: object, name: str) -> int:
    """Return a revision, which travels as a text."""
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,18}", value):
        return int(value)
    raise InvalidInput(f"{name} must be a revision, as a watch or list gave it")


def project(request: Message) -> str | None:
    """Return the project a request names, or None where it leaves it to the server."""
    value = optional_text(request, "project")
    if value is not None and not re.fullmatch(NAME, value):
        raise InvalidInput(f"{value!r} cannot be a project's name: it must match {NAME}")
    return value


def selection(request: Message, kind: Kind) -> Selection:
    """Return which entities of the kind a request is about."""
    everywhere = flag(request, "allProjects") or kind.scope is Scope.CLUSTER
    where = None if everywhere else project(request) or "default"
    return Selection(where, texts(request, "labels"), texts(request, "fields"))


def document(request: Message, name: str) -> dict[str, Any]:
    """Return an entity's document whose envelope and metadata are in order."""
    given = object_of(request, name)
    problems = [
        Problem(f"unknown attribute {key!r}", (key,), hint=closest(key, _ENVELOPE))
        for key in given
        if key not in _ENVELOPE
    ]
    if not isinstance(given.get("kind"), str):
        problems.append(Problem("must be a text", ("kind",)))
    if not isinstance(given.get("apiVersion"), str | None):
        problems.append(Problem("must be a text", ("apiVersion",)))
    problems += [
        Problem("must be an object", (part,))
        for part in ("spec", "status")
        if not isinstance(given.get(part), dict | None)
    ]
    try:
        known = read(Metadata, given.get("metadata", {}), path=("metadata",))
        if known.resource_version:
            revision(known.resource_version, "metadata.resourceVersion")
    except InvalidInput as error:
        problems += error.problems
    if problems:
        raise InvalidInput(problems)
    return given


def patch(request: Message) -> dict[str, Any]:
    """Return a merge patch that touches only what can be patched."""
    given = object_of(request, "patch")
    metadata = given.get("metadata", {})
    problems = [
        Problem("must be an object", (part,))
        for part in _PATCHABLE
        if not isinstance(given.get(part, {}), dict)
    ]
    problems += [
        Problem("cannot be patched", (key,), hint="a patch has spec and metadata")
        for key in given
        if key not in _PATCHABLE
    ]
    problems += [
        Problem("cannot be patched", ("metadata", key), hint="labels and annotations can")
        for key in (metadata if isinstance(metadata, dict) else ())
        if key not in _PATCHABLE_METADATA
    ]
    if problems:
        raise InvalidInput(problems)
    return given
