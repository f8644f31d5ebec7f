"""The keys of `miren.server.v1.Server`: rotating them, and dropping old ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from miren.rpc.server import Call, Method, Unary
from miren.server.resealing import Rotation
from miren.server.services import requests
from miren.server.services.entities import actor_of

__all__ = ["KeyService"]

Message = Mapping[str, Any]


class KeyService:
    """Rotates the server's keys. Answers with ids only: no key ever travels."""

    def __init__(self, rotation: Rotation, *, owner: int) -> None:
        self._rotation = rotation
        self._owner = owner

    def methods(self) -> Mapping[str, Method]:
        """Return the methods by their full names."""
        return {"miren.server.v1.Server/RotateKey": Unary(self.rotate_key)}

    async def rotate_key(self, call: Call, request: Message) -> Message:
        """Make a new primary key, or with `drop` drop all but that; return the ids kept."""
        actor_of(call, owner=self._owner)
        is_dropping = requests.flag(request, "drop")
        kept = await (self._rotation.drop() if is_dropping else self._rotation.rotate())
        primary, *older = kept.ids
        return {"primary": primary, "older": older}
