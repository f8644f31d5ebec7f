"""What etcd says went wrong, as errors of ours and as what to do next.

etcd answers with a code of gRPC's and a fixed English text. The text decides, because one code
stands for several things: UNAVAILABLE is both "no leader", which means that nothing was done, and
"request timed out", after which nobody knows. Texts that are not in the table go by their code,
and a code that says nothing counts as unknown. Everything here is pure.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import grpc

from miren.base.errors import (
    AlreadyExists,
    Compacted,
    InvalidInput,
    MirenError,
    NotFound,
    OutcomeUnknown,
    Refused,
    StoreFull,
    Unavailable,
    Unimplemented,
)

__all__ = [
    "FULL",
    "FULL_HINT",
    "Next",
    "NotEnabled",
    "NotPermitted",
    "Verdict",
    "judge",
    "refusal",
]


#: etcd's words for a quota that is used up, and what to do about it.
FULL = "mvcc: database space exceeded"
FULL_HINT = "compact and defragment etcd, then disarm its alarm; or raise --quota-backend-bytes"


class Next(StrEnum):
    """What a failed call allows."""

    FAIL = "fail"  # etcd decided; it would decide the same again
    ELSEWHERE = "elsewhere"  # surely not done; another member may be able to
    AGAIN = "again"  # surely not done; the same member may, a moment later
    RENEW = "renew"  # surely not done; the token is no longer good
    UNSURE = "unsure"  # it was sent, and nobody knows what became of it


class NotEnabled(Refused):
    """This etcd asks for no user and password."""


class NotPermitted(Refused):
    """The user is known, and may not do this."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a failure means: what may be done next, and the error to raise if nothing is."""

    next: Next
    kind: type[MirenError]
    said: str
    hint: str | None = None

    def may_repeat(self, *, is_write: bool) -> bool:
        """Return whether the same call may be sent again as it is."""
        if self.next is Next.UNSURE:
            return not is_write
        return self.next in {Next.ELSEWHERE, Next.AGAIN}

    def error(self, what: str, *, is_write: bool) -> MirenError:
        """Return the error for the caller of `what`, a method and where it was called."""
        message = f"etcd {what}: {self.said}"
        if self.kind is Compacted:
            return Compacted(message, oldest=0)
        if self.next is Next.UNSURE and is_write:
            then = f"; {self.hint}" if self.hint else ""
            return OutcomeUnknown(message, hint=f"read what is there, then decide{then}")
        return self.kind(message, hint=self.hint)


_Meaning = tuple[Next, type[MirenError], str | None]

_CREDENTIALS = "check the user and password that the store is opened with"
_NO_QUORUM = "check that most of etcd's members run and reach each other"
_CORRUPT = "etcd's members differ: restore the broken one from the others or from a snapshot"

