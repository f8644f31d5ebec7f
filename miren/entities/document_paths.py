"""Paths into plain documents that reach into every element: `spec.ports[].port`.

Names are those on the wire. `[]` stands for every element of a list and every value of a map
alike, so that one path is right for a keyed list and for the map it is while managers share it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from miren.base.pointers import escaped

__all__ = [
    "ABSENT",
    "EACH",
    "Holder",
    "Steps",
    "dotted",
    "holders",
    "leads",
    "parse",
    "put",
    "replace_at",
    "take",
    "thawed",
]

#: What `take` returns for nothing: None is a value.
ABSENT = object()
EACH = "[]"
Steps = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Holder:
    """A mapping in a document, its JSON pointer, and whether an element of a list leads to it."""

    pointer: str
    value: dict[str, Any]
    in_list: bool


def parse(path: str) -> Steps:
    """Return the steps of a path below spec or status; raise ValueError when it is none."""
    steps: list[str] = []
    for word in path.split("."):
        name = word.rstrip("[]")
        marks = word[len(name) :]
        if not name or marks not in ("", EACH):
            raise ValueError(f"{path!r} is no path like spec.size or spec.ports[].port")
        steps += [name, *([EACH] if marks else [])]
    if steps[0] not in ("spec", "status") or len(steps) < 2:
        raise ValueError(f"{path!r}: a path leads into spec or status")
    return tuple(steps)


def holders(value: object, steps: Steps) -> Iterator[Holder]:
    """Yield every mapping that the steps lead to."""
    yield from _holders(value, steps, "", in_list=False)


def _holders(value: object, steps: Steps, pointer: str, *, in_list: bool) -> Iterator[Holder]:
    if not steps:
        if isinstance(value, dict):
            yield Holder(pointer, value, in_list)
        return
    step, rest = steps[0], steps[1:]
    if step == EACH and isinstance(value, list):
        for index, item in enumerate(value):
            yield from _holders(item, rest, f"{pointer}/{index}", in_list=True)
    elif isinstance(value, dict):
        names = list(value) if step == EACH else [step] if step in value else []
        for name in names:
            here = f"{pointer}/{escaped(name)}"
            yield from _holders(value[name], rest, here, in_list=in_list)


def replace_at(value: object, steps: Steps, change: Callable[[Any], Any]) -> None:
    """Put what `change` makes of it in the place of every value at the steps."""
    *above, last = steps
    if last != EACH:
        for holder in holders(value, tuple(above)):
            if last in holder.value:
                holder.value[last] = change(holder.value[last])
        return

    def each(inner: Any) -> Any:
        if isinstance(inner, list):
            return [change(item) for item in inner]
        if isinstance(inner, dict):
            return {name: change(item) for name, item in inner.items()}
        return inner

    replace_at(value, tuple(above), each)


def leads(steps: Sequence[str], path: Steps) -> bool:
    """Return whether the steps of a pointer lead to what is at a path, or into it."""
    pairs = zip(steps, path, strict=False)
    return len(steps) >= len(path) and all(want in (EACH, step) for step, want in pairs)


def take(document: dict[str, Any], steps: Steps) -> Any:
    """Take a value out, and the components that held nothing else; `ABSENT` if it is not there."""
    trail: list[Any] = [document]
    for step in steps[:-1]:
        trail.append(trail[-1].get(step) if isinstance(trail[-1], dict) else None)
    if not isinstance(trail[-1], dict) or steps[-1] not in trail[-1]:
        return ABSENT
    value = trail[-1].pop(steps[-1])
    for at in range(len(steps) - 1, 0, -1):
        if not trail[at]:
            del trail[at - 1][steps[at - 1]]
    return value


def put(document: dict[str, Any], steps: Steps, value: Any) -> None:
    """Set a value, and make the components that lead to it."""
    for step in steps[:-1]:
        inner = document.get(step)
        if not isinstance(inner, dict):
            inner = document[step] = {}
        document = inner
    document[steps[-1]] = value


def dotted(path: str) -> Steps:
    """Return a path as field selectors see it: they look through lists."""
    return tuple(step for step in parse(path) if step != EACH)


def thawed(value: object) -> Any:
    """Return a deep copy made of dicts and lists, which can be changed."""
    if isinstance(value, Mapping):
        return {name: thawed(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [thawed(item) for item in value]
    return value
