"""The widget with its color in a component."""

from __future__ import annotations

from miren.entities.conversions import Added, Converter, Move
from miren.entities.entity import Entity
from miren.entities.model import Map, Model, field
from tests.entities.widgets.v1beta1 import Limits, Port


class Look(Model):
    color: str = field(default="grey", indexed=True)
    gloss: bool = False


class WidgetSpec(Model):
    limits: Limits
    class_: str = field(default="standard", indexed=True)
    serial: str | None = field(default=None, unique="project")
    look: Look = Look()
    ports: tuple[Port, ...] = field(default=(), merge_key="number")
    env: Map[str] = field(default={})


class WidgetStatus(Model):
    phase: str = ""
    wear: int = 0


FROM_BETA = Converter(
    Move("spec.color", "spec.look.color"), Added("spec.look.gloss"), Added("status.wear")
)


class Widget(
    Entity[WidgetSpec, WidgetStatus],
    api="example.dev/v1",
    short=["wg"],
    converts={"v1beta1": FROM_BETA},
):
    """A widget with a look."""
