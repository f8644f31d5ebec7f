"""Decides whether what clients saw of one key can be explained by one step at a time.

A history is linearizable when every call can be given a moment between its start and its end so
that, in the order of these moments, each answer is the one that a plain register would give. This
is the search of Wing and Gong with the memory of Lowe: walk through all orders that the intervals
allow, and never twice through the same set of finished calls with the same value in the register.

Keys are checked one by one, which is enough: registers are linearizable together when each is
(Herlihy and Wing's locality). Times are any numbers that grow; a call whose outcome nobody knows
ends at infinity, and may have happened at any moment after its start, or never.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum

__all__ = ["Action", "Operation", "Undecided", "is_linearizable"]

Value = bytes | None


class Action(Enum):
    """What a call does to a register. A register without a value holds None."""

    GET = "answers `saw`"
    PUT = "writes `new`"
    DELETE = "writes None, and answers in `saw` what was there"
    SWAP = "writes `new` where `expected` was"
    MISS = "writes nothing, because there was not `expected` but `saw`"


@dataclass(frozen=True, slots=True)
class Operation:
    """One client's call on one register.

    With `returned` at infinity its answer is not known: `saw` says nothing then, and a SWAP may
    have missed.
    """

    action: Action
    invoked: float
    returned: float
    expected: Value = None
    new: Value = None
    saw: Value = None

    @property
    def is_known(self) -> bool:
        return self.returned < math.inf

    def then(self, state: Value) -> tuple[bool, Value]:
        """Return whether it can happen to a register that holds `state`, and what it leaves."""
        match self.action:
            case Action.GET:
                return state == self.saw, state
            case Action.PUT:
                return True, self.new
            case Action.DELETE:
                return state == self.saw or not self.is_known, None
            case Action.SWAP:
                return state == self.expected, self.new
            case Action.MISS:
                return state == self.saw and state != self.expected, state


class Undecided(AssertionError):
    """The search took too long: make the history shorter, or less of it unknown."""


def is_linearizable(
    operations: Sequence[Operation], *, start: Value = None, within: float = 10.0
) -> bool:
    """Return whether a register that begins with `start` explains the history.

    Raises Undecided after `within` seconds. Values must not be written twice, or calls with an
    unknown outcome would be left out that did something.
    """
    calls = sorted(_that_matter(operations), key=lambda call: call.invoked)
    last = time.monotonic() + within
    everything = _mask(calls)
    seen = {(0, start)}
    stack: list[tuple[int, int, Value]] = [(0, 0, start)]
    while stack:
        if len(seen) % 256 == 0 and time.monotonic() > last:
            raise Undecided(f"{len(calls)} calls, {len(seen)} states seen")
        done, first, state = stack.pop()
        if done & everything == everything:
            return True
        while done >> first & 1:
            first += 1
        for at in _next(calls, done, first):
            possible, after = calls[at].then(state)
            reached = (done | 1 << at, after)
            if possible and reached not in seen:
                seen.add(reached)
                stack.append((reached[0], first, after))
    return False


def _that_matter(operations: Sequence[Operation]) -> Iterator[Operation]:
    """Leave out what need not have happened and did nothing that anybody saw.

    A read without an answer says nothing. A write nobody knows the outcome of, and whose value no
    call saw or expected, changes no answer: all that notice a value tell which it was.
    """
    told = {call.saw for call in operations if call.is_known}
    told |= {call.expected for call in operations}
    for call in operations:
        if call.is_known or (call.action is not Action.GET and call.new in told | {None}):
            yield call


def _mask(calls: Sequence[Operation]) -> int:
    """Return the bits of the calls that surely happened."""
    return sum(1 << at for at, call in enumerate(calls) if call.is_known)


def _next(calls: Sequence[Operation], done: int, first: int) -> list[int]:
    """Return which calls may come next: those that began before any other that is left ended."""
    window = []
    bound = math.inf
    for at in range(first, len(calls)):
        if done >> at & 1:
            continue
        call = calls[at]
        if call.invoked > bound:
            break
        bound = min(bound, call.returned)
        window.append(at)
    return [at for at in window if calls[at].invoked <= bound]
