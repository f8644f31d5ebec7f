from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from miren.base.backoff import Backoff


def test_delays_double_up_to_the_cap() -> None:
    backoff = Backoff(first=1, cap=60, jitter=0)
    delays = [backoff.delay(count, random.Random(0)) for count in range(1, 9)]
    assert delays == [1, 2, 4, 8, 16, 32, 60, 60]


@given(failures=st.integers(1, 10_000), seed=st.integers())
def test_jitter_only_shortens_and_nothing_overflows(failures: int, seed: int) -> None:
    backoff = Backoff(first=0.005, cap=300, jitter=0.2)
    exact = Backoff(first=0.005, cap=300, jitter=0).delay(failures, random.Random(0))
    assert 0.8 * exact <= backoff.delay(failures, random.Random(seed)) <= exact
