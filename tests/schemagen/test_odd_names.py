"""What is legal in a schema file, and what Python could trip over."""

from __future__ import annotations

import pytest

from miren.base.errors import InvalidInput
from miren.schemagen.names import member_name
from tests.schemagen.conftest import Generated

HEAD = "domain: example.dev\nversion: v1\n"


def test_choices_may_have_characters_that_no_name_in_python_has(generated: Generated) -> None:
    choices = ["²", "½ full", "a·b", "é", "%"]
    text = f"{HEAD}kinds: {{thing: {{level: {{type: enum, choices: {choices}}}}}}}"
    thing = generated(v1=text).Thing
    for choice in choices:
        assert thing.new("x", level=choice).to_document()["spec"] == {"level": choice}


@pytest.mark.parametrize(
    "choice", ["²", "ﬁ", "x½", "_", "", "a__b", "-", "1st", "ŉ", "class", "‿", "a\u0301"]
)
def test_every_choice_becomes_a_name(choice: str) -> None:
    assert member_name(choice).isidentifier()


@pytest.mark.parametrize(("one", "other"), [("ﬁ", "fi"), ("²", "2"), ("ℌ", "h")])
def test_choices_that_python_reads_as_one_name_are_refused(
    one: str, other: str, generated: Generated
) -> None:
    text = f"{HEAD}kinds: {{thing: {{level: {{type: enum, choices: ['{one}', '{other}']}}}}}}"
    with pytest.raises(InvalidInput, match="one name in Python"):
        generated(v1=text)


@pytest.mark.parametrize(
    "components",
    [
        "c: {d: {type: c, default: {}}}",
        "c: {d: {type: d, default: {}}}\n  d: {c: {type: c, many: true}}",
    ],
)
def test_no_component_has_itself_as_an_empty_default(
    components: str, generated: Generated
) -> None:
    with pytest.raises(InvalidInput, match="no default inside a component that holds itself"):
        generated(v1=f"{HEAD}components:\n  {components}")


def test_a_component_that_holds_itself_may_have_empty_lists_and_maps(
    generated: Generated,
) -> None:
    text = (
        f"{HEAD}components: {{c: {{d: {{type: c, many: true, default: []}}, "
        "e: {type: map, of: c, default: {}}}}\n"
        "kinds: {thing: {c: {type: c, default: {d: [{e: {x: {}}}]}}}}"
    )
    spec = generated(v1=text).Thing.new("x").to_document()["spec"]
    assert spec["c"]["d"][0]["e"] == {"x": {"d": [], "e": {}}}
