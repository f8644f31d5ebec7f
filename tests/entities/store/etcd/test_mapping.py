from __future__ import annotations

from typing import Any

import pytest

from miren.base.errors import Compacted, InvalidInput, StoreReset
from miren.entities.store.api import KeyRange, KeyValue, Revision, StoreEvent
from miren.entities.store.etcd.mapping import KeySpace
from miren.entities.store.etcd.messages import message

SPACE = KeySpace("/miren")


def kept(key: bytes, revision: int, *, version: int = 1) -> dict[str, Any]:
    return {
        "key": key,
        "value": b"%d" % revision,
        "create_revision": revision - version + 1,
        "mod_revision": revision,
        "version": version,
    }


def event(kv: dict[str, Any], *, before: dict[str, Any] | None = None, gone: bool = False) -> Any:
    if gone:
        kv = {"key": kv["key"], "mod_revision": kv["mod_revision"]}
    words = {} if before is None else {"prev_kv": before}
    return message("Event")(type="DELETE" if gone else "PUT", kv=kv, **words)


def test_events_become_whole_revisions_in_order() -> None:
    a, b, c = (SPACE.key(key) for key in ("/a", "/b", "/c"))
    events = [
        event(kept(c, 8)),
        event(kept(b, 9, version=2), before=kept(b, 8)),
        event(kept(a, 9), before=kept(a, 3), gone=True),
        event(kept(b, 10)),
    ]
    assert SPACE.revisions(events, after=8) == [
        Revision(
            9,
            (
                StoreEvent("/a", None, KeyValue("/a", b"3", 3, 3, 1)),
                StoreEvent("/b", KeyValue("/b", b"9", 8, 9, 2), KeyValue("/b", b"8", 8, 8, 1)),
            ),
        ),
        Revision(10, (StoreEvent("/b", KeyValue("/b", b"10", 10, 10, 1), None),)),
    ]


@pytest.mark.parametrize(
    "left_out",
    [
        event(kept(SPACE.key("/a"), 9, version=2)),
        event(kept(SPACE.key("/a"), 9), gone=True),
        event(kept(SPACE.tick, 9, version=2)),
    ],
)
def test_a_value_that_etcd_left_out_means_that_history_is_gone(left_out: Any) -> None:
    with pytest.raises(Compacted) as caught:
        SPACE.revisions([left_out], after=8)
    assert caught.value.oldest == 9


def test_the_stores_own_keys_make_revisions_that_change_nothing() -> None:
    events = [event(kept(SPACE.identity, 8)), event(kept(SPACE.tick, 9))]
    assert SPACE.revisions(events, after=1) == [Revision(8, ()), Revision(9, ())]


@pytest.mark.parametrize("gone", [False, True])
def test_a_changed_identity_is_another_history(gone: bool) -> None:
    changed = event(kept(SPACE.identity, 9, version=2), before=kept(SPACE.identity, 8), gone=gone)
    with pytest.raises(StoreReset):
        SPACE.revisions([changed], after=8)


def test_every_key_lies_in_the_root_and_no_other_stores_does() -> None:
    start, end = SPACE.root
    for key in ("/a", "a", "\0", "\U0010ffff", "/half\ud800", "/m/store"):
        assert start <= SPACE.key(key) < end
        assert SPACE.key(key) not in {SPACE.identity, SPACE.tick}
    assert start <= SPACE.identity < end
    assert start <= SPACE.tick < end
    for other in ("", "/mire", "/miren2", "/miren-b", "/miren0", "/mirf"):
        assert not start <= KeySpace(other).key("/a") < end
        assert not start <= KeySpace(other).identity < end


def test_keys_come_back_as_they_were_and_others_not_at_all() -> None:
    for key in ("/a", "é", "\0", "\U0001f600"):
        assert SPACE.name(SPACE.key(key)) == key
    assert SPACE.name(SPACE.identity) is None
    # What is no text, which somebody else must have written, does no harm.
    assert SPACE.name(SPACE.key("/a") + b"\xff") is not None


def test_ranges_keep_their_order_in_etcd() -> None:
    keys = ["/a", "/a\0", "/a/b", "/aé", "/a\ud7ff", "/a\ud800", "/a\uffff", "/a\U0001f600", "/b"]
    assert sorted(map(SPACE.key, keys)) == [SPACE.key(key) for key in keys]
    assert SPACE.bounds(KeyRange.key("/a")) == (SPACE.key("/a"), b"")
    assert SPACE.bounds(KeyRange.prefix("/a")) == (SPACE.key("/a"), SPACE.key("/b"))


def test_a_slash_at_the_prefixes_end_makes_no_difference() -> None:
    assert KeySpace("/miren/").key("/a") == SPACE.key("/a")


def test_a_prefix_has_to_be_text() -> None:
    with pytest.raises(InvalidInput):
        KeySpace("/half\ud800")
