"""What may be asked of any store: keys, ranges, numbers and times, looked at before any work.

Every backend turns here with each request, so that the same mistake is the same InvalidInput
everywhere. Types are looked at too: one backend would keep text as a value, another would fail in
the middle of its work. A request that is right costs a tenth of a microsecond or two. Whether a
revision was made, or is still kept, only a store knows: that is in `rules`.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from miren.base.errors import InvalidInput, Problem
from miren.entities.store.api import (
    END_OF_KEYS,
    NO_LEASE,
    Compare,
    Delete,
    Get,
    KeyRange,
    Lease,
    Operation,
    Put,
    Target,
)

__all__ = [
    "check_get",
    "check_lease",
    "check_list",
    "check_number",
    "check_seconds",
    "check_transaction",
    "check_ttl",
    "check_watch",
]

_RANGED = (Get, Delete)

# What numbers revisions and leases in SQLite and in etcd.
_MOST = 2**63 - 1

# Some 285 years in seconds: what etcd grants at most.
_LONGEST_TTL = 9_000_000_000


def check_get(key: str, revision: int) -> None:
    """Raise InvalidInput unless a key and a revision can be what they are given as."""
    _raise(_key_problem(key) or _number_problem(revision))


def check_list(range: KeyRange, revision: int, *, limit: int, after: str | None) -> None:
    """Raise InvalidInput unless a list of this shape can be asked for."""
    _raise(
        _range_problem(range)
        or _number_problem(revision)
        or _limit_problem(limit)
        or _after_problem(after)
    )


def check_watch(range: KeyRange, after: int) -> None:
    """Raise InvalidInput unless a watch of this shape can be asked for."""
    _raise(_range_problem(range) or _number_problem(after))


def check_transaction(
    compares: Sequence[Compare], then: Sequence[Operation], otherwise: Sequence[Operation]
) -> None:
    """Raise InvalidInput with every problem that any part of a transaction has."""
    if _are_fit(compares, then, otherwise):
        if len(then) <= 1 and len(otherwise) <= 1:
            return  # alone, nothing can be in the way of anything
        problems = [*_clashes(then, "then"), *_clashes(otherwise, "otherwise")]
    else:
        problems = [
            *_placed(compares, "compares", _compare_problem),
            *_placed(then, "then", _operation_problem),
            *_placed(otherwise, "otherwise", _operation_problem),
        ]
    if problems:
        raise InvalidInput(problems)


def _are_fit(
    compares: Sequence[Compare], then: Sequence[Operation], otherwise: Sequence[Operation]
) -> bool:
    """Return whether nothing is wrong with any part by itself."""
    # Loops, because `any` and `map` take longer than looking at the few parts there are.
    for compare in compares:
        if _compare_problem(compare) is not None:
            return False
    for operation in then:
        if _operation_problem(operation) is not None:
            return False
    for operation in otherwise:  # noqa: SIM110  # as said
        if _operation_problem(operation) is not None:
            return False
    return True


def check_number(revision: int) -> None:
    """Raise InvalidInput unless a store can count so far."""
    _raise(_number_problem(revision))


def check_lease(lease: Lease) -> None:
    """Raise InvalidInput unless a store can have given that name to a lease."""
    _raise(_lease_problem(lease))


def check_ttl(ttl: float) -> None:
    """Raise InvalidInput unless a lease can last `ttl` seconds."""
    if not (isinstance(ttl, int | float) and 0 < ttl <= _LONGEST_TTL):
        raise InvalidInput(
            f"a lease cannot last {ttl!r} seconds",
            hint=f"give a time above 0 and up to {_LONGEST_TTL} seconds",
        )


def check_seconds(name: str, seconds: float) -> None:
    """Raise InvalidInput unless the parameter `name` is a time that something can take."""
    if not (isinstance(seconds, int | float) and 0 < seconds < float("inf")):
        raise InvalidInput(
            f"{name} cannot be {seconds!r} seconds", hint="give a number of seconds above 0"
        )


def _raise(problem: Problem | None) -> None:
    if problem is not None:
        raise InvalidInput(problem.message, hint=problem.hint)


# What is wrong with one thing. They take anything, because anything can come.


def _compare_problem(compare: object) -> Problem | None:
    if not isinstance(compare, Compare):
        return _mistaken("a comparison", "a Compare", compare, hint="see Compare's class methods")
    target: Any = compare.target
    if not isinstance(target, Target):
        return _mistaken("what is compared", "a Target", target, at="target")
    return _range_problem(compare.range) or _number_problem(compare.value, "value")


def _operation_problem(operation: object) -> Problem | None:
    if isinstance(operation, Put):
        key: Any = operation.key
        value: Any = operation.value
        # Almost always: without a call for each.
        if isinstance(value, bytes) and isinstance(key, str) and key.isascii() and key:
            return _lease_problem(operation.lease) if operation.lease != NO_LEASE else None
        return _key_problem(key) or _value_problem(value) or _lease_problem(operation.lease)
    if isinstance(operation, _RANGED):
        return _range_problem(operation.range)
    return _mistaken("an operation", "a Put, a Delete or a Get", operation)


def _value_problem(value: object) -> Problem | None:
    if isinstance(value, bytes):
        return None
    hint = "encode text, and copy buffers, to bytes first"
    return _mistaken("a value", "bytes", value, at="value", hint=hint)


def _key_problem(key: object) -> Problem | None:
    if not isinstance(key, str):
        return _mistaken("a key", "text", key, at="key", hint="give a str; decode bytes first")
    if key.isascii() and key:
        return None
    if not key:
        return Problem("a key may not be empty", ("key",), hint="give at least one character")
    if key.startswith(END_OF_KEYS):
        message = f"{key!r} begins with U+10FFFF, where the keys end"
        return Problem(message, ("key",), hint="begin it with any other character")
    try:
        key.encode()
    except UnicodeEncodeError:
        message = f"{key!r} holds half of a surrogate pair, which UTF-8 cannot say"
        return Problem(message, ("key",), hint="give text of whole characters")
    return None


def _range_problem(range: object) -> Problem | None:
    if not isinstance(range, KeyRange):
        hint = "use KeyRange.prefix or KeyRange.key"
        return _mistaken("a range", "a KeyRange", range, at="range", hint=hint)
    start: Any = range.start
    end: Any = range.end
    # Any text may be a bound, half of a surrogate pair too: it is a place, not a key.
    if isinstance(start, str) and isinstance(end, str):
        return None
    wrong = end if isinstance(start, str) else start
    return _mistaken("a bound of a range", "text", wrong, at="range", hint="give a str")


def _number_problem(number: object, at: str = "revision") -> Problem | None:
    if not isinstance(number, int):
        return _mistaken(f"a {at}", "a whole number", number, at=at, hint="give an int")
    if 0 <= number <= _MOST:
        return None
    fault = "is negative" if number < 0 else "is more than a store can count"
    return Problem(f"{at} {number} {fault}", (at,), hint="use one that the store has told")


def _lease_problem(lease: object) -> Problem | None:
    if isinstance(lease, int) and 0 <= lease <= _MOST:
        return None
    return Problem(f"{lease!r} names no lease", ("lease",), hint="use what `grant` returned")


def _limit_problem(limit: object) -> Problem | None:
    if isinstance(limit, int) and limit >= 0:
        return None
    fault = f"limit {limit} is negative" if isinstance(limit, int) else f"{limit!r} is no limit"
    return Problem(fault, hint="give the number of keys, or 0 for all of them")


def _after_problem(after: object) -> Problem | None:
    if after is None or isinstance(after, str):
        return None
    return _mistaken("`after`", "a key", after, hint="give the last key of the page before")


def _mistaken(
    what: str, kind: str, given: object, *, at: str = "", hint: str | None = None
) -> Problem:
    """Return the problem of one thing that was given as another."""
    message = f"{what} is {kind}, not {type(given).__name__}"
    return Problem(message, (at,) if at else (), hint=hint)


# What is wrong with several things together.


def _placed(
    steps: Sequence[object], name: str, find: Callable[[object], Problem | None]
) -> Iterator[Problem]:
    """Find what is wrong with each step by itself, and say where it is."""
    for at, step in enumerate(steps):
        problem = find(step)
        if problem:
            yield replace(problem, path=(name, at, *problem.path))


def _clashes(branch: Sequence[Operation], name: str) -> Iterator[Problem]:
    """Find keys that a branch might write twice."""
    puts = sorted((step.key, at) for at, step in enumerate(branch) if isinstance(step, Put))
    before: str | None = None
    for key, at in puts:
        if key == before:
            yield Problem(f"{key!r} is written twice", (name, at, "key"), hint=_ONCE)
        before = key
    for at, step in enumerate(branch):
        if isinstance(step, Delete):
            first = bisect_left(puts, (step.range.start, -1))
            if first < len(puts) and puts[first][0] in step.range:
                message = f"{puts[first][0]!r} is deleted here and put elsewhere"
                yield Problem(message, (name, at, "range"), hint=_ONCE)


_ONCE = "write each key at most once in a branch"
