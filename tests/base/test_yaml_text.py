"""What is written as YAML reads back as it was, here and by others."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from miren.base.yaml import parse
from miren.base.yaml_text import dump, dump_all

#: Texts that some reader would take for something else, or that YAML has no plain form for.
ODD = re.findall(
    r"\S+",
    "010 0o17 0x1f 1e3 1_000 +1 -1 .5 1. 12:30 2001-01-01 .inf .nan 0b1 yes No on off y true "
    "NULL ~ << = - ? : # @ ` ! & * | > % [ ] { } , --- ... (sealed)",
)
ODDER = ("", " ", " a", "a ", "a: b", "a #b", "- a", "a\n", "a\n\n", "\na", " a\n b\n", "a\tb\n")
WORST = (
    "---\nx",
    "#x\ny\n",
    "a\r\nb",
    "\u2028---\n",
    "\x85",
    "\x00",
    "\x7f",
    "\ufeffx",
    "😀 ü",
    "ü\u202e",
)

texts = st.one_of(
    st.sampled_from((*ODD, *ODDER, *WORST)), st.text(st.characters(exclude_categories=["Cs"]))
)
scalars = st.one_of(
    texts,
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
)
keys = texts.filter(bool)
values: st.SearchStrategy[Any] = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
    max_leaves=8,
)
documents = st.lists(st.dictionaries(keys, values, min_size=1, max_size=4), min_size=1, max_size=3)


@given(documents)
def test_what_is_written_reads_back_as_it_was(given: list[dict[str, Any]]) -> None:
    text = dump_all(given)
    parsed = parse(text, "x.yaml")
    assert parsed.problems == ()
    assert [document.value for document in parsed.documents] == given
    assert dump_all([document.value for document in parsed.documents]) == text


@pytest.mark.parametrize("word", ODD)
def test_older_readers_read_the_same_texts(word: str) -> None:
    text = dump({"list": [word], "map": {"key": word}})
    assert yaml.safe_load(text) == {"list": [word], "map": {"key": word}}


def test_the_text_is_for_people() -> None:
    long = "word " * 40 + "end"
    shared = {"a": 1}
    text = dump({"lines": "one\ntwo\n", "long": long, "list": [shared, shared], "none": {}})
    assert text == (f"lines: |\n  one\n  two\nlong: {long}\nlist:\n- a: 1\n- a: 1\nnone: {{}}\n")


def test_what_a_terminal_would_act_on_is_escaped() -> None:
    text = dump({"a": "x\x1b[1my", "b": "ü\u202ez", "c": "ü"})
    assert text == 'a: "x\\e[1my"\nb: "\\xFC\\u202Ez"\nc: ü\n'