#: By etcd's text, without the `etcdserver: ` or `auth: ` that it begins with.
_SAID: dict[str, _Meaning] = {
    "key is not provided": (Next.FAIL, InvalidInput, None),
    "key not found": (Next.FAIL, InvalidInput, None),
    "too many operations in txn request": (
        Next.FAIL,
        InvalidInput,
        "split the transaction, or start etcd with a larger --max-txn-ops",
    ),
    "duplicate key given in txn request": (
        Next.FAIL,
        InvalidInput,
        "write each key at most once in a transaction",
    ),
    "request is too large": (
        Next.FAIL,
        InvalidInput,
        "write less at once, or start etcd with a larger --max-request-bytes",
    ),
    "mvcc: required revision has been compacted": (Next.FAIL, Compacted, None),
    "mvcc: required revision is a future revision": (
        Next.FAIL,
        InvalidInput,
        "that revision is not made yet: is it another store's?",
    ),
    # Not a refusal: see room.py.
    FULL: (Next.UNSURE, StoreFull, FULL_HINT),
    "requested lease not found": (Next.FAIL, NotFound, "the lease has ended: grant a new one"),
    "lease already exists": (Next.FAIL, AlreadyExists, None),
    "too large lease TTL": (Next.FAIL, InvalidInput, "etcd's leases last 9,000,000,000 s at most"),
    "permission denied": (
        Next.FAIL,
        NotPermitted,
        "grant its role the store's keys; snapshot and defrag need etcd's root user",
    ),
    "authentication failed, invalid user ID or password": (Next.FAIL, Refused, _CREDENTIALS),
    "user name is empty": (Next.RENEW, Refused, "this etcd asks for a user and password"),
    "user name not found": (Next.FAIL, Refused, _CREDENTIALS),
    "authentication is not enabled": (Next.FAIL, NotEnabled, None),
    "invalid auth token": (Next.RENEW, Refused, _CREDENTIALS),
    "revision of auth store is old": (Next.RENEW, Refused, None),
    # The ones that come before anything is proposed.
    "no leader": (Next.ELSEWHERE, Unavailable, _NO_QUORUM),
    "not capable": (Next.ELSEWHERE, Unavailable, "etcd has only begun to start, or is too old"),
    "rpc not supported for learner": (
        Next.ELSEWHERE,
        Unavailable,
        "give the endpoints of voting members",
    ),
    "too many requests": (Next.AGAIN, Unavailable, "etcd's disk is behind its log: is it slow?"),
    "raft proposal dropped": (Next.AGAIN, Unavailable, _NO_QUORUM),
    "corrupt cluster": (Next.FAIL, Unavailable, _CORRUPT),
    # What was proposed and not heard of again.
    "leader changed": (Next.UNSURE, Unavailable, None),
    "server stopped": (Next.UNSURE, Unavailable, None),
    "request timed out": (Next.UNSURE, Unavailable, _NO_QUORUM),
}

_BY_CODE: dict[grpc.StatusCode, _Meaning] = {
    grpc.StatusCode.INVALID_ARGUMENT: (Next.FAIL, InvalidInput, None),
    grpc.StatusCode.OUT_OF_RANGE: (Next.FAIL, InvalidInput, None),
    grpc.StatusCode.NOT_FOUND: (Next.FAIL, NotFound, None),
    grpc.StatusCode.FAILED_PRECONDITION: (Next.FAIL, Refused, None),
    grpc.StatusCode.PERMISSION_DENIED: (Next.FAIL, Refused, None),
    grpc.StatusCode.UNAUTHENTICATED: (Next.RENEW, Refused, _CREDENTIALS),
    grpc.StatusCode.UNIMPLEMENTED: (Next.FAIL, Unimplemented, "is it an etcd of 3.4 or later?"),
    grpc.StatusCode.DEADLINE_EXCEEDED: (Next.UNSURE, Unavailable, _NO_QUORUM),
}

_UNSURE: _Meaning = (Next.UNSURE, Unavailable, None)
_UNSENT: _Meaning = (Next.ELSEWHERE, Unavailable, None)

#: What grpc says, before more words, of a call that never left or that etcd's gRPC turned away.
_BEGINNINGS: dict[str, _Meaning] = {
    "failed to connect to all addresses": _UNSENT,
    "DNS resolution failed": _UNSENT,
    "grpc: received message larger than max": _SAID["request is too large"],
    "request timed out": _SAID["request timed out"],
}


def judge(code: grpc.StatusCode, details: str | None) -> Verdict:
    """Return what a call's failure means."""
    said = (details or "").removeprefix("etcdserver: ").removeprefix("auth: ") or code.name
    meaning = _SAID.get(said) or _meaning_of_beginning(said) or _BY_CODE.get(code, _UNSURE)
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        said = "no answer in time"
    return Verdict(meaning[0], meaning[1], said, meaning[2])


def _meaning_of_beginning(said: str) -> _Meaning | None:
    return next((found for start, found in _BEGINNINGS.items() if said.startswith(start)), None)


#: A watch is refused in a message, which holds Go's print of the error.
_PRINTED = "rpc error: code = "


def refusal(reason: str) -> Verdict:
    """Return what the `cancel_reason` of a watch means."""
    said = reason
    if reason.startswith(_PRINTED):
        said = reason.removeprefix(_PRINTED).partition(" desc = ")[2]
    return judge(grpc.StatusCode.UNKNOWN, said)
