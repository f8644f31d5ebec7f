"""Files that use only the language of the reference: each key has its effect, for every type."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from miren.entities.attributes import Attribute, attributes, values_at
from miren.entities.kinds import Kind, Kinds
from miren.entities.model import Model, Options, wire_names
from miren.schemagen.main import generate
from tests.schemagen.typechecking import assert_formatted, type_errors

FILES = Path(__file__).parent / "language"

TYPES = {
    "a_string": "s",
    "a_keyword": "a/b",
    "an_int": "1",
    "a_time": "2024-01-01T00:00:00Z",
    "a_duration": "5s",
    "a_ref": "a",
    "a_bool": "true",
    "a_label": "a=b",
    "an_enum": "y",
}


@pytest.fixture(scope="module")
def kinds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleType]:
    folder = tmp_path_factory.mktemp("language")
    generate([FILES], folder / "written_in_the_language")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        import written_in_the_language as package  # type: ignore[import-not-found]  # made above

        yield package
    for name in [name for name in sys.modules if name.startswith("written_in_the_language")]:
        del sys.modules[name]


def paths(kind: Kind, option: str) -> dict[str, object]:
    return {
        known.dotted: getattr(known.options, option)
        for known in attributes(kind)
        if getattr(known.options, option)
    }


def at(kind: Kind, dotted: str) -> Attribute:
    return next(known for known in attributes(kind) if known.dotted == dotted)


def options(model: type[Model], name: str) -> Options:
    found = [o for o in model.model_fields[name].metadata if isinstance(o, Options)]
    return found[0] if found else Options()


def test_every_kind_is_there_and_the_major_one_comes_first(kinds: ModuleType) -> None:
    names = [(entity.kind.domain, entity.kind.name) for entity in kinds.KINDS]
    core = [name for domain, name in names if domain == "dev.example.core"]
    assert core == ["Application", "Metadata", "Project", "Version", "Rollout"]
    assert len(names) == len(set(names)) == 20
    assert len(list(Kinds(kinds.KINDS))) == 20


def test_kinds_of_one_name_in_two_domains_are_both_there(kinds: ModuleType) -> None:
    assert kinds.Node.kind.domain == "dev.example.compute"
    assert kinds.RestNode.kind.domain == "dev.example.rest"
    assert kinds.RestNode.kind.name == "Node"


@pytest.mark.parametrize("name", TYPES)
def test_a_single_attribute_of_any_type_has_a_default_an_index_and_a_session(
    kinds: ModuleType, name: str
) -> None:
    kind: Kind = kinds.Single.kind
    assert name not in kind.spec.model_fields
    assert options(kind.status, name).session
    assert options(kind.status, name).indexed
    wire = wire_names(kind.status)[name]
    document = {"status": kind.status().model_dump(mode="json")}
    assert list(values_at(document, at(kind, f"status.{wire}").path)) == [TYPES[name]]


def test_bytes_and_components_are_leased_and_have_defaults_too(kinds: ModuleType) -> None:
    status = kinds.Single.kind.status
    assert status().bytes_ == b"hi"
    assert status().a_component.text == ("a",)
    assert options(status, "bytes_").session
    assert options(status, "a_component").session
    assert at(kinds.Single.kind, "status.aComponent.text").options.indexed


@pytest.mark.parametrize("name", [name for name in TYPES if name != "a_label"])
def test_many_of_any_type_are_a_list_with_one_index_value_each(
    kinds: ModuleType, name: str
) -> None:
    kind: Kind = kinds.Several.kind
    entity = kinds.Several.new("a")
    found = getattr(entity.spec, name)
    assert isinstance(found, tuple)
    values = list(values_at(entity.to_document(), at(kind, f"spec.{wire_of(kind, name)}").path))
    assert len(values) == len(found) > 0
    assert {"a_bool": "false", "an_int": "2", "a_string": "t"}.get(name, values[-1]) == values[-1]


def wire_of(kind: Kind, name: str) -> str:
    return wire_names(kind.spec)[name]


def test_many_labels_are_a_mapping_whose_pairs_are_indexed_one_by_one(kinds: ModuleType) -> None:
    entity = kinds.Several.new("a", a_label={"tier": "web", "a": "b"})
    assert kinds.Several.new("a").spec.a_label == {"a": "b"}
    known = at(kinds.Several.kind, "spec.aLabel")
    assert sorted(values_at(entity.to_document(), known.path)) == ["a=b", "tier=web"]


def test_many_bytes_and_components_are_lists(kinds: ModuleType) -> None:
    spec = kinds.Several.new("a").spec
    assert spec.bytes_ == (b"hi",)
    assert [part.text for part in spec.a_component] == [("a",), ()]


def test_every_type_can_be_required(kinds: ModuleType) -> None:
    spec = kinds.Needed.kind.spec
    assert all(info.is_required() for info in spec.model_fields.values())
    assert len(spec.model_fields) == 11


def test_an_attribute_has_the_wire_name_it_is_given(kinds: ModuleType) -> None:
    assert wire_names(kinds.Needed.kind.spec)["a_string"] == "text"
    assert wire_names(kinds.Single.kind.status)["a_string"] == "text"
    route = kinds.HttpRoute.new("a", size=3)
    assert route.to_document()["spec"]["size_of_it"] == 3
    for spelling in ("size", "size_of_it"):
        document = {"metadata": {"name": "a"}, "spec": {spelling: 3}}
        assert kinds.HttpRoute.from_document(document).spec.size == 3


def test_names_that_python_has_keep_their_wire_name(kinds: ModuleType) -> None:
    route = kinds.HttpRoute.new(
        "a", default=True, kind="k", from_="f", copy_=1, model_dump_="m", str_="t"
    )
    assert route.to_document()["spec"] == {
        "default": True,
        "kind": "k",
        "from": "f",
        "copy": 1,
        "modelDump": "m",
        "str": "t",
    }
    assert kinds.HttpRoute.from_document(route.to_document()) == route
    assert kinds.HttpRoute.new("a").spec.str_ == "s"


def test_names_of_the_envelope_are_names_of_attributes_too(kinds: ModuleType) -> None:
    entity = kinds.Metadata.new(
        "a", project="p", labels={"x": "y"}, name_="n", project_="q", labels_={"k": "v"}
    )
    assert (entity.name, entity.project) == ("a", "p")
    assert entity.to_document()["spec"] == {"name": "n", "project": "q", "labels": {"k": "v"}}
    assert kinds.Session.new("s", unique_id="u").spec.unique_id == "u"


def test_refs_carry_their_tags(kinds: ModuleType) -> None:
    both = ("dev.example.app_ref", "dev.example.scope")
    assert paths(kinds.Version.kind, "tags") == {"spec.application": both}
    assert paths(kinds.SandboxPool.kind, "tags") == {"spec.app": ("dev.example.app_ref",)}
    assert options(kinds.Single.kind.status, "a_ref").tags == ("dev.example.one",)
    assert options(kinds.Several.kind.spec, "a_ref").tags == ("dev.example.many",)


def test_bound_attributes_are_views_in_the_status(kinds: ModuleType) -> None:
    assert paths(kinds.Leased.kind, "bind_to") == {
        "status.id": "db/id",
        "status.made": "db/entity.created",
        "status.ttl": "db/entity.ttl",
        "status.sessionId": "db/attr.session",
    }


def test_a_session_makes_a_status_of_lists_refs_and_enums(kinds: ModuleType) -> None:
    assert options(kinds.RestNode.kind.status, "endpoint").session
    assert options(kinds.Actor.kind.status, "node") == Options(session=True, indexed=True)
    assert options(kinds.Node.kind.status, "status").session
    assert "api_address" in kinds.Node.kind.spec.model_fields


def test_nested_attributes_are_indexed_wherever_they_are(kinds: ModuleType) -> None:
    assert set(paths(kinds.Sandbox.kind, "indexed")) == {
        "spec.network.address",
        "spec.spec.version",
        "spec.spec.container.image",
        "spec.spec.container.port.port",
    }
    assert "spec.config.services.env.key" in paths(kinds.Version.kind, "indexed")
    sandbox = kinds.Sandbox.new(
        "a",
        status="not_ready",
        spec={
            "logEntity": "log",
            "host_network": True,
            "log_attribute": ["a=b"],
            "container": [
                {"image": "i", "port": [{"port": 1, "name": "x"}, {"port": 2, "name": "y"}]}
            ],
        },
    )
    known = at(kinds.Sandbox.kind, "spec.spec.container.port.port")
    assert list(values_at(sandbox.to_document(), known.path)) == ["1", "2"]
    assert sandbox.spec.spec.log_attribute == {"a": "b"}


def test_an_indexed_component_is_found_as_a_whole(kinds: ModuleType) -> None:
    schedule = kinds.Schedule.new("a", key={"node": "n1", "kind": "sandbox"})
    known = at(kinds.Schedule.kind, "spec.key")
    assert list(values_at(schedule.to_document(), known.path)) == ["kind=sandbox,node=n1"]


def test_a_component_is_one_class_wherever_it_is_named(kinds: ModuleType) -> None:
    sandbox = kinds.Sandbox.kind.spec.model_fields["spec"].annotation
    pool = kinds.SandboxPool.kind.spec.model_fields["sandbox_spec"].annotation
    assert sandbox is pool


def test_the_formatter_and_the_strictest_type_check_find_nothing(kinds: ModuleType) -> None:
    package = Path(str(kinds.__file__)).parent
    assert_formatted(package.parent, package.name)
    assert type_errors(package.parent, package.name) == []
