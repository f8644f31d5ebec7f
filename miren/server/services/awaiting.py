"""What `wait --for` can wait for, as predicates on an entity."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Any, get_args

from miren.base.errors import InvalidInput
from miren.base.suggestions import closest
from miren.entities.entity import ConditionStatus, Entity
from miren.entities.kinds import Kind

__all__ = ["awaited"]

AnyEntity = Entity[Any, Any]
Predicate = Callable[[AnyEntity | None], bool]


def awaited(condition: str, kind: Kind, *, uid: str | None) -> Predicate:
    """Return the predicate of `delete`, `condition=Ready[=False]` or `phase=running`.

    `uid` makes `delete` hold as soon as that very entity is gone. Raises InvalidInput for
    what can never hold of the kind.
    """
    what, _, rest = condition.partition("=")
    if what == "delete" and not rest:
        return lambda entity: entity is None or (uid is not None and entity.uid != uid)
    if what == "phase" and rest:
        return _phase(rest, kind)
    if what == "condition" and rest:
        return _condition(rest)
    raise InvalidInput(
        f"cannot wait for {condition!r}",
        hint="say delete, condition=<Type>, condition=<Type>=False or phase=<phase>",
    )


def _phase(wanted: str, kind: Kind) -> Predicate:
    info = kind.status.model_fields.get("phase")
    choices = [
        str(choice)
        for type in (get_args(info.annotation) if info else ())
        if isinstance(type, _ENUM)
        for choice in type
    ]
    if wanted not in choices:
        raise InvalidInput(
            f"{kind.name} has no phase {wanted!r}",
            hint=closest(wanted, choices) or f"its phases: {', '.join(choices) or 'none'}",
        )
    return lambda entity: entity is not None and getattr(entity.status, "phase", None) == wanted


_ENUM = type(StrEnum)


def _condition(text: str) -> Predicate:
    type, _, status = text.partition("=")
    known = {str(each).lower(): each for each in ConditionStatus}
    wanted = known.get(status.lower() or "true")
    if wanted is None or not type:
        raise InvalidInput(
            f"a condition is <Type> or <Type>=True, False or Unknown, not {text!r}",
        )

    def holds(entity: AnyEntity | None) -> bool:
        found = None if entity is None else entity.condition(type)
        return (
            entity is not None
            and found is not None
            and found.status is wanted
            # An old word about an older spec does not count.
            and found.observed_generation >= entity.metadata.generation
        )

    return holds
