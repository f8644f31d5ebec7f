from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from miren import is_ready
from miren.entities.entity import Condition, ConditionStatus
from tests.builders import Greeting, make_greeting


def greeting(status: ConditionStatus, *, observed: int = 2, generation: int = 2) -> Greeting:
    ready = Condition(type="Ready", status=status, reason="Said", observed_generation=observed)
    made = make_greeting().with_metadata(generation=generation)
    return replace(made, conditions=(ready,))


def test_ready_is_what_its_newest_spec_wants() -> None:
    assert is_ready(greeting(ConditionStatus.TRUE))


def test_what_is_not_there_or_says_nothing_is_not_ready() -> None:
    assert not is_ready(None)
    assert not is_ready(make_greeting())


def test_what_was_said_of_an_earlier_spec_does_not_count() -> None:
    assert not is_ready(greeting(ConditionStatus.TRUE, observed=1))


def test_neither_false_nor_unknown_is_ready() -> None:
    assert not is_ready(greeting(ConditionStatus.FALSE))
    assert not is_ready(greeting(ConditionStatus.UNKNOWN))


def test_what_is_being_deleted_is_not_ready() -> None:
    leaving = greeting(ConditionStatus.TRUE).with_metadata(
        deletion_timestamp=datetime(2030, 1, 1, tzinfo=UTC)
    )
    assert not is_ready(leaving)
