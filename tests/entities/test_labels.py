from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from miren.base.errors import InvalidInput
from miren.entities.labels import matches, parse_selector, requirements

LABELS = {"app": "web", "tier": "front", "example.dev/size": "2", "empty": ""}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "app=web",
        "app == web",
        "app=web,tier=front",
        "tier in (front, back)",
        "tier in (front),app",
        "tier notin (back,side)",
        "colour notin (red)",
        "colour!=red",
        "!colour",
        "! colour, app",
        "example.dev/size=2",
        "empty=",
        "empty in ()",
    ],
)
def test_a_selector_takes_what_it_describes(text: str) -> None:
    assert matches(parse_selector(text), LABELS)


@pytest.mark.parametrize(
    "text",
    ["app=db", "app!=web", "!app", "colour", "tier notin (front)", "tier in (back)", "app=web,x"],
)
def test_a_selector_leaves_out_what_it_does_not_describe(text: str) -> None:
    assert not matches(parse_selector(text), LABELS)


@pytest.mark.parametrize("text", ["=x", "a=b=c", "a in b", "a in (b", "a b", "a>1", "ä=1"])
def test_what_is_no_selector_is_named(text: str) -> None:
    with pytest.raises(InvalidInput, match="is no requirement"):
        parse_selector(text)


@given(st.dictionaries(st.sampled_from("abc"), st.sampled_from("xy")))
def test_a_mapping_selects_as_its_text_does(wanted: dict[str, str]) -> None:
    text = ",".join(f"{key}={value}" for key, value in wanted.items())
    assert set(requirements(wanted)) == set(requirements(text))
    assert matches(requirements(wanted), wanted)
