"""Small kinds written in Python, and functions that make entities of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from miren.entities.entity import Entity, OwnerReference
from miren.entities.kinds import Kinds, Scope
from miren.entities.model import Map, Model, Ref, field

E = TypeVar("E", bound=Entity[Any, Any])


class GreetingSpec(Model):
    text: str
    tone: str = field(default="plain", indexed=True)


class GreetingStatus(Model):
    shout: str = ""
    heard: int = 0


class Greeting(Entity[GreetingSpec, GreetingStatus], api="example.dev/v1"):
    """What the architecture's page shows."""


class RoomSpec(Model):
    size: int = 1


class RoomStatus(Model):
    greetings: int = 0


class Room(Entity[RoomSpec, RoomStatus], api="example.dev/v1"):
    """Something to refer to and to own."""


class StampSpec(Model):
    number: str = field(default="1", unique="cluster")


class Nothing(Model):
    pass


class Stamp(Entity[StampSpec, Nothing], api="example.dev/v1", scope=Scope.CLUSTER):
    """A kind of the whole cluster."""


class Port(Model, shorthand="port"):
    port: int
    protocol: str = "tcp"


class Wrapping(Model):
    paper: str
    ribbon: str = "red"


class ParcelSpec(Model):
    """An attribute for everything that the entity layer does."""

    weight: int = field(default=1, min=0)
    code: str | None = field(default=None, unique="project")
    sender: str | None = field(default=None, immutable=True)
    rooms: tuple[Ref[Room], ...] = field(default=(), to=("Room",), indexed=True)
    wrapping: Wrapping | None = None
    env: Map[str] = field(default={})
    ports: tuple[Port, ...] = field(default=(), merge_key="port")


class ParcelStatus(Model):
    place: str = field(default="", indexed=True)


class Parcel(Entity[ParcelSpec, ParcelStatus], api="example.dev/v1"):
    """One kind with every option."""


KINDS = (Greeting, Room, Stamp, Parcel)


def make_kinds() -> Kinds:
    return Kinds(KINDS)


def make_greeting(
    name: str = "hi",
    *,
    text: str = "hey",
    labels: Mapping[str, str] | None = None,
    **rest: Any,
) -> Greeting:
    return Greeting.new(name, text=text, labels=labels, **rest)


def owners(*entities: Entity[Any, Any]) -> tuple[OwnerReference, ...]:
    return tuple(map(OwnerReference.of, entities))


def owned_by(entity: E, *above: Entity[Any, Any]) -> E:
    """Return the entity with these owners, and no others."""
    return entity.with_metadata(owner_references=owners(*above))


def make_parcel(name: str = "box", **rest: Any) -> Parcel:
    return Parcel.new(name, **rest)
