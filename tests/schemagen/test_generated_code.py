"""What the generated classes do: every key of the language has its effect."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from miren.base.errors import InvalidInput
from miren.base.quantities import Duration, Quantity
from miren.entities.kinds import Column, Kinds, Scope
from miren.entities.model import Options, Ref
from tests.schemagen.conftest import Generated
from tests.schemagen.typechecking import type_errors

EVERYTHING = """
domain: example.dev
version: v1
doc: Everything the language can say.
aliases: [old.dev/v0]
components:
  port:
    $options: {doc: A port., shorthand: number}
    number: {type: int, required: true, min: 1, max: 65535}
    protocol: {type: enum, choices: [tcp, udp], default: tcp}
  common:
    owner_name: {type: string, doc: Who it is for.}
    colour: {type: enum, choices: [red, blue]}
kinds:
  web_site:
    $options:
      doc: A site.
      short: [ws]
      plural: sites
      include: common
      printcolumns: {Phase: status.phase, Size: spec.max_size, First: spec.ports}
    title: {type: string, required: true, min_length: 2, max_length: 5, pattern: '[A-Z]\\w+'}
    word: {type: keyword, default: x}
    count: {type: int, default: 3, min: 1, max: 9}
    ratio: {type: float, default: 0.5, max: 1}
    flag: {type: bool, default: false}
    when: {type: time, default: "2024-01-01T00:00:00+01:00"}
    wait: {type: duration, default: 90s, min: 1s, max: 1h}
    max_size: {type: quantity, default: 1Gi, min: 1Mi}
    parent: {type: ref, to: web_site, owner: true, indexed: true, immutable: true}
    friends: {type: ref, to: [web_site, machine], many: true}
    anything: {type: ref}
    restart: {type: enum, choices: [always, on-failure], default: on-failure}
    moods: {type: enum, choices: [good, 2nd-best], many: true}
    blob: {type: bytes}
    label: {type: label}
    labels: {type: label, many: true}
    ports: {type: port, many: true, merge_key: number}
    by_name: {type: map, of: port}
    limits: {type: map, of: {type: int, min: 0}}
    extra: {type: json}
    names: {type: string, many: true, default: [a, b], pattern: '[a-z]+', max_length: 3}
    slug: {type: string, unique: project, example: hello}
    name: {type: string}
    logFormat:
      type: component
      doc: How it logs.
      attrs:
        level: {type: enum, choices: [info, debug], default: info}
        fields: {type: component, many: true, attrs: {key: {type: string}}}
    phase: {type: enum, choices: [up, down], status: true}
    restarts: {type: int, default: 0, status: true}
  machine:
    $options: {scope: cluster}
  empty: {}
