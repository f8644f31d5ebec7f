"""A kind with session attributes of many types, and with views."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from miren.base.quantities import Duration
from miren.entities.entity import Entity
from miren.entities.kinds import Kinds, Scope
from miren.entities.model import Labels, Map, Model, Ref, field
from miren.entities.store.api import Store
from miren.entities.store_client import StoreClient
from tests.builders import KINDS, Room


class Phase(StrEnum):
    UNKNOWN = "unknown"
    READY = "ready"
    DARK = "dark"


class Lamp(Model, shorthand="watts"):
    watts: int
    color: str = "white"


class BeaconSpec(Model):
    height: int = 1


class BeaconStatus(Model):
    phase: Phase = field(default=Phase.UNKNOWN, session=True, indexed=True)
    ships_seen: int = field(default=0, min=0, session=True)
    rests: Duration | None = field(default=None, session=True)
    lit_at: datetime | None = field(default=None, session=True)
    lamp: Lamp | None = field(default=None, session=True)
    ports: tuple[int, ...] = field(default=(), session=True)
    names: Map[str] = field(default={}, session=True)
    tags: Labels = field(default={}, session=True, indexed=True)
    room: Ref[Room] | None = field(default=None, session=True, to=("Room",))
    painted: str = ""  # stored like any other
    ttl: Duration | None = field(default=None, bind_to="db/entity.ttl")
    keeper: str | None = field(default=None, bind_to="db/attr.session")
    id: str = field(default="", bind_to="metadata.uid")
    revision: int = field(default=0, bind_to="db/entity.revision")
    tall: int = field(default=0, bind_to="spec.height")


class Beacon(Entity[BeaconSpec, BeaconStatus], api="example.dev/v1"):
    """Somebody stands behind its light, or it is dark."""


class Buoy(Entity[BeaconSpec, BeaconStatus], api="example.dev/v1", scope=Scope.CLUSTER):
    """The same, of the whole cluster."""


def make_client(store: Store) -> StoreClient:
    return StoreClient(store=store, kinds=Kinds((*KINDS, Beacon, Buoy)))
