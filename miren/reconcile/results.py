"""What a reconciler says about what comes next: by what it returns, or by what it raises."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar

from miren.base.errors import MirenError
from miren.entities.entity import Entity

__all__ = ["LOW", "NORMAL", "Key", "Permanent", "Requeue", "Temporary"]

E = TypeVar("E", bound=Entity[Any, Any])

#: The priority of what nobody waits for: first lists and resyncs.
LOW = -100
#: The priority of everything else.
NORMAL = 0


class Key(NamedTuple, Generic[E]):
    """Names one entity of a kind; what queues hold."""

    project: str
    name: str

    @classmethod
    def of(cls, entity: E) -> Key[E]:
        """Return the key of an entity."""
        metadata = entity.metadata
        return tuple.__new__(cls, (metadata.project, metadata.name))

    def __str__(self) -> str:
        return f"{self.project}/{self.name}" if self.project else self.name


@dataclass(frozen=True, slots=True)
class Requeue:
    """Return it to be called again after so many seconds, or sooner when something changes.

    The higher a priority the sooner its turn; `LOW` and `NORMAL` are two of them. None keeps the
    one that the key came with.
    """

    after: float
    priority: int | None = None

    def __post_init__(self) -> None:
        _check_seconds("Requeue", self.after)
        if not isinstance(self.priority, int | None):
            raise TypeError(f"Requeue(priority={self.priority!r}): it must be a whole number")


class Temporary(MirenError):
    """Raise it when the work cannot go on yet. Retried with back-off, or after `after` seconds.

    The reason and message become the Ready condition.
    """

    code = "unavailable"

    def __init__(
        self, message: str, *, reason: str = "Waiting", after: float | None = None
    ) -> None:
        super().__init__(message)
        if after is not None:
            _check_seconds("Temporary", after)
        self.reason = reason
        self.after = after


class Permanent(MirenError):
    """Raise it when retrying cannot help.

    Recorded in the Ready condition, and not called again for this entity until its spec
    changes, its deletion begins, or something that the controller watches changes.
    """

    code = "failed_precondition"

    def __init__(self, message: str, *, reason: str = "Failed", hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.reason = reason


def _check_seconds(what: str, after: object) -> None:
    """Refuse what is no time, here where it is said: all keys' delays are sorted by it later."""
    if not isinstance(after, int | float) or after != after:
        raise TypeError(f"{what}(after={after!r}): it must be a number of seconds")
