"""Sealing: what is stored opens only with a key of the ring and only where it was sealed."""

from __future__ import annotations

import base64
import copy
from collections.abc import Callable
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from miren.base.errors import BrokenSeal, InvalidInput
from miren.entities.keyring import Key, Keyring
from miren.entities.sealing import (
    keys_used,
    open_document,
    reseal_document,
    seal_document,
)
from miren.entities.secret_places import has_secrets, mask_document
from miren.entities.secrets import MASK
from tests.builders import Parcel
from tests.entities.vaults import Vault, make_keyring

KIND = Vault.kind
Document = dict[str, Any]


def document(uid: str = "u1", **spec: Any) -> Document:
    return {"metadata": {"name": "v", "uid": uid}, "spec": spec}


def sealed(plain: Document, keyring: Keyring | None = None, old: Document | None = None) -> Any:
    uid = plain["metadata"]["uid"]
    return seal_document(KIND, plain, uid=uid, keyring=keyring or make_keyring(), old=old)


EVERYWHERE = document(
    plain="open",
    pin="1234-s3cret",
    data={"a": "s3cret-1", "b/c": "s3cret-2", "": ""},
    words=["s3cret-3", "s3cret-4 ünï"],
    main={"name": "n", "passWord": "s3cret-5"},
    accounts=[{"name": "x", "passWord": "s3cret-6"}],
    byHost={"h": {"passWord": "s3cret-7", "note": "open"}},
)
EVERYWHERE["status"] = {"token": "s3cret-8", "seen": "open"}


def test_what_was_sealed_opens_to_the_same_and_holds_no_plain_text() -> None:
    stored = sealed(EVERYWHERE)
    text = orjson.dumps(stored)
    assert b"s3cret" not in text
    assert base64.b64encode(b"s3cret")[:7] not in text
    assert text.count(b"$sealed") == 10
    assert stored["spec"]["plain"] == stored["spec"]["byHost"]["h"]["note"] == "open"
    assert open_document(KIND, stored, make_keyring()) == EVERYWHERE


def test_masking_hides_what_is_sealed_and_what_is_not() -> None:
    masked = mask_document(KIND, EVERYWHERE)
    assert mask_document(KIND, sealed(EVERYWHERE)) == masked
    assert masked["spec"]["data"] == {"a": MASK, "b/c": MASK, "": MASK}
    assert masked["spec"]["words"] == [MASK, MASK]
    assert masked["status"] == {"token": MASK, "seen": "open"}
    assert "s3cret" not in str(masked)


def test_equal_text_keeps_its_ciphertext_and_other_text_gets_a_new_one() -> None:
    before = sealed(document(data={"a": "1", "b": "2"}))
    after = sealed(document(data={"a": "1", "b": "3", "c": "1"}), old=before)
    old, new = before["spec"]["data"], after["spec"]["data"]
    assert new["a"] == old["a"]
    assert new["b"] != old["b"]
    assert new["c"] != old["a"]
    assert sealed(document(data={"a": "1"})) != sealed(document(data={"a": "1"}))


def test_an_equal_text_is_found_under_an_older_key_too() -> None:
    before = sealed(document(data={"a": "1"}), make_keyring(1))
    assert sealed(document(data={"a": "1"}), make_keyring(2, 1), old=before) == before
    assert sealed(document(data={"a": "1"}), make_keyring(2), old=before) != before


def test_a_value_moved_to_another_place_does_not_open() -> None:
    one = sealed(EVERYWHERE)
    value = one["spec"]["data"]["a"]
    swaps: tuple[Callable[[Any], object], ...] = (
        lambda d: d["spec"]["data"].update({"b/c": value}),
        lambda d: d["spec"].update(pin=value),
        lambda d: d["spec"]["words"].reverse(),
        lambda d: d["spec"]["main"].update(passWord=value),
        lambda d: d["status"].update(token=value),
        lambda d: d["metadata"].update(uid="u2"),
    )
    for swap in swaps:
        planted = copy.deepcopy(one)
        swap(planted)
        with pytest.raises(BrokenSeal, match="changed or moved") as caught:
            open_document(KIND, planted, make_keyring())
        assert caught.value.entity == "vault/v"
        assert caught.value.hint
        assert "s3cret" not in str(caught.value)


