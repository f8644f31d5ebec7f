"""The widget as it was."""

from __future__ import annotations

from miren.entities.entity import Entity
from miren.entities.model import Map, Model, field


class Port(Model):
    port: int
    protocol: str = "tcp"


class WidgetSpec(Model):
    size_gb: int
    tier: str = field(default="cheap", indexed=True)
    serial: str | None = field(default=None, unique="project")
    nick: str = ""
    ports: tuple[Port, ...] = field(default=(), merge_key="port")
    env: Map[str] = field(default={})


class WidgetStatus(Model):
    place: str = ""


class Widget(Entity[WidgetSpec, WidgetStatus], api="example.dev/v1alpha1", short=["wg"]):
    """A widget with a size in GiB."""
