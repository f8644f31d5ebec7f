"""Writing the mask: it keeps what is stored, and is refused where nothing is."""

from __future__ import annotations

from typing import Any

import pytest

from miren.base.errors import InvalidInput
from miren.entities.entity import Entity
from miren.entities.model import Map, Model, field
from miren.entities.secret_places import keep_masked, mask_document
from miren.entities.secrets import MASK, SecretText
from tests.entities.vaults import Vault

KIND = Vault.kind


def kept(new: dict[str, Any], old: dict[str, Any] | None) -> Any:
    before = None if old is None else {"spec": old}
    return keep_masked(KIND, {"spec": new}, before)["spec"]


def refused(new: dict[str, Any], old: dict[str, Any] | None) -> dict[str, str]:
    with pytest.raises(InvalidInput) as caught:
        kept(new, old)
    assert all(problem.hint for problem in caught.value.problems)
    return {problem.dotted(): problem.message for problem in caught.value.problems}


OLD = {
    "pin": "1234",
    "data": {"a": "A", "b": "B"},
    "words": ["w1", "w2"],
    "main": {"name": "m", "passWord": "M"},
    "accounts": [{"name": "x", "passWord": "X"}, {"passWord": "default"}],
    "byHost": {"h": {"passWord": "H"}},
    "rows": [{"name": "r", "passWord": "R"}],
}


def test_a_document_that_was_read_and_written_back_changes_nothing() -> None:
    assert kept(mask_document(KIND, {"spec": OLD})["spec"], OLD) == OLD


def test_masks_and_new_values_stand_side_by_side() -> None:
    assert kept({"data": {"a": MASK, "b": "new"}, "plain": "p"}, OLD) == {
        "data": {"a": "A", "b": "new"},
        "plain": "p",
    }


def test_on_create_every_mask_is_refused_with_its_path() -> None:
    told = refused({"pin": MASK, "data": {"a": MASK, "b": "x"}, "words": [MASK]}, None)
    assert list(told) == ["spec.pin", "spec.data.a", "spec.words[0]"]
    assert all("nothing is stored here" in message for message in told.values())


def test_where_nothing_is_stored_a_mask_is_refused() -> None:
    assert list(refused({"data": {"c": MASK}, "byHost": {"i": {"passWord": MASK}}}, OLD)) == [
        "spec.data.c",
        "spec.byHost.i.passWord",
    ]


def test_elements_with_a_merge_key_are_found_wherever_they_went() -> None:
    new = [
        {"passWord": MASK, "name": "main"},
        {"name": "n", "passWord": "N"},
        {"name": "x", "passWord": MASK},
    ]
    assert [item["passWord"] for item in kept({"accounts": new}, OLD)["accounts"]] == [
        "default",
        "N",
        "X",
    ]
    assert list(refused({"accounts": [{"name": "y", "passWord": MASK}]}, OLD)) == [
        "spec.accounts[0].passWord"
    ]


def test_other_elements_are_found_by_position_while_the_length_stays() -> None:
    assert kept({"words": ["n", MASK]}, OLD)["words"] == ["n", "w2"]
    told = refused({"words": [MASK], "rows": [{"passWord": MASK}, {"passWord": "b"}]}, OLD)
    assert list(told) == ["spec.words[0]", "spec.rows[0].passWord"]
    assert all("another length" in message for message in told.values())


def test_a_mask_where_no_secret_belongs_is_a_text() -> None:
    assert kept({"plain": MASK}, OLD) == {"plain": MASK}


class Node(Model):
    below: tuple[Node, ...] = ()
    by_name: Map[Node] = field(default={})
    key: SecretText | None = None


class Tree(Entity[Node, Model], api="example.dev/v1"):
    """Holds itself."""


class Mixed(Model):
    either: SecretText | int


class Odd(Entity[Mixed, Model], api="example.dev/v1"):
    """What cannot be."""


def test_a_component_that_holds_itself_is_followed_to_the_bottom() -> None:
    deep = {"spec": {"below": [{"byName": {"x": {"key": "s3cret"}}}], "key": "s3cret"}}
    assert "s3cret" not in str(mask_document(Tree.kind, deep))
    assert str(mask_document(Tree.kind, deep)).count(MASK) == 2


def test_a_secret_among_other_types_is_refused_for_what_it_is() -> None:
    with pytest.raises(TypeError, match="cannot be kept in"):
        mask_document(Odd.kind, {"spec": {"either": "x"}})