@given(st.data())
def test_no_flipped_bit_is_accepted(data: st.DataObject) -> None:
    stored = sealed(document(data={"a": "s3cret"}))
    value = stored["spec"]["data"]["a"]["$sealed"]
    id, _, text = value.partition(".")
    raw = bytearray(base64.urlsafe_b64decode(text))
    bit = data.draw(st.integers(0, len(raw) * 8 - 1))
    raw[bit // 8] ^= 1 << bit % 8
    stored["spec"]["data"]["a"] = {
        "$sealed": f"{id}.{base64.urlsafe_b64encode(bytes(raw)).decode()}"
    }
    with pytest.raises(BrokenSeal, match=r"vault/v: spec\.data\.a was changed"):
        open_document(KIND, stored, make_keyring())


@pytest.mark.parametrize(
    "planted", [{}, {"$sealed": 5}, {"$sealed": "x"}, {"$sealed": ""}, [], 5, {"a": "b"}]
)
def test_what_was_never_a_sealed_value_is_broken(planted: object) -> None:
    with pytest.raises(BrokenSeal):
        open_document(KIND, document(pin=planted), make_keyring())


@pytest.mark.parametrize("text", ["", "AAAA", "%%%", "ä", "A"])
def test_a_ciphertext_that_is_none_is_broken(text: str) -> None:
    keyring = make_keyring()
    planted = {"$sealed": f"{keyring.primary.id}.{text}"}
    with pytest.raises(BrokenSeal, match="changed or moved"):
        open_document(KIND, document(pin=planted), keyring)


def test_without_its_key_a_value_says_which_key_is_missing() -> None:
    stored = sealed(document(pin="1"), make_keyring(1))
    with pytest.raises(BrokenSeal, match=make_keyring(1).primary.id):
        open_document(KIND, stored, make_keyring(2))


def test_a_text_from_before_it_was_a_secret_opens_as_it_is_and_is_resealed() -> None:
    old = document(pin="1234")
    assert open_document(KIND, old, make_keyring()) == old
    assert keys_used(KIND, old) == {""}
    after = reseal_document(KIND, old, make_keyring())
    assert "1234" not in str(after)
    assert open_document(KIND, after, make_keyring()) == old


def test_resealing_changes_only_what_is_not_under_the_primary_key() -> None:
    before = sealed(EVERYWHERE, make_keyring(1))
    ring = make_keyring(2, 1)
    after = reseal_document(KIND, before, ring)
    assert keys_used(KIND, before) == {make_keyring(1).primary.id}
    assert keys_used(KIND, after) == {ring.primary.id}
    assert open_document(KIND, after, ring.with_only_primary()) == EVERYWHERE
    assert reseal_document(KIND, after, ring) == after


def test_the_mask_cannot_be_sealed() -> None:
    with pytest.raises(InvalidInput) as caught:
        sealed(document(pin=MASK, data={"a": MASK, "b": "1"}))
    assert [problem.dotted() for problem in caught.value.problems] == ["spec.pin", "spec.data.a"]


def test_a_kind_without_secrets_is_left_as_it_is() -> None:
    plain = {"metadata": {"name": "p", "uid": "u"}, "spec": {"env": {"a": {"$sealed": "x"}}}}
    assert not has_secrets(Parcel.kind)
    assert has_secrets(KIND)
    assert open_document(Parcel.kind, plain, make_keyring()) == plain


def test_a_ring_is_written_and_read_as_lines() -> None:
    ring = make_keyring(3, 1, 2)
    again = Keyring.parse(f"\n{ring.text}\n")
    assert again.ids == ring.ids
    assert again.primary == Key.of(bytes([3]) * 32)
    assert ring.primary.text not in repr(ring) + repr(ring.primary) + str(ring)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "there is no key"),
        ("hunter2\n", "line 1 is not a key"),
        (f"{Key.generate().text}\n{Key.generate().text[:-4]}\n", "line 2 is not a key"),
        (f"{make_keyring(1).text}{make_keyring(1).text}", "given twice"),
    ],
)
def test_what_are_no_keys_is_refused_without_being_quoted(text: str, told: str) -> None:
    with pytest.raises(InvalidInput, match=told) as caught:
        Keyring.parse(text)
    assert "hunter2" not in str(caught.value)
