"""One error tree for everything Miren raises on purpose.

    MirenError
    ├── InvalidInput          what was asked cannot be right; carries every problem found
    ├── NotFound              the thing named does not exist
    │   └── ImageNotFound     no image of that name on this node
    ├── Conflict              somebody else changed it, or owns it
    │   ├── AlreadyExists     create of a name that is taken
    │   ├── Duplicate         a unique value is taken by another entity
    │   └── Fenced            a newer leader has taken over; stop writing
    ├── Refused               understood, and not allowed in this state or for this actor
    │   └── MissingRef        a reference names an entity that does not exist
    ├── DeadlineExceeded      it took longer than the caller would wait
    ├── Unavailable           the other side cannot be reached; nothing was done
    │   └── StoreFull         the store has no room left; nothing was written
    ├── OutcomeUnknown        the other side went away while it worked: done or not, nobody knows
    ├── Compacted             that revision is no longer kept: list again
    ├── StoreReset            this is another store than before: list again
    ├── BrokenSeal            a stored secret cannot be opened: changed, moved, or its key is gone
    ├── RuntimeFailure        the container runtime or the host said no
    └── Unimplemented         a method or kind this server does not know

Every error has a stable `code` (Connect's code names), a message that says what failed on
what, and where one is known a `hint` that says what to do next.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

__all__ = [
    "AlreadyExists",
    "BrokenSeal",
    "Compacted",
    "Conflict",
    "DeadlineExceeded",
    "Duplicate",
    "Fenced",
    "ImageNotFound",
    "InvalidInput",
    "MirenError",
    "MissingRef",
    "NotFound",
    "OutcomeUnknown",
    "Position",
    "Problem",
    "Refused",
    "RuntimeFailure",
    "StoreFull",
    "StoreReset",
    "Unavailable",
    "Unimplemented",
]


@dataclass(frozen=True, slots=True)
class Position:
    """A place in a text: 1-based line and column, and the line itself for the caret."""

    file: str
    line: int
    column: int
    text: str = ""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with an input.

    `path` is the JSON path inside the document (`("spec", "containers", 0, "prot")`);
    `position` is where it stands in the user's file, when it came from one.
    """

    message: str
    path: tuple[str | int, ...] = ()
    position: Position | None = None
    hint: str | None = None

    def dotted(self) -> str:
        """Return the path as people write it: `spec.containers[0].prot`."""
        text = ""
        for step in self.path:
            text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
        return text

    def render(self) -> str:
        """Return the problem as a compiler would print it: place, message, line, caret, help."""
        lines = []
        where = self.dotted()
        if self.position is None:
            lines.append(f"{where}: {self.message}" if where else self.message)
        else:
            at = self.position
            suffix = f" (at {where})" if where else ""
            lines.append(f"{at.file}:{at.line}:{at.column}: error: {self.message}{suffix}")
            if at.text:
                lines.append(f"{at.line:5} | {at.text}")
                lines.append(f"      | {' ' * (at.column - 1)}^")
        if self.hint:
            lines.append(f"      = help: {self.hint}" if self.position else f"  help: {self.hint}")
        return "\n".join(lines)


class MirenError(Exception):
    """Root of the tree. `entity` is the `kind/name` it is about, where there is one."""

    code: ClassVar[str] = "internal"

    def __init__(
        self, message: str, *, hint: str | None = None, entity: str | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.entity = entity


class InvalidInput(MirenError):
    """The input cannot be right. `problems` holds every one found, never only the first."""

    code = "invalid_argument"

    def __init__(
        self,
        problems: Iterable[Problem] | str,
        *,
        hint: str | None = None,
        entity: str | None = None,
    ) -> None:
        found = (Problem(problems),) if isinstance(problems, str) else tuple(problems)
        self.problems = found
        super().__init__(
            "\n".join(problem.render() for problem in found), hint=hint, entity=entity
        )


class NotFound(MirenError):
    """The entity, kind, container or file named does not exist."""

    code = "not_found"


class ImageNotFound(NotFound):
    """No image of that name is on this node."""


class Conflict(MirenError):
    """Somebody else changed it first, or owns what was to be changed. Read again, then decide."""

    code = "aborted"


class AlreadyExists(Conflict):
    """The name is taken."""

    code = "already_exists"


class Duplicate(Conflict):
    """A value that must be unique is held by another entity."""

    code = "already_exists"


class Fenced(Conflict):
    """A newer leader has taken over; whoever gets this must stop writing."""


class Refused(MirenError):
    """The request is understood and not allowed, in this state or for this actor."""

    code = "failed_precondition"


class MissingRef(Refused):
    """A reference names an entity that does not exist."""


class DeadlineExceeded(MirenError):
    """It took longer than the caller was willing to wait."""

    code = "deadline_exceeded"


class Unavailable(MirenError):
    """The other side cannot be reached, and surely did nothing."""

    code = "unavailable"


class StoreFull(Unavailable):
    """The store has no room left, and surely wrote nothing. It can still be read."""

    code = "resource_exhausted"


class OutcomeUnknown(MirenError):
    """The other side went away while it worked. Never retried blindly: read, then decide."""

    code = "unknown"


class Compacted(MirenError):
    """The revision asked for is no longer kept. `oldest` is the oldest one that is."""

    code = "out_of_range"

    def __init__(self, message: str, *, oldest: int) -> None:
        super().__init__(message, hint="list again, then watch from the list's revision")
        self.oldest = oldest


class StoreReset(MirenError):
    """The store behind this name is not the one read before. List again."""

    code = "data_loss"


class BrokenSeal(MirenError):
    """A stored secret cannot be opened: it was changed or moved, or its key is not here."""

    code = "data_loss"


class RuntimeFailure(MirenError):
    """The container runtime, the network or the host refused or broke."""

    code = "internal"


class Unimplemented(MirenError):
    """The server does not know this method."""

    code = "unimplemented"