"""


def test_a_new_entity_takes_texts_and_gives_typed_values(generated: Generated) -> None:
    kinds = generated(everything=EVERYTHING)
    site = kinds.WebSite.new(
        "a",
        project="p",
        title="Hello",
        wait="2m",
        max_size="2Gi",
        parent="p/b",
        friends=["b", "machine/m"],
        restart="always",
        moods=["2nd-best"],
        blob=b"\xff\xfe",
        label="a=b",
        labels_={"x": "y"},
        labels={"of": "metadata"},
        ports=[80, {"number": 53, "protocol": "udp"}],
        by_name={"web": 80},
        limits={"a": 1},
        extra={"a": [1, None]},
        log_format={"fields": [{"key": "k"}]},
        name_="other",
        colour="red",
    )
    spec = site.spec
    assert (spec.wait, spec.max_size) == (timedelta(minutes=2), 2 * 2**30)
    assert isinstance(spec.wait, Duration)
    assert isinstance(spec.max_size, Quantity)
    assert isinstance(spec.parent, Ref)
    assert (spec.parent.project, spec.parent.name) == ("p", "b")
    assert spec.moods[0].name == "_2ND_BEST"
    assert [(port.number, str(port.protocol)) for port in spec.ports] == [(80, "tcp"), (53, "udp")]
    assert spec.by_name["web"].number == 80
    assert spec.extra == {"a": (1, None)}
    assert spec.log_format.fields[0].key == "k"
    assert (spec.name, site.name) == ("other", "a")
    assert (spec.labels, site.metadata.labels) == ({"x": "y"}, {"of": "metadata"})
    assert str(spec.colour) == "red"
    assert kinds.WebSite.from_document(site.to_document()) == site
    assert site.to_document()["spec"]["blob"] == "//4="


def test_defaults_are_those_of_the_schema(generated: Generated) -> None:
    spec = generated(everything=EVERYTHING).WebSite.new("a", title="Hello").spec
    assert (spec.word, spec.count, spec.ratio, spec.flag) == ("x", 3, 0.5, False)
    assert spec.when == datetime(2023, 12, 31, 23, tzinfo=UTC)
    assert (spec.wait, spec.max_size) == (timedelta(seconds=90), 2**30)
    assert str(spec.restart) == "on-failure"
    assert spec.names == ("a", "b")
    assert (spec.ports, spec.by_name, spec.parent, spec.log_format) == ((), {}, None, None)


@pytest.mark.parametrize(
    ("attribute", "value", "message"),
    [
        ("title", "A", "at least 2"),
        ("title", "Abcdef", "at most 5"),
        ("title", "abc", "must match"),
        ("count", 0, "at least 1"),
        ("count", 10, "at most 9"),
        ("count", "3", "integer"),
        ("count", True, "integer"),
        ("ratio", 1.5, "at most 1"),
        ("wait", "1ms", "at least 1s"),
        ("wait", "2h", "at most 1h"),
        ("max_size", "1k", "at least 1Mi"),
        ("parent", "a b", "must match"),
        ("restart", "allways", "must be one of"),
        ("label", "a", "must match"),
        ("labels_", {"a": 1}, "string"),
        ("ports", [0], "at least 1"),
        ("ports", [{"number": 1, "x": 1}], "unknown attribute 'x'"),
        ("limits", {"a": -1}, "at least 0"),
        ("names", ["a", "B"], "must match"),
        ("names", ["a"] * 4, "more than 3"),
        ("word", "a b", "must match"),
    ],
)
def test_every_constraint_is_enforced(
    generated: Generated, attribute: str, value: object, message: str
) -> None:
    site = generated(everything=EVERYTHING).WebSite
    with pytest.raises(InvalidInput, match=message):
        site.new("a", **{"title": "Hello", attribute: value})


def test_a_partial_sends_only_what_is_named(generated: Generated) -> None:
    site = generated(everything=EVERYTHING).WebSite
    partial = site.partial("a", count=5, ports=(), max_size=Quantity("1Gi"), wait=None)
    assert partial.document == {
        "metadata": {"name": "a"},
        "spec": {"count": 5, "ports": [], "max_size": "1Gi"},
    }


def test_the_kind_carries_its_options(generated: Generated) -> None:
    kinds = generated(everything=EVERYTHING)
    kind = kinds.WebSite.kind
    assert (kind.api_version, kind.plural, kind.short) == ("example.dev/v1", "sites", ("ws",))
    assert kind.columns == (
        Column("Phase", "status.phase"),
        Column("Size", "spec.maxSize"),
        Column("First", "spec.ports"),
    )
    assert kind.doc == "A site."
    assert kinds.Machine.kind.scope is Scope.CLUSTER
    assert [entity.kind.name for entity in kinds.KINDS] == ["WebSite", "Machine", "Empty"]
    assert Kinds(kinds.KINDS).of_document("old.dev/v0", "web_site") is kind


def test_options_for_the_store_ride_along(generated: Generated) -> None:
    fields = generated(everything=EVERYTHING).WebSite.kind.spec.model_fields

    def options(name: str) -> Options:
        return next(each for each in fields[name].metadata if isinstance(each, Options))

    assert options("parent") == Options(indexed=True, immutable=True, owner=True, to=("WebSite",))
    assert options("friends").to == ("WebSite", "Machine")
    assert options("slug") == Options(unique="project", example="hello")
    assert options("ports").merge_key == "number"


def test_the_status_is_optional_throughout(generated: Generated) -> None:
    status = generated(everything=EVERYTHING).WebSite.kind.status()
    assert (status.phase, status.restarts) == (None, 0)


def test_a_new_attribute_works_without_any_other_change(generated: Generated) -> None:
    before = "domain: x.dev\nversion: v1\nkinds: {box: {a: {type: int}}}"
    assert generated(x=before).Box.new("b", a=1).spec.a == 1
    after = generated(x=before.replace("}}}", "}, size: {type: quantity, default: 1Gi}}}"))
    assert after.Box.new("b").spec.size == 2**30
    document = {"metadata": {"name": "b"}, "spec": {"a": 1, "size": 0.5}}
    assert after.Box.from_document(document).spec.size == Decimal("0.5")


def test_files_use_each_others_components_and_name_each_others_kinds(
    generated: Generated, tmp_path: Path
) -> None:
    kinds = generated(
        one="""
