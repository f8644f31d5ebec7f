"""What etcd's failures are taken for."""

from __future__ import annotations

import grpc
import pytest

from miren.base.errors import (
    Compacted,
    InvalidInput,
    MirenError,
    NotFound,
    OutcomeUnknown,
    Refused,
    Unavailable,
    Unimplemented,
)
from miren.entities.store.etcd.errors import Next, judge, refusal

Code = grpc.StatusCode


@pytest.mark.parametrize(
    ("code", "said", "next", "kind"),
    [
        (Code.UNAVAILABLE, "etcdserver: no leader", Next.ELSEWHERE, Unavailable),
        # 3.4 sends this one without its code.
        (Code.UNKNOWN, "etcdserver: too many requests", Next.AGAIN, Unavailable),
        (Code.RESOURCE_EXHAUSTED, "etcdserver: too many requests", Next.AGAIN, Unavailable),
        (Code.UNKNOWN, "raft proposal dropped", Next.AGAIN, Unavailable),
        (Code.UNAUTHENTICATED, "etcdserver: invalid auth token", Next.RENEW, Refused),
        (Code.INVALID_ARGUMENT, "etcdserver: revision of auth store is old", Next.RENEW, Refused),
        (Code.PERMISSION_DENIED, "etcdserver: permission denied", Next.FAIL, Refused),
        (Code.NOT_FOUND, "etcdserver: requested lease not found", Next.FAIL, NotFound),
        (Code.UNIMPLEMENTED, "unknown service etcdserverpb.KV", Next.FAIL, Unimplemented),
        (
            Code.OUT_OF_RANGE,
            "etcdserver: mvcc: required revision has been compacted",
            Next.FAIL,
            Compacted,
        ),
        (
            Code.RESOURCE_EXHAUSTED,
            "grpc: received message larger than max (3000000 vs. 2097152)",
            Next.FAIL,
            InvalidInput,
        ),
        (
            Code.UNAVAILABLE,
            "failed to connect to all addresses; last error: UNKNOWN: refused",
            Next.ELSEWHERE,
            Unavailable,
        ),
    ],
)
def test_a_refusal_says_that_nothing_was_done(
    code: grpc.StatusCode, said: str, next: Next, kind: type[MirenError]
) -> None:
    verdict = judge(code, said)
    assert verdict.next is next
    for is_write in (True, False):
        error = verdict.error("put", is_write=is_write)
        assert isinstance(error, kind)
        assert not isinstance(error, OutcomeUnknown)
        assert verdict.said in error.message


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (Code.UNAVAILABLE, "etcdserver: request timed out"),
        (
            Code.UNAVAILABLE,
            "etcdserver: request timed out, possibly due to previous leader failure",
        ),
        (Code.UNAVAILABLE, "etcdserver: leader changed"),
        (Code.UNAVAILABLE, "etcdserver: server stopped"),
        (Code.UNAVAILABLE, "Socket closed"),
        (Code.UNAVAILABLE, None),
        (Code.UNKNOWN, "something etcd never said before"),
        (Code.CANCELLED, ""),
        (Code.INTERNAL, "RST_STREAM"),
        (Code.RESOURCE_EXHAUSTED, "etcdserver: mvcc: database space exceeded"),
    ],
)
def test_what_may_have_happened_is_unknown_for_a_write_and_repeated_for_a_read(
    code: grpc.StatusCode, said: str | None
) -> None:
    verdict = judge(code, said)
    assert verdict.next is Next.UNSURE
    assert type(verdict.error("put", is_write=True)) is OutcomeUnknown
    assert isinstance(verdict.error("range", is_write=False), Unavailable)
    assert verdict.may_repeat(is_write=False)
    assert not verdict.may_repeat(is_write=True)


def test_no_answer_in_time_is_unknown_for_a_write_and_unavailable_for_a_read() -> None:
    verdict = judge(Code.DEADLINE_EXCEEDED, "Deadline Exceeded")
    assert type(verdict.error("txn", is_write=True)) is OutcomeUnknown
    assert type(verdict.error("range", is_write=False)) is Unavailable


def test_a_write_is_repeated_only_where_etcd_said_that_it_did_nothing() -> None:
    assert judge(Code.UNAVAILABLE, "etcdserver: no leader").may_repeat(is_write=True)
    assert not judge(Code.NOT_FOUND, "etcdserver: member not found").may_repeat(is_write=True)


@pytest.mark.parametrize(
    "reason",
    [
        "rpc error: code = PermissionDenied desc = etcdserver: permission denied",
        "etcdserver: permission denied",
    ],
)
def test_a_refused_watch_says_it_in_gos_words(reason: str) -> None:
    assert refusal(reason).said == "permission denied"
    assert issubclass(refusal(reason).kind, Refused)
