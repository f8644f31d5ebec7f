"""What a kopf handler raises, and what becomes of what it raises otherwise."""

from __future__ import annotations

from enum import StrEnum

from miren.reconcile.results import Permanent, Temporary

__all__ = ["ErrorsMode", "PermanentError", "TemporaryError"]


class TemporaryError(Temporary):
    """It cannot go on yet: it is called again in `delay` seconds; None means with back-off."""

    def __init__(self, message: str = "", delay: float | None = 60.0) -> None:
        super().__init__(message, after=delay)


class PermanentError(Permanent):
    """It never can: it is not called again for this entity until the spec changes."""

    def __init__(self, message: str = "") -> None:
        super().__init__(message)


class ErrorsMode(StrEnum):
    """What any other exception is: logged and no more, tried again, or the end."""

    IGNORED = "ignored"
    TEMPORARY = "temporary"
    PERMANENT = "permanent"
