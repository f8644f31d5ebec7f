"""Whether etcd has room for a write, which its own refusal does not tell for sure.

etcd checks its quota before a write is proposed and again when it is applied. At the second
check it applies the write, then answers "database space exceeded" and raises the NOSPACE alarm.
So of the writes under way when the quota is reached, those told so may or may not have happened.
Once the alarm is up none happen, until somebody takes it back.

Hence two rules. Being told so is an unknown outcome. From then on, every write that needs room
asks for the alarm first, and is refused here, unsent, for as long as it is up.
"""

from __future__ import annotations

from typing import Any

__all__ = ["is_full", "needs_room"]


def is_full(status: Any) -> bool:
    """Return whether a StatusResponse tells of a NOSPACE alarm, on whichever member."""
    return any("NOSPACE" in error for error in status.errors)


def needs_room(name: str, request: Any) -> bool:
    """Return whether etcd refuses the call `name` with `request` when it is full."""
    if name == "txn":
        return any(
            operation.WhichOneof("request") == "request_put"
            for branch in (request.success, request.failure)
            for operation in branch
        )
    return name in {"put", "lease_grant"}
