"""What etcd says of itself, for those who run it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

__all__ = ["Alarm", "EndpointStatus", "Member"]

_ALARMS = {1: "NOSPACE", 2: "CORRUPT"}


@dataclass(frozen=True, slots=True)
class EndpointStatus:
    """One endpoint's answer. With a `problem` it gave none, and the rest means nothing.

    `size` is the database file's and `size_in_use` what of it is used, in bytes; `errors` are
    alarms and the like, in etcd's words. `member` and `leader` are ids; 0 is no leader.
    """

    endpoint: str
    version: str = ""
    member: int = 0
    leader: int = 0
    is_learner: bool = False
    revision: int = 0
    raft_term: int = 0
    raft_index: int = 0
    size: int = 0
    size_in_use: int = 0
    errors: tuple[str, ...] = ()
    problem: str | None = None

    @classmethod
    def of(cls, endpoint: str, answer: Any) -> Self:
        """Return what a StatusResponse says."""
        return cls(
            endpoint,
            version=answer.version,
            member=answer.header.member_id,
            leader=answer.leader,
            is_learner=answer.isLearner,
            revision=answer.header.revision,
            raft_term=answer.raftTerm,
            raft_index=answer.raftIndex,
            size=answer.dbSize,
            size_in_use=answer.dbSizeInUse,
            errors=tuple(answer.errors),
        )


@dataclass(frozen=True, slots=True)
class Member:
    """A member of the cluster; one that has not started yet has no name."""

    id: int
    name: str
    peer_urls: tuple[str, ...]
    client_urls: tuple[str, ...]
    is_learner: bool

    @classmethod
    def of(cls, member: Any) -> Self:
        """Return what a Member message says."""
        return cls(
            member.ID,
            member.name,
            tuple(member.peerURLs),
            tuple(member.clientURLs),
            member.isLearner,
        )


@dataclass(frozen=True, slots=True)
class Alarm:
    """An alarm that a member raised: `kind` is NOSPACE or CORRUPT."""

    member: int
    kind: str

    @classmethod
    def of(cls, alarm: Any) -> Self:
        """Return what an AlarmMember message says."""
        return cls(alarm.memberID, _ALARMS.get(alarm.alarm, str(alarm.alarm)))
