"""The checker says yes to every history that some order explains, and no to every other one."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations, permutations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.effort import tries
from tests.linearizability import Action, Operation, Undecided, is_linearizable

NEVER = math.inf


def put(invoked: float, returned: float, new: bytes) -> Operation:
    return Operation(Action.PUT, invoked, returned, new=new)


def get(invoked: float, returned: float, saw: bytes | None) -> Operation:
    return Operation(Action.GET, invoked, returned, saw=saw)


def swap(invoked: float, returned: float, expected: bytes | None, new: bytes) -> Operation:
    return Operation(Action.SWAP, invoked, returned, expected=expected, new=new)


def test_a_read_that_overlaps_a_write_sees_either_value() -> None:
    for saw in (None, b"1"):
        assert is_linearizable([put(0, 3, b"1"), get(1, 2, saw)])
    assert not is_linearizable([put(0, 3, b"1"), get(1, 2, b"2")])


def test_a_read_after_a_write_may_not_be_stale() -> None:
    assert not is_linearizable([put(0, 1, b"1"), get(2, 3, None)])


def test_reads_may_not_go_back() -> None:
    write = put(0, 9, b"1")
    assert is_linearizable([write, get(1, 2, None), get(3, 4, b"1")])
    assert not is_linearizable([write, get(1, 2, b"1"), get(3, 4, None)])


def test_two_swaps_from_one_value_cannot_both_succeed() -> None:
    assert not is_linearizable([swap(0, 9, None, b"1"), swap(1, 8, None, b"2")])
    miss = Operation(Action.MISS, 1, 8, expected=None, new=b"2", saw=b"1")
    assert is_linearizable([swap(0, 9, None, b"1"), miss])
    assert not is_linearizable([replace(miss, saw=None)])


def test_what_nobody_knows_happened_late_or_never_and_not_before_it_began() -> None:
    lost = put(2, NEVER, b"1")
    assert is_linearizable([lost, get(5, 6, None), get(7, 8, b"1")])
    assert is_linearizable([lost, get(5, 6, None), get(7, 8, None)])
    assert not is_linearizable([lost, get(0, 1, b"1")])
    assert not is_linearizable([lost, get(5, 6, b"1"), get(7, 8, None)])


def test_an_unknown_swap_may_have_missed_and_an_unknown_delete_may_have_happened() -> None:
    lost = swap(2, NEVER, b"0", b"1")
    assert is_linearizable([put(0, 1, b"0"), lost, get(5, 6, b"1")])
    assert is_linearizable([put(0, 1, b"0"), put(3, 4, b"2"), lost, get(5, 6, b"2")])
    assert not is_linearizable([lost, get(5, 6, b"1")])
    gone = Operation(Action.DELETE, 2, NEVER)
    assert is_linearizable([put(0, 1, b"0"), gone, get(5, 6, b"0"), get(7, 8, None)])


def test_two_hundred_calls_of_eight_clients_are_decided_soon_either_way() -> None:
    good = simulated(random.Random(1), calls=200, clients=8)
    assert is_linearizable(good, within=5)
    first = next(call for call in good if call.action is Action.PUT)
    late = get(1e6, 1e6 + 1, first.new)
    assert not is_linearizable([*good, put(1e5, 1e5 + 1, b"end"), late], within=5)


def test_a_search_that_takes_too_long_says_so() -> None:
    lost = [put(0, NEVER, bytes([n])) for n in range(30)]
    reads = [get(n, n + 0.5, bytes([n - 1])) for n in range(1, 31)]
    with pytest.raises(Undecided):
        is_linearizable([*lost, *reads[:15], put(0, NEVER, b"x"), *reads[:1]], within=0.0)


def simulated(rng: random.Random, *, calls: int, clients: int) -> list[Operation]:
    """Return what clients of a real register saw, each with one call at a time."""
    clock = [0.0] * clients
    moments = []
    for n in range(calls):
        client = rng.randrange(clients)
        begin = clock[client] + rng.random()
        end = begin + rng.random() * 3
        clock[client] = end
        moments.append((rng.uniform(begin, end), begin, end, n))
    state: bytes | None = None
    found = []
    for _, begin, end, n in sorted(moments):
        call, state = step(rng, state, begin, end, b"%d" % n)
        found.append(call)
    return found


def step(
    rng: random.Random, state: bytes | None, begin: float, end: float, new: bytes
) -> tuple[Operation, bytes | None]:
    match rng.choice(list(Action)):
        case Action.GET:
            return get(begin, end, state), state
        case Action.PUT:
            return put(begin, end, new), new
        case Action.DELETE:
            return Operation(Action.DELETE, begin, end, saw=state), None
        case Action.SWAP:
            return swap(begin, end, state, new), new
        case Action.MISS:
            return Operation(Action.MISS, begin, end, expected=b"?", new=new, saw=state), state


VALUES = [None, b"a", b"b", b"c"]


@st.composite
def histories(draw: st.DrawFn) -> list[Operation]:
    """Draw up to five calls, each value written at most once, with any answers and overlaps."""
    size = draw(st.integers(1, 5))
    times = draw(st.permutations(range(2 * size)))
    found = []
    for n in range(size):
        invoked, returned = sorted(times[2 * n : 2 * n + 2])
        found.append(
            Operation(
                draw(st.sampled_from(Action)),
                invoked,
                NEVER if draw(st.integers(0, 3)) == 0 else returned,
                expected=draw(st.sampled_from(VALUES)),
                new=b"abcde"[n : n + 1],
                saw=draw(st.sampled_from(VALUES)),
            )
        )
    # A miss with an unknown outcome is a swap of which nobody knows.
    return [each for each in found if each.is_known or each.action is not Action.MISS]


def explained(calls: Sequence[Operation]) -> bool:
    """Try every order of every choice of the unknown calls."""
    known = [call for call in calls if call.is_known]
    unknown = [call for call in calls if not call.is_known]
    return any(
        fits(order)
        for size in range(len(unknown) + 1)
        for some in combinations(unknown, size)
        for order in permutations([*known, *some])
    )


def fits(order: Sequence[Operation]) -> bool:
    if any(b.returned < a.invoked for a, b in combinations(order, 2)):
        return False
    state: bytes | None = None
    for call in order:
        unknown_read = call.action is Action.GET and not call.is_known
        possible, state = (True, state) if unknown_read else call.then(state)
        if not possible:
            return False
    return True


@given(histories())
@example([put(0, NEVER, b"a"), swap(2, 3, b"a", b"b"), get(4, 5, b"b")])
@example([put(0, 1, b"a"), Operation(Action.DELETE, 2, NEVER, new=b"b"), get(4, 5, None)])
def test_it_answers_as_trying_every_order_does(calls: list[Operation]) -> None:
    calls = [replace(each, new=None) if each.action is Action.DELETE else each for each in calls]
    assert is_linearizable(calls) == explained(calls)


@pytest.mark.parametrize("seed", range(tries(5, soak=200)))
def test_what_a_real_register_answers_is_linearizable(seed: int) -> None:
    rng = random.Random(seed)
    calls = simulated(rng, calls=60, clients=5)
    # Forgetting answers takes nothing away from the explanation.
    forgotten = set(rng.sample(range(60), 4))
    lost = [
        replace(
            call, returned=NEVER, action=Action.SWAP if call.action is Action.MISS else call.action
        )
        if at in forgotten
        else call
        for at, call in enumerate(calls)
    ]
    assert is_linearizable(lost)
