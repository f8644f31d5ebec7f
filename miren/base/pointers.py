"""JSON pointers (RFC 6901), which name the fields of documents: `/spec/ports/0/port`."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["escaped", "pointer_of", "steps_of"]


def escaped(step: str) -> str:
    """Return a step as it stands in a JSON pointer."""
    return step.replace("~", "~0").replace("/", "~1")


def pointer_of(steps: Iterable[str]) -> str:
    """Return the JSON pointer of these steps."""
    return "".join(f"/{escaped(step)}" for step in steps)


def steps_of(pointer: str) -> list[str]:
    """Return the steps of a JSON pointer."""
    return [step.replace("~1", "/").replace("~0", "~") for step in pointer.split("/")[1:]]
