"""The kind that both operators work on: about 1 KiB when it is stored, with a nested spec."""

from __future__ import annotations

from typing import Any

from miren.entities.entity import Entity
from miren.entities.model import Map, Model, field


class Port(Model):
    port: int = field(min=1, max=65535)
    name: str | None = None


class GadgetSpec(Model):
    number: int = field(min=0)
    image: str
    env: Map[str] = field(default={})
    ports: tuple[Port, ...] = ()


class GadgetStatus(Model):
    number: int = 0


class Gadget(Entity[GadgetSpec, GadgetStatus], api="bench.miren.dev/v1"):
    """What is made in great numbers."""


def spec(number: int) -> dict[str, Any]:
    """Return a spec as it is stored; only the number makes a difference."""
    return {
        "number": number,
        "image": "registry.example/team/application:1.2.3",
        "env": {f"VARIABLE_{index}": f"some value number {index}" for index in range(10)},
        "ports": [{"port": 8000 + index, "name": f"port-{index}"} for index in range(2)],
    }
