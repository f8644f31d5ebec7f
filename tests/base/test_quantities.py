"""Amounts and spans of time: exact, canonical, and nothing that only looks like one."""

from __future__ import annotations

import copy
import pickle
from datetime import timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from miren.base.quantities import Duration, Quantity
from miren.entities.model import Model


class Box(Model):
    size: Quantity | None = None
    wait: Duration | None = None


decimals = st.decimals(
    allow_nan=False, allow_infinity=False, places=9, min_value=-(10**30), max_value=10**30
)
spans = st.timedeltas(min_value=timedelta(0), max_value=timedelta(days=999_999))


@given(st.one_of(st.integers(-(10**60), 10**60), decimals))
def test_reading_a_printed_quantity_gives_the_same_amount(amount: int | Decimal) -> None:
    quantity = Quantity(amount)
    assert Quantity(str(quantity)) == quantity == amount


@given(spans)
def test_reading_a_printed_duration_gives_the_same_span(span: timedelta) -> None:
    duration = Duration(days=span.days, seconds=span.seconds, microseconds=span.microseconds)
    assert Duration.parse(str(duration)) == span


@pytest.mark.parametrize(
    ("text", "amount", "printed"),
    [
        ("1Gi", 2**30, "1Gi"),
        ("1024Mi", 2**30, "1Gi"),
        ("1.5Gi", 3 * 2**29, "1536Mi"),
        ("500m", Decimal("0.5"), "500m"),
        ("0.5", Decimal("0.5"), "500m"),
        ("2000m", 2, "2"),
        ("0.0005", Decimal("0.0005"), "0.0005"),
        ("1k", 1000, "1k"),
        ("1500", 1500, "1500"),
        ("0Gi", 0, "0"),
        ("-1Ki", -1024, "-1Ki"),
        (" 7 ", 7, "7"),
    ],
)
def test_quantities_print_with_the_largest_whole_suffix(
    text: str, amount: int | Decimal, printed: str
) -> None:
    assert Quantity(text) == amount
    assert str(Quantity(text)) == printed
    assert f"{Quantity(text)}" == printed


@pytest.mark.parametrize(
    "text", ["", "Gi", "1gi", "1 Gi", "1e3", "1Kib", "NaN", "1..5", "9" * 200]
)
def test_what_is_no_quantity_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="quantity"):
        Quantity(text)


@pytest.mark.parametrize("special", ["NaN", "Infinity", "-Infinity"])
def test_a_special_number_is_no_quantity(special: str) -> None:
    with pytest.raises(ValueError, match="amount"):
        Quantity(Decimal(special))


def test_a_quantity_survives_copying_and_pickling() -> None:
    quantity = Quantity("1.5Gi")
    assert pickle.loads(pickle.dumps(quantity)) == copy.deepcopy(quantity) == quantity
    assert isinstance(copy.deepcopy(quantity), Quantity)


@pytest.mark.parametrize(
    ("text", "span", "printed"),
    [
        ("15m", timedelta(minutes=15), "15m"),
        ("90m", timedelta(minutes=90), "1h30m"),
        ("1h30m", timedelta(minutes=90), "1h30m"),
        ("1.5s", timedelta(milliseconds=1500), "1s500ms"),
        ("250ms", timedelta(milliseconds=250), "250ms"),
        ("1500us", timedelta(microseconds=1500), "1ms500us"),
        ("7d", timedelta(days=7), "168h"),
        ("0", timedelta(0), "0s"),
        ("0s", timedelta(0), "0s"),
    ],
)
def test_durations_print_from_hours_down(text: str, span: timedelta, printed: str) -> None:
    assert Duration.parse(text) == span
    assert str(Duration.parse(text)) == printed


@pytest.mark.parametrize(
    "text", ["", "s", "1", "1 h", "1h 30m", "-1s", "1w", "1hh", "0.1us", "9999999999999d"]
)
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"duration|finer|longer"):
        Duration.parse(text)


def test_a_negative_duration_prints_with_its_sign() -> None:
    assert str(Duration(seconds=-90)) == "-1m30s"


def test_models_take_numbers_for_quantities_and_write_texts() -> None:
    box = Box.model_validate_json('{"size": 0.25, "wait": "90s"}', strict=True)
    assert box.size == Decimal("0.25")
    assert box.model_dump(mode="json") == {"size": "250m", "wait": "1m30s"}


@pytest.mark.parametrize("value", ["true", "[]", '"x"'])
def test_models_refuse_what_is_no_amount(value: str) -> None:
    with pytest.raises(ValueError, match="quantity"):
        Box.model_validate_json(f'{{"size": {value}}}', strict=True)
