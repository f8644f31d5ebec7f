"""Converters as pure functions: both ways, on documents and on parts, and for pointers."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from miren.entities.conversions import Added, Converter, Move, Removed, Unit, Values
from miren.entities.merging import leaves

WIDGETS = Converter(
    Move("spec.sizeGb", "spec.size"),
    Unit("spec.size", "Gi"),
    Move("spec.waitSeconds", "spec.timing.wait"),
    Unit("spec.timing.wait", "s", span=True),
    Values("spec.tier", {"cheap": "standard", "standard": "fast"}),
    Values("spec.modes[]", {"ro": "readOnly"}),
    Move("spec.place.host", "spec.node"),
    Move("spec.box", "spec.store.crate"),
    Move("spec.ports[].port", "spec.ports[].number"),
    Move("spec.disks[].sizeGb", "spec.disks[].limits.size"),
    Unit("spec.disks[].limits.size", "Gi"),
    Added("spec.color"),
    Added("spec.ports[].name"),
    Added("spec.disks[].class"),
    Removed("spec.legacy"),
    Move("status.place", "status.phase"),
)

NAMES = st.sampled_from(["a", "b", "c/d", "~e"])
TEXTS = st.sampled_from(["", "x", "1", "y z"])
AMOUNTS = st.sampled_from(
    ["0", "1Gi", "10Gi", "1024Mi", "512Mi", "1536Mi", "1500m", "3Ti", "many"]
)
SPANS = st.sampled_from(["0s", "1s", "1m30s", "90s", "1500ms", "soon"])
NUMBERS = st.integers(0, 10**30)


def parts(**optional: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=optional)


def documents(spec: st.SearchStrategy[Any], status: st.SearchStrategy[Any]) -> Any:
    metadata = parts(name=TEXTS, annotations=st.dictionaries(NAMES, TEXTS, max_size=2))
    return parts(metadata=metadata, spec=spec, status=status)


OLDER = documents(
    parts(
        sizeGb=NUMBERS,
        waitSeconds=st.integers(0, 10**6),
        tier=st.sampled_from(["cheap", "standard", "fast", "odd"]),
        modes=st.lists(st.sampled_from(["ro", "rw", "readOnly"]), max_size=2),
        place=parts(host=TEXTS, room=TEXTS),
        ports=st.lists(parts(port=NUMBERS, protocol=TEXTS), max_size=3),
        disks=st.dictionaries(NAMES, parts(sizeGb=NUMBERS, path=TEXTS), max_size=2),
        box=parts(x=TEXTS, y=parts(z=TEXTS)),
        legacy=st.one_of(TEXTS, st.none(), parts(x=TEXTS)),
        same=TEXTS,
    ),
    parts(place=TEXTS, heard=NUMBERS),
)

NEWER = documents(
    parts(
        size=AMOUNTS,
        timing=parts(wait=SPANS),
        tier=st.sampled_from(["cheap", "standard", "fast", "odd"]),
        modes=st.lists(st.sampled_from(["ro", "rw", "readOnly"]), max_size=2),
        node=TEXTS,
        place=parts(room=TEXTS),
        store=parts(crate=parts(x=TEXTS, y=parts(z=TEXTS))),
        ports=st.lists(parts(number=NUMBERS, protocol=TEXTS, name=TEXTS), max_size=3),
        disks=st.dictionaries(
            NAMES,
            st.fixed_dictionaries(
                {"path": TEXTS}, optional={"class": TEXTS, "limits": parts(size=AMOUNTS)}
            ),
            max_size=2,
        ),
        color=st.one_of(TEXTS, st.none(), st.lists(TEXTS, max_size=1), parts(x=TEXTS)),
        same=TEXTS,
    ),
    parts(phase=TEXTS, heard=NUMBERS),
)


def pruned(document: Any) -> Any:
    """Return a document without empty components: a move takes them along."""
    if not isinstance(document, dict):
        return document
    inner = {name: pruned(value) for name, value in document.items()}
    return {name: value for name, value in inner.items() if value != {}}


@given(OLDER)
@example({"spec": {"legacy": None}})
def test_an_older_document_or_any_part_of_one_comes_back_as_it_was(document: Any) -> None:
    there = WIDGETS.convert(document)
    assert pruned(WIDGETS.inverse().convert(there)) == pruned(document)


@given(NEWER)
@example({"spec": {"size": "512Mi", "ports": [{"name": "a"}, {"name": "b"}]}})
def test_a_newer_document_or_any_part_of_one_comes_back_as_it_was(document: Any) -> None:
    back = WIDGETS.inverse().convert(document)
    assert pruned(WIDGETS.convert(back)) == pruned(document)


@given(OLDER)
def test_managed_fields_are_where_the_converted_document_has_them(document: Any) -> None:
    before = pruned(document)
    moved = {WIDGETS.convert_pointer(pointer) for pointer, _ in leaves(before)}
    assert moved == {pointer for pointer, _ in leaves(pruned(WIDGETS.convert(before)))}


@given(OLDER)
def test_pointers_go_back_to_the_attribute_they_came_from(document: Any) -> None:
    back = WIDGETS.inverse()
    for pointer, _ in leaves(pruned(document)):
        there = WIDGETS.convert_pointer(pointer)
        assert there is not None
        is_inside_removed = pointer.startswith("/spec/legacy/")
        assert back.convert_pointer(there) == ("/spec/legacy" if is_inside_removed else pointer)


@given(OLDER)
def test_a_document_that_is_converted_is_left_alone(document: Any) -> None:
    before = repr(document)
    WIDGETS.convert(document)
    assert repr(document) == before


def test_a_chain_of_versions_converts_like_its_links_one_by_one() -> None:
    first = Converter(Move("spec.a", "spec.b"), Unit("spec.b", "Mi"))
    second = Converter(Move("spec.b", "spec.c.d"), Added("spec.e"))
    chain = first.then(second)
    assert chain.convert({"spec": {"a": 5}}) == {"spec": {"c": {"d": "5Mi"}}}
    assert chain.convert_pointer("/spec/a") == "/spec/c/d"
    newest = {"spec": {"c": {"d": "1500Ki"}, "e": 1}}
    assert chain.convert(chain.inverse().convert(newest)) == newest


def test_elements_of_a_keyed_list_are_found_by_their_key() -> None:
    assert WIDGETS.convert_pointer("/spec/ports/80/port") == "/spec/ports/80/number"
    assert WIDGETS.convert_pointer("/spec/ports") == "/spec/ports"


def test_what_rounds_to_the_same_number_keeps_its_exact_amount_and_a_new_number_counts() -> None:
    older = WIDGETS.inverse().convert({"spec": {"size": "512Mi"}})
    assert older["spec"] == {"sizeGb": 1}
    assert WIDGETS.convert(older) == {"spec": {"size": "512Mi"}}
    older["spec"]["sizeGb"] = 2
    assert WIDGETS.convert(older) == {"spec": {"size": "2Gi"}}


def test_an_element_that_was_moved_keeps_what_the_older_version_cannot_say_of_it() -> None:
    ports = [{"number": 1, "name": "one"}, {"number": 2, "name": "two"}]
    older = WIDGETS.inverse().convert({"spec": {"ports": ports}})
    older["spec"]["ports"].reverse()
    assert WIDGETS.convert(older)["spec"]["ports"] == ports[::-1]
    older["spec"]["ports"][0]["port"] = 3  # another one now
    assert WIDGETS.convert(older)["spec"]["ports"] == [{"number": 3}, ports[0]]


@pytest.mark.parametrize("text", ["", "no json", "[]", '{"/spec/ports/0/name": 1}', "null"])
def test_an_annotation_that_somebody_else_wrote_does_no_harm(text: str) -> None:
    annotations = {"converted.miren.dev/spec.ports.name": text}
    document = {"metadata": {"annotations": annotations}, "spec": {"ports": [{"port": 1}]}}
    assert WIDGETS.convert(document) == {"spec": {"ports": [{"number": 1}]}}


def test_the_annotations_name_is_one_that_kubernetes_takes() -> None:
    path = "spec." + ".".join(["component"] * 9)
    kept = Converter(Removed(path)).convert_pointer("/" + path.replace(".", "/"))
    assert kept is not None
    assert len(kept.rpartition("~1")[2]) == 63


def test_a_selector_is_converted_where_the_other_version_can_select_the_same() -> None:
    assert WIDGETS.convert_field("spec.ports.port", "80") == ("spec.ports.number", "80")
    assert WIDGETS.convert_field("spec.tier", "cheap") == ("spec.tier", "standard")
    assert WIDGETS.convert_field("spec.modes", "ro") == ("spec.modes", "readOnly")
    assert WIDGETS.convert_field("spec.same", "cheap") == ("spec.same", "cheap")
    assert WIDGETS.convert_field("spec.sizeGb", "1") is None
    assert WIDGETS.convert_field("spec.legacy", "1") is None


def test_functions_convert_whole_documents_and_leave_everything_else_open() -> None:
    def up(document: dict[str, Any]) -> dict[str, Any]:
        return {**document, "spec": {"loud": document["spec"]["text"].upper()}}

    def down(document: dict[str, Any]) -> dict[str, Any]:
        return {**document, "spec": {"text": document["spec"]["loud"].lower()}}

    opaque = Converter.opaque(up, down)
    assert opaque.is_opaque
    assert opaque.convert({"spec": {"text": "hey"}}) == {"spec": {"loud": "HEY"}}
    assert opaque.inverse().convert({"spec": {"loud": "HEY"}}) == {"spec": {"text": "hey"}}
    assert opaque.convert_pointer("/spec/text") is None
    assert opaque.convert_pointer("/metadata/labels/a") == "/metadata/labels/a"
    assert opaque.convert_field("spec.text", "hey") is None


@pytest.mark.parametrize(
    "make",
    [
        lambda: Move("size", "spec.size"),
        lambda: Move("spec.a", "metadata.b"),
        lambda: Move("spec.a", "status.a"),
        lambda: Move("spec.a[].b", "spec.b"),
        lambda: Move("spec.a[].b", "spec.c[].b"),
        lambda: Move("spec.a[]", "spec.b[]"),
        lambda: Move("spec.[].b", "spec.b"),
        lambda: Values("spec.a", {"x": "z", "y": "z"}),
        lambda: Unit("spec.a", "Zi"),
        lambda: Unit("spec.a", "Gi", span=True),
        lambda: Unit("spec.a[]", "Gi"),
        lambda: Added("spec.a[]"),
        lambda: Removed("spec"),
        lambda: Removed("spec.a[].b"),
    ],
)
def test_a_step_that_could_not_be_undone_is_refused(make: Any) -> None:
    with pytest.raises(ValueError, match=r"spec|path|quantity|duration"):
        make()
