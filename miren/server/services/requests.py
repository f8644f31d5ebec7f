"""What the messages of a request hold, checked. Wrong types are the caller's fault, and named."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from miren.base.errors import InvalidInput, Problem
from miren.base.suggestions import closest
from miren.entities.client import Patch, Propagation, Selection, Target
from miren.entities.entity import NAME, Metadata
from miren.entities.kinds import Kind, Kinds, Scope
from miren.entities.reading import read

__all__ = [
    "count",
    "document",
    "flag",
    "object_of",
    "optional_text",
    "past_revision",
    "patch",
    "project",
    "propagation",
    "revision",
    "selection",
    "span",
    "text",
    "texts",
]

Message = Mapping[str, Any]

_ENVELOPE = ("apiVersion", "kind", "metadata", "spec", "status")


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


def past_revision(request: Message, name: str) -> int | None:
    """Return a revision of the past, or None where it is left out."""
    value = request.get(name)
    return None if value in (None, "") else revision(value, name)


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


def selection(request: Message, kind: Kind, kinds: Kinds) -> Selection:
    """Return which entities of the kind a request is about.

    Labels are an object of the values asked for (`labels`) or a selector's text (`selector`);
    `refersTo` names the entity that those selected refer to, in the request's own project unless
    it says another.
    """
    everywhere = flag(request, "allProjects") or kind.scope is Scope.CLUSTER
    where = None if everywhere else project(request) or "default"
    labels, selector = texts(request, "labels"), optional_text(request, "selector")
    if labels and selector:
        raise InvalidInput("labels and selector exclude each other: give one of them")
    target, tag = _target(request, kinds), optional_text(request, "tag")
    if tag and target is None:
        raise InvalidInput("a tag selects references: say refersTo too")
    return Selection(where, selector or labels, texts(request, "fields"), target, tag)


def _target(request: Message, kinds: Kinds) -> Target | None:
    if request.get("refersTo") is None:
        return None
    given = object_of(request, "refersTo")
    return Target(kinds.resolve(text(given, "kind")).entity, text(given, "name"), project(given))


def propagation(request: Message) -> Propagation:
    """Return what a deletion means to dependents; they follow where nothing is said."""
    value = optional_text(request, "propagation") or Propagation.BACKGROUND
    if value not in list(Propagation):
        choices = ", ".join(Propagation)
        raise InvalidInput(f"no propagation {value!r}", hint=f"say one of {choices}")
    return Propagation(value)


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


def patch(request: Message) -> Patch:
    """Return a patch: an object is a JSON merge patch, an array a JSON Patch.

    What may be patched is for the client to say, which knows the entity.
    """
    given = request.get("patch")
    if isinstance(given, list) and all(isinstance(operation, dict) for operation in given):
        return given
    if not isinstance(given, dict):
        raise InvalidInput(
            "patch must be an object or an array of objects",
            hint="an object is a merge patch, an array a JSON Patch",
        )
    problems = [
        Problem("must be an object", (part,))
        for part in ("spec", "metadata")
        if not isinstance(given.get(part, {}), dict)
    ]
    if problems:
        raise InvalidInput(problems)
    return given