domain: x.dev
version: v1
kinds:
  app: {port: {type: port}, home: {type: ref, to: machine}}
""",
        two="""
domain: y.dev
version: v2
components: {port: {$options: {shorthand: number}, number: {type: int}}}
kinds:
  machine: {app: {type: ref, to: app}, ports: {type: port, many: true}}
""",
    )
    app = kinds.App.new("a", port=80, home="m")
    assert (app.spec.port.number, app.spec.home.name) == (80, "m")
    assert kinds.Machine.new("m", ports=[1]).kind.api_version == "y.dev/v2"
    one = (tmp_path / kinds.__name__ / "one.py").read_text(encoding="utf-8")
    two = (tmp_path / kinds.__name__ / "two.py").read_text(encoding="utf-8")
    assert one.count("import Machine, Port") == 1
    assert "TYPE_CHECKING" not in one
    assert "if TYPE_CHECKING:\n    from .one import App\n" in two


def test_a_language_older_than_ours_is_accepted(generated: Generated) -> None:
    kinds = generated(
        compute="""
domain: dev.example.compute
version: v1alpha
components:
  sandbox_spec:
    version: {type: ref, doc: The version.}
    logEntity: {type: string}
    hostNetwork: {type: bool}
    container:
      type: component
      many: true
      attrs:
        image: {type: string, required: true}
        env: {type: string, many: true}
        oom_score: {type: int, many: true}
        port:
          type: component
          many: true
          attrs:
            port: {type: int, required: true}
            protocol: {type: enum, choices: [tcp, udp]}
        config_file: {type: component, many: true, attrs: {data: {type: bytes}}}
kinds:
  sandbox:
    status:
      type: enum
      choices: [pending, not_ready]
      indexed: true
      doc: |
        Where it is.
        In two lines.
    last_activity: {type: time}
    labels: {type: label, many: true}
    spec: {type: sandbox_spec, required: true}
"""
    )
    sandbox = kinds.Sandbox.from_document(
        {
            "metadata": {"name": "a"},
            "spec": {
                "status": "not_ready",
                "labels": ["a=b"],
                "spec": {"log_entity": "x", "container": [{"image": "i", "port": [{"port": 1}]}]},
            },
        }
    )
    assert sandbox.spec.labels == {"a": "b"}
    assert sandbox.spec.spec.container[0].port[0].port == 1
    assert str(sandbox.spec.status) == "not_ready"


def test_generated_code_passes_the_strictest_type_check(
    generated: Generated, tmp_path: Path
) -> None:
    name = generated(everything=EVERYTHING).__name__
    user = tmp_path / "user.py"
    user.write_text(
        f"from {name}.everything import Port, WebSite, WebSitePhase\n"
        "from miren.base.quantities import Quantity\n"
        'site = WebSite.new("a", title="Hi", ports=[80, Port(number=1)], max_size="1Gi")\n'
        "size: Quantity = site.spec.max_size\n"
        "phase: WebSitePhase | None = site.status.phase\n"
        'WebSite.partial("a", restart="always").type.kind\n'
        'WebSite.new("a", title="Hi", restart="sometimes")  # wrong\n'
        'WebSite.new("a", titel="Hi")  # wrong\n'
        'WebSite.partial("a", count="3")  # wrong\n',
        encoding="utf-8",
    )
    errors = type_errors(tmp_path, name, "user.py")
    assert [line.split(":")[:2] for line in errors] == [["user.py", n] for n in "789"], errors
