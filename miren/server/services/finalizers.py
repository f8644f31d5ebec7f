"""`miren.entities.v1.Entities/Finalizers`: who takes the finalizers of a kind off.

So that somebody who waits for a deletion is told whom for, or that it will never come.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from miren.entities.entity import Entity
from miren.entities.kinds import Kinds
from miren.rpc.server import Call, Method, Unary
from miren.server.services import requests
from miren.server.services.entities import actor_of

__all__ = ["FinalizerService"]

Message = Mapping[str, Any]


class FinalizerService:
    """Answers with what `finalizers` says of a kind: the controllers here, by finalizer."""

    def __init__(
        self,
        kinds: Kinds,
        finalizers: Callable[[type[Entity[Any, Any]]], Mapping[str, str]],
        *,
        owner: int,
    ) -> None:
        self._kinds = kinds
        self._finalizers = finalizers
        self._owner = owner

    def methods(self) -> Mapping[str, Method]:
        """Return the method by its full name."""
        return {"miren.entities.v1.Entities/Finalizers": Unary(self.list)}

    async def list(self, call: Call, request: Message) -> Message:
        """Return the controllers that run here by the finalizers that they take off a kind."""
        actor_of(call, owner=self._owner)
        kind = self._kinds.resolve(requests.text(request, "kind"))
        return {"controllers": dict(self._finalizers(kind.entity))}
