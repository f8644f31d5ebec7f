"""The laws of apply, and RFC 7396 against a model."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import assume, given
from orjson import dumps

from miren.base.errors import Conflict
from miren.entities.merging import (
    Managers,
    Merge,
    changed_leaves,
    is_same,
    leaves,
    merge,
    merge_patch,
    take_over,
)
from tests.strategies import applied_documents, json_documents

Document = dict[str, Any]
NOTHING: Document = {}
START = Merge({"spec": {}}, {})


def apply(state: Merge, wanted: Document, *, manager: str, force: bool = False) -> Merge:
    before = copy.deepcopy(state)
    merged = merge(state.document, state.managers, wanted, manager=manager, force=force)
    assert state == before, "merge is pure"
    return merged


def owned(managers: Managers, manager: str) -> frozenset[str]:
    return managers.get(manager, frozenset())


@given(applied_documents(), applied_documents())
def test_applying_twice_is_applying_once(base: Document, wanted: Document) -> None:
    once = apply(apply(START, base, manager="base"), wanted, manager="one", force=True)
    assert apply(once, wanted, manager="one") == once


@given(applied_documents(), applied_documents())
def test_what_is_applied_is_there_and_owned(base: Document, wanted: Document) -> None:
    state = apply(apply(START, base, manager="base"), wanted, manager="one", force=True)
    there = dict(leaves(state.document))
    for pointer, value in leaves(wanted):
        assert pointer in owned(state.managers, "one")
        if value != {}:
            assert there[pointer] == value


@given(applied_documents(), applied_documents())
def test_disjoint_applies_commute(first: Document, second: Document) -> None:
    assume(not dict(leaves(first)).keys() & dict(leaves(second)).keys())
    one_two = apply(apply(START, first, manager="one"), second, manager="two")
    two_one = apply(apply(START, second, manager="two"), first, manager="one")
    assert one_two == two_one


@given(applied_documents(), applied_documents())
def test_a_conflict_comes_exactly_when_a_field_of_another_would_change(
    first: Document, second: Document
) -> None:
    state = apply(START, first, manager="one")
    theirs, mine = dict(leaves(first)), dict(leaves(second))
    # As JSON: Python takes `true` for 1.
    differ = {p for p in theirs.keys() & mine.keys() if dumps(theirs[p]) != dumps(mine[p])}
    if not differ:
        apply(state, second, manager="two")
        return
    with pytest.raises(Conflict) as caught:
        apply(state, second, manager="two")
    assert set(str(caught.value).splitlines()) == {
        f"{pointer} is managed by 'one'" for pointer in differ
    }
    forced = apply(state, second, manager="two", force=True)
    assert owned(forced.managers, "one") == theirs.keys() - differ


@given(applied_documents(), applied_documents())
def test_who_stops_applying_takes_away_only_its_own(mine: Document, theirs: Document) -> None:
    without_me = apply(START, theirs, manager="two")
    try:
        both = apply(without_me, mine, manager="one")
    except Conflict:
        return
    assert apply(both, NOTHING, manager="one") == Merge(without_me.document, without_me.managers)


@given(applied_documents(), applied_documents(), applied_documents())
def test_the_last_apply_of_a_manager_is_all_it_owns(
    first: Document, second: Document, base: Document
) -> None:
    state = apply(START, base, manager="base")
    try:
        changed = apply(apply(state, first, manager="one"), second, manager="one")
        direct = apply(state, second, manager="one")
    except Conflict:
        return
    assert changed == direct


@given(applied_documents(), applied_documents())
def test_take_over_moves_what_changed_and_forgets_what_went(old: Document, new: Document) -> None:
    managers = apply(START, old, manager="one").managers
    after = take_over(managers, old, new, manager="two")
    changed = changed_leaves(old, new)
    assert owned(after, "one") == dict(leaves(old)).keys() - changed
    assert owned(after, "two") == changed & dict(leaves(new)).keys()


def test_a_scalar_in_the_way_of_a_map_is_a_conflict_both_ways() -> None:
    scalar, inner = {"spec": {"a": 1}}, {"spec": {"a": {"b": 1}}}
    state = apply(START, scalar, manager="one")
    with pytest.raises(Conflict, match="/spec/a is managed by 'one'"):
        apply(state, inner, manager="two")
    assert apply(state, inner, manager="two", force=True).managers == {
        "two": frozenset({"/spec/a/b"})
    }
    state = apply(START, inner, manager="one")
    with pytest.raises(Conflict, match="/spec/a/b is managed by 'one'"):
        apply(state, scalar, manager="two")
    assert apply(state, scalar, manager="two", force=True).managers == {
        "two": frozenset({"/spec/a"})
    }


def test_an_empty_map_stands_in_nobodys_way() -> None:
    empty: Document = {"spec": {"a": {}}}
    inner = {"spec": {"a": {"b": 1}}}
    state = apply(apply(START, empty, manager="one"), inner, manager="two")
    state = apply(state, empty, manager="three")
    assert state.document == inner
    assert apply(state, NOTHING, manager="two").document == empty


def test_a_default_said_in_so_many_words_is_no_change() -> None:
    stored: Document = {"spec": {"a": {}}}
    shown = {"spec": {"a": {"b": "default"}}}
    managers = {"one": frozenset({"/spec/a/b"})}
    merged = merge(stored, managers, shown, manager="two", force=False, shown=shown)
    assert merged.managers["two"] == {"/spec/a/b"}
    left = merge(merged.document, merged.managers, NOTHING, manager="two", force=False)
    assert left.managers == managers


@given(json_documents(), json_documents())
def test_a_merge_patch_does_what_the_rfc_says(document: Any, patch: Any) -> None:
    before = copy.deepcopy(document)
    assert merge_patch(document, patch) == rfc_7396(copy.deepcopy(document), patch)
    assert document == before


def rfc_7396(target: Any, patch: Any) -> Any:
    """MergePatch of RFC 7396 section 2, word for word, in place."""
    if not isinstance(patch, Mapping):
        return patch
    if not isinstance(target, dict):
        target = {}
    for name, value in patch.items():
        if value is None:
            if name in target:
                del target[name]
        else:
            target[name] = rfc_7396(target.get(name), value)
    return target


@pytest.mark.parametrize(
    ("one", "other"),
    [(1, True), (0, False), ([1], [True]), ({"a": [1]}, {"a": [True]}), (None, False), ("", None)],
)
def test_what_python_takes_for_equal_is_another_value_in_json(one: object, other: object) -> None:
    assert not is_same(one, other)
    assert changed_leaves({"spec": {"a": one}}, {"spec": {"a": other}})
    stored = apply(START, {"spec": {"a": one}}, manager="one")
    with pytest.raises(Conflict):
        apply(stored, {"spec": {"a": other}}, manager="two")


@pytest.mark.parametrize("value", [1, True, "x", None, [1, "a"], {"a": [True, {}]}, 1.5])
def test_a_value_is_the_same_as_its_copy(value: object) -> None:
    assert is_same(value, copy.deepcopy(value))
