"""The range of a prefix holds exactly the keys that begin with it, in every encoding."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from miren.base.errors import InvalidInput
from miren.entities.store.api import END_OF_KEYS, KeyRange
from miren.entities.store.checks import check_get
from miren.entities.store.etcd.mapping import KeySpace
from miren.entities.store.sqlite_reading import encode_bound

#: Few characters, so that keys do begin with prefixes, and those where counting up is special.
CHARACTERS = "\0a\x7f\x80\ud7ff\ue000\uffff\U00010000\U0010fffe\U0010ffff"

texts = st.text(st.sampled_from(CHARACTERS), max_size=4)
keys = texts.filter(lambda key: key and not key.startswith(END_OF_KEYS))
prefixes = st.one_of(st.just(""), keys, st.text(max_size=3)).filter(
    lambda prefix: not prefix.startswith(END_OF_KEYS)
)

SPACE = KeySpace("/p")


@given(prefixes, keys, texts)
@example("", "\U0010fffe\U0010ffff", "")
@example("a\U0010ffff\U0010ffff", "a", "\U0010ffff\U0010ffff\U0010ffff")
@example("\ud7ff", "\ue000", "")
def test_a_prefix_is_the_range_of_all_keys_that_begin_with_it(
    prefix: str, key: str, rest: str
) -> None:
    range = KeyRange.prefix(prefix)
    for each in (key, prefix + rest, prefix + key):
        if not each or each.startswith(END_OF_KEYS):
            continue
        check_get(each, 0)
        is_inside = each.startswith(prefix)
        assert (each in range) is is_inside
        encoded = encode_bound(each)
        assert (encode_bound(range.start) <= encoded < encode_bound(range.end)) is is_inside
        start, end = SPACE.bounds(range)
        assert (start <= SPACE.key(each) < end) is is_inside


@pytest.mark.parametrize("prefix", [END_OF_KEYS, END_OF_KEYS * 3, END_OF_KEYS + "/a"])
def test_what_no_key_can_begin_with_is_no_prefix(prefix: str) -> None:
    with pytest.raises(InvalidInput, match="no key begins with") as caught:
        KeyRange.prefix(prefix)
    assert caught.value.hint
    with pytest.raises(InvalidInput):
        check_get(prefix, 0)


@pytest.mark.parametrize("prefix", [b"", b"/a", b"\xff", None])
def test_a_prefix_that_is_no_text_is_invalid(prefix: object) -> None:
    with pytest.raises(InvalidInput, match="a prefix is text"):
        KeyRange.prefix(prefix)  # type: ignore[arg-type]  # on purpose
