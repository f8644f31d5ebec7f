"""The widget with amounts, colors and names of ports, and without a nick."""

from __future__ import annotations

from miren.base.quantities import Quantity
from miren.entities.conversions import Added, Converter, Move, Removed, Unit, Values
from miren.entities.entity import Entity
from miren.entities.model import Map, Model, field


class Port(Model):
    number: int
    protocol: str = "tcp"
    name: str = ""


class Limits(Model):
    size: Quantity = field(min=Quantity("1Mi"))


class WidgetSpec(Model):
    limits: Limits
    class_: str = field(default="standard", indexed=True)
    serial: str | None = field(default=None, unique="project")
    color: str = field(default="grey", indexed=True)
    ports: tuple[Port, ...] = field(default=(), merge_key="number")
    env: Map[str] = field(default={})


class WidgetStatus(Model):
    phase: str = ""


FROM_ALPHA = Converter(
    Move("spec.sizeGb", "spec.limits.size"),
    Unit("spec.limits.size", "Gi"),
    Move("spec.tier", "spec.class"),
    Values("spec.class", {"cheap": "standard", "dear": "fast"}),
    Removed("spec.nick"),
    Added("spec.color"),
    Move("spec.ports[].port", "spec.ports[].number"),
    Added("spec.ports[].name"),
    Move("status.place", "status.phase"),
)


class Widget(
    Entity[WidgetSpec, WidgetStatus],
    api="example.dev/v1beta1",
    short=["wg"],
    converts={"v1alpha1": FROM_ALPHA},
):
    """A widget with a size."""
