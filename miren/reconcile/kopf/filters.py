"""Which entities a kopf handler is for: labels, annotations, fields, and functions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from miren.reconcile.kopf.views import look_at

__all__ = ["ABSENT", "PRESENT", "Filters", "Wanted", "all_", "any_", "none_", "not_", "path_of"]


class _Token(Enum):
    PRESENT = "present"
    ABSENT = "absent"


PRESENT = _Token.PRESENT
ABSENT = _Token.ABSENT

#: A question about the keyword arguments that a handler would be called with.
When = Callable[..., bool]
#: A value, whether there is one at all, or a function of (value, **kwargs).
Wanted = object


@dataclass(frozen=True, slots=True)
class Filters:
    """All of it must hold. `value` is of the old or the new value of `field`."""

    labels: Mapping[str, Wanted] | None = None
    annotations: Mapping[str, Wanted] | None = None
    when: When | None = None
    field: tuple[str, ...] | None = None
    value: Wanted = None
    old: Wanted = None
    new: Wanted = None

    def fit(self, kwargs: Mapping[str, Any]) -> bool:
        """Return whether the handler is for what it would be called with. Raises as they do."""
        return (
            _have(self.labels, kwargs["labels"], kwargs)
            and _have(self.annotations, kwargs["annotations"], kwargs)
            and self._fits_field(kwargs)
            and (self.when is None or bool(self.when(**kwargs)))
        )

    def _fits_field(self, kwargs: Mapping[str, Any]) -> bool:
        if self.field is None:
            return True
        now = look_at(kwargs["body"], self.field)
        before = kwargs.get("old")
        says_nothing = self.value is None and self.old is None and self.new is None
        wanted = PRESENT if says_nothing else self.value
        known = (now, before) if kwargs.get("reason") == "update" else (now,)
        if wanted is not None and not any(_is(wanted, each, kwargs) for each in known):
            return False
        return all(
            each is None or _is(each, value, kwargs)
            for each, value in ((self.old, before), (self.new, now))
        )


def _have(
    wanted: Mapping[str, Wanted] | None, found: Mapping[str, str], kwargs: Mapping[str, Any]
) -> bool:
    return all(_is(each, found.get(key), kwargs) for key, each in (wanted or {}).items())


def _is(wanted: Wanted, value: Any, kwargs: Mapping[str, Any]) -> bool:
    if wanted is PRESENT:
        return value is not None
    if wanted is ABSENT:
        return value is None
    if callable(wanted):
        return bool(wanted(value, **kwargs))
    return bool(value == wanted)


def path_of(field: str | Sequence[str]) -> tuple[str, ...]:
    """Return the path that `"spec.size"` or a sequence of steps means."""
    return tuple(field.split(".")) if isinstance(field, str) else tuple(field)


def all_(functions: Iterable[When]) -> When:
    """Return whether all of these hold, for `when=`."""
    known = tuple(functions)
    return lambda *args, **kwargs: all(each(*args, **kwargs) for each in known)


def any_(functions: Iterable[When]) -> When:
    """Return whether any of these holds, for `when=`."""
    known = tuple(functions)
    return lambda *args, **kwargs: any(each(*args, **kwargs) for each in known)


def none_(functions: Iterable[When]) -> When:
    """Return whether none of these holds, for `when=`."""
    return not_(any_(functions))


def not_(function: When) -> When:
    """Return whether this does not hold, for `when=`."""
    return lambda *args, **kwargs: not function(*args, **kwargs)
