"""YAML as plain data with places: 1.2's scalars, no surprises, every problem at once."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from miren.base.nesting import MAX_DEPTH
from miren.base.yaml import parse


def value_of(text: str, file: str = "f.yaml") -> object:
    parsed = parse(text, file)
    assert parsed.problems == ()
    (document,) = parsed.documents
    return document.value


def problems_of(text: str) -> list[tuple[int, int, str]]:
    return [
        (problem.position.line, problem.position.column, problem.message)
        for problem in parse(text, "f.yaml").problems
        if problem.position is not None
    ]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("true", True),
        ("False", False),
        ("no", "no"),
        ("on", "on"),
        ("y", "y"),
        ("22:22", "22:22"),
        ("2024-01-01", "2024-01-01"),
        ("2024-01-01T10:00:00Z", "2024-01-01T10:00:00Z"),
        ("010", 10),
        ("0o10", 8),
        ("0x1F", 31),
        ("-7", -7),
        ("1_000", "1_000"),
        ("0b11", "0b11"),
        ("1.5", 1.5),
        (".5", 0.5),
        ("1e3", 1000.0),
        ("1.", 1.0),
        ("10Gi", "10Gi"),
        ("'1'", "1"),
        ("!!str 1", "1"),
        ("=", "="),
    ],
)
def test_scalars_follow_the_core_schema_of_yaml_1_2(text: str, value: object) -> None:
    read = value_of(f"x: {text}")
    assert isinstance(read, dict)
    assert read == {"x": value}
    assert type(read["x"]) is type(value)


@pytest.mark.parametrize("text", ["", "~", "null", "Null", "NULL"])
def test_null_is_none(text: str) -> None:
    assert value_of(f"x: {text}") == {"x": None}


@pytest.mark.parametrize("text", [".inf", "-.inf", ".nan", "1e999", "9" * 19, "1" * 5000])
def test_a_number_without_a_json_form_is_refused(text: str) -> None:
    ((line, column, message),) = problems_of(f"x: {text}")
    assert (line, column) == (1, 4)
    assert "JSON" in message


json_data = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8", categories=("L", "N", "P", "Zs"))),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text("abcdefg", min_size=1), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.text("abc", min_size=1), json_data, min_size=1))
def test_json_is_yaml(data: dict[str, object]) -> None:
    assert value_of(json.dumps(data), "f.json") == data


def test_documents_are_read_one_by_one_and_empty_ones_left_out() -> None:
    parsed = parse("# c\n---\na: 1\n---\n---\n# d\n---\nb: 2\n...\n", "f.yaml")
    assert [document.value for document in parsed.documents] == [{"a": 1}, {"b": 2}]
    assert [document.position().line for document in parsed.documents] == [3, 8]


def test_a_broken_document_does_not_hide_the_others() -> None:
    parsed = parse("a: 1\n---\nb: [\n---\nc: 3\n---\nd: *e\n", "f.yaml")
    assert [document.value for document in parsed.documents] == [{"a": 1}, {"c": 3}]
    assert [problem.position.line for problem in parsed.problems if problem.position] == [4, 7]


def test_three_dashes_in_a_block_of_text_do_not_end_it() -> None:
    assert value_of("a: |\n  x\n  ---\n  y\n") == {"a": "x\n---\ny\n"}


def test_every_problem_of_a_document_is_found() -> None:
    text = "a: 1\na: 2\nb: {<<: {c: 1}}\n? [x]\n: 1\nd: !foo 1\n"
    assert problems_of(text) == [
        (2, 1, "duplicate key 'a'"),
        (3, 5, "merge keys (<<) are not supported"),
        (4, 3, "a key must be a text"),
        (6, 4, "tag !foo is not supported"),
    ]


def test_keys_are_texts_as_they_are_written() -> None:
    assert value_of("{8080: a, true: b, '<<': c, 010: d}") == {
        "8080": "a",
        "true": "b",
        "<<": "c",
        "010": "d",
    }


def test_aliases_are_written_out() -> None:
    assert value_of("a: &x [1]\nb: *x\n") == {"a": [1], "b": [1]}


def test_an_alias_bomb_is_refused() -> None:
    levels = [f"a0: &a0 [{', '.join(['x'] * 10)}]"]
    levels += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    ((_, _, message),) = problems_of("\n".join(levels))
    assert "aliases" in message


@pytest.mark.parametrize(
    "text",
    ["&a [*a]", "[" * 200_000 + "]" * 200_000, "- " * 200_000, "{a: " * 100 + "}" * 100],
    ids=["itself", "brackets", "dashes", "braces"],
)
def test_nesting_without_end_is_refused(text: str) -> None:
    ((_, _, message),) = problems_of(text)
    assert message == f"nested more than {MAX_DEPTH} levels deep"


def test_a_control_character_is_shown_where_it_stands() -> None:
    assert problems_of("a: 1\nb: x\x01\n") == [
        (2, 5, "broken YAML: control characters are not allowed")
    ]


def test_a_problem_at_the_end_of_the_text_is_shown_on_its_last_line() -> None:
    ((line, _, _),) = problems_of("a: 1\nb: [")
    assert line == 2


@pytest.mark.parametrize(
    ("path", "key", "place"),
    [
        ((), False, (1, 1)),
        (("spec",), True, (1, 1)),
        (("spec",), False, (2, 3)),
        (("spec", "ports", 1), False, (2, 15)),
        (("spec", "workingDir"), True, (3, 3)),
        (("spec", "workingDir"), False, (3, 16)),
        (("spec", "ports", 7, "x"), False, (2, 10)),
        (("spec", "nothing", "here"), True, (2, 3)),
        (("spec", "ports", 0, "port"), False, (2, 11)),
    ],
)
def test_a_path_leads_to_its_place_or_the_nearest_one(
    path: tuple[str | int, ...], key: bool, place: tuple[int, int]
) -> None:
    (document,) = parse("spec:\n  ports: [80, 443]\n  working_dir: /x # ü\n", "f.yaml").documents
    position = document.position(path, key=key)
    assert (position.line, position.column) == place


def test_columns_count_characters_and_lines_carry_their_text() -> None:
    (document,) = parse("{ä: ☃, b: x}\r\n", "f.yaml").documents
    position = document.position(("b",))
    assert (position.column, position.text) == (11, "{ä: ☃, b: x}")
