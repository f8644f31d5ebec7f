"""Keys never collide, whatever names are made of, and a range holds exactly what it says."""

from __future__ import annotations

from typing import Any

from hypothesis import assume, given
from hypothesis import strategies as st

from miren.entities import keys
from miren.entities.kinds import Kind
from miren.entities.store.api import KeyRange
from tests.builders import Greeting, Parcel, Room, Stamp

#: Everything that keys give a meaning to, in few characters, so that names meet; and any text.
NASTY = st.text(alphabet="ab/%_\0#.~F25", max_size=6)
ALIKE = st.sampled_from(["", "_", "/", "%", "%2F", "%25", "%252F", "%5F", "\0", "%00", "#", "a/b"])
TEXTS = ALIKE | NASTY | st.text(st.characters(codec="utf-8"), max_size=300)
KINDS = st.sampled_from([Greeting.kind, Parcel.kind, Room.kind, Stamp.kind])
RULES = st.sampled_from(["restrict", "unset", "none"])
ATTRIBUTES = st.sampled_from(["spec.a", "spec.b", "status.a"])


def reference(args: tuple[Any, ...]) -> str:
    target, where, rule, referrer, attribute, by = args
    return keys.reference_key(
        target, where, rule=rule, referrer=referrer, attribute=attribute, by=by
    )


PAIR = st.tuples(TEXTS, TEXTS)
ENTITIES = st.tuples(KINDS, TEXTS, TEXTS)
INDEXED = st.tuples(KINDS, ATTRIBUTES, TEXTS, TEXTS, TEXTS)
UNIQUE = st.tuples(KINDS, ATTRIBUTES, TEXTS, TEXTS)
REFERENCES = st.tuples(KINDS, PAIR, RULES, KINDS, ATTRIBUTES, PAIR)
DEPENDENTS = st.tuples(TEXTS, KINDS, TEXTS, TEXTS)

MAKERS: dict[str, Any] = {
    "entity": (ENTITIES, lambda args: keys.entity_key(*args)),
    "sidecar": (ENTITIES, lambda args: keys.sidecar_key(*args)),
    "index": (INDEXED, lambda args: keys.index_key(*args)),
    "unique": (UNIQUE, lambda args: keys.unique_key(*args)),
    "reference": (REFERENCES, reference),
    "owner": (DEPENDENTS, lambda args: keys.dependent_key(*args)),
    "session": (st.tuples(KINDS, TEXTS, TEXTS, TEXTS), lambda args: keys.session_key(*args)),
    "project": (TEXTS, keys.project_key),
}
ANY_KEY = st.one_of(
    *(st.tuples(st.just(sort), arguments) for sort, (arguments, _) in MAKERS.items())
)


@given(ANY_KEY, ANY_KEY)
def test_what_differs_has_different_keys(one: tuple[str, Any], other: tuple[str, Any]) -> None:
    first, second = (MAKERS[sort][1](arguments) for sort, arguments in (one, other))
    assert (first == second) is (one == other)


@given(INDEXED, st.data())
def test_changing_one_part_of_a_key_changes_the_key(
    args: tuple[Any, ...], data: st.DataObject
) -> None:
    place = data.draw(st.integers(2, 4))
    changed = (*args[:place], data.draw(NASTY), *args[place + 1 :])
    same = keys.index_key(*args) == keys.index_key(*changed)
    assert same is (args == changed)


def test_a_value_that_looks_like_the_hash_of_a_long_one_has_a_key_of_its_own() -> None:
    long = "x" * 300
    key = keys.unique_key(Parcel.kind, "spec.code", "default", long)
    looks_alike = key.rpartition("/")[2]
    assert keys.unique_key(Parcel.kind, "spec.code", "default", looks_alike) != key


@given(KINDS, TEXTS, TEXTS)
def test_names_come_back_from_keys(kind: Kind, project: str, name: str) -> None:
    for key in (
        keys.entity_key(kind, project, name),
        keys.dependent_key("u", kind, project, name),
    ):
        assert keys.name_in(key) == (project, name)
        assert keys.kind_in(key) == (kind.domain, kind.name)
    assert keys.name_in(keys.index_key(kind, "spec.a", "/", project, name)) == (project, name)
    session = keys.session_key(kind, project, name, "a/b")
    assert keys.session_owner_in(session) == (project, name)
    assert keys.session_attribute_in(session) == "a/b"


@given(REFERENCES)
def test_who_refers_comes_back_from_a_key(args: tuple[Any, ...]) -> None:
    referrer, attribute, by = args[3:]
    found = keys.referrer_in(reference(args))
    assert found == (referrer.domain, referrer.name, attribute, *by)


@given(ENTITIES, KINDS, st.none() | TEXTS)
def test_a_range_of_entities_holds_exactly_these(
    args: tuple[Kind, str, str], kind: Kind, project: str | None
) -> None:
    is_wanted = args[0] is kind and project in (None, args[1])
    assert (keys.entity_key(*args) in keys.entity_range(kind, project)) is is_wanted


@given(INDEXED, KINDS, ATTRIBUTES, NASTY, st.none() | NASTY)
def test_a_range_of_an_index_holds_exactly_one_value(
    args: tuple[Kind, str, str, str, str],
    kind: Kind,
    attribute: str,
    value: str,
    project: str | None,
) -> None:
    is_wanted = args[:3] == (kind, attribute, value) and project in (None, args[3])
    found = keys.index_key(*args) in keys.index_range(kind, attribute, value, project)
    assert found is is_wanted


@given(REFERENCES, PAIR, st.none() | RULES)
def test_a_range_of_references_holds_exactly_those_to_one(
    args: tuple[Any, ...], where: tuple[str, str], rule: str | None
) -> None:
    target, there = args[:2]
    is_wanted = there == where and rule in (None, args[2])
    project, name = where
    found = reference(args) in keys.references_range(target, project, name, rule)
    assert found is is_wanted
    assert reference(args) in keys.references_range(target, there[0], there[1], args[2])


@given(DEPENDENTS, TEXTS)
def test_a_range_of_dependents_holds_exactly_one_owners(
    args: tuple[str, Kind, str, str], uid: str
) -> None:
    assert (keys.dependent_key(*args) in keys.dependents_range(uid)) is (args[0] == uid)


@given(st.tuples(KINDS, NASTY, NASTY, NASTY), KINDS, st.none() | NASTY, st.none() | NASTY)
def test_a_range_of_session_attributes_holds_exactly_one_entitys(
    args: tuple[Kind, str, str, str], kind: Kind, project: str | None, name: str | None
) -> None:
    assume(project is not None or name is None)
    is_wanted = args[0] is kind and project in (None, args[1]) and name in (None, args[2])
    assert (keys.session_key(*args) in keys.session_range(kind, project, name)) is is_wanted


@given(ANY_KEY)
def test_every_key_lies_below_its_own_letter(made: tuple[str, Any]) -> None:
    sort, arguments = made
    key = MAKERS[sort][1](arguments)
    letter = {"entity": "e", "sidecar": "x"}.get(sort, sort[0])
    assert key in KeyRange.prefix(f"/{letter}/")
    assert "\0" not in key
    is_derived = any(key in KeyRange.prefix(prefix) for prefix in keys.DERIVED)
    assert is_derived is (sort not in ("entity", "sidecar", "session"))
