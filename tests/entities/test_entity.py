"""The envelope: what goes in comes out, and what is wrong is all said at once."""

from __future__ import annotations

from dataclasses import FrozenInstanceError
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from miren.base.errors import InvalidInput
from miren.entities.entity import Condition, ConditionStatus, Entity
from miren.entities.gen import App, Disk, Node, Sandbox
from miren.entities.gen.compute import Container, Port, SandboxPhase, SandboxRestartPolicy
from miren.entities.kinds import Kinds, Scope
from miren.entities.model import Model, field


class GreetingSpec(Model):
    text: str
    long_name: str | None = None


class GreetingStatus(Model):
    shout: str = ""


class Greeting(Entity[GreetingSpec, GreetingStatus], api="example.dev/v1", aliases=["old.dev/v0"]):
    """Says hello."""


def test_a_kind_written_by_hand_knows_its_names() -> None:
    kind = Greeting.kind
    assert (kind.name, kind.plural, kind.scope) == ("Greeting", "greetings", Scope.PROJECT)
    assert (kind.api_version, str(kind)) == ("example.dev/v1", "greeting.example.dev")
    assert kind.doc == "Says hello."
    assert kind.is_in("example.dev/v1")
    assert kind.is_in("example.dev")
    assert kind.is_in("old.dev/v0")
    assert not kind.is_in("old.dev/v1")
    assert not kind.is_in("example.dev/v2")


def test_an_entity_is_read_from_its_own_document() -> None:
    greeting = Greeting.from_document(
        {
            "metadata": {
                "name": "hi",
                "project": "p",
                "labels": {"a": "b"},
                "creationTimestamp": "2024-01-01T00:00:00Z",
            },
            "spec": {"text": "yo", "longName": "x"},
            "status": {
                "shout": "YO",
                "observedGeneration": 3,
                "conditions": [{"type": "Ready", "status": "True", "observedGeneration": 3}],
                "handled": {"greeter": {"generation": 3}},
            },
        }
    )
    assert greeting.metadata.creation_timestamp == datetime(2024, 1, 1, tzinfo=UTC)
    assert greeting.status.shout == "YO"
    assert greeting.observed_generation == 3
    assert greeting.condition("Ready") == Condition(
        type="Ready", status=ConditionStatus.TRUE, observed_generation=3
    )
    assert greeting.condition("Other") is None
    assert Greeting.from_document(greeting.to_document()) == greeting


def test_everything_wrong_with_a_document_is_said_at_once() -> None:
    with pytest.raises(InvalidInput) as caught:
        Greeting.from_document(
            {
                "metadata": {"name": "Hi"},
                "spec": {"txt": "yo"},
                "status": {"shout": 5, "conditions": [{"type": "x", "status": "yes"}]},
            }
        )
    assert {problem.dotted() for problem in caught.value.problems} == {
        "metadata.name",
        "spec.text",
        "spec.txt",
        "status.shout",
        "status.conditions[0].status",
    }


def test_an_entity_cannot_be_changed_in_place() -> None:
    greeting = Greeting.new("hi", text="yo")
    with pytest.raises(FrozenInstanceError):
        greeting.spec = GreetingSpec(text="x")  # type: ignore[misc]  # that is the point
    changed = greeting.with_metadata(uid="u")
    assert (greeting.uid, changed.uid) == ("", "u")


def test_two_kinds_of_one_name_and_domain_are_refused() -> None:
    class Other(Entity[GreetingSpec, GreetingStatus], api="example.dev/v1"):
        """Another."""

    kinds = Kinds([Greeting, Greeting, Other])
    assert len(list(kinds)) == 2

    def again() -> type[Entity[GreetingSpec, GreetingStatus]]:
        class Greeting(Entity[GreetingSpec, GreetingStatus], api="example.dev/v1"):
            """Again."""

        return Greeting

    with pytest.raises(InvalidInput, match="defined twice"):
        kinds.add(again())


def test_our_kinds_take_components_mappings_and_shorthands() -> None:
    sandbox = Sandbox.new(
        "hello",
        containers=[
            Container(image="a", ports=(Port(port=80),)),
            {"name": "side", "image": "b", "ports": [81], "memory": "64Mi"},
        ],
        restart_policy="on-failure",
        grace_period="1m",
    )
    assert [container.name for container in sandbox.spec.containers] == ["main", "side"]
    assert sandbox.spec.containers[1].ports[0].port == 81
    assert sandbox.spec.restart_policy is SandboxRestartPolicy.ON_FAILURE
    assert sandbox.spec.start_timeout.total_seconds() == 60
    assert sandbox.status.phase is None


def test_a_phase_is_read_back_as_its_enum() -> None:
    document = Sandbox.new("a", containers=[{"image": "x"}]).to_document()
    sandbox = Sandbox.from_document({**document, "status": {"phase": "running"}})
    assert sandbox.status.phase is SandboxPhase.RUNNING


def test_our_kinds_have_the_words_people_type() -> None:
    kinds = Kinds([App, Disk, Node, Sandbox])
    words = {
        "sb": Sandbox.kind,
        "sandboxes": Sandbox.kind,
        "dk": Disk.kind,
        "no": Node.kind,
        "sandbox.miren.dev": Sandbox.kind,
    }
    for word, kind in words.items():
        assert kinds.resolve(word) is kind
    assert Node.kind.scope is Scope.CLUSTER


names = st.from_regex(r"[a-z0-9]([-a-z0-9]{0,20}[a-z0-9])?", fullmatch=True)


@given(
    names,
    st.dictionaries(names, st.text("abc")),
    st.lists(st.integers(1, 65535), unique=True, max_size=3),
    st.dictionaries(st.text("ABC_", min_size=1), st.text("xyz")),
)
def test_an_entity_survives_its_document(
    name: str, labels: dict[str, str], ports: list[int], env: dict[str, str]
) -> None:
    sandbox = Sandbox.new(
        name, labels=labels, containers=[{"image": "x", "ports": ports, "env": env}]
    )
    assert Sandbox.from_document(sandbox.to_document()) == sandbox
    assert Sandbox.from_stored(sandbox.to_document(), revision=7).spec == sandbox.spec


def test_bytes_survive_the_store() -> None:
    from miren.entities.model import Base64

    class BlobSpec(Model):
        data: Base64 = field(default=b"")

    class Blob(Entity[BlobSpec, GreetingStatus], api="example.dev/v1"):
        """Holds bytes."""

    blob = Blob.new("a", data=b"\x00\xff\xfe")
    assert Blob.from_document(blob.to_document()).spec.data == b"\x00\xff\xfe"
    assert Blob.from_stored(blob.to_document(), revision=1).spec.data == b"\x00\xff\xfe"
